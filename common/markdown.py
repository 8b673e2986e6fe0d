"""Markdown for pages and reports."""

from __future__ import annotations

import re
from collections.abc import Sequence


def table(header: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """Return a Markdown table that is also readable as plain text. right: indices of right-aligned columns."""
    cells = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in [header, *rows]]
    widths = [max(3, *(len(row[column]) for row in cells)) for column in range(len(header))]
    rule = ["-" * (width - 1) + ":" if column in right else "-" * width for column, width in enumerate(widths)]

    def line(row: Sequence[str]) -> str:
        padded = [
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        return f"| {' | '.join(padded)} |"

    return "\n".join([line(cells[0]), line(rule), *map(line, cells[1:])])


def without_columns(text: str, *beginnings: str) -> str:
    """Return Markdown text with the columns of its tables left out whose headings begin with one of `beginnings`."""
    lines, left_out = [], set()
    for line, after in zip(rows := text.split("\n"), [*rows[1:], ""], strict=True):
        cells = re.split(r"(?<!\\)\|", line)[1:-1]
        if re.fullmatch(r"\|( ?-+:? ?\|)+", after):  # the line below a heading
            left_out = {column for column, cell in enumerate(cells) if cell.strip().startswith(beginnings)}
        kept = [cell for column, cell in enumerate(cells) if column not in left_out]
        lines.append(f"|{'|'.join(kept)}|" if cells and line.startswith("|") else line)
    return "\n".join(lines)
