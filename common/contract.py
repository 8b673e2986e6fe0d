"""The contract between a paper's model and the trainer and beam search: two protocols and one batch.

Letters: B sentences in a batch, S source positions, T target positions, N = B x beam rows, V target words.

"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from common.ids import EOS, START


@dataclass(frozen=True)
class Batch:
    """Sentence pairs padded to one length per side; every sentence ends in EOS.

    source (B, S) and target (B, T) are int64 ids; source_mask (B, S) and target_mask (B, T) are True on
    real words, EOS included. Padding is on the right.
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

    def to(self, device: torch.device) -> Batch:
        """The same batch on `device`."""
        return Batch(*(tensor.to(device) for tensor in (self.source, self.source_mask, self.target, self.target_mask)))


def pad(sentences: list[list[int]]) -> tuple[Tensor, Tensor]:
    """Ids (B, L) and mask (B, L) of sentences that already end in EOS, padded on the right with EOS."""
    width = max(len(sentence) for sentence in sentences)
    ids = torch.full((len(sentences), width), EOS, dtype=torch.int64)
    mask = torch.zeros(len(sentences), width, dtype=torch.bool)
    for row, sentence in enumerate(sentences):
        ids[row, : len(sentence)] = torch.as_tensor(sentence, dtype=torch.int64)
        mask[row, : len(sentence)] = True
    return ids, mask


class DecoderState(Protocol):
    """All that the next step needs, as a value: never kept on the module, batch axis always first."""

    def select(self, rows: Tensor) -> DecoderState:
        """Row i of the result is row `rows[i]` of this state, in every tensor.

        Repeating each row k times opens a beam of k; leaving rows out drops finished sentences.
        """

    def reorder(self, rows: Tensor) -> DecoderState:
        """As `select`, for as many rows as there are, none of which leaves its own sentence.

        Tensors that depend on the source alone may therefore stay as they are, which is what makes
        following a beam cheap.
        """


@runtime_checkable
class Seq2SeqModel(Protocol):
    """What trainer and beam search ask of a model; anything else is the paper's own business."""

    def forward(self, batch: Batch) -> Tensor:
        """Teacher-forced logits (B, T, V): position t sees the source and the target words before t."""

    def encode(self, source: Tensor, source_mask: Tensor) -> DecoderState:
        """The state before the first target word, one row per sentence; source and mask are (B, S)."""

    def step(self, previous: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState]:
        """Logits (N, V) of the next word given the previous one (N,), and the state after it.

        `previous` is START at the first step.
        """
