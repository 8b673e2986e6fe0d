"""How far a score, or a difference of two, could move with another sample of test sentences."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from common.errors import UserError
from common.score.bleu import Score, Statistics, Sums, bleu, bleu_of_sums

Samples = npt.NDArray[np.float64]
"""A score on each drawn test set, (SAMPLES,)."""

SAMPLES = 1000
"""Test sets that are drawn for an interval."""
CONFIDENCE = 0.95
"""Share of the resamples that an interval encloses."""
SEED = 12345
"""Seed of the draws: a score has the same interval wherever it is computed."""
_TOGETHER = 10_000_000
"""Numbers that are drawn at a time, 80 MB: all those of 10,000 sentences. Of more sentences they are drawn in parts."""


@dataclass(frozen=True)
class Difference:
    """BLEU(a) - BLEU(b) in BLEU points, with its bootstrap interval.

    `p` is one-sided: the share of resamples in which a does not beat b. It is near 0 if a is reliably better. It is
    near 1 if a is reliably worse or the same. The caller decides which system is a, and therefore what is claimed.
    """

    value: float
    low: float
    high: float
    p: float


def chance(p: float) -> str:
    """Return a p as text."""
    return f"{p:.3f}" if p >= 0.001 else "< 0.001"


def bootstrap_interval(
    statistics: Statistics | Samples, of_sums: Callable[[Sums], Samples] = bleu_of_sums
) -> tuple[float, float]:
    """Return the percentile bootstrap interval of corpus BLEU x 100 over sentences (Koehn 2004).

    statistics: numbers of each sentence that can be summed, (sentences, ...). of_sums: the score of such sums, to which
    the interval belongs, `Score.of_sums`.
    """
    return _interval(resample(statistics, of_sums=of_sums)[0])


def paired_bootstrap(a: Statistics, b: Statistics) -> Difference:
    """Compare two systems on the same test set, with the same sentences drawn for both (Koehn 2004).

    Raise UserError if the two were not scored against the same references in the same order.
    """
    # Statistics hold no text. The references' lengths (sentences,) are what they have of the references.
    if not np.array_equal(a[:, 9], b[:, 9]):
        raise UserError(
            f"the two systems ({len(a)} and {len(b)} sentences) were scored against different references; "
            "score both on the same test set, in the same order, with the same options"
        )
    scores = resample(a, b)
    return interval_difference(bleu(a) - bleu(b), scores[0] - scores[1])


def paired_difference(a: Score, b: Score) -> Difference:
    """Compare two outputs for the same sentences by the same metric, with the same sentences drawn for both.

    For BLEU this is `paired_bootstrap`. `p` is the share of draws in which a is not the better one, which for TER is
    the one with fewer edits.
    """
    scores = resample(a.statistics, b.statistics, of_sums=a.of_sums)
    drawn = scores[0] - scores[1]
    found = interval_difference(a.value - b.value, drawn)
    return replace(found, p=float(np.mean(drawn >= 0))) if a.lower_is_better else found


def plain_difference(a: Score, b: Score) -> dict[str, float]:
    """Return `paired_difference` as plain values."""
    found = paired_difference(a, b)
    return {"difference": found.value, "low": found.low, "high": found.high, "p": found.p}


def resample(
    *systems: Statistics | Samples,
    of_sums: Callable[[Sums], Samples] = bleu_of_sums,
    generator: np.random.Generator | None = None,
) -> list[Samples]:
    """Return BLEU x 100 of each system on SAMPLES test sets drawn with replacement: (SAMPLES,) each.

    All systems share the draws. Raise UserError if there is no sentence.
    generator: draws them. Without it they are those of SEED.
    """
    sentences = len(systems[0])
    if sentences == 0:
        raise UserError("no sentences to resample: the selection is empty; widen it")
    blocks = _draws(generator or np.random.default_rng(SEED), sentences)
    if not generator and SAMPLES * sentences <= _TOGETHER:
        blocks = iter(_usual_draws(sentences))
    sums = zip(*([draws @ statistics for statistics in systems] for draws in blocks), strict=True)
    return [of_sums(np.concatenate(parts)) for parts in sums]


def _draws(generator: np.random.Generator, sentences: int) -> Iterator[Samples]:
    """Yield how often each sentence is in each drawn test set, (.., sentences) for some of the SAMPLES at a time.

    One matrix product then sums these draws. It is in floats because NumPy has a fast product for these only. Sums of
    counts are whole numbers and stay exact.
    """
    together = max(1, _TOGETHER // sentences)
    for start in range(0, SAMPLES, together):
        drawn = min(together, SAMPLES - start)
        yield generator.multinomial(sentences, np.full(sentences, 1 / sentences), size=drawn).astype(np.float64)


@lru_cache(maxsize=1)
def _usual_draws(sentences: int) -> tuple[Samples, ...]:
    """Return the draws of SEED. Drawing takes nearly all of an interval's time, so the last ones are kept."""
    draws = tuple(_draws(np.random.default_rng(SEED), sentences))
    for block in draws:
        block.flags.writeable = False
    return draws


def _interval(scores: Samples) -> tuple[float, float]:
    """Return the percentiles between which CONFIDENCE of the resamples lie."""
    low, high = np.quantile(scores, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def interval_difference(value: float, scores: Samples) -> Difference:
    """Return a difference with the percentile interval of its resamples (SAMPLES,)."""
    # A tie counts against a: a system must not look better than one with the same output.
    return Difference(value, *_interval(scores), p=float(np.mean(scores <= 0)))
