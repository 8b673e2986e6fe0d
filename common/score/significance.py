"""How far a BLEU score, or a difference of two, could move with another sample of test sentences."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from common.errors import UserError
from common.score.bleu import Statistics, Sums, bleu, bleu_of_sums

Samples = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Difference:
    """BLEU(a) - BLEU(b) in BLEU points, with its bootstrap interval.

    `p` is one-sided: the share of resamples in which a does not beat b. It is near 0 where a is reliably
    better and near 1 where it is reliably worse, so the direction is the caller's claim, not the data's.
    """

    value: float
    low: float
    high: float
    p: float


def bootstrap_interval(
    statistics: Statistics,
    of_sums: Callable[[Sums], Samples] = bleu_of_sums,
    *,
    samples: int = 1000,
    confidence: float = 0.95,
    seed: int = 12345,
) -> tuple[float, float]:
    """Percentile bootstrap interval of corpus BLEU x 100 over sentences (Koehn 2004).

    of_sums: the score that stands beside the interval, `Score.of_sums`.
    """
    scores = resample(np.random.default_rng(seed), samples, statistics, of_sums=of_sums)[0]
    return _interval(scores, confidence)


def paired_bootstrap(
    a: Statistics, b: Statistics, *, samples: int = 1000, confidence: float = 0.95, seed: int = 12345
) -> Difference:
    """Compare two systems on the same test set, drawing the same sentences for both (Koehn 2004).

    Raises UserError if the two were not scored against the same references in the same order.
    """
    if not np.array_equal(a[:, 9], b[:, 9]):
        raise UserError(
            f"the two systems ({len(a)} and {len(b)} sentences) were scored against different references; "
            "score both on the same test set, in the same order, with the same options"
        )
    scores = resample(np.random.default_rng(seed), samples, a, b)
    return interval_difference(bleu(a) - bleu(b), scores[0] - scores[1], confidence)


def unpaired_bootstrap(
    a: Statistics, b: Statistics, *, samples: int = 1000, confidence: float = 0.95, seed: int = 12345
) -> Difference:
    """Compare BLEU on two disjoint sets of sentences, each resampled independently of the other."""
    generator = np.random.default_rng(seed)
    scores = resample(generator, samples, a)[0] - resample(generator, samples, b)[0]
    return interval_difference(bleu(a) - bleu(b), scores, confidence)


def resample(
    generator: np.random.Generator,
    samples: int,
    *systems: Statistics,
    of_sums: Callable[[Sums], Samples] = bleu_of_sums,
) -> list[Samples]:
    """BLEU x 100 of each system on `samples` draws with replacement, the draws shared by all: (samples,) each."""
    sentences = len(systems[0])
    if sentences == 0:
        raise UserError("no sentences to resample: the selection is empty; widen it")
    # How often each sentence is drawn. Floats because only they use the fast matrix product; sums stay exact.
    draws = generator.multinomial(sentences, np.full(sentences, 1 / sentences), size=samples).astype(np.float64)
    return [of_sums(draws @ statistics) for statistics in systems]


def _interval(scores: Samples, confidence: float) -> tuple[float, float]:
    low, high = np.quantile(scores, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def interval_difference(value: float, scores: Samples, confidence: float = 0.95) -> Difference:
    """A difference and the percentile interval of its resamples (samples,)."""
    return Difference(value, *_interval(scores, confidence), p=float(np.mean(scores <= 0)))
