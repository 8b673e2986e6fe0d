"""Progress of work that takes long, on standard error: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import math
import os
import stat
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO, TypeVar

from tqdm import tqdm

Step = TypeVar("Step")
QUIET_SECONDS = 10.0
"""Least time between two lines where standard error is not a terminal."""


@dataclass(frozen=True)
class Standing:
    """Where a training is. As text it is the line that is shown where there is no progress bar."""

    name: str
    """The recipe's."""
    step: int
    """Updates made."""
    steps: int
    """Updates to be made in all."""
    epoch: int
    """Counted from 1."""
    loss: float
    """In nats per target token."""
    rate: float
    """Target tokens per second."""
    left: float
    """Seconds."""

    def __str__(self) -> str:
        return (
            f"{self.name} update {self.step:,}/{self.steps:,} epoch {self.epoch} loss {self.loss:.3f} nats/token, "
            f"{self.rate:,.0f} target tokens/s, {clock(self.left)} left"
        )


def progress(total: int | None, description: str, unit: str, initial: int = 0) -> tqdm:
    """Return a progress bar that counts up to `total` by its method `update`.

    On a terminal it appears after one second. Elsewhere it prints a line at most every ten seconds.
    Several bars at once, also from several threads, have one line each on a terminal.
    """
    terminal = sys.stderr.isatty()
    return tqdm(
        total=total,
        desc=description,
        unit=unit,
        initial=initial,
        unit_scale=True,
        delay=1 if terminal else QUIET_SECONDS,
        mininterval=0.2 if terminal else QUIET_SECONDS,
        # None takes the next free line. That needs cursor movements, which do not belong in a log.
        position=None if terminal else 0,
        file=sys.stderr,
    )


def counted(bar: tqdm, steps: Iterable[Step]) -> Iterator[Step]:
    """Yield the steps, and count each on a progress bar."""
    for step in steps:
        yield step
        bar.update()


class Meter:
    """The lines of a stream, and how far work that answers each of them with one line has come."""

    def __init__(self, stream: BinaryIO) -> None:
        self.written = 0
        """Lines that were answered."""
        self._stream = stream
        self._sizes: deque[int] = deque()

    def __iter__(self) -> Iterator[bytes]:
        """Yield the stream's lines."""
        for line in self._stream:
            self._sizes.append(len(line))
            yield line

    def shown(self, answers: Iterable[str], description: str) -> Iterator[str]:
        """Yield the answers, and show how many there are, how fast they come and, for a file, the time left."""
        total = self._size()
        with progress(total, description, "line" if total is None else "B") as bar:
            if total is not None:
                bar.bar_format = "{l_bar}{bar}| {remaining} left{postfix}"
            for answer in answers:
                yield answer
                size = self._sizes.popleft()
                rate = self.written / max(bar.format_dict["elapsed"], 1e-9)
                bar.set_postfix_str(f"{self.written:,} lines, {rate:,.1f}/s", refresh=False)
                bar.update(1 if total is None else size)

    def _size(self) -> int | None:
        """Return the number of bytes that are still to be read. None if the stream is no file."""
        try:
            status = os.fstat(self._stream.fileno())
            return status.st_size - self._stream.tell() if stat.S_ISREG(status.st_mode) else None
        except (OSError, ValueError):  # something in memory
            return None


@contextmanager
def training_progress(
    name: str, step: int, steps: int, say: Callable[[str], None]
) -> Iterator[Callable[[Standing | str], None]]:
    """Yield a function that shows where a training is, which goes from update `step` to `steps`.

    On a terminal it moves a progress bar. Elsewhere it gives `say` a line: the first, the last, and between them at
    most one in ten seconds. A remark is always shown.
    """
    if not _has_room():
        yield _thinned(say)
        return
    with progress(steps, name, "update", initial=step) as bar:
        bar.unit_scale, bar.bar_format = False, "{l_bar}{bar}| {n:,}/{total:,}, {remaining} left{postfix}"

        def show(standing: Standing | str) -> None:
            if isinstance(standing, str):
                bar.write(standing, file=sys.stderr)
                return
            bar.set_postfix_str(f"loss {standing.loss:.3f}, {standing.rate:,.0f} tokens/s", refresh=False)
            bar.update(standing.step - bar.n)

        yield show


def _has_room() -> bool:
    """Return whether standard error is a terminal with lines for a bar. Some programs give theirs no size."""
    try:
        return sys.stderr.isatty() and os.get_terminal_size(sys.stderr.fileno()).lines > 1
    except (OSError, ValueError):
        return False


def _thinned(say: Callable[[str], None]) -> Callable[[Standing | str], None]:
    """Return a function that gives `say` the lines that `training_progress` promises."""
    told = -math.inf

    def show(standing: Standing | str) -> None:
        nonlocal told
        if isinstance(standing, str):
            say(standing)
            return
        now = time.monotonic()
        if now - told >= QUIET_SECONDS or standing.step == standing.steps:
            told = now
            say(str(standing))

    return show


def clock(seconds: float) -> str:
    """Return a duration as text, `1:02:03` or `2:03`."""
    minutes, second = divmod(int(seconds + 0.5), 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour}:{minute:02d}:{second:02d}" if hour else f"{minute}:{second:02d}"
