"""What the fast Transformer keeps between two words of a beam search: nothing is copied for a hypothesis that moves.

The k hypotheses of a sentence are computed as k positions of one sentence. So the keys and values of the source are
kept once for all of them. Those of the words so far never move either. For each word there are k places, one for each
hypothesis of that time, and a mask lets a hypothesis attend only to the places of its own ancestors.

Letters: B sentences, k hypotheses of each, N = B k, t words so far, h heads.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from papers.vaswani2017.model import KeysValues, TransformerState

_ROOM = 16
"""Positions that there is room for at first."""


@dataclass(frozen=True)
class Growing(KeysValues):
    """Keys and values with room for more behind them. It can be followed once: the new ones are written into `room`."""

    room: KeysValues

    @staticmethod
    def of(given: KeysValues) -> Growing:
        """Return these keys and values, without more room than they have."""
        return given if isinstance(given, Growing) else Growing(given.K, given.V, given)

    def followed_by(self, new: KeysValues) -> Growing:
        """Return the positions of these and, after them, those of `new`."""
        first, end, room = self.length, self.length + new.length, self.room
        if end > room.length:  # doubling makes copies rare
            room = KeysValues(*(_enlarged(part, max(2 * end, _ROOM)) for part in (self.K, self.V)))
        room.K[:, :, first:end], room.V[:, :, first:end] = new.K, new.V
        return Growing(room.K[:, :, :end], room.V[:, :, :end], room)


def _enlarged(part: Tensor, length: int) -> Tensor:
    """Return `part` (B, h, t, ..) with room for `length` positions."""
    whole = part.new_empty(*part.shape[:2], length, part.shape[3])
    whole[:, :, : part.shape[2]] = part
    return whole


@dataclass(frozen=True)
class SharedState(TransformerState):
    """A state of B sentences with k rows each. `source` and `source_mask` have B rows, `past` is (B, h, t k, ..)."""

    ancestors: Tensor
    """The place, 0 .. k - 1, of each row's hypothesis at each of the words so far, (N, t)."""

    @staticmethod
    def of(state: TransformerState) -> SharedState:
        """Return a state in which every row is a sentence of its own, k = 1."""
        mask = state.source_mask
        ancestors = torch.zeros(len(mask), state.past[0].length, dtype=torch.int64, device=mask.device)
        return SharedState(state.source, mask, state.past, ancestors)

    @property
    def rows(self) -> int:
        """Rows of each sentence, k."""
        return len(self.ancestors) // len(self.source_mask)

    def grown(self) -> tuple[Tensor, Tensor | None]:
        """Return the ancestors (N, t + 1) with the next word's places, and the mask (B, 1, k, (t + 1) k) for it."""
        k, device = self.rows, self.ancestors.device
        places = torch.arange(k, device=device)  # (k,)
        own = places.repeat(len(self.source_mask)).unsqueeze(1)  # (N, 1)
        ancestors = torch.cat([self.ancestors, own], dim=1)  # (N, t + 1)
        if k == 1:
            return ancestors, None
        mask = ancestors.unsqueeze(2) == places  # (N, t + 1, k)
        return ancestors, mask.view(len(self.source_mask), 1, k, -1)

    def reorder(self, rows: Tensor) -> SharedState:
        """Reorder the rows as `select` does. They stay within their sentence, so only the ancestors change."""
        return SharedState(self.source, self.source_mask, self.past, self.ancestors[rows])

    def select(self, rows: Tensor) -> SharedState:
        """Return a state whose row i is row `rows[i]`. Sentences stay together if all have as many rows."""
        sentences = rows // self.rows  # (N',)
        kept, counts = sentences.unique_consecutive(return_counts=True)  # (B',)
        k = int(counts[0])
        if not bool((counts == k).all()):
            kept, k = sentences, 1
        source = tuple(layer.select(kept) for layer in self.source)
        if k == self.rows:
            past = tuple(layer.select(kept) for layer in self.past)
            return SharedState(source, self.source_mask[kept], past, self.ancestors[rows])
        past = tuple(KeysValues(self._own(layer.K, rows, k), self._own(layer.V, rows, k)) for layer in self.past)
        places = torch.arange(k, device=rows.device).repeat(len(kept)).unsqueeze(1)  # (N', 1)
        return SharedState(source, self.source_mask[kept], past, places.repeat(1, self.ancestors.shape[1]))

    def _own(self, part: Tensor, rows: Tensor, k: int) -> Tensor:
        """Return keys or values (B, h, t k_before, ..) with a copy for each of `rows`, k together: (B', h, t k, ..)."""
        places = part.unflatten(2, (self.ancestors.shape[1], self.rows))  # (B, h, t, k_before, ..)
        words = torch.arange(places.shape[2], device=rows.device)  # (t,)
        own = places[(rows // self.rows).unsqueeze(1), :, words, self.ancestors[rows]]  # (N', t, h, ..)
        return own.unflatten(0, (-1, k)).permute(0, 3, 2, 1, 4).flatten(2, 3)  # (B', k, t, h, ..) -> (B', h, t k, ..)
