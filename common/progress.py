"""The progress bar of all work that takes long. It shows rate and time left on standard error."""

from __future__ import annotations

import sys

from tqdm import tqdm


def progress(total: int | None, description: str, unit: str, initial: int = 0) -> tqdm:
    """Return a progress bar to `update`. On a terminal it appears after one second.

    If standard error is not a terminal, it prints every ten seconds.
    Several bars at once, also from several threads, have one line each on a terminal.
    """
    terminal = sys.stderr.isatty()
    return tqdm(
        total=total,
        desc=description,
        unit=unit,
        initial=initial,
        unit_scale=True,
        delay=1 if terminal else 10,
        mininterval=0.2 if terminal else 10,
        # None takes the next free line. That needs cursor movements, which do not belong in a log.
        position=None if terminal else 0,
        file=sys.stderr,
    )


def clock(seconds: float) -> str:
    """Return a duration as text, `1:02:03` or `2:03`."""
    minutes, second = divmod(int(seconds + 0.5), 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour}:{minute:02d}:{second:02d}" if hour else f"{minute}:{second:02d}"
