"""Batches of sorted sentences give every sentence its own answer."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from common.decode.beam import Hypothesis
from common.decode.translate import decode_ids
from common.ids import EOS
from common.recipe import Decode

COPY = Decode(beam=2, length_penalty="none", alpha=0.0, search="fixed", max_factor=1.0, max_extra=0,
              min_factor=0.0, suppress_unk=False, retry=False)  # fmt: skip


@dataclass(frozen=True)
class Place:
    source: Tensor
    step: int

    def select(self, rows: Tensor) -> Place:
        return replace(self, source=self.source[rows])

    def reorder(self, rows: Tensor) -> Place:
        return self


class Copier:
    """Says the source again, word by word, EOS included; remembers the sizes of its batches."""

    def __init__(self) -> None:
        self.batches: list[tuple[int, ...]] = []

    def encode(self, source: Tensor, source_mask: Tensor) -> Place:
        assert (source[~source_mask] == EOS).all()
        self.batches.append(tuple(source_mask.sum(1).tolist()))
        return Place(source, 0)

    def step(self, previous: Tensor, state: Place) -> tuple[Tensor, Place]:
        words = state.source[:, state.step]
        return 40.0 * torch.nn.functional.one_hot(words, 9).float(), replace(state, step=state.step + 1)


def test_ids_come_back_in_order_whatever_their_length():
    sentences = [[3], [], [4, 5, 6, 7], [8, 8], [2, 3, 4], [], [5], [7, 2]]
    model, seen = Copier(), []
    found = decode_ids(model, sentences, COPY, together=3, progress=lambda done, total: seen.append((done, total)))
    assert [list(hypothesis.tokens) for hypothesis in found] == sentences
    assert found[1] == found[5] == Hypothesis((), 0.0, True)
    assert all(hypothesis.finished for hypothesis in found)
    assert model.batches == [(5, 4, 3), (3, 2, 2)], "sorted by length, at most three together, none empty"
    assert seen == [(5, 8), (8, 8)]


def test_nothing_to_decode():
    assert decode_ids(Copier(), [], COPY) == []
    assert decode_ids(Copier(), [[], []], COPY) == [Hypothesis((), 0.0, True)] * 2


def test_a_batch_of_any_size_gives_the_same():
    sentences = [[word] * (1 + word % 4) for word in (3, 5, 2, 8, 7, 6, 4)]
    expected = decode_ids(Copier(), sentences, COPY)
    for batch in (1, 2, 7, 100):
        assert decode_ids(Copier(), sentences, COPY, together=batch) == expected
