"""The contract between a paper's model, the trainer and beam search: two protocols and one batch.

Letters: B sentences in a batch, S source positions, T target positions, N = B x beam rows, V target vocabulary size.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from common.ids import EOS, START


@dataclass(frozen=True)
class Batch:
    """Sentence pairs, padded on the right to one length per side. Every sentence ends in EOS.

    source (B, S) and target (B, T) are int64 ids. source_mask (B, S) and target_mask (B, T) are True on real tokens,
    EOS included, and False on padding.
    """

    source: Tensor
    source_mask: Tensor
    target: Tensor
    target_mask: Tensor

    @property
    def previous(self) -> Tensor:
        """The target shifted right by one: START, y_1 .. y_{T-1}; (B, T)."""
        start = torch.full_like(self.target[:, :1], START)
        return torch.cat([start, self.target[:, :-1]], dim=1)

    @property
    def tensors(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The four tensors in the order of the fields."""
        return self.source, self.source_mask, self.target, self.target_mask

    def to(self, device: torch.device) -> Batch:
        """Return the same batch on `device`. From pinned memory it is copied while the processor goes on."""
        return Batch(*(tensor.to(device, non_blocking=True) for tensor in self.tensors))

    def pinned(self) -> Batch:
        """Return the same batch in memory from which a GPU copies by itself."""
        return Batch(*(tensor.pin_memory() for tensor in self.tensors))


def pad(sentences: list[list[int]]) -> tuple[Tensor, Tensor]:
    """Return ids (B, L) and mask (B, L) of sentences that already end in EOS, padded on the right with EOS."""
    width = max(len(sentence) for sentence in sentences)
    ids = torch.full((len(sentences), width), EOS, dtype=torch.int64)
    mask = torch.zeros(len(sentences), width, dtype=torch.bool)
    for row, sentence in enumerate(sentences):
        ids[row, : len(sentence)] = torch.as_tensor(sentence, dtype=torch.int64)
        mask[row, : len(sentence)] = True
    return ids, mask


def longest_first(lengths: npt.NDArray[np.int64], positions: int, sentences: int) -> Iterator[npt.NDArray[np.int64]]:
    """Yield batches for validation and decoding, the longest sentences first.

    lengths (N,): positions of each sentence. A batch has at most `positions` padded positions and `sentences`
    sentences, or a single sentence. One long line pads the whole batch to its own length, so then there are fewer.
    """
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        fitting = positions // max(1, int(lengths[order[start]]))
        end = start + min(sentences, max(1, fitting))
        yield order[start:end]
        start = end


class DecoderState(Protocol):
    """All that the next decoding step needs.

    It is never stored on the module. A step may use its memory for the state after it, so each state is stepped once.
    """

    def select(self, rows: Tensor) -> DecoderState:
        """Return a state whose row i is row `rows[i]` of this state, in every tensor.

        Repeating each row k times opens a beam of k. Leaving rows out drops finished sentences.
        """

    def reorder(self, rows: Tensor) -> DecoderState:
        """Return a state as `select` does, for as many rows as there are, each taken from its own sentence.

        Tensors that depend only on the source can therefore stay as they are. This makes following a beam cheap.
        """


@runtime_checkable
class Seq2SeqModel(Protocol):
    """What the trainer and beam search require of a model. Everything else is up to the paper."""

    def forward(self, batch: Batch) -> Tensor:
        """Return the teacher-forced logits (B, T, V). Position t sees the source and the target tokens before t."""

    def encode(self, source: Tensor, source_mask: Tensor) -> DecoderState:
        """Return the state before the first target token, one row per sentence. source and source_mask are (B, S)."""

    def step(self, previous: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState]:
        """Return the logits (N, V) of the next token given the previous one (N,), and the state after this step.

        `previous` is START at the first step.
        """
