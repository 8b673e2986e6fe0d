"""BLEU by sentence length on statistics whose score per length is known."""

import numpy as np
import pytest

from common.errors import UserError
from common.score.bleu import Statistics, bleu, tokenised_bleu
from common.score.by_length import Sides, bleu_by_bins, halves, sides_of, sliding_bleu, without_unknown
from common.score.significance import Difference


def translations(lengths: list[int], wrong_after: int) -> Statistics:
    """Make sentences of distinct words, translated correctly up to a position and wrongly after it."""
    references = [[f"w{i}" for i in range(length)] for length in lengths]
    hypotheses = [[w if i < wrong_after else "x" for i, w in enumerate(words)] for words in references]
    lines = (list(map(" ".join, side)) for side in (hypotheses, references))
    return tokenised_bleu(*lines, tokenization="case:mixed|tok:none").statistics


def test_bins_are_half_open_and_pooled() -> None:
    lengths = [5, 9, 10, 19, 20, 45, 60]
    statistics = translations(lengths, wrong_after=12)
    bins = bleu_by_bins(statistics, lengths, [0, 10, 20, 30, 40, 60])
    assert [(b.low, b.high, b.sentences) for b in bins] == [(0, 10, 2), (10, 20, 2), (20, 30, 1), (40, 60, 1)]
    assert [b.bleu for b in bins] == [bleu(statistics[part]) for part in ([0, 1], [2, 3], [4], [5])]
    assert bins[0].bleu == pytest.approx(100)
    assert bins[1].interval[0] < bins[1].bleu < bins[1].interval[1]
    assert bins[3].interval == pytest.approx((bins[3].bleu, bins[3].bleu))


@pytest.mark.parametrize(("width", "around_12"), [(1, {12}), (3, {11, 12, 13}), (4, {10, 11, 12, 13})])
def test_window_holds_its_width_in_lengths(width: int, around_12: set[int]) -> None:
    lengths = [length for length in range(5, 21) for _ in range(10)]
    statistics = translations(lengths, wrong_after=9)
    curve = dict(sliding_bleu(statistics, lengths, width))
    assert list(curve) == list(range(5, 21))
    assert curve[12] == bleu(statistics[[length in around_12 for length in lengths]])


def test_curve_skips_lengths_with_too_few_sentences() -> None:
    lengths = [8] * 30 + [30] * 9 + [50] * 10
    curve = sliding_bleu(translations(lengths, wrong_after=8), lengths, 10)
    assert [centre for centre, _ in curve] == [*range(8, 14), *range(46, 51)]
    assert curve[0][1] == pytest.approx(100)


def change(lengths: list[int], statistics: Statistics) -> Difference:
    (sides,) = halves(lengths, statistics)
    return sides.change


def test_change_is_negative_where_long_sentences_fail() -> None:
    lengths = [6, 8, 10, 12, 30, 35, 40, 45] * 10
    found = change(lengths, translations(lengths, wrong_after=12))
    expected = bleu(translations([30, 35, 40, 45], 12)) - 100
    assert found.value == pytest.approx(expected)
    assert found.low <= found.value <= found.high < 0
    assert found.p == 1.0


def test_relative_change_is_in_percent_of_the_others() -> None:
    lengths = [10, 12, 14, 30, 35, 40] * 20
    (sides,) = halves(lengths, translations(lengths, wrong_after=8))
    long, others = (bleu(translations(side, 8)) for side in ([30, 35, 40], [10, 12, 14]))
    assert sides.relative is not None and sides.relative.value == pytest.approx(100 * (long - others) / others)
    assert sides.relative.low <= sides.relative.value <= sides.relative.high < 0
    assert Sides(np.array([1.0, 1.0]), np.array([2.0, 0.0]), (1.0, 1.0)).relative is None


def test_brevity_penalty_is_of_the_two_sides() -> None:
    """Hypotheses of 8 words for references of 10 and 16: exp(1 - 10/8) and exp(1 - 16/8)."""
    rows = [[6, 5, 4, 3, 8, 7, 6, 5, 8, length] for length in (10, 16)] * 20
    (sides,) = halves([10, 16] * 20, np.array(rows))
    assert sides.brevity == pytest.approx((np.exp(-0.25), np.exp(-1.0)))


def test_bounds_of_long_sentences_are_inclusive() -> None:
    lengths = [9] * 5 + [10, 49] * 5 + [50] * 5
    sides = sides_of(50, 10, lengths, translations(lengths, wrong_after=8))
    assert sides.long[0] == pytest.approx(bleu(translations([50], 8)))
    assert sides.others[0] == pytest.approx(bleu(translations([10, 49], 8)))
    with pytest.raises(UserError, match="no sentences both of 60 words or more and of 10 to 59"):
        sides_of(60, 10, lengths, translations(lengths, wrong_after=8))


def test_change_is_small_where_length_does_not_matter() -> None:
    generator = np.random.default_rng(3)
    lengths = generator.integers(5, 50, 400)
    words = [[f"w{i}" for i in range(length)] for length in lengths]
    noisy = [[w if generator.random() < 0.8 else "x" for w in sentence] for sentence in words]
    lines = (list(map(" ".join, side)) for side in (noisy, words))
    statistics = tokenised_bleu(*lines, tokenization="case:mixed|tok:none").statistics
    found = change(lengths.tolist(), statistics)
    assert found.low < 0 < found.high


def test_change_needs_sentences_on_both_sides() -> None:
    lengths = [7, 7, 7]
    with pytest.raises(UserError, match="longer than the median"):
        halves(lengths, translations(lengths, 7))


def test_without_unknown_looks_at_each_side_in_its_own_list() -> None:
    sources = [["a", "b"], ["a", "X"], ["a"], ["X"], []]
    references = [["A"], ["A"], ["A", "b"], ["b"], ["A"]]
    known = without_unknown(sources, references, {"a", "b"}, {"A": 2, "B": 3})
    assert known.tolist() == [True, False, False, False, True]
    assert known.dtype == np.bool_
    with pytest.raises(ValueError):
        without_unknown(sources, references[:-1], {"a"}, {"A"})
