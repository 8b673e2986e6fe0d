"""Token cross-entropy, summed, with optional label smoothing.

Letters: B sentences, T target positions, V words.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

_IGNORED = -100


def cross_entropy_sum(logits: Tensor, target: Tensor, mask: Tensor, smoothing: float = 0.0) -> Tensor:
    """Return the cross-entropy against the smoothed target, summed over unmasked positions: a scalar, in nats.

    logits (B, T, V); target (B, T) ids; mask (B, T) True where the loss counts. The true word has probability 1 -
    smoothing and each of the V - 1 others smoothing / (V - 1), as in tensor2tensor (Vaswani2017 §5.4). PyTorch mixes in
    a uniform distribution over all V words instead, the true one included. The two agree when PyTorch's rate is
    smoothing * V / (V - 1).
    """
    size = logits.size(-1)
    return functional.cross_entropy(
        logits.reshape(-1, size).float(),
        target.masked_fill(~mask, _IGNORED).reshape(-1),
        ignore_index=_IGNORED,
        reduction="sum",
        label_smoothing=smoothing * size / (size - 1),
    )
