"""Figures 3 to 5 of Vaswani et al. 2017: which words and heads the rules pick, where the answer is planted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_hex

from common.report.page import COLOURS, png
from papers.vaswani2017 import figures
from papers.vaswani2017.figures import Sentence, far_words, most_unlike, referring_heads, unlike_heads, whole_words

LAW = "The Law will never be perfect , but its application should be just - in my opinion . </s>".split()
SPIRIT = "new laws since 2009 making the registration or voting process more difficult . </s>".split()
COMMA, END = LAW.index(","), LAW.index("</s>")


def attention(words: list[str], *planted: dict[tuple[str, str], float]) -> Sentence:
    """Make a head of each of `planted`, what one word gives to another. The rest goes to the end of the sentence."""
    heads = np.zeros((len(planted), len(words), len(words)))
    for head, given in zip(heads, planted, strict=True):
        for (looker, seen), weight in given.items():
            head[words.index(looker), words.index(seen)] = weight
        head[:, -1] += 1 - head.sum(axis=1)
    return Sentence(tuple(words), heads)


def test_the_word_of_figure_3_and_how_far_its_heads_reach():
    """Near words, the word itself, punctuation and the end of the sentence count for nothing."""
    heads = attention(
        SPIRIT,
        {("making", "difficult"): 0.3, ("making", "more"): 0.25, ("making", "the"): 0.4},
        {("making", "."): 0.9, ("making", "laws"): 0.1},
        {("making", "making"): 0.5, ("making", "2009"): 0.5},
    )
    word, far = far_words(heads)
    assert SPIRIT[word] == "making" and far.sum(axis=1) == pytest.approx([0.55, 0.1, 0.0])
    assert SPIRIT[far[0].argmax()] == "difficult"


def test_without_the_papers_word_figure_3_has_the_one_that_looks_furthest():
    words = ["building" if word == "making" else word for word in SPIRIT]
    heads = attention(
        words, {("voting", "laws"): 0.4, ("new", "."): 1.0}, {("or", "more"): 0.3, ("voting", "new"): 0.2}
    )
    assert words[far_words(heads)[0]] == "voting"


def test_the_heads_of_figure_4_find_the_earlier_word():
    """Later words, the neighbour before, punctuation and the end of the sentence count for nothing."""
    heads = attention(
        LAW,
        {("its", "application"): 0.9, ("its", "Law"): 0.1},
        {("its", "but"): 0.8, ("its", "The"): 0.15},
        {("its", ","): 0.95},
        {("its", "Law"): 0.6, ("its", "application"): 0.4},
        {("its", "Law"): 0.2, ("its", "perfect"): 0.3},
    )
    word, chosen = referring_heads(heads)
    assert LAW[word] == "its"
    assert [(head, LAW[seen]) for head, seen in chosen] == [(3, "Law"), (4, "perfect")]


@pytest.mark.parametrize(("put", "expected"), [("their", "their"), ("a", "perfect")])
def test_another_sentence_gets_another_pronoun_or_the_word_that_looks_back_most(put, expected):
    words = [put if word == "its" else word for word in LAW]
    heads = attention(words, {("perfect", "will"): 0.5, (put, "The"): 0.4}, {("Law", "The"): 0.9})
    assert words[referring_heads(heads)[0]] == expected


def test_the_heads_of_figure_5_share_nothing_between_words():
    """Heads 1 and 3 look at different words. Head 0 differs more from both, but only by what it gives to the end."""
    words = ["a", "b", "c", "d", "</s>"]
    back = {(words[i], words[i - 1]): 1.0 for i in range(1, 4)} | {("a", "d"): 1.0}
    on = {(words[i], words[i + 1]): 1.0 for i in range(3)} | {("d", "a"): 1.0}
    half = {key: 0.5 for key in back}
    assert most_unlike(attention(words, {}, back, half, on)) == (1, 3, pytest.approx(1.0))
    assert most_unlike(attention(words, back, half)) == (0, 1, pytest.approx(0.25))
    assert most_unlike(attention(words, back, back))[2] == 0.0


def test_what_goes_to_punctuation_and_the_end_changes_no_choice():
    """However a head divides it between them, and however they themselves look."""
    generator = np.random.default_rng(3)
    words = LAW[:-1] + ["?", "</s>"]
    passive = [i for i, word in enumerate(words) if not word.isalnum()]
    heads = generator.dirichlet(np.full(len(words), 0.3), size=(6, len(words)))
    other = heads.copy()
    given = heads[:, :, passive].sum(axis=2, keepdims=True)
    other[:, :, passive] = given * generator.dirichlet(np.ones(len(passive)), size=(6, len(words)))
    other[:, passive] = generator.dirichlet(np.ones(len(words)), size=(6, len(passive)))
    one, two = (Sentence(tuple(words), weights) for weights in (heads, other))
    assert np.array_equal(far_words(one)[1], far_words(two)[1])
    assert referring_heads(one) == referring_heads(two) and most_unlike(one) == most_unlike(two)


@pytest.mark.parametrize(
    "pieces", [["ma", "##k", "##ing", "it", "&apos;s", "</s>"], ["ma@@", "k@@", "ing", "it", "&apos;s", "</s>"]]
)
def test_pieces_become_words(pieces):
    """A word looks as its pieces do on average and gets their sum, so that weights still add up to 1."""
    weights = np.random.default_rng(1).dirichlet(np.ones(6), size=(2, 6))
    joined = whole_words(pieces, weights)
    assert joined.words == ("making", "it", "'s", "</s>")
    assert joined.heads.shape == (2, 4, 4) and joined.heads.sum(axis=2) == pytest.approx(1.0)
    for head in range(2):
        assert joined.heads[head, 0, 0] == pytest.approx(weights[head, :3, :3].sum() / 3)
        assert joined.heads[head, 0, 2] == pytest.approx(weights[head, :3, 4].sum() / 3)
        assert joined.heads[head, 1, 0] == pytest.approx(weights[head, 3, :3].sum())
        assert joined.heads[head, 3, 3] == pytest.approx(weights[head, 5, 5])


def test_strong_weights_are_drawn_and_grey_where_they_do_not_count(monkeypatch):
    """Of five words an even spread gives each 0.2, so a line needs 0.4."""
    drawings: list[Any] = []
    monkeypatch.setattr(figures, "png", lambda drawing: drawings.append(drawing) or png(drawing))
    words = ["a", "b", "c", ".", "</s>"]
    one = {("a", "b"): 0.7, ("b", "c"): 0.39, ("c", "."): 0.6, (".", "a"): 1.0, ("</s>", "</s>"): 0.0}
    unlike_heads(attention(words, one, {("a", "c"): 1.0}), "somewhere")
    drawn = [
        {(*map(int, line.get_xdata()), to_hex(line.get_color()).upper()) for line in axes.lines}
        for axes in drawings[0].axes
    ]
    grey = figures.GREY.upper()
    ends = {(4, 4, grey)}
    assert drawn[0] == {(0, 1, COLOURS[0]), (1, 4, grey), (2, 3, grey), (2, 4, grey), (3, 0, grey)} | ends
    assert drawn[1] == {(0, 2, COLOURS[1]), (1, 4, grey), (2, 4, grey), (3, 4, grey)} | ends
