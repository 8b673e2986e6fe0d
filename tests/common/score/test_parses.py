"""A parser's outputs as trees: repaired, counted, and scored over the gold tags."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import UserError
from common.score.brackets import count as evalb
from common.score.brackets import f1_of_sums, summarise
from common.score.parses import gold_trees, retagged, score_parses
from common.trees.linear import linearise
from common.trees.tree import read_trees
from tests.common.trees.made import PHRASES, TREES

SENTENCES = ["the cat sleeps .", "it sleeps"]
BRACKETS = ["S NP DT NN /NP VP VBZ /VP . /S", "S NP PRP /NP VP VBZ /VP /S"]


def test_what_is_kept_of_each_sentence():
    """The second output is cut short, and the first has a noun for a full stop, which EVALB would not score."""
    outputs = ["S NP DT NN /NP VP VBZ NN /VP /S", "S NP PRP /NP VP VBP"]
    found = score_parses(SENTENCES, BRACKETS, outputs, PHRASES, "made")
    assert found.parser.labelled == ("3 3 3", "3 3 3")  # without its full stop the first has the right brackets
    assert (found.ill_formed, found.faults, found.refused) == (1, {"unclosed": 2}, 1)
    assert (found.tags_right, found.words) == (4, 6)
    # (S the (VP cat (VP sleeps .))) has the sentence and `sleeps`; (S it sleeps) has the sentence alone.
    assert found.right_branching.labelled == found.right_branching.unlabelled == ("2 3 3", "1 3 1")


@given(st.lists(TREES, min_size=1, max_size=4))
def test_perfect_outputs_are_perfect(trees):
    sentences, brackets = [" ".join(tree.words) for tree in trees], [" ".join(linearise(tree)) for tree in trees]
    assert [*gold_trees(sentences, brackets, "made")] == trees
    found = score_parses(sentences, brackets, brackets, PHRASES, "made")
    assert (found.ill_formed, found.faults, found.refused, found.tags_right) == (0, {}, 0, found.words)
    assert all(len({*row.split()}) == 1 for row in found.parser.labelled)
    summary = summarise(evalb([tree], [tree]) for tree in trees)
    assert f1_of_sums(found.parser.counts.sum(axis=0)) == pytest.approx(summary.f1)


@given(TREES, TREES)
def test_tags_are_taken_from_the_other_tree(tree, other):
    gold = tree if len(tree.words) == len(other.words) else other
    again = retagged(other, gold)
    assert [leaf.label for leaf in again.leaves] == [leaf.label for leaf in gold.leaves] and again.words == gold.words
    shape = [node.label for node, _ in again.visits() if node.children]
    assert shape == [node.label for node, _ in other.visits() if node.children]


def test_a_target_that_is_no_tree_is_refused_by_line():
    with pytest.raises(UserError, match=r"newstest: line 2 is no tree over its words \(words left\)"):
        [*gold_trees(["a cat", "le chat"], ["NP DT NN /NP", "NP NN /NP"], "newstest")]


def test_f1_of_several_sentences_adds_brackets_not_scores():
    (gold,), (test,) = read_trees("(S (NP (NN a)) (VP (VB b)))", "g"), read_trees("(S (NN a) (VB b))", "t")
    counts = [evalb([gold], [test]), evalb([gold], [gold])]
    sums = np.array([[one.matched, one.gold, one.test] for one in counts]).sum(axis=0)
    assert sums.tolist() == [4, 6, 4] and f1_of_sums(sums) == pytest.approx(80)
