"""Text files as lines, the way a parallel corpus needs them: a line feed ends a line and nothing else does."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path

from common.errors import UserError


def read_lines(path: str | Path) -> list[str]:
    """Lines of a UTF-8 file, gzipped or not.

    Carriage returns inside a line, U+2028 and their like stay in it: breaking there would put the two sides of
    a corpus out of step. Raises UserError if the file cannot be read or is not UTF-8, naming the line.
    """
    path = Path(path)
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (EOFError, gzip.BadGzipFile):
        raise UserError(f"{path}: not a whole gzip file; copy it again") from None
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; check the path") from None
    return decode(content, str(path))


def decode(content: bytes, name: str) -> list[str]:
    """The lines of UTF-8 `content`; UserError naming the first line that is not UTF-8."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        number = content.count(b"\n", 0, error.start) + 1
        raise UserError(f"{name}, line {number:,}: not UTF-8; convert the file, for example with iconv") from None
    lines = text.split("\n")
    if not lines[-1]:
        lines.pop()
    return [line.removesuffix("\r") for line in lines]


def check_parallel(one: Sequence[str], other: Sequence[str], names: tuple[str, str]) -> None:
    """Raise UserError unless both have the same number of lines, at least one. `names` are for the message."""
    if len(one) != len(other):
        raise UserError(
            f"{names[0]} has {len(one):,} lines but {names[1]} has {len(other):,}; "
            "line i of one must translate line i of the other"
        )
    if not one:
        raise UserError(f"{names[0]} and {names[1]} are empty; put one sentence on each line")
