"""Lines of text files: line feeds alone end them, and bad files are one-line errors."""

from __future__ import annotations

import gzip
import io
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.corpus.lines import (
    LONGEST_LINE,
    check_parallel,
    line_blocks,
    lines_as_they_come,
    parallel_blocks,
    read_lines,
    read_parallel,
)
from common.errors import UserError
from common.files import BLOCK, utf8_lines

PIECES = st.sampled_from([b"\n", b"\n\n", b"a", b"ein Satz", b"\r", "\u2028\x85".encode(), b"\x0b\x1c"])
CONTENT = st.lists(PIECES, max_size=40).map(b"".join)


class Dribble(io.BytesIO):
    """Gives at most a few bytes at a time, as a stream may."""

    def __init__(self, content: bytes, most: int) -> None:
        super().__init__(content)
        self._most = most

    def read(self, size: int | None = -1, /) -> bytes:
        """At most `most` bytes."""
        return super().read(self._most)


def test_read_lines_ends_lines_at_newlines_only(tmp_path: Path) -> None:
    path = tmp_path / "text"
    lines = ["eins\u2028zwei\x0b\x1c\x85", "", "drei"]
    path.write_bytes("\n".join(lines).encode())
    assert read_lines(path) == lines
    path.write_bytes("\n".join([*lines, ""]).encode())
    assert read_lines(path) == lines
    path.write_bytes(b"\n\n")
    assert read_lines(path) == ["", ""]
    path.write_bytes(b"")
    assert read_lines(path) == []


def test_read_lines_names_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "latin"
    path.write_bytes(b"gut\n\xc3\xa9t\xc3\xa9\n\xe9t\xe9\n")
    with pytest.raises(UserError, match="latin, line 3: not UTF-8"):
        read_lines(path)
    with pytest.raises(UserError, match="missing: No such file"):
        read_lines(tmp_path / "missing")


def test_read_lines_of_compressed_files(tmp_path: Path) -> None:
    path = tmp_path / "text.gz"
    path.write_bytes(gzip.compress(b"ein\nzwei\n"))
    assert read_lines(path) == ["ein", "zwei"]
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(UserError, match=r"text\.gz: not whole, .*; copy it again"):
        read_lines(path)


MARK = "\ufeff".encode()


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    """At the beginning, once or more; elsewhere U+FEFF is a character like others."""
    for name, content in {"a": b"ein\nzwei\n", "b": MARK + b"one\n" + MARK + b"two\n", "c": MARK * 2}.items():
        (tmp_path / name).write_bytes(content)
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(content))
    for ending in ("", ".gz"):
        assert read_lines(tmp_path / f"b{ending}") == ["one", "\ufefftwo"] and read_lines(tmp_path / f"c{ending}") == []
        both = read_parallel(tmp_path / f"b{ending}", tmp_path / f"a{ending}")
        assert both == [["one", "\ufefftwo"], ["ein", "zwei"]]
    assert list(lines_as_they_come(io.BytesIO(MARK + b"one\n\n" + MARK + b"two"), "standard input")) == (
        ["one", "", "\ufefftwo"]
    )


def test_binary_and_compressed_text_is_told_from_its_cause(tmp_path: Path) -> None:
    (tmp_path / "wide").write_bytes("Ein Haus\nEin Baum\n".encode("utf-16-le"))
    with pytest.raises(UserError, match="UTF-16 without its mark"):
        read_lines(tmp_path / "wide")
    (tmp_path / "plain.bz2").write_text("no bzip2\n")
    with pytest.raises(UserError, match=r"plain\.bz2: not whole, or not what the file name says"):
        read_lines(tmp_path / "plain.bz2")
    with pytest.raises(UserError, match=r"standard input is compressed \(gz\)"):
        list(lines_as_they_come([gzip.compress(b"text\n")], "standard input"))


@pytest.mark.parametrize("encoding", ["UTF-16", "UTF-32"])
def test_other_unicode_names_its_cure(tmp_path: Path, encoding: str) -> None:
    for order in ("LE", "BE"):
        content = "\ufeffein Satz\nnoch einer\n".encode(f"{encoding}-{order}")
        (tmp_path / "text").write_bytes(content)
        with pytest.raises(UserError, match=f"text is {encoding}; convert it with iconv -f {encoding} -t UTF-8$"):
            read_lines(tmp_path / "text")
        with pytest.raises(UserError, match=f"^standard input is {encoding}; "):
            list(lines_as_they_come(io.BytesIO(content), "standard input"))


def test_carriage_returns_alone_are_named(tmp_path: Path) -> None:
    says = r"ends its lines with carriage returns alone; convert it with tr '\\r' '\\n'$"
    (tmp_path / "mac").write_bytes(b"ein Satz\rnoch einer\r")
    with pytest.raises(UserError, match=f"mac {says}"):
        read_lines(tmp_path / "mac")
    with pytest.raises(UserError, match=f"^standard input {says}"):
        list(lines_as_they_come(io.BytesIO(b"ein Satz\rnoch einer"), "standard input"))
    (tmp_path / "mac").write_bytes(b"ein Satz\r\n" * 2)
    assert read_lines(tmp_path / "mac") == ["ein Satz"] * 2
    (tmp_path / "mac").write_bytes(b"ein Satz\r")
    assert read_lines(tmp_path / "mac") == ["ein Satz"]


