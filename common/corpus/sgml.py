"""Test sets as WMT published them up to 2019: SGML with documents of numbered segments."""

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
"""What looks like markup and may be text: `<` before no tag of the format, `&` before no numeric reference."""
_BEGINNING = re.compile(
    rb"\s*(?:(?:<!--(?:(?!-->).)*-->|<\?[^>]*>|<![a-z][^>]*>)\s*)*<(?:srcset|refset|tstset|mteval)[\s>]",
    re.IGNORECASE | re.DOTALL,
)
"""A set's tag, after declarations and comments."""
_SUFFIX = re.compile(r"\.sgml?(\.(gz|xz|bz2))?$", re.IGNORECASE)
_BREAK = re.compile(r"[ \t]*[\r\n][ \t\r\n]*")


@dataclass
class Segments:
    """The segments of a source, reference or system set in the order of the file, each on one line, empty ones kept."""

    name: str
    lines: list[str] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    """Document and number of each segment, as a message says them."""


def is_sgml(head: bytes, name: str) -> bool:
    """Whether a file is of this format: by how it begins, after any declarations, or else by its name."""
    return bool(_BEGINNING.match(head) or _SUFFIX.search(name))


def read_sgml(text: str, name: str) -> Segments:
    """The segments of a set.

    Entities are decoded where they are complete: `&amp;` and `&#38;` are an ampersand, `AT&T` and `&copy=1` are as
    they stand, and so is a `<` that begins no tag of the format. Line breaks inside a segment become a space.
    Raises UserError, with `name` and line, for what has no segments, leaves a segment or document open, or numbers
    segments out of order.
    """
    parser = _Parser(name)
    parser.feed(_TEXT.sub(_escaped, text))
    parser.close()
    return parser.finished()


def check_same_segments(sets: Sequence[Segments]) -> None:
    """Raise UserError unless the documents and numbers of all are those of the first."""
    for other in sets[1:]:
        for ours, theirs in zip_longest(sets[0].places, other.places, fillvalue="nothing"):
            if ours != theirs:
                raise UserError(
                    f"{sets[0].name} has {len(sets[0].lines):,} segments but {other.name} has {len(other.lines):,}, "
                    f"and where one has {ours} the other has {theirs}; take both sides of the same set"
                )


def _escaped(match: re.Match[str]) -> str:
    """As HTMLParser has to find it: by HTML's rules it would decode `&copy=1` and take `<b` for a tag."""
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
        """Of the open segment; None outside."""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """A document or segment begins."""
        self._refuse_open_segment()
        values = dict(attrs)
        if tag == "doc":
            self._open_document(values.get("docid") or "")
        elif tag == "seg":
            self._open_segment(values.get("id") or "")

    def handle_endtag(self, tag: str) -> None:
        """A document or segment ends."""
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
        """Text, of which only that of segments counts."""
        if self._text is not None:
            self._text.append(data)

    def finished(self) -> Segments:
        """What was read, once the file has ended."""
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
