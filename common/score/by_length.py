"""BLEU as a function of sentence length (Bahdanau2014 Fig. 2) and on sentences without unknown words.

Lengths are words per sentence, whichever side the caller counts; the paper does not say, the source is likely.
"""

from collections.abc import Container, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from common.errors import UserError
from common.score.bleu import Statistics, bleu
from common.score.significance import (
    SEED,
    Difference,
    Samples,
    bootstrap_interval,
    interval_difference,
    resample,
)

Lengths = Sequence[int] | npt.NDArray[np.int64]
FEWEST = 10
"""Sentences that a point of `sliding_bleu` rests on, at least."""


@dataclass(frozen=True)
class Bin:
    """Pooled BLEU x 100 of the sentences with low <= length < high."""

    low: int
    high: int
    sentences: int
    bleu: float
    interval: tuple[float, float]  # 95% bootstrap


def bleu_by_bins(statistics: Statistics, lengths: Lengths, edges: Sequence[int]) -> list[Bin]:
    """BLEU between each two neighbouring edges. Empty bins, and sentences beyond the edges, are left out."""
    lengths = np.asarray(lengths)
    bins = []
    for low, high in pairwise(edges):
        inside = statistics[(low <= lengths) & (lengths < high)]
        if len(inside):
            bins.append(Bin(low, high, len(inside), bleu(inside), bootstrap_interval(inside)))
    return bins


def sliding_bleu(statistics: Statistics, lengths: Lengths, width: int) -> list[tuple[int, float]]:
    """(length, BLEU x 100) for each length, pooling the sentences in the window of `width` lengths around it.

    An even window reaches one further down than up: width 10 at 30 covers 25 to 34. Lengths whose window
    holds fewer than FEWEST sentences are left out.
    """
    lengths = np.asarray(lengths)
    curve = []
    for centre in range(int(lengths.min()), int(lengths.max()) + 1):
        distance = 2 * (lengths - centre)
        window = statistics[(-width <= distance) & (distance < width)]
        if len(window) >= FEWEST:
            curve.append((centre, bleu(window)))
    return curve


def changes_with_length(lengths: Lengths, *systems: Statistics) -> list[tuple[float, Samples]]:
    """Of each system, BLEU x 100 of the long sentences minus BLEU of the others, and its resamples (SAMPLES,).

    Long are the sentences above the median length. Both sides are resampled apart, with the same draws for every
    system. Raises UserError where no sentence is long.
    """
    lengths = np.asarray(lengths)
    is_long = lengths > np.median(lengths)
    if not is_long.any():
        raise UserError("no sentence is longer than the median length; score a test set of unequal lengths")
    generator = np.random.default_rng(SEED)
    sides = [[statistics[side] for statistics in systems] for side in (is_long, ~is_long)]
    above, below = (resample(generator, *side) for side in sides)
    return [
        (bleu(long) - bleu(short), of_long - of_short)
        for long, short, of_long, of_short in zip(*sides, above, below, strict=True)
    ]


def length_slope(lengths: Lengths, statistics: Statistics) -> Difference:
    """BLEU above the median length minus BLEU at or below it, as in `changes_with_length`.

    Negative where quality falls with length; `high < 0` says that it falls reliably.
    """
    ((value, scores),) = changes_with_length(lengths, statistics)
    return interval_difference(value, scores)


def without_unknown(
    sources: Sequence[Sequence[str]],
    references: Sequence[Sequence[str]],
    source_words: Container[str],
    target_words: Container[str],
) -> npt.NDArray[np.bool_]:
    """Which sentences have every word in their side's shortlist (Bahdanau2014 Table 1, column "No UNK")."""
    return np.array(
        [
            all(word in source_words for word in source) and all(word in target_words for word in reference)
            for source, reference in zip(sources, references, strict=True)
        ],
        dtype=np.bool_,
    )
