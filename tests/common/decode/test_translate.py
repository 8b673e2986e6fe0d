"""Batches of sorted sentences give every sentence its own answer."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from common.decode.beam import Hypothesis
from common.decode.translate import SHORT, Decoding, decode_ids
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
    found = decode_ids(model, sentences, COPY, positions=3 * 2 * SHORT, progress=seen.append)
    assert [list(hypothesis.tokens) for hypothesis in found] == sentences
    assert found[1] == found[5] == Hypothesis((), 0.0, True)
    assert all(hypothesis.finished for hypothesis in found)
    assert model.batches == [(5, 4, 3), (3, 2, 2)], "sorted by length, at most three together, none empty"
    assert seen == [Decoding(5), Decoding(8)]


def test_nothing_to_decode():
    assert decode_ids(Copier(), [], COPY) == []
    assert decode_ids(Copier(), [[], []], COPY) == [Hypothesis((), 0.0, True)] * 2


def test_a_batch_of_any_size_gives_the_same():
    sentences = [[word] * (1 + word % 4) for word in (3, 5, 2, 8, 7, 6, 4)]
    expected = decode_ids(Copier(), sentences, COPY)
    for positions in (1, 70, 200, 100_000):
        assert decode_ids(Copier(), sentences, COPY, positions=positions) == expected


def test_a_long_line_takes_the_place_of_many_short_ones():
    """Lines of 200 words and of 3, which count as 16: 2 x 402 positions are two long ones or 25 short ones."""
    model = Copier()
    decode_ids(model, [[3] * 200, *[[4] * 3] * 60, [5] * 200], COPY, positions=2 * 402)
    assert [len(batch) for batch in model.batches] == [2, 25, 25, 10]


class Babbler(Copier):
    """Says the source again, but never ends a sentence that begins with word 8."""

    def step(self, previous: Tensor, state: Place) -> tuple[Tensor, Place]:
        logits, state = super().step(previous, state)
        logits[state.source[:, 0] == 8, EOS] = -torch.inf
        return logits, state


def test_what_is_searched_again_is_told():
    seen: list[Decoding] = []
    decode = replace(COPY, search="shrinking", beam=100, suppress_unk=True, retry=True)
    decode_ids(Babbler(), [[8, 3], [4, 5], [8, 7], [5]], decode, positions=10_000, progress=seen.append)
    assert [now.done for now in seen] == [0] * (1 + 1 + 2 + 2) + [4]
    assert [now.retrying for now in seen] == [
        "retrying 2 of 4 sentences with beam 100, unknown words allowed",
        "retrying 2 of 4 sentences with beam 200, unknown words allowed",
        "retrying 2 of 4 sentences with beam 400, unknown words allowed",
        "retrying 1 of 4 sentences with beam 400, unknown words allowed",
        "retrying 2 of 4 sentences with beam 800, unknown words allowed",
        "retrying 1 of 4 sentences with beam 800, unknown words allowed",
        "",
    ]
