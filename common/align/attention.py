"""The decoder's attention to the source, teacher-forced, for many sentence pairs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from common.contract import Batch, longest_first, pad
from common.errors import enough_memory
from common.ids import EOS
from common.paper import Paper

Matrix = npt.NDArray[np.float64]
"""alpha of one pair, (T + 1, S + 1): row i says where target word i looks. The last row and column are the end
tokens'."""

_SENTENCES = 32
_POSITIONS = 40 * _SENTENCES
"""Most sentences and most padded positions that are computed together."""


def source_attention(
    paper: Paper, model: nn.Module, pairs: Sequence[tuple[Sequence[int], Sequence[int]]]
) -> list[Matrix]:
    """Return alpha of each pair of source and target ids without EOS. The list is empty for a model without attention.

    Attention of several layers or heads is averaged. The model should be in evaluation mode.
    Raise UserError if the memory does not suffice.
    """
    found: dict[int, Matrix] = {}
    device = next(model.parameters()).device
    lengths = np.array([max(map(len, pair)) + 1 for pair in pairs], dtype=np.int64)
    for chosen in map(np.ndarray.tolist, longest_first(lengths, _POSITIONS, _SENTENCES)):
        source, target = (pad([[*pairs[i][side], EOS] for i in chosen]) for side in (0, 1))
        with torch.inference_mode(), enough_memory(f"the attention of {len(chosen)} sentences", "leave long lines out"):
            maps = paper.attention(model, Batch(*source, *target).to(device))
        if not maps:
            return []
        for i, weights in zip(chosen, maps, strict=True):
            alpha = weights["source"].double().cpu()  # (.., T + 1, S + 1)
            found[i] = alpha.reshape(-1, *alpha.shape[-2:]).mean(0).numpy()
    return [found[i] for i in range(len(pairs))]