@pytest.mark.parametrize(
    "text", ["<?xml version='1.0'?>\n<tmx version='1.4'>", "<!DOCTYPE html>", "\n<TMX>", "<xliff >"]
)
def test_xml_is_no_text(tmp_path: Path, text: str) -> None:
    (tmp_path / "text.en").write_text(text)
    with pytest.raises(UserError, match="text.en is XML or HTML; convert it to a text with one sentence a line"):
        read_lines(tmp_path / "text.en")


def test_a_table_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "one.tsv").write_text("a\nb\tc\n")
    assert read_lines(tmp_path / "one.tsv") == ["a", "b\tc"]
    (tmp_path / "two.TSV.gz").write_bytes(gzip.compress(b"a\tb\nc\td\n"))
    with pytest.raises(UserError, match="two.TSV.gz has columns; .* cut -f1"):
        read_lines(tmp_path / "two.TSV.gz")


def test_lines_as_they_come() -> None:
    lines = lines_as_they_come(iter([b"a\r\n", b"\n", b"\xff\n", b"b"]), "standard input")
    assert [next(lines), next(lines)] == ["a", ""]
    with pytest.raises(UserError, match="^standard input, line 3: not UTF-8"):
        next(lines)
    with pytest.raises(UserError, match="^standard input is SGML, XML or HTML; give plain text"):
        list(lines_as_they_come([b"<srcset setid='x'>\n", b"<doc>\n"], "standard input"))


def test_decode_counts_from_the_first_line_of_a_block() -> None:
    with pytest.raises(UserError, match="part, line 2,002: not UTF-8"):
        utf8_lines(b"gut\n\xff\n", "part", first_line=2001)


def test_check_parallel() -> None:
    check_parallel(["a"], [""], ("hyp.txt", "ref.txt"))
    with pytest.raises(UserError, match=r"hyp.txt has 1 lines but ref.txt has 2;"):
        check_parallel(["a"], ["b", "c"], ("hyp.txt", "ref.txt"))
    with pytest.raises(UserError, match="hyp.txt and ref.txt are empty"):
        check_parallel([], [], ("hyp.txt", "ref.txt"))


@given(CONTENT, st.integers(1, 7), st.integers(1, 30))
def test_blocks_are_the_text_cut_every_so_many_lines(content: bytes, size: int, most: int) -> None:
    blocks = list(line_blocks(Dribble(content, most), size, "text"))
    assert b"".join(blocks) == content + (b"" if not content or content.endswith(b"\n") else b"\n")
    assert all(block.endswith(b"\n") for block in blocks)
    counts = [block.count(b"\n") for block in blocks]
    assert all(count == size for count in counts[:-1]) and all(0 < count <= size for count in counts)
    assert [line for block in blocks for line in utf8_lines(block, "text")] == utf8_lines(content, "text")
    assert list(islice(line_blocks(io.BytesIO(content), size, "text"), 2, None)) == blocks[2:]


def test_blocks_larger_than_a_reading_and_many_in_one() -> None:
    lines = [b"%d" % number * (number % 50) for number in range(60_000)]
    content = b"\n".join(lines)
    assert len(content) > 2 * BLOCK
    for size in (1, 999, 59_999, 60_000, 60_001):
        blocks = list(line_blocks(io.BytesIO(content), size, "text"))
        assert blocks == [b"\n".join(lines[i : i + size]) + b"\n" for i in range(0, len(lines), size)]


def test_a_line_without_end_is_an_error() -> None:
    stream = io.BytesIO(b"kurz\n" + b"x" * (LONGEST_LINE + BLOCK))
    with pytest.raises(UserError, match="book has a line of over 16,777,216 bytes; put one sentence on each line"):
        list(line_blocks(stream, 10, "book"))
    assert stream.read()  # not all of it was read


@given(st.integers(0, 23), st.integers(0, 23), st.integers(1, 6))
def test_parallel_blocks(ours: int, theirs: int, size: int) -> None:
    one, other = (b"".join(b"%s%d\n" % (side, i) for i in range(n)) for side, n in ((b"a", ours), (b"b", theirs)))
    blocks = parallel_blocks(io.BytesIO(one), io.BytesIO(other), size, ("one", "other"))
    common = ours if ours == theirs else min(ours, theirs) // size * size  # lines in blocks that both have
    for number in range(-(-common // size)):
        rows = range(number * size, min((number + 1) * size, common))
        expected = [b"".join(b"%s%d\n" % (side, i) for i in rows) for side in (b"a", b"b")]
        assert next(blocks) == (number, *expected, len(rows))
    if ours == theirs > 0:
        assert next(blocks, None) is None
        return
    says = f"^one has {ours} lines but other has {theirs};" if ours != theirs else "^one and other are empty"
    with pytest.raises(UserError, match=says):
        next(blocks)


def test_unequal_sides_give_the_whole_blocks_that_both_have_before_the_error() -> None:
    blocks = parallel_blocks(io.BytesIO(b"a\nb\nc\n"), io.BytesIO(b"A\nB\nC\nD\n" * 700), 2, ("en", "de"))
    assert next(blocks) == (0, b"a\nb\n", b"A\nB\n", 2)
    with pytest.raises(UserError, match="^en has 3 lines but de has 2,800; line i of one must translate line i"):
        next(blocks)
