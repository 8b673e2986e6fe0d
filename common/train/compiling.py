"""Functions compiled by PyTorch, once for all lengths of sentences and sizes of minibatches."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch
from torch.fx.experimental import _config as symbols

from common.errors import UserError

Given = ParamSpec("Given")
Result = TypeVar("Result")


def compile_once(function: Callable[Given, Result], dynamic: bool | None = True) -> Callable[Given, Result]:
    """Return `function` compiled by torch.compile at its first call. Other shapes do not compile it again.

    A size of 0 or 1 and a module of another class or setting still do. Raise UserError if the compiler fails.
    dynamic: None leaves a size constant until it changes for the first time.
    """
    from torch._inductor import config  # takes seconds to import, in every process that needs no compiler

    options: dict[str, str | int | bool | Callable[..., object]] = {}
    # Older versions of PyTorch have neither option.
    if hasattr(config, "deterministic"):
        # The compiler would time variants of a reduction and take the fastest, so that a training that is killed might
        # go on with sums in another order.
        options["deterministic"] = True
    if hasattr(config.triton, "mix_order_reduction"):
        # It would choose between two codes by the number of rows, and compile again where that choice changes.
        options["triton.mix_order_reduction"] = False
    made: Callable[Given, Result] = torch.compile(function, dynamic=dynamic, options=options)

    def call(*given: Given.args, **named: Given.kwargs) -> Result:
        # Two sizes that happen to be equal at first would become one, and everything would be compiled again later.
        with symbols.patch(use_duck_shape=False):  # type: ignore[attr-defined]  # made at import
            try:
                return made(*given, **named)
            except Exception as error:
                if type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
                    why = str(error).strip().split("\n")[0]
                    cure = "install a C++ compiler and Triton, or write run.path=readable"
                    raise UserError(f"PyTorch cannot compile {function.__name__} ({why}); {cure}") from None
                raise

    return call
