"""What the fast RNNsearch keeps between two words of a beam search: a sentence's annotations once for all its rows.

Letters: B sentences, k hypotheses of each, N = B k, and those of model.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from papers.bahdanau2014.model import AlignmentModel, Annotations, FixedContext, LastState, State


@dataclass(frozen=True)
class SharedState(State):
    """A state of B sentences with k rows each: s and c have N rows, `source` has B."""

    def reorder(self, rows: Tensor) -> SharedState:
        """Reorder the rows as `select` does. They stay within their sentence, so its annotations stay too."""
        return SharedState(self.s[rows], self.c[rows], self.source)

    def select(self, rows: Tensor) -> SharedState:
        """Return a state whose row i is row `rows[i]`. Sentences stay together if all have as many rows."""
        sentences = rows // rows_of(self.s, self.source)
        kept, counts = sentences.unique_consecutive(return_counts=True)  # (B',)
        if not bool((counts == counts[0]).all()):
            kept = sentences
        return SharedState(self.s[rows], self.c[rows], self.source.select(kept))


def rows_of(s: Tensor, source: Annotations | LastState) -> int:
    """Return the number of rows k of each sentence from the states s (N, n) and what the sentences have."""
    return len(s) // len(source.h_Tx if isinstance(source, LastState) else source.h)


def attend(
    align: AlignmentModel | FixedContext, s: Tensor, source: Annotations | LastState
) -> tuple[Tensor, Tensor | None]:
    """Compute what `align` computes for states s (N, n): context vectors (N, C) and weights (N, S).

    The k states of a sentence read the same annotations, of which there is one copy.
    """
    k = rows_of(s, source)
    if isinstance(source, LastState):
        return source.h_Tx.repeat_interleave(k, dim=0), None
    assert isinstance(align, AlignmentModel)
    W_a_s = (s @ align.W_a.T).view(len(source.h), k, 1, -1)  # (B, k, 1, n')
    e = torch.tanh(W_a_s + source.U_a_h.unsqueeze(1)) @ align.v_a  # (B, k, S)
    alpha = torch.softmax(e + source.padding.unsqueeze(1), dim=-1)  # (B, k, S)
    return (alpha @ source.h).flatten(0, 1), alpha.flatten(0, 1)
