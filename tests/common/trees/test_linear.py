"""The authors' linearisation: exact for every tree, and a tree over all words for every line of symbols."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.corpus.bitext import choose
from common.corpus.lines import open_text
from common.errors import UserError
from common.recipe import Data
from common.trees.linear import linearise, restore, view_lines
from common.trees.tree import read_trees, treebank
from tests.common.trees.made import PHRASES, TREES, WORDS
from tests.common.trees.test_tree import WSJ, real_trees

SYMBOLS = st.lists(st.sampled_from([*PHRASES, *(f"/{label}" for label in PHRASES), "NN", "DT", "<unk>", "/"]))


def test_the_authors_example():
    """Depth first: labels as they open, a slash and the label as they close, tags alone, no words, no TOP."""
    (tree,) = treebank("(TOP (S (NP (DT the) (NN cat)) (VP (VBZ sleeps)) (. .)))", "one")
    assert " ".join(linearise(tree)) == "S NP DT NN /NP VP VBZ /VP . /S"


def test_several_phrases_in_an_outer_bracket_make_the_round_trip():
    (tree,) = treebank("( (S (NN a)) (NP (NN b)))", "one")
    assert linearise(tree) == "TOP S NN /S NP NN /NP /TOP".split()
    assert restore(linearise(tree), tree.words) == (tree, {})


@given(TREES)
def test_the_round_trip_is_exact(tree):
    for phrases in ((), PHRASES):
        assert restore(linearise(tree), tree.words, phrases) == (tree, {})


def test_the_round_trip_is_exact_for_every_tree_of_two_treebanks(mirror):
    """CRAFT has 30,830, the sample of the Wall Street Journal 3,914; with traces and function tags too."""
    count = 0
    for name, text in real_trees(mirror):
        whole = (tree.children[0] for tree in read_trees(text, name))  # inside of the outer bracket
        for tree in (*whole, *treebank(text, name)):
            assert restore(linearise(tree), tree.words) == (tree, {}), name
            count += 1
    assert count == 2 * (30_830 + 3_914)


def test_the_round_trip_of_the_sample_of_evalb(mirror):
    lines = [line for side in ("gld", "tst") for line in (mirror / "evalb-sample" / f"sample.{side}").open()]
    trees = [tree for line in lines for tree in read_trees(line, "sample")]
    assert len(trees) > 40 and all(restore(linearise(tree), tree.words) == (tree, {}) for tree in trees)


@given(SYMBOLS, st.lists(WORDS, min_size=1, max_size=12), st.sampled_from([(), PHRASES]))
def test_any_symbols_become_a_tree_over_all_words(symbols, words, phrases):
    """The tree's own symbols need no repair any more."""
    tree, faults = restore(symbols, words, phrases)
    assert tree.words == words and all(count > 0 for count in faults.values())
    assert all(node.children or node.word for node, _ in tree.visits())
    again = restore(linearise(tree), words, phrases)
    assert again == (tree, {}) or phrases == () or not faults
    if not faults:
        assert linearise(tree) == [*symbols]


@pytest.mark.parametrize(
    ("symbols", "repaired", "faults"),
    [
        ("S NP DT NN VP VBZ /VP /S", "(S (NP (DT a) (NN b) (VP (VBZ c))))", {"unclosed": 1}),
        ("S NP DT NN /NP /PP VBZ /S", "(S (NP (DT a) (NN b)) (VBZ c))", {"unopened": 1}),
        ("S NP /NP DT NN VBZ /S", "(S (DT a) (NN b) (VBZ c))", {"empty": 1}),
        ("S DT NN VBZ NN /S", "(S (DT a) (NN b) (VBZ c))", {"tags left": 1}),
        ("S DT NN VBZ NP NN /NP /S", "(S (DT a) (NN b) (VBZ c))", {"tags left": 1}),
        ("S DT NN /S", "(S (DT a) (NN b) (XX c))", {"words left": 1}),
        ("NP DT NN /NP VP VBZ /VP", "(S (NP (DT a) (NN b)) (VP (VBZ c)))", {"several roots": 1}),
        ("DT", "(S (DT a) (XX b) (XX c))", {"words left": 2}),
        ("", "(S (XX a) (XX b) (XX c))", {"words left": 3}),
    ],
)  # fmt: skip
def test_how_each_fault_is_repaired(symbols, repaired, faults):
    tree, found = restore(symbols.split(), ["a", "b", "c"], PHRASES)
    assert (str(tree), found) == (repaired, faults)


def test_a_treebank_is_a_parallel_text(tmp_path):
    """A declaration names both sides of one file, and a bad file is named with its line."""
    (tmp_path / "wsj.mrg").write_text(WSJ)
    sides = "{words: wsj.mrg words, brackets: wsj.mrg brackets}"
    (tmp_path / "mine.yaml").write_text(f"title: mine\ntrain: {sides}\nvalid: {sides}\n")
    text = choose(Data(str(tmp_path / "mine.yaml"), "words", "brackets"))
    words, brackets = text.read("valid", {})
    assert words == ["Pierre Vinken will try to join its board .", "-LRB- end -RRB-"]
    assert brackets[1] == "NP -LRB- NN -RRB- /NP" == view_lines(WSJ, "wsj.mrg", "brackets")[1]
    assert text.files == ["wsj.mrg"] and text.names(text.sets["valid"])[1] == "wsj.mrg brackets"
    (tmp_path / "bad.mrg").write_text("(S (NN a))\n(S\n")
    with (
        pytest.raises(UserError, match=r"bad\.mrg: line 2: a bracket is not closed"),
        open_text(tmp_path / "bad.mrg", "words"),
    ):
        pass
