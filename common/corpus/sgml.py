"""Test sets in the format that WMT published up to 2019: SGML with documents of numbered segments."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from html.entities import html5
from html.parser import HTMLParser
from itertools import zip_longest

from common.errors import UserError

_TAGS = "srcset|refset|tstset|mteval|doc|hl|p|seg"
_TEXT = re.compile(
    rf"<(?!/?(?:{_TAGS})[\s/>]|!--|!doctype|\?xml)|&(?!#[0-9]{{1,7}};|#x[0-9a-f]{{1,6}};)(?:[a-z][a-z0-9]*;)?",
    re.IGNORECASE,
)
"""What looks like markup but may be text: `<` before no tag of the format, `&` before no numeric reference."""
_BEGINNING = re.compile(
    rb"\s*(?:(?:<!--(?:(?!-->).)*-->|<\?[^>]*>|<![a-z][^>]*>)\s*)*<(?:srcset|refset|tstset|mteval)[\s>]",
    re.IGNORECASE | re.DOTALL,
)
"""The tag of a set, after declarations and comments."""
_SUFFIX = re.compile(r"\.sgml?(\.(gz|xz|bz2))?$", re.IGNORECASE)
_BREAK = re.compile(r"[ \t]*[\r\n][ \t\r\n]*")


@dataclass
class Segments:
    """The segments of a source, reference or system set in file order, each on one line. Empty ones are kept."""

    name: str
    lines: list[str] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    """Document and number of each segment, as text for messages."""


def is_sgml(head: bytes, name: str) -> bool:
    """Return whether a file has this format, judged by its beginning after any declarations, or else by its name."""
    return bool(_BEGINNING.match(head) or _SUFFIX.search(name))


def read_sgml(text: str, name: str) -> Segments:
    """Return the segments of a set.

    Complete entities are decoded: `&amp;` and `&#38;` become an ampersand. `AT&T` and `&copy=1` stay as they are, and
    so does a `<` that begins no tag of the format. Line breaks inside a segment become a space.
    Raises UserError with `name` and line if there are no segments, if a segment or document is not closed, or if
    segments are numbered out of order.
    """
    parser = _Parser(name)
    parser.feed(_TEXT.sub(_escaped, text))
    parser.close()
    return parser.finished()


def check_same_segments(sets: Sequence[Segments]) -> None:
    """Raise UserError unless all sets have the documents and segment numbers of the first."""
    for other in sets[1:]:
        for ours, theirs in zip_longest(sets[0].places, other.places, fillvalue="nothing"):
            if ours != theirs:
                raise UserError(
                    f"{sets[0].name} has {len(sets[0].lines):,} segments but {other.name} has {len(other.lines):,}, "
                    f"and where one has {ours} the other has {theirs}; take both sides of the same set"
                )


def _escaped(match: re.Match[str]) -> str:
    """Return the match escaped for HTMLParser, which by HTML's rules would decode `&copy=1` and take `<b` for a tag."""
    found = match[0]
    if found == "<":
        return "&lt;"
    return found if found[1:] in html5 else f"&amp;{found[1:]}"


class _Parser(HTMLParser):
    def __init__(self, name: str) -> None:
        super().__init__(convert_charrefs=True)
        self._set = Segments(name)
        self._document = ""
        self._number = 0
        self._text: list[str] | None = None
        """Text of the open segment, None outside a segment."""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Begin a document or segment."""
        self._refuse_open_segment()
        values = dict(attrs)
        if tag == "doc":
            self._open_document(values.get("docid") or "")
        elif tag == "seg":
            self._open_segment(values.get("id") or "")

    def handle_endtag(self, tag: str) -> None:
        """End a document or segment."""
        if tag == "seg":
            if self._text is None:
                raise self._fault("a segment ends that never began")
            self._set.lines.append(_BREAK.sub(" ", "".join(self._text)).strip(" \t\r\n"))
            self._text = None
            return
        self._refuse_open_segment()
        if tag == "doc":
            self._document = ""

    def handle_data(self, data: str) -> None:
        """Keep the text of segments and ignore other text."""
        if self._text is not None:
            self._text.append(data)

    def finished(self) -> Segments:
        """Return the segments after the file has ended.

        Raises UserError if there are none or something is not closed.
        """
        self._refuse_open_segment()
        if self._document:
            raise self._fault(f"document {self._document!r} is not closed")
        if not self._set.lines:
            raise UserError(f"{self._set.name} has no segments; name a WMT set in SGML, <seg> within <doc>")
        return self._set

    def _open_document(self, document: str) -> None:
        if self._document:
            raise self._fault(f"document {self._document!r} is not closed")
        if not document:
            raise self._fault("a document has no docid")
        self._document, self._number = document, 0

    def _open_segment(self, number: str) -> None:
        if not self._document:
            raise self._fault("a segment is outside any document")
        if not re.fullmatch("[0-9]{1,9}", number) or int(number) <= self._number:
            raise self._fault(f"segment {number!r} follows segment {self._number} of document {self._document!r}")
        self._number, self._text = int(number), []
        self._set.places.append(f"segment {self._number} of document {self._document!r}")

    def _refuse_open_segment(self) -> None:
        if self._text is not None:
            raise self._fault(f"segment {self._number} of document {self._document!r} is not closed")

    def _fault(self, what: str) -> UserError:
        return UserError(f"{self._set.name}, line {self.getpos()[0]:,}: {what}; get the set as it was published")
