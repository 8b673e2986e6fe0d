"""Minibatches for both papers from one generator: pool, sort, cut.

RNNsearch: pools of 20 minibatches, cut at 80 sentences, emitted short to long (Bahdanau2014 App. B.2; GroundHog
`get_batch_iterator`). Transformer: the whole epoch as one pool, cut at a number of padded positions, in random
order (Vaswani2017 §5.1 "sentence pairs were batched together by approximate sequence length").

Letters: B sentences of a minibatch, N pairs of the corpus.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch

from common.contract import Batch
from common.prepare.encoded import ParallelIds
from common.recipe import Batching

Indices = npt.NDArray[np.int64]

POSITIONS = 64
"""Padded positions a sentence for which memory is allowed in measuring and decoding; most sentences are shorter."""


def minibatches(
    source_lengths: Indices, target_lengths: Indices, batching: Batching, seed: int, epoch: int
) -> list[Indices]:
    """The pairs of each minibatch of one epoch, in the order they are trained on: every pair exactly once.

    source_lengths, target_lengths (N,): tokens of each pair, EOS included. The result depends on the arguments
    alone, so a run resumes by skipping. With `sentences` every minibatch is full but the epoch's last pool's
    longest; with `tokens`, sentences x longest side stays within the budget, except that a pair longer than
    the whole budget is a minibatch of its own.

    Departs from GroundHog in one point: GroundHog reads round and round, so its pools run across the end of the
    corpus; here an epoch ends with a smaller pool.
    """
    longer = np.maximum(source_lengths, target_lengths)  # (N,)
    order = _reading_order(len(longer), batching, seed, epoch)
    emit = np.random.default_rng([seed % 2**32, epoch, 1])
    batches: list[Indices] = []
    for pool in _pools(order, longer, batching):
        pool = pool[np.argsort(longer[pool], kind="stable")]
        cuts = [pool[start:end] for start, end in _cuts(longer[pool], batching)]
        if batching.shuffle:
            cuts = [cuts[index] for index in emit.permutation(len(cuts))]
        batches += cuts
    return batches


def _reading_order(pairs: int, batching: Batching, seed: int, epoch: int) -> Indices:
    """Shuffled once and read in that order every epoch (Bahdanau2014 App. B.2), or anew where the epoch is the pool."""
    turn = 0 if batching.pool else epoch
    return np.random.default_rng([seed % 2**32, turn, 0]).permutation(pairs)


def _pools(order: Indices, longer: Indices, batching: Batching) -> list[Indices]:
    """`order` in stretches of `pool` minibatches' worth of sentences, or of tokens."""
    if batching.pool is None:
        return [order]
    if batching.sentences is not None:
        size = batching.pool * batching.sentences
        return np.split(order, range(size, len(order), size))
    share = np.cumsum(longer[order]) // (batching.pool * (batching.tokens or 1))
    return np.split(order, np.flatnonzero(np.diff(share)) + 1)


def _cuts(ascending: Indices, batching: Batching) -> Iterator[tuple[int, int]]:
    """Start and end of each minibatch in a pool whose lengths ascend."""
    start, end = 0, len(ascending)
    while start < end:
        stop = start + batching.sentences if batching.sentences else _fill(ascending, start, batching.tokens or 1)
        yield start, min(stop, end)
        start = stop


def _fill(ascending: Indices, start: int, tokens: int) -> int:
    """The furthest end at which (end - start) sentences, padded to the last one's length, fit; at least one fits."""
    ends = range(start + 1, len(ascending) + 1)
    return start + max(1, bisect_right(ends, tokens, key=lambda end: (end - start) * int(ascending[end - 1])))


def longest_first(lengths: Indices, sentences: int) -> Iterator[Indices]:
    """Batches for measuring and decoding, where the order is free: of at most `sentences`, the longest first.

    lengths (N,): positions of each sentence. A batch that would have more than `sentences` * POSITIONS padded positions
    has fewer sentences, one at least: a single long line must not make all that share its batch as long.
    """
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        fitting = sentences * POSITIONS // max(1, int(lengths[order[start]]))
        end = start + min(sentences, max(1, fitting))
        yield order[start:end]
        start = end


def load_batch(ids: ParallelIds, indices: Indices) -> Batch:
    """The pairs `indices` (B,) of a corpus, EOS appended, padded on the right."""
    rows = ids.rows[indices]
    arrays = (*ids.source.gather(rows), *ids.target.gather(rows))
    return Batch(*(torch.from_numpy(array) for array in arrays))
