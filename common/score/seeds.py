"""Differences of systems that were trained with several seeds. Their intervals cover the seeds, and the sentences too.

The spread over seeds is pooled over all systems, as in an analysis of variance: two or three trainings of one system
alone say too little about it. The error that the seeds leave in a difference of means then follows Student's t. Where
systems plainly differ in their spread, each has its own (`apart`, `welch`), and intervals are wider.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from common.errors import UserError
from common.score.bleu import Statistics, bleu
from common.score.significance import SAMPLES, SEED, Difference, Samples, interval_difference, resample

_ERRORS = 100
"""Errors of the seeds that are drawn for each drawn test set."""


@dataclass(frozen=True)
class Spread:
    """How far the score of one training lies from the mean of its system's trainings."""

    deviation: float
    """Standard deviation."""
    degrees: float
    """Degrees of freedom of Student's t."""


def pooled(systems: Sequence[Sequence[float]]) -> Spread | None:
    """Return the pooled spread of the systems' scores, one for each seed. None if no system has two."""
    degrees = sum(len(scores) - 1 for scores in systems)
    if degrees == 0:
        return None
    squares = sum(float(((np.array(scores) - np.mean(scores)) ** 2).sum()) for scores in systems)
    return Spread(float(np.sqrt(squares / degrees)), degrees)


def apart(a: Spread, b: Spread, trainings: tuple[int, int]) -> Spread:
    """Return the spread for the difference of two systems of which each has its own (Welch 1947).

    trainings: of a, and of b.
    """
    errors = [one.deviation**2 / count for one, count in zip((a, b), trainings, strict=True)]  # variances of the means
    both = sum(errors)
    if both == 0:
        return Spread(0.0, a.degrees + b.degrees)
    shares = [(error / both) ** 2 / one.degrees for error, one in zip(errors, (a, b), strict=True)]
    return Spread(float(np.sqrt(both / sum(1 / count for count in trainings))), 1 / sum(shares))


def welch(a: Sequence[float], b: Sequence[float]) -> Spread | None:
    """Return `apart` of scores by seed. None if one of the two systems has a single training."""
    ours, theirs = pooled([a]), pooled([b])
    return apart(ours, theirs, (len(a), len(b))) if ours and theirs else None


def mean_interval(scores: Sequence[float], spread: Spread, drawn: Samples | None = None) -> tuple[float, float]:
    """Return the 95% interval of the mean of scores by seed.

    drawn: the mean on each drawn test set, (SAMPLES,). Without it the interval covers the seeds only.
    """
    found = _with_seeds(float(np.mean(scores)), 1 / len(scores), spread, drawn)
    return found.low, found.high


def mean_difference(a: Sequence[float], b: Sequence[float], spread: Spread, drawn: Samples | None = None) -> Difference:
    """Return mean(a) - mean(b) of scores by seed, with its 95% interval.

    drawn: the same difference on each drawn test set, (SAMPLES,). Without it the interval covers the seeds only.
    """
    return _with_seeds(float(np.mean(a) - np.mean(b)), 1 / len(a) + 1 / len(b), spread, drawn)


def _with_seeds(value: float, share: float, spread: Spread, drawn: Samples | None) -> Difference:
    """Return a value with its 95% interval. share: the variance of its error, as a share of one training's."""
    drawn = np.full(SAMPLES, value) if drawn is None else drawn
    scale = spread.deviation * np.sqrt(share)
    half = np.random.default_rng(SEED).standard_t(spread.degrees, size=(_ERRORS // 2, len(drawn)))
    errors = np.concatenate([half, -half])  # both signs of each: b minus a has the interval of a minus b, negated
    return interval_difference(value, (drawn + scale * errors).ravel())


def bleu_interval(trainings: Sequence[Statistics], spread: Spread) -> tuple[float, float]:
    """Return the 95% interval of the trainings' mean BLEU, for seeds and sentences."""
    drawn = np.mean(resample(*trainings), axis=0)
    return mean_interval([bleu(one) for one in trainings], spread, drawn)


def bleu_difference(a: Sequence[Statistics], b: Sequence[Statistics], spread: Spread) -> Difference:
    """Return the mean BLEU of a's trainings minus that of b's, with a 95% interval for seeds and sentences.

    The test sets are drawn as in `paired_bootstrap`, the same for all trainings. What a seed does to single sentences
    is in both parts, so the interval is rather too wide than too narrow.
    Raise UserError if not all were scored against the same references.
    """
    every = [*a, *b]
    if not all(np.array_equal(one[:, 9], every[0][:, 9]) for one in every):
        raise UserError("the trainings were scored against different references; score all on the same test set")
    scores = resample(*every)
    drawn = np.mean(scores[: len(a)], axis=0) - np.mean(scores[len(a) :], axis=0)
    return mean_difference([bleu(one) for one in a], [bleu(one) for one in b], spread, drawn)
