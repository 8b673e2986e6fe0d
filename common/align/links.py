"""Word alignments as sets of links, and how far two of them agree."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from common.align.attention import Matrix
from common.errors import UserError
from common.score.bleu import Sums

Links = frozenset[tuple[int, int]]
"""Pairs of a source and a target position, counted from 0."""


def greatest(alpha: Matrix) -> Links:
    """Return for each target word the link to the source position with the greatest weight.

    A word that looks at the source's end token most has no link, and neither has the target's end token.
    """
    best = alpha[:-1].argmax(axis=1).tolist()
    return frozenset((source, target) for target, source in enumerate(best) if source < alpha.shape[1] - 1)


def diagonal(source: int, target: int) -> Links:
    """Return a link for each of `target` words to the word at the same place among `source` words.

    This is what an aligner that reads no word can know.
    """
    if not source:
        return frozenset()
    return frozenset(((2 * i + 1) * source // (2 * target), i) for i in range(target))


def agreement(links: Links, reference: Links) -> tuple[int, int, int]:
    """Return how many links both have, how many the first has and how many the second."""
    return len(links & reference), len(links), len(reference)


def error_rate(counts: Sums) -> npt.NDArray[np.float64]:
    """Return the alignment error rate of summed `agreement` (.., 3): 1 - 2 |A and S| / (|A| + |S|), (..,).

    Och and Ney 2003 with sure links alone: 1 - (|A and S| + |A and P|) / (|A| + |S|) for P = S.
    """
    rate: npt.NDArray[np.float64] = 1 - 2 * counts[..., 0] / (counts[..., 1] + counts[..., 2])
    return rate


def read_links(line: str, where: str) -> Links:
    """Read links as aligners write them, `0-0 1-2`, source before target. Raise UserError for anything else."""
    try:
        pairs = [tuple(map(int, link.split("-"))) for link in line.split()]
        return frozenset((source, target) for source, target in pairs)
    except ValueError:
        raise UserError(f"{where}: `{line[:40]}` is no alignment such as `0-0 1-2`; align again") from None


def write_links(links: Links) -> str:
    """Return links as aligners write them."""
    return " ".join(f"{source}-{target}" for source, target in sorted(links))


def spread(count: int, wanted: int) -> Sequence[int]:
    """Return `wanted` of the numbers 0 .. count - 1 at even distances, or all of them if there are fewer."""
    return [i * count // wanted for i in range(wanted)] if wanted < count else range(count)
