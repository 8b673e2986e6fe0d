"""Token cross-entropy, summed, with optional label smoothing.

Letters: B sentences, T target positions, V words.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

from torch import Tensor
from torch.nn import functional

from common.train.compiling import compile_once

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


@functools.cache
def compiled() -> Callable[..., Tensor]:
    """Return `cross_entropy_sum` compiled at its first call: no copy of the logits in float32, forward or backward."""
    from torch._dynamo import mark_static  # takes seconds to import, in every process that needs no compiler

    flat = compile_once(cross_entropy_sum)

    def compiled_cross_entropy_sum(logits: Tensor, target: Tensor, mask: Tensor, smoothing: float = 0.0) -> Tensor:
        logits = logits.flatten(0, 1)
        # With a known number of words the compiler knows how rows are aligned, and reads several values at once.
        mark_static(logits, 1)
        return flat(logits, target.flatten(), mask.flatten(), smoothing)

    return compiled_cross_entropy_sum
