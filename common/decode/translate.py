"""Translation of many sentences with beam search, in batches of similar length."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from common.contract import Seq2SeqModel, longest_first, pad
from common.decode.beam import Hypothesis, beam_search
from common.errors import enough_memory
from common.ids import EOS
from common.recipe import Decode

POSITIONS = {"cpu": 8192, "cuda": 131_072}
"""Source positions x beam rows decoded together by default. On a CPU more is no faster; on a GPU it is not measured."""
SHORT = 16
"""Positions that a shorter sentence counts as. Its rows need as much memory for logits as those of a long one."""


@dataclass(frozen=True)
class Decoding:
    """How far decoding has come."""

    done: int
    """Sentences that have their translation."""
    retrying: str = ""
    """What is searched again, in words. Empty if nothing is."""


def decode_ids(
    model: Seq2SeqModel,
    sentences: Sequence[Sequence[int]],
    decode: Decode,
    *,
    positions: int | None = None,
    progress: Callable[[Decoding], None] | None = None,
) -> list[Hypothesis]:
    """Return the best hypothesis of every sentence, in the given order.

    sentences: source ids without EOS. The hypothesis of an empty sentence is empty, without decoding.
    positions: most source positions x beam rows decoded at a time, by default those of `POSITIONS`. It changes speed
      and memory, never the result.
    progress: called after each batch of sentences and before each further attempt at some of one.
    The model should be in evaluation mode. It decodes on the device of its parameters.
    Raises UserError if the memory does not suffice.
    """
    best = [Hypothesis((), 0.0, True)] * len(sentences)
    filled = np.array([i for i, words in enumerate(sentences) if len(words)], dtype=np.int64)
    lengths = np.array([len(sentences[i]) + 1 for i in filled], dtype=np.int64)
    done, device = len(sentences) - len(filled), _device(model)

    def tell(retrying: str = "") -> None:
        if progress is not None:
            progress(Decoding(done, retrying))

    budget = (positions or POSITIONS.get(device.type, POSITIONS["cpu"])) // decode.beam
    # Longest first: memory runs out at once or not at all, and the time left is never underestimated.
    for batch in longest_first(lengths, budget, max(1, budget // SHORT)):
        chosen = filled[batch].tolist()
        source, source_mask = pad([[*sentences[i], EOS] for i in chosen])
        cure = "lower run.decode_positions or decode.beam, or split that line"
        with enough_memory(f"decoding a line of {source.shape[1]:,} tokens", cure):
            found = beam_search(model, source.to(device), source_mask.to(device), decode, tell)
        for i, hypotheses in zip(chosen, found, strict=True):
            best[i] = hypotheses[0]
        done += len(chosen)
        tell()
    return best


def _device(model: Seq2SeqModel) -> torch.device:
    parameters = model.parameters() if isinstance(model, nn.Module) else iter(())
    return next((parameter.device for parameter in parameters), torch.device("cpu"))
