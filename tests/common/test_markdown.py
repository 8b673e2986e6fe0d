"""Markdown tables."""

from __future__ import annotations

from common.markdown import table, without_columns


def test_columns_are_left_out_by_the_beginning_of_their_headings():
    first = table(["model", "ours", "the run"], [["a | b", "1.5", "27ff699"], ["c", "2", ""]], right=(1,))
    second = table(["run", "here"], [["x", "y"]])
    text = f"# Title\n\n{first}\n\n- a note | with a bar\n\n{second}"
    wanted = table(["model", "ours"], [["a | b", "1.5"], ["c", "2"]], right=(1,))
    assert without_columns(text, "the run", "he") == (
        f"# Title\n\n{wanted}\n\n- a note | with a bar\n\n{table(['run'], [['x']])}"
    )
    assert without_columns(text) == text
