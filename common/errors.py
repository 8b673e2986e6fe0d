"""The one exception that reaches the reader as a single line and exit status 2."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class UserError(Exception):
    """A mistake the reader can mend; the message names the file or key and the cure."""


@contextmanager
def enough_memory(what: str, cure: str) -> Iterator[None]:
    """Turn running out of memory while doing `what` into one line.

    PyTorch raises RuntimeError on a CPU and a subclass of it on a GPU; only their texts tell them from other errors.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, MemoryError) or any(sign in str(error) for sign in _OUT_OF_MEMORY):
            raise UserError(f"{what}: the memory does not suffice; {cure}") from None
        raise


_OUT_OF_MEMORY = ("can't allocate memory", "out of memory", "Cannot allocate memory")
"""Of PyTorch's CPU allocator, of CUDA and of the operating system."""
