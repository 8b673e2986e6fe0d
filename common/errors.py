"""The exceptions that the user sees as a single line: UserError with exit status 2, Terminated with 143."""

from __future__ import annotations

import re
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


class UserError(Exception):
    """A mistake that the user can correct. The message names the file or key and says what to do."""

    def __str__(self) -> str:
        """Return the message on one line. Control characters, which names of files and keys may hold, are escaped."""
        return re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", lambda found: ascii(found[0])[1:-1], super().__str__())


class Terminated(Exception):
    """The system asked this process to end, and what it had made is saved. The message says how to go on."""


@contextmanager
def raising_on_sigterm(how: Callable[[], str]) -> Iterator[None]:
    """Let SIGTERM raise Terminated for the time of the block. After the first one the next ends at once.

    how: returns what the message says.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        raise Terminated(how())

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGTERM) is stop:
            signal.signal(signal.SIGTERM, before)


@contextmanager
def enough_memory(what: str, cure: str) -> Iterator[None]:
    """Raise UserError of one line if the memory does not suffice for `what`. cure: what the user can do about it.

    PyTorch raises RuntimeError on a CPU and a subclass of it on a GPU. Only the text differs from that of other errors.
    A size beyond 64 bits is a TypeError there, and an OverflowError in Python.
    """
    try:
        yield
    except (MemoryError, OverflowError, RuntimeError, TypeError) as error:
        if isinstance(error, MemoryError) or any(sign in str(error) for sign in _OUT_OF_MEMORY):
            raise UserError(f"{what}: the memory does not suffice; {cure}") from None
        raise


_OUT_OF_MEMORY = (
    "can't allocate memory",
    "out of memory",
    "bad_alloc",
    "Cannot allocate memory",
    "Storage size calculation overflowed",
    "Overflow when unpacking",
    "int too big to convert",
)
"""Texts of this error from PyTorch's CPU allocator, from CUDA, from C++ and from the operating system.

The last three are PyTorch's and Python's texts for sizes that no memory can have.
"""
