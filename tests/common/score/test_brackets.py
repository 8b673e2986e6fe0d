"""Labelled bracketing beside EVALB's own sample and a second implementation of its rules."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from common.errors import UserError
from common.score.brackets import (
    COLLINS,
    SAMPLE,
    Parameters,
    count,
    count_files,
    f1_of_sums,
    read_parameters,
    summarise,
)
from common.trees.tree import Tree, read_trees
from tests.common.trees.made import TREES

NAMED = {"COLLINS.prm": COLLINS, "sample.prm": SAMPLE}


def counted(gold: str, test: str, parameters: Parameters = COLLINS):
    return count(read_trees(gold, "gold"), read_trees(test, "test"), parameters)


@pytest.fixture
def sample(mirror):
    return mirror / "evalb-sample"


@pytest.mark.parametrize("name", NAMED)
def test_the_named_parameters_are_those_of_the_files(sample, name):
    assert read_parameters(sample / name) == NAMED[name]


@pytest.mark.parametrize(
    ("name", "recall", "precision", "f1", "errors", "valid"),
    [("COLLINS.prm", 87.23, 90.11, 88.65, 6, 16), ("sample.prm", 87.76, 90.53, 89.12, 5, 17)],
)
def test_the_sample_has_the_scores_that_evalb_prints(sample, name, recall, precision, f1, errors, valid):
    summary = summarise(count_files(sample / "sample.gld", sample / "sample.tst", read_parameters(sample / name)))
    assert (round(summary.recall, 2), round(summary.precision, 2), round(summary.f1, 2)) == (recall, precision, f1)
    assert (summary.sentences, summary.errors, summary.skipped, summary.valid) == (24, errors, 2, valid)


def test_every_sentence_and_both_summaries_of_the_sample(sample):
    """sample.rsl has a row a sentence; sample.summary.txt has a second summary, up to 40 words."""
    counts = count_files(sample / "sample.gld", sample / "sample.tst", SAMPLE)
    rows = [line.split() for line in (sample / "sample.rsl").read_text().split("=\n")[1].split("\n=")[0].splitlines()]
    status = {"valid": 0, "error": 1, "skipped": 2}
    for row, one in zip(rows, counts, strict=True):
        shown = [one.length, status[one.status], one.matched, one.gold, one.test, one.crossing]
        assert shown == [int(row[place]) for place in (1, 2, 5, 6, 7, 8)], row
        assert one.status != "valid" or [one.words, one.tags] == [int(row[9]), int(row[10])]
    printed = [
        line.split("=")[1].strip() for line in (sample / "sample.summary.txt").read_text().splitlines() if " = " in line
    ]
    ours = [
        text
        for longest in (None, SAMPLE.cutoff)
        for value in vars(summarise(counts, longest)).values()
        for text in [f"{value:.2f}" if isinstance(value, float) else str(value)]
    ]
    assert ours == printed


def test_what_does_not_count():
    gold = "(TOP (S (NP-SBJ (DT the) (NN cat)) (, ,) (VP (VBZ sleeps)) (. .)))"
    test = "(S (NP (DT the) (NN cat) (, ,)) (VP (VBZ sleeps) (. .)))"
    one = counted(gold, test)
    assert (one.matched, one.gold, one.test, one.words, one.length) == (3, 3, 3, 3, 5)
    one = counted("(S (ADVP (RB up)) (VB go))", "(S (PRT (RP up)) (VB go))")
    assert (one.matched, one.gold, one.tags) == (2, 2, 1)
    assert counted("(S (NP (NN a)))", "(S (VP (NN a)))", replace(COLLINS, labelled=False)).matched == 2
    assert counted("(S (NP (NN a)))", "(S (NP (NP (NN a))))").matched == 2


def test_a_tag_that_hides_a_word_makes_an_error():
    """The program finds punctuation by its tag, so a wrong tag changes the number of words."""
    assert counted("(S (NN a) (. .))", "(S (NN a) (NN .))").status == "error"
    assert counted("(S (NN a) (NN b))", "(S (NN a) (NN c))").status == "error"
    assert counted("(S (NN a))", "").status == "skipped" == counted("(S (NN a))", "(S (. a))").status


@given(TREES)
def test_a_tree_matches_itself(tree):
    one = count([tree], [tree])
    assert one.status == "skipped" or (one.matched == one.gold == one.test and one.crossing == 0)


@given(st.tuples(*[st.integers(0, 50)] * 3))
def test_f1_is_the_harmonic_mean(sums):
    matched, gold, test = sums[0], sums[0] + sums[1] + 1, sums[0] + sums[2] + 1
    recall, precision = matched / gold, matched / test
    mean = 2 * precision * recall / (precision + recall) if matched else 0
    assert f1_of_sums(np.array([matched, gold, test])) == pytest.approx(100 * mean)


def test_a_parameter_file_may_have_any_white_space(tmp_path):
    (tmp_path / "mine.prm").write_text("DELETE_LABEL\tTOP\n  LABELED \t 0 \nEQ_LABEL\tADVP\tPRT\n")
    found = read_parameters(tmp_path / "mine.prm")
    assert (found.delete, found.labelled, found.equal_labels) == (("TOP",), False, (("ADVP", "PRT"),))


def test_a_line_of_a_parameter_file_that_means_nothing_is_named(tmp_path):
    for line in ("QUOTE_LABEL POS", "DELETE_LABEL", "LABELED yes", "EQ_LABEL A B C"):
        (tmp_path / "mine.prm").write_text(f"# mine\n{line}\n")
        with pytest.raises(UserError, match=r"mine\.prm: "):
            read_parameters(tmp_path / "mine.prm")


@pytest.fixture(scope="module")
def theirs():
    """PYEVALB's score of two trees."""
    scorer = pytest.importorskip("PYEVALB.scorer", reason="PYEVALB is not installed (pip install PYEVALB)")
    parser = pytest.importorskip("PYEVALB.parser")
    return lambda *trees: scorer.Scorer().score_trees(*map(parser.create_from_bracket_string, map(str, trees)))


@given(TREES, st.randoms(use_true_random=False))
def test_a_second_implementation_counts_the_same(theirs, tree, random):
    """PYEVALB takes all labels and all words as they are. Each of its brackets counts once, so none is doubled here."""
    gold, test = Tree("S", (tree,)), Tree("S", tuple(_bracketed(tree.leaves, random)))
    assume(all(len({*spans}) == len(spans) for spans in map(_spans, (gold, test))))
    ours, found = count([gold], [test], Parameters()), theirs(gold, test)
    assert (ours.status, ours.matched, ours.gold, ours.test) == (
        "valid", found.matched_brackets, found.gold_brackets, found.test_brackets
    )  # fmt: skip
    assert (ours.crossing, ours.tags) == (found.cross_brackets, found.correct_tags)


def _bracketed(leaves, random):
    """Return the words in brackets drawn at random, at least one of them beside another."""
    while len(leaves) > 1 and random.random() < 0.7:
        start = random.randrange(len(leaves))
        end = random.randrange(start, len(leaves)) + 1
        leaves = [*leaves[:start], Tree(random.choice(["NP", "VP"]), tuple(leaves[start:end])), *leaves[end:]]
    return leaves


def _spans(tree):
    """Return label, first and last word of each phrase."""
    opened, found, words = [], [], 0
    for node, opens in tree.visits():
        if not node.children:
            words += 1
        elif opens:
            opened.append(words)
        else:
            found.append((node.label, opened.pop(), words))
    return found
