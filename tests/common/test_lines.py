"""Lines of text files: line feeds alone end them, and bad files are one-line errors."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.errors import UserError
from common.lines import check_parallel, read_lines


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


def test_check_parallel() -> None:
    check_parallel(["a"], [""], ("hyp.txt", "ref.txt"))
    with pytest.raises(UserError, match=r"hyp.txt has 1 lines but ref.txt has 2;"):
        check_parallel(["a"], ["b", "c"], ("hyp.txt", "ref.txt"))
    with pytest.raises(UserError, match="hyp.txt and ref.txt are empty"):
        check_parallel([], [], ("hyp.txt", "ref.txt"))
