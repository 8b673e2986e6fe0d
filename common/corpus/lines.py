"""Text files as lines of a parallel corpus: only a line feed ends a line.

The beginning of a text is examined here and nowhere else. A byte order mark is removed. A file that is not text with
one sentence a line is read in its own format (SGML) or refused.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import zip_longest
from pathlib import Path
from typing import Protocol

import numpy as np

from common.corpus.archives import Stream, compression, open_member
from common.corpus.sgml import Segments, check_same_segments, is_sgml, read_sgml
from common.errors import UserError
from common.files import BLOCK, utf8_lines, without_mark
from common.trees.linear import TREEBANK, VIEWS, view_lines

LONGEST_LINE = 1 << 24
"""Largest line in bytes. A file with longer lines is not text of sentences and would fill the memory."""
LineBlock = tuple[int, bytes, bytes, int]
"""Consecutive lines of two texts: block number from 0, lines of the one and of the other (UTF-8), number of lines."""

_MARKUP = re.compile(rb"\s*<(?:\?xml|!doctype|tmx|xliff)[\s>]", re.IGNORECASE)
_TABLE = re.compile(r"\.tsv(\.(gz|xz|bz2))?$", re.IGNORECASE)


class Readable(Protocol):
    """A source of blocks: an open binary file, or a stream of an archive."""

    def read(self, size: int, /) -> bytes:
        """Return the next `size` bytes or fewer. At the end, return none."""


@contextmanager
def open_text(path: Path, member: str | None) -> Iterator[Stream]:
    """Open a file or a member of an archive with `open_member`, without a byte order mark.

    `words` or `brackets` in place of a member is a side of a file of trees (common/trees/linear.py), which is held in
    memory.
    Raises UserError as `open_member` does. It also refuses what `without_mark` refuses, XML that is not an SGML set,
    HTML, a .tsv file with more than one column, and trees that are not bracketed.
    """
    if member in VIEWS and TREEBANK.fullmatch(path.name):
        with open_text(path, None) as trees:
            lines = view_lines("\n".join(utf8_lines(trees.read(), trees.name)), trees.name, member)
            yield Stream(io.BytesIO("".join(f"{line}\n" for line in lines).encode()), f"{trees.name} {member}")
        return
    with open_member(path, member) as stream:
        stream.head = without_mark(stream.head, stream.name)
        if _MARKUP.match(stream.head) and not is_sgml(stream.head, stream.name):
            raise UserError(f"{stream.name} is XML or HTML; convert it to a text with one sentence a line")
        if _TABLE.search(stream.name) and b"\t" in stream.head.split(b"\n", 1)[0]:
            raise UserError(f"{stream.name} has columns; make a file of the one that is meant, with cut -f1 or cut -f2")
        yield stream


def read_lines(path: str | Path) -> list[str]:
    """Return the lines of a UTF-8 file, or the segments of an SGML set, compressed or not.

    A carriage return inside a line, U+2028 and similar characters stay in the line. A break at them would put the two
    sides of a corpus out of step. Raises UserError if the file cannot be read, or naming a line that is not UTF-8.
    """
    with open_text(Path(path), None) as stream:
        return _read(stream, stream.name).lines


def read_parallel(*paths: Path) -> list[list[str]]:
    """Return `read_lines` of files that are parallel line by line.

    Raises UserError as `parallel_lines` if they are not.
    """
    with ExitStack() as stack:
        streams = [stack.enter_context(open_text(path, None)) for path in paths]
        return parallel_lines(streams, list(map(str, paths)))


def parallel_lines(streams: Sequence[Stream], names: Sequence[str]) -> list[list[str]]:
    """Return the lines of texts that are parallel line by line. SGML sets give their segments.

    names: for messages. Raises UserError unless all texts have the same number of lines, at least one, and all SGML
    sets have the same documents and segments.
    """
    texts = [_read(stream, name) for stream, name in zip(streams, names, strict=True)]
    check_same_segments([text for text in texts if text.places])
    for text in texts[1:]:
        check_parallel(texts[0].lines, text.lines, (texts[0].name, text.name))
    return [text.lines for text in texts]


def _read(stream: Stream, name: str) -> Segments:
    """Read a whole text. Only segments of SGML have document and segment numbers."""
    sgml = is_sgml(stream.head, stream.name)
    lines = utf8_lines(stream.read(), name)
    return read_sgml("\n".join(lines), name) if sgml else Segments(name, lines)


def lines_as_they_come(lines: Iterable[bytes], name: str) -> Iterator[str]:
    """Yield the lines of a stream that cannot be examined first, such as standard input.

    Raises errors as `open_text` does.
    """
    for number, line in enumerate(lines, start=1):
        if number == 1:
            if kind := compression(line):
                raise UserError(f"{name} is compressed ({kind}); decompress it on the way")
            line = without_mark(line, name)
            if is_sgml(line, name) or _MARKUP.match(line):
                raise UserError(f"{name} is SGML, XML or HTML; give plain text, one sentence a line")
        yield from utf8_lines(line, name, number)


def check_parallel(one: Sequence[str], other: Sequence[str], names: tuple[str, str]) -> None:
    """Raise UserError unless both have the same number of lines, at least one. names: for the message."""
    _check_counts((len(one), len(other)), names)


def line_blocks(stream: Readable, size: int, name: str) -> Iterator[bytes]:
    """Yield consecutive blocks of `size` lines. The last block has what is left. Each block ends in a line feed.

    `block.count(b"\\n")` is the number of lines of a block. `itertools.islice` reaches a later block at the speed of
    reading. Memory: one block of lines and one of reading. Raises UserError for a line above LONGEST_LINE.
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


def parallel_blocks(one: Readable, other: Readable, size: int, names: tuple[str, str]) -> Iterator[LineBlock]:
    """Yield blocks of `size` lines of both texts. The last block has what is left.

    LineBlock k begins with line k * size + 1. After the whole blocks that both texts have, UserError is raised if one
    text has more lines than the other or neither has any.
    """
    blocks = zip_longest(line_blocks(one, size, names[0]), line_blocks(other, size, names[1]), fillvalue=b"")
    total, others_total = 0, 0
    for number, (block, others) in enumerate(blocks):
        lines, others_lines = block.count(b"\n"), others.count(b"\n")
        total, others_total = total + lines, others_total + others_lines
        # Unequal sides stay unequal. So nothing more is yielded while the lines of the longer side are counted.
        if total == others_total:
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
