"""Text files as lines, the way a parallel corpus needs them: a line feed ends a line and nothing else does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Protocol

import numpy as np

from common.data.archives import BLOCK, open_member
from common.errors import UserError

LONGEST_LINE = 1 << 24
"""Bytes; what has longer lines is no text of sentences, and would fill the memory."""


class Readable(Protocol):
    """Where blocks come from: an open binary file, or a stream of an archive."""

    def read(self, size: int, /) -> bytes:
        """The next `size` bytes or fewer; none at the end."""


def read_lines(path: str | Path) -> list[str]:
    """Lines of a UTF-8 file, compressed (.gz, .xz) or not.

    Carriage returns inside a line, U+2028 and their like stay in it: breaking there would put the two sides of
    a corpus out of step. Raises UserError if the file cannot be read or is not UTF-8, naming the line.
    """
    with open_member(Path(path), None) as stream:
        return decode(stream.read(), stream.name)


def decode(content: bytes, name: str, first_line: int = 1) -> list[str]:
    """The lines of UTF-8 `content`, which begins with line `first_line` of the file `name`.

    Raises UserError naming the first line that is not UTF-8.
    """
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        number = content.count(b"\n", 0, error.start) + first_line
        raise UserError(f"{name}, line {number:,}: not UTF-8; convert the file, for example with iconv") from None
    lines = text.split("\n")
    if not lines[-1]:
        lines.pop()
    return [line.removesuffix("\r") for line in lines]


def check_parallel(one: Sequence[str], other: Sequence[str], names: tuple[str, str]) -> None:
    """Raise UserError unless both have the same number of lines, at least one. `names` are for the message."""
    _check_counts((len(one), len(other)), names)


def line_blocks(stream: Readable, size: int, name: str) -> Iterator[bytes]:
    """Consecutive blocks of `size` lines, the last of what is left; each ends in a line feed, given or not.

    `block.count(b"\\n")` is the number of lines of a block, and `itertools.islice` goes to a later one at the speed
    of reading. Memory: one block of lines and one of reading. Raises UserError for a line above LONGEST_LINE.
    """
    parts: list[bytes] = []
    lines, unfinished = 0, 0  # whole lines in `parts`, and bytes after the last of them
    while data := stream.read(BLOCK):
        ends = np.flatnonzero(np.frombuffer(data, np.uint8) == ord("\n")) + 1
        start = 0
        for end in ends[size - lines - 1 :: size].tolist():
            yield b"".join([*parts, data[start:end]])
            parts.clear()
            start = end
        parts.append(data[start:])
        lines = (lines + len(ends)) % size
        unfinished = len(data) - int(ends[-1]) if len(ends) else unfinished + len(data)
        if unfinished > LONGEST_LINE:
            raise UserError(f"{name} has a line of over {LONGEST_LINE:,} bytes; put one sentence on each line")
    if rest := b"".join(parts):
        yield rest.removesuffix(b"\n") + b"\n"


def parallel_blocks(
    one: Readable, other: Readable, size: int, names: tuple[str, str], first: int = 0
) -> Iterator[tuple[int, bytes, bytes, int]]:
    """Number of the block, its lines on either side, how many they are; from block number `first`, counted from 0.

    Block k begins with line k * size + 1. Raises UserError, after the whole blocks that both have, if one side has
    more lines than the other or neither has any.
    """
    blocks = zip_longest(line_blocks(one, size, names[0]), line_blocks(other, size, names[1]), fillvalue=b"")
    total, others_total = 0, 0
    for number, (block, others) in enumerate(blocks):
        lines, others_lines = block.count(b"\n"), others.count(b"\n")
        total, others_total = total + lines, others_total + others_lines
        # Unequal sides stay unequal, so nothing more is handed out while the longer one is counted.
        if total == others_total and number >= first:
            yield number, block, others, lines
    _check_counts((total, others_total), names)


def _check_counts(counts: tuple[int, int], names: tuple[str, str]) -> None:
    if counts[0] != counts[1]:
        raise UserError(
            f"{names[0]} has {counts[0]:,} lines but {names[1]} has {counts[1]:,}; "
            "line i of one must translate line i of the other"
        )
    if not counts[0]:
        raise UserError(f"{names[0]} and {names[1]} are empty; put one sentence on each line")
