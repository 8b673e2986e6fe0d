"""Signs that text was tokenised, escaped or decomposed before it comes to our tokeniser.

Moses' script accepts such text. It turns `&apos;` into `&amp; apos ;`, and a letter with a combining accent into two
tokens. Nothing fails, but every token is different. So text is examined first. Any file may have such a line, so only
the share of such lines counts. In raw text (Multi30k, debdoc, Europarl, WMT's news test sets; English, German, French)
entities are on at most 0.06% of the lines, and combining accents on none. Full stops and commas stand alone on at most
0.3% of the lines that have any. In the same text tokenised they stand alone on at least 94%. Escaped text has entities
on at least 0.2% of the lines. Decomposed text has combining accents on at least 57% of the lines in German and French,
and on 0.1 to 8% in English.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from html.entities import html5
from unicodedata import normalize

FEW = 500
"""A warning is given if at least one line in this many is doubtful."""
LOOKED_AT = 10_000
"""Number of lines that are examined, from the first."""
_SHOWN = 100
"""Largest number of characters of a line that a warning shows."""
_ENTITY = re.compile(r"&(#\d{2,5};|#x[0-9a-fA-F]{2,5};|[a-zA-Z]{2,8};)")


def doubts(lines: Sequence[str], name: str, tokeniser: str, first_line: int = 1) -> list[str]:
    """Return why `lines` may be the wrong input of a tokeniser: a sentence for each reason, with a line and a remedy.

    name: of their file. tokeniser: as in a recipe. first_line: number of the first of these lines in the file.
    """
    lines = lines[:LOOKED_AT]
    remarks = []
    for looks, rows, cure in _kinds(lines, tokeniser):
        if _many(rows, lines):
            line = " ".join(lines[rows[0]].split())
            shown = line if len(line) <= _SHOWN else f"{line[:_SHOWN]}..."
            share = f"{len(rows):,} of {len(lines):,} lines"
            remarks.append(f"{name}, line {rows[0] + first_line:,}: `{shown}` looks {looks} ({share} do); {cure}")
    return remarks


def warn(remarks: Iterable[str]) -> None:
    """Print each remark on a line of standard error."""
    for remark in remarks:
        print(f"warning: {remark}", file=sys.stderr, flush=True)


def watched(lines: Iterable[str], name: str, tokeniser: str) -> Iterator[str]:
    """Yield the lines as they come.

    After FEW of them, or at the end if there are fewer, print warnings about doubtful ones.
    """
    seen: list[str] = []
    for line in lines:
        yield line
        if len(seen) < FEW:
            seen.append(line)
            if len(seen) == FEW:
                warn(doubts(seen, name, tokeniser))
    if len(seen) < FEW:
        warn(doubts(seen, name, tokeniser))


def _many(rows: Sequence[int], lines: Sequence[str]) -> bool:
    return bool(rows) and len(rows) * FEW >= len(lines)


def _kinds(lines: Sequence[str], tokeniser: str) -> Iterator[tuple[str, list[int], str]]:
    """Yield for each kind of doubt how the text looks, the rows that look so, and the remedy."""
    pieces = [row for row, line in enumerate(lines) if "@@ " in line]
    yield "split into sub-words", pieces, "join them first (sed -E 's/@@( |$)//g')"
    apart = [row for row, line in enumerate(lines) if _apart(line) and not _attached(line)]
    attached = [row for row, line in enumerate(lines) if _attached(line)]
    if tokeniser == "none":
        if len(attached) > len(apart):
            yield "untokenised", attached, "tokenise it, or name a state of the Moses script as text.tokeniser"
        return
    if len(apart) >= len(attached) and _many(apart, lines):
        yield "tokenised", apart, "give plain text, or train and score with text.tokeniser=none"
    else:
        escaped = [row for row, line in enumerate(lines) if "&" in line and _escaped(line)]
        yield (
            "HTML-escaped",
            escaped,
            "unescape it; if it is tokenised too, train and score with text.tokeniser=none",
        )
    accents = [row for row, line in enumerate(lines) if not line.isascii() and len(normalize("NFC", line)) < len(line)]
    yield "decomposed (NFD)", accents, "accents would become words; compose them first (uconv -x any-nfc)"


def _apart(line: str) -> bool:
    """Return whether a comma, a final full stop or the Moses script's sign for a split hyphen stands alone."""
    return " , " in line or line.endswith(" .") or " @-@ " in line


def _attached(line: str) -> bool:
    """Return whether a comma or a final full stop is attached to a word."""
    return line.count(", ") > line.count(" , ") or (line.endswith(".") and line[-2:-1].isalnum())


def _escaped(line: str) -> bool:
    """Return whether an entity of HTML is in the line. Texts about software contain others, such as `&dhpackage;`."""
    return any(name.startswith("#") or name in html5 for name in _ENTITY.findall(line))
