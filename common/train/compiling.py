"""Functions compiled by PyTorch, once for all lengths of sentences and sizes of minibatches."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.fx.experimental import _config as symbols


def compile_once(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Return `function` compiled by torch.compile at its first call. Other shapes do not compile it again.

    A size of 0 or 1 and a module of another class or setting still do.
    """
    # Without `deterministic` the compiler times variants of a reduction and takes the fastest, so that a training that
    # is killed might go on with sums in another order.
    made: Callable[..., Tensor] = torch.compile(function, dynamic=True, options={"deterministic": True})

    def call(*arguments: object) -> Tensor:
        # Two sizes that happen to be equal at first would become one, and everything would be compiled again later.
        with symbols.patch(use_duck_shape=False):  # type: ignore[attr-defined]  # made at import
            return made(*arguments)

    return call
