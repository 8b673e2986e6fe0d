"""BLEU as a function of sentence length (Bahdanau2014 Fig. 2), and BLEU on sentences without unknown words.

Lengths are words per sentence. The caller chooses which side is counted. The paper does not say which, but it is
probably the source.
"""

from collections.abc import Container, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from common.errors import UserError
from common.score.bleu import Statistics, bleu, brevity_penalty
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
"""Fewest sentences that a point of `sliding_bleu` may rest on."""


@dataclass(frozen=True)
class Bin:
    """BLEU x 100 of all sentences with low <= length < high together."""

    low: int
    high: int
    sentences: int
    bleu: float
    interval: tuple[float, float]
    """95% bootstrap interval."""


def bleu_by_bins(statistics: Statistics, lengths: Lengths, edges: Sequence[int]) -> list[Bin]:
    """Return BLEU between each two neighbouring edges. Empty bins and sentences outside the edges are left out."""
    lengths = np.asarray(lengths)
    bins = []
    for low, high in pairwise(edges):
        inside = statistics[(low <= lengths) & (lengths < high)]
        if len(inside):
            bins.append(Bin(low, high, len(inside), bleu(inside), bootstrap_interval(inside)))
    return bins


def sliding_bleu(
    statistics: Statistics, lengths: Lengths, width: int, last: int | None = None
) -> list[tuple[int, float]]:
    """Return (length, BLEU x 100) for each length, over all sentences in a window of `width` lengths around it.

    last: the longest length that is returned, or None for all.

    An even window has one length more below its centre than above: width 10 at 30 covers 25 to 34. Lengths whose window
    holds fewer than FEWEST sentences are left out.
    """
    lengths = np.asarray(lengths)
    curve = []
    longest = int(lengths.max())
    for centre in range(int(lengths.min()), min(longest, last or longest) + 1):
        distance = 2 * (lengths - centre)  # doubled, so that half of an odd width needs no rounding
        window = statistics[(-width <= distance) & (distance < width)]
        if len(window) >= FEWEST:
            curve.append((centre, bleu(window)))
    return curve


@dataclass(frozen=True)
class Sides:
    """BLEU x 100 of a system's long sentences and of the others: of all, then of each resample, (1 + SAMPLES,)."""

    long: Samples
    others: Samples
    brevity: tuple[float, float]
    """Brevity penalty of the others and of the long sentences."""

    @property
    def change(self) -> Difference:
        """BLEU of the long sentences minus BLEU of the others. It is negative if quality falls with length."""
        return difference_of(self.long - self.others)

    @property
    def relative(self) -> Difference | None:
        """`change` in percent of BLEU of the others, or None if that is 0 in the test set or in a resample."""
        return difference_of(100 * (self.long / self.others - 1)) if self.others.all() else None


def difference_of(values: Samples) -> Difference:
    """Return a difference with its interval. values: what the test set has, then its resamples, (1 + SAMPLES,)."""
    return interval_difference(float(values[0]), values[1:])


def halves(lengths: Lengths, *systems: Statistics) -> list[Sides]:
    """Return for each system BLEU above the median length and BLEU at or below it, with the same draws for all.

    Raise UserError if no sentence is above it.
    """
    lengths = np.asarray(lengths)
    is_long = lengths > np.median(lengths)
    if not is_long.any():
        raise UserError("no sentence is longer than the median length; score a test set of unequal lengths")
    return _sides(is_long, ~is_long, *systems)


def sides_of(bound: int, least: int, lengths: Lengths, statistics: Statistics) -> Sides:
    """Return BLEU of the sentences of `bound` words or more and of those of `least` to `bound` - 1.

    Raise UserError if there are none of one kind.
    """
    lengths = np.asarray(lengths)
    long, others = lengths >= bound, (least <= lengths) & (lengths < bound)
    if not (long.any() and others.any()):
        raise UserError(f"no sentences both of {bound} words or more and of {least} to {bound - 1}")
    return _sides(long, others, statistics)[0]


def _sides(long: npt.NDArray[np.bool_], others: npt.NDArray[np.bool_], *systems: Statistics) -> list[Sides]:
    """Return both sides for each system. They are resampled separately, with the same draws for every system."""
    generator = np.random.default_rng(SEED)
    # Separately: one draw over all sentences would also vary how many of them are long.
    parts = [[statistics[side] for statistics in systems] for side in (long, others)]
    drawn = [resample(*part, generator=generator) for part in parts]
    scores = [
        [np.array([bleu(statistics), *samples]) for statistics, samples in zip(part, of_part, strict=True)]
        for part, of_part in zip(parts, drawn, strict=True)
    ]
    return [
        Sides(above, below, (brevity_penalty(below_counts), brevity_penalty(above_counts)))
        for above, below, above_counts, below_counts in zip(*scores, *parts, strict=True)
    ]


def without_unknown(
    sources: Sequence[Sequence[str]],
    references: Sequence[Sequence[str]],
    source_words: Container[str],
    target_words: Container[str],
) -> npt.NDArray[np.bool_]:
    """Return which sentences have all their words in their side's shortlist (Bahdanau2014 Table 1, column "No UNK")."""
    return np.array(
        [
            all(word in source_words for word in source) and all(word in target_words for word in reference)
            for source, reference in zip(sources, references, strict=True)
        ],
        dtype=np.bool_,
    )
