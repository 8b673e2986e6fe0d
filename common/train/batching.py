"""Minibatches for both papers from one generator, which pools, sorts and cuts the sentence pairs.

RNNsearch: pools of 20 minibatches, cut at 80 sentences, trained on from short to long (Bahdanau2014 App. B.2; GroundHog
`get_batch_iterator`). Transformer: the whole epoch is one pool, cut at a number of padded positions, and the
minibatches are in random order (Vaswani2017 §5.1 "sentence pairs were batched together by approximate sequence
length").

Letters: B sentences of a minibatch, N pairs of the corpus.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator

import numpy as np
import torch

from common.contract import Batch
from common.prepare.encoded import Indices, ParallelIds
from common.recipe import Batching


def minibatches(
    source_lengths: Indices, target_lengths: Indices, batching: Batching, seed: int, epoch: int
) -> list[Indices]:
    """Return the indices of the pairs of each minibatch of one epoch, in training order.

    Every pair occurs exactly once. source_lengths, target_lengths (N,): tokens of each pair, EOS included. The result
    depends on the arguments only, so a resumed run skips the minibatches it has already used.

    With `batching.sentences` every minibatch is full, except the one with the longest pairs of the last pool. With
    `batching.tokens` the number of sentences times the length of the longest side stays within the budget. A pair that
    is longer than the whole budget is a minibatch of its own.

    This differs from GroundHog in one point. GroundHog reads the corpus in a circle, so its pools cross the end of the
    corpus. Here the last pool of an epoch is smaller.
    """
    longer = np.maximum(source_lengths, target_lengths)  # (N,)
    # In the narrowest type: numpy sorts 1 and 2 bytes in linear time.
    longer = longer.astype(np.min_scalar_type(longer.max(initial=0)))
    order = _reading_order(len(longer), batching, seed, epoch)
    # A generator of its own: this order changes with the epoch even where the reading order does not.
    emit = np.random.default_rng([seed % 2**32, epoch, 1])
    batches: list[Indices] = []
    for pool in _pools(order, longer, batching):
        lengths = longer[pool]
        # Stable, so that pairs of equal length keep their random order and the result is the same on every machine.
        ascending = np.argsort(lengths, kind="stable")
        pool[:] = pool[ascending]  # in place: the minibatches are views of one array
        cuts = [pool[start:end] for start, end in _cuts(lengths[ascending], batching)]
        if batching.shuffle:
            cuts = [cuts[index] for index in emit.permutation(len(cuts))]
        batches += cuts
    return batches


def _reading_order(pairs: int, batching: Batching, seed: int, epoch: int) -> Indices:
    """Return a random order of the pairs.

    With pools, the order is the same in every epoch: the corpus is shuffled once (Bahdanau2014 App. B.2). Where the
    whole epoch is one pool, each epoch has an order of its own.
    """
    turn = 0 if batching.pool else epoch
    order = np.arange(pairs, dtype=np.int32)
    np.random.default_rng([seed % 2**32, turn, 0]).shuffle(order)
    return order


def _pools(order: Indices, longer: Indices, batching: Batching) -> list[Indices]:
    """Split `order` into pools, each the size of `batching.pool` minibatches in sentences or in tokens."""
    if batching.pool is None:
        return [order]
    if batching.sentences is not None:
        size = batching.pool * batching.sentences
        return np.split(order, range(size, len(order), size))
    # Real lengths: how much padding a pair gets is only known after its pool is sorted.
    share = np.cumsum(longer[order]) // (batching.pool * (batching.tokens or 1))
    return np.split(order, np.flatnonzero(np.diff(share)) + 1)


def _cuts(ascending: Indices, batching: Batching) -> Iterator[tuple[int, int]]:
    """Yield start and end of each minibatch of a pool whose lengths ascend."""
    start, end = 0, len(ascending)
    while start < end:
        stop = start + batching.sentences if batching.sentences else _fill(ascending, start, batching.tokens or 1)
        yield start, min(stop, end)
        start = stop


def _fill(ascending: Indices, start: int, tokens: int) -> int:
    """Return the furthest end for which the sentences from `start` to `end` fit into `tokens` padded positions.

    Every sentence is padded to the length of the last one. At least one sentence is taken, even if it does not fit.
    """
    # The padded size grows with `end`, because the lengths ascend: a binary search finds the last end that fits.
    ends = range(start + 1, len(ascending) + 1)
    return start + max(1, bisect_right(ends, tokens, key=lambda end: (end - start) * int(ascending[end - 1])))


def load_batch(ids: ParallelIds, indices: Indices) -> Batch:
    """Load the pairs `indices` (B,) of a corpus, with EOS appended and padding on the right."""
    rows = ids.rows[indices]
    arrays = (*ids.source.gather(rows), *ids.target.gather(rows))
    return Batch(*(torch.from_numpy(array) for array in arrays))
