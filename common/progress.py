"""One progress bar for all that takes long: rate and time left, on standard error."""

from __future__ import annotations

import sys

from tqdm import tqdm


def progress(total: int | None, description: str, unit: str, initial: int = 0) -> tqdm:
    """A bar to `update`, silent for the first second; away from a terminal it speaks every ten seconds.

    Several at once, from threads too, have a line each on a terminal.
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
        # None is the next free line; the cursor movements that takes have no place in a log.
        position=None if terminal else 0,
        file=sys.stderr,
    )


def clock(seconds: float) -> str:
    """`1:02:03` or `2:03`."""
    minutes, second = divmod(int(seconds + 0.5), 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour}:{minute:02d}:{second:02d}" if hour else f"{minute}:{second:02d}"
