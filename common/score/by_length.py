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


def changes_with_length(lengths: Lengths, *systems: Statistics) -> list[tuple[float, Samples]]:
    """Return for each system BLEU x 100 of the long sentences minus BLEU of the others, and its resamples (SAMPLES,).

    Long sentences are those above the median length. Raise UserError if no sentence is long.
    """
    lengths = np.asarray(lengths)
    is_long = lengths > np.median(lengths)
    if not is_long.any():
        raise UserError("no sentence is longer than the median length; score a test set of unequal lengths")
    return _changes(is_long, ~is_long, *systems)


def _changes(
    long: npt.NDArray[np.bool_], short: npt.NDArray[np.bool_], *systems: Statistics
) -> list[tuple[float, Samples]]:
    """Return for each system BLEU x 100 of the `long` sentences minus BLEU of the `short` ones, and its resamples.

    The two are resampled separately, with the same draws for every system.
    """
    generator = np.random.default_rng(SEED)
    # Separately: one draw over all sentences would also vary how many of them are long.
    sides = [[statistics[side] for statistics in systems] for side in (long, short)]
    above, below = (resample(*side, generator=generator) for side in sides)
    return [
        (bleu(long) - bleu(short), of_long - of_short)
        for long, short, of_long, of_short in zip(*sides, above, below, strict=True)
    ]


def length_slope(lengths: Lengths, statistics: Statistics) -> Difference:
    """Return BLEU above the median length minus BLEU at or below it, as in `changes_with_length`.

    The difference is negative if quality falls with length. `high < 0` says that it falls reliably.
    """
    ((value, scores),) = changes_with_length(lengths, statistics)
    return interval_difference(value, scores)


def change_above(lengths: Lengths, statistics: Statistics, bound: int, least: int) -> Difference:
    """Return BLEU of the sentences of more than `bound` words minus BLEU of those of `least` to `bound`.

    Raise UserError if there are none of one kind.
    """
    lengths = np.asarray(lengths)
    long, short = lengths > bound, (least <= lengths) & (lengths <= bound)
    if not (long.any() and short.any()):
        raise UserError(f"no sentences both above {bound} words and of {least} to {bound}")
    ((value, scores),) = _changes(long, short, statistics)
    return interval_difference(value, scores)


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
