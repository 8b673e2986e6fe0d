"""What makes text look as if it had been tokenised, escaped or decomposed before it comes to our tokeniser.

Moses' script takes whatever comes: of `&apos;` it makes `&amp; apos ;`, of a letter and its combining accent two words.
Nothing fails, and every word is another. So text is looked at first. Any file may have such a line; what counts is the
share. In raw text (Multi30k, debdoc, Europarl, WMT's news test sets; English, German, French) entities are on at most
0.06% of the lines, combining accents on none, and full stops and commas stand alone on at most 0.3% of the lines that
have any. The same text tokenised has them alone on at least 94%; escaped, it has entities on at least 0.2%; decomposed,
German and French have combining accents on at least 57%, English on 0.1 to 8%.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from html.entities import html5
from unicodedata import normalize

FEW = 500
"""Lines of a kind are remarked upon from one in so many on."""
LOOKED_AT = 10_000
"""Lines, the first of those given."""
_SHOWN = 100
"""Characters of a line in a remark."""
_ENTITY = re.compile(r"&(#\d{2,5};|#x[0-9a-fA-F]{2,5};|[a-zA-Z]{2,8};)")


def doubts(lines: Sequence[str], name: str, tokeniser: str, first_line: int = 1) -> list[str]:
    """Why `lines` may be the wrong thing to give to a tokeniser: a sentence for each reason, with a line and the cure.

    name: of their file; tokeniser: as in a recipe; first_line: the number in the file of the first of them.
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
    """Each on a line of standard error."""
    for remark in remarks:
        print(f"warning: {remark}", file=sys.stderr, flush=True)


def watched(lines: Iterable[str], name: str, tokeniser: str) -> Iterator[str]:
    """The lines as they come; after the first FEW, or at the end of fewer, warnings of what is doubtful about them."""
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
    """How text may look, the rows that do, and the cure."""
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
    """Whether a comma, a final full stop or the script's sign for a split hyphen stands alone."""
    return " , " in line or line.endswith(" .") or " @-@ " in line


def _attached(line: str) -> bool:
    """Whether a comma or a final full stop ends a word."""
    return line.count(", ") > line.count(" , ") or (line.endswith(".") and line[-2:-1].isalnum())


def _escaped(line: str) -> bool:
    """Whether one of HTML's entities is there; documents about software name others, as `&dhpackage;`."""
    return any(name.startswith("#") or name in html5 for name in _ENTITY.findall(line))
