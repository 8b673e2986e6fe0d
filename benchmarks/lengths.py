"""Lengths of made-up sentence pairs, as the benchmarks need them: time and memory depend on lengths only."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

SPREAD = 0.5
"""Standard deviation of the logarithm of a sentence's length. It is assumed, like the correlation of a pair's two
sides."""


def draw_lengths(
    draw: np.random.Generator, pairs: int, means: tuple[float, float], limit: int
) -> Iterator[npt.NDArray[np.int64]]:
    """Yield the lengths (pairs,) of the sources and then of the targets, without EOS.

    They are log-normal. means: tokens of a source and of a target, EOS included. limit: longest sentence, without EOS.
    """
    together = draw.normal(size=pairs)  # a pair's two sides have similar lengths
    for mean in means:
        noise = 0.9 * together + np.sqrt(1 - 0.9**2) * draw.normal(size=pairs)
        yield np.exp(np.log(mean - 1) - SPREAD**2 / 2 + SPREAD * noise).round().clip(1, limit).astype(np.int64)
