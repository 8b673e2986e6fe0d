"""Functions compiled by PyTorch, once for all lengths of sentences and sizes of minibatches."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch
from torch.fx.experimental import _config as symbols

P, R = ParamSpec("P"), TypeVar("R")


def compile_once(function: Callable[P, R]) -> Callable[P, R]:
    """Return `function` compiled by torch.compile at its first call. Other shapes do not compile it again.

    A size of 0 or 1 and a module of another class or setting still do.
    """
    # Without `deterministic` the compiler times variants of a reduction and takes the fastest, so that a training that
    # is killed might go on with sums in another order.
    made = torch.compile(function, dynamic=True, options={"deterministic": True})

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        # Two sizes that happen to be equal at first would become one, and everything would be compiled again later.
        with symbols.patch(use_duck_shape=False):
            return made(*args, **kwargs)

    return call
