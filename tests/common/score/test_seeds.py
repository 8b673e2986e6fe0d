"""Differences over seeds, against arithmetic by hand, Student's table and a simulation with a known answer."""

from __future__ import annotations

from dataclasses import astuple

import numpy as np
import pytest

from common.errors import UserError
from common.score.bleu import bleu
from common.score.seeds import Spread, bleu_difference, bleu_interval, mean_difference, mean_interval, pooled, welch
from common.score.significance import bootstrap_interval, paired_bootstrap
from tests import made_results as made

TABLE = {2: 4.303, 4: 2.776, 14: 2.145}
"""Student's t beyond which 2.5% lie, by degrees of freedom: any printed table."""


def test_the_pooled_spread_by_hand():
    """Squares about the means 2 and 6: 1 + 0 + 1 and 4 + 4, so 10 over 2 + 1 degrees."""
    spread = pooled([[1, 2, 3], [4, 8], [5]])
    assert spread == Spread(pytest.approx((10 / 3) ** 0.5), 3)
    assert pooled([[1.0], [2.0]]) is None


def test_the_spread_of_two_systems_by_hand():
    """Variances 1 and 32. Squared error of the difference: 1/3 + 32/2 = 49/3. Degrees: (49/3)^2 / (1/18 + 256)."""
    spread = welch([1, 2, 3], [4, 12])
    assert spread is not None
    assert spread.deviation**2 * (1 / 3 + 1 / 2) == pytest.approx(49 / 3)
    assert spread.degrees == pytest.approx((49 / 3) ** 2 / (1 / 18 + 256))
    assert welch([1, 2, 3], [4]) is None and welch([1, 1], [2, 2, 2]) == Spread(0.0, 3)


def test_two_systems_of_one_spread_and_size_have_the_pooled_one():
    assert welch([1, 2, 3], [7, 9, 8]) == Spread(pytest.approx(1.0), pytest.approx(4.0))


@pytest.mark.parametrize("degrees", TABLE)
def test_an_interval_of_seeds_alone_is_students(degrees):
    """Means 4 and 2; standard error 0.6 x sqrt(1/3 + 1/3)."""
    difference = mean_difference([3, 4, 5], [1, 2, 3], Spread(0.6, degrees))
    half = TABLE[degrees] * 0.6 * (2 / 3) ** 0.5
    assert difference.value == 2
    assert (difference.low, difference.high) == pytest.approx((2 - half, 2 + half), abs=0.02 * half)


def test_the_interval_of_a_mean_is_students():
    """Mean 4; standard error 0.6 / sqrt(3)."""
    half = TABLE[4] * 0.6 / 3**0.5
    assert mean_interval([3, 4, 5], Spread(0.6, 4)) == pytest.approx((4 - half, 4 + half), abs=0.02 * half)


def test_the_interval_of_a_mean_bleu_covers_seeds_and_sentences():
    """Without a spread it is that of the sentences. With both, the squares of the half widths add up."""
    trainings, spread = [counts(1)] * 3, Spread(0.5, 10_000)
    sentences, both = bleu_interval(trainings, Spread(0.0, 4)), bleu_interval(trainings, spread)
    assert sentences == pytest.approx(bootstrap_interval(counts(1)), abs=0.01)
    seeds = mean_interval([bleu(counts(1))] * 3, spread)
    halves = [(high - low) / 2 for low, high in (both, sentences, seeds)]
    assert halves[0] == pytest.approx((halves[1] ** 2 + halves[2] ** 2) ** 0.5, rel=0.04)


def counts(seed: int, sentences: int = 400, quality: float = 0.6) -> np.ndarray:
    return made.statistics(np.random.default_rng(seed).uniform(quality - 0.2, quality + 0.2, sentences))


def test_without_a_spread_the_interval_is_the_paired_bootstraps():
    a, b = counts(1, quality=0.65), counts(2)
    ours, theirs = bleu_difference([a], [b], Spread(0.0, 4)), paired_bootstrap(a, b)
    assert astuple(ours) == pytest.approx(astuple(theirs), abs=0.01)


def test_a_difference_the_other_way_round_has_the_same_interval_negated():
    a, b = [made.statistics([quality] * 20 + [0.4] * 20) for quality in (0.6, 0.7)], [made.statistics([0.5, 0.8] * 20)]
    one, other = (bleu_difference(*pair, Spread(0.5, 2)) for pair in ((a, b), (b, a)))
    assert (one.value, one.low, one.high) == pytest.approx((-other.value, -other.high, -other.low), abs=1e-9)


def test_sentences_and_seeds_add_up_as_variances():
    """With many degrees both parts are normal: the half width is the root of the sum of their squares."""
    a, b = [counts(seed) for seed in (1, 2, 3)], [counts(seed) for seed in (4, 5, 6)]
    spread = Spread(0.5, 10_000)
    both, sentences, seeds = (
        bleu_difference(a, b, spread),
        bleu_difference(a, b, Spread(0.0, 10_000)),
        mean_difference([bleu(one) for one in a], [bleu(one) for one in b], spread),
    )
    halves = [(one.high - one.low) / 2 for one in (both, sentences, seeds)]
    assert halves[0] == pytest.approx((halves[1] ** 2 + halves[2] ** 2) ** 0.5, rel=0.04)
    assert both.value == pytest.approx(seeds.value) and min(halves) > 0.3


def test_the_interval_holds_the_truth_as_often_as_it_says():
    """Seven systems of three trainings that are all alike: of their differences about 5% look like one."""
    generator, missed = np.random.default_rng(3), 0
    for _ in range(150):
        systems = generator.normal(20.0, 0.8, size=(7, 3))
        found = mean_difference(systems[1], systems[0], pooled(systems.tolist()))
        missed += not found.low < 0 < found.high
    assert 1 <= missed <= 17  # binomial(150, 0.05) is outside of this once in a thousand times


def test_each_with_its_own_spread_the_interval_holds_the_truth_where_a_pooled_one_does_not():
    """One system's trainings lie ten times as far apart as those of six others. Pooled, its differences look real."""
    generator, missed, pooled_missed = np.random.default_rng(5), 0, 0
    for _ in range(150):
        systems = generator.normal(20.0, [[5.0], *[[0.5]] * 6], size=(7, 3)).tolist()
        for spread, narrow in ((welch(systems[0], systems[1]), False), (pooled(systems), True)):
            assert spread is not None
            found = mean_difference(systems[0], systems[1], spread)
            outside = not found.low < 0 < found.high
            missed, pooled_missed = missed + (outside and not narrow), pooled_missed + (outside and narrow)
    assert 1 <= missed <= 17 < pooled_missed


def test_other_references_are_refused():
    shorter = counts(2)
    shorter[:, 9] -= 1
    with pytest.raises(UserError, match="different references"):
        bleu_difference([counts(1)], [shorter], Spread(0.1, 4))
