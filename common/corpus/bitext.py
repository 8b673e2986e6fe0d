"""The text of a corpus in one pair of languages: which files, which parts and sets, and how their pairs are read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.corpus.archives import Stream
from common.corpus.fetch import File, fetch_all
from common.corpus.lines import LineBlock, open_text, parallel_blocks, parallel_lines
from common.corpus.sgml import is_sgml
from common.errors import UserError
from common.files import checksum

if TYPE_CHECKING:
    from common.corpus.declaration import Corpus, Part

Paths = Mapping[str, Path]
"""Public files by name, as `Bitext.download` gives them; a file that has no path here is one of this machine."""


@dataclass(frozen=True)
class Bitext:
    """What a recipe's data section reads of a corpus; `Corpus.choose` makes it."""

    corpus: Corpus
    source: str
    """Language code of the source side."""
    target: str
    parts: Mapping[str, Part]
    """Training parts by name, in the order they are read."""
    sets: Mapping[str, Part]
    """All development and test sets by name."""
    development: tuple[str, ...]
    """The sets that together are the development set."""
    first: int | None
    """Only so many training pairs are read, counted over the parts in order; None reads all."""

    def names(self, part: Part) -> tuple[str, str]:
        """What messages call the source and the target side of a part or set."""
        return str(part.sides[self.source]), str(part.sides[self.target])

    @property
    def texts(self) -> dict[str, Any]:
        """Places of source and target of each training part in turn and of each set, as plain values.

        Training parts are a list, for their order matters; `valid` names the sets that make up the development set.
        """
        return {
            "train": [[name, *self.names(part)] for name, part in self.parts.items()],
            "sets": {name: list(self.names(part)) for name, part in self.sets.items()},
            "valid": list(self.development),
        }

    @property
    def expected(self) -> dict[str, int]:
        """How many pairs are read of each training part, as far as the declaration tells."""
        expected: dict[str, int] = {}
        for name, part in self.parts.items():
            if part.pairs is not None:
                left = part.pairs if self.first is None else self.first - sum(expected.values())
                expected[name] = min(part.pairs, left)
            elif self.first is not None:
                break  # how many it leaves for the parts after it is not known
        return expected

    @property
    def files(self) -> list[str]:
        """Names of all files that are read, each once."""
        parts = (*self.parts.values(), *self.sets.values())
        return [*dict.fromkeys(part.sides[side].file for part in parts for side in (self.source, self.target))]

    @property
    def public_files(self) -> list[File]:
        """Those that are downloaded."""
        return [self.corpus.files[name] for name in self.files if name in self.corpus.files]

    def sums(self) -> dict[str, str]:
        """Checksums of all files by name: the published one, or that of the file as it is now.

        Raises UserError for a file of this machine that cannot be read.
        """
        corpus = self.corpus
        try:
            return {
                name: corpus.files[name].checksum[1] if name in corpus.files else checksum(corpus.folder / name)
                for name in self.files
            }
        except OSError as error:
            raise UserError(f"{error.filename}: {error.strerror}; {corpus.name} names this file") from None

    def bytes_needed(self, pairs: int, tokens: float) -> tuple[int, int]:
        """Bytes to download, as far as the sizes are known, and bytes that preparation takes on the disk.

        pairs: how many there are in training where the declaration does not tell; tokens: of a pair, both sides.
        The second is an estimate: a token takes 4 bytes as a word number and then 2 or 4 as an id, each shard lists
        its words, and a pair has two offsets.
        """
        expected = self.expected
        known = len(expected) == len(self.parts)
        pairs = sum(expected.values()) if known else min(pairs, self.first or pairs)
        return sum(file.size or 0 for file in self.public_files), round(pairs * (8 * tokens + 100))

    def download(self, cache: Path) -> Paths:
        """Verified copies of the public files, by name."""
        paths = fetch_all(self.public_files, cache)
        return {name: paths[file.path] for name, file in self.corpus.files.items() if file.path in paths}

    def read(self, name: str, paths: Paths) -> tuple[list[str], list[str]]:
        """Source and target sentences of a development or test set, untokenised, line by line.

        Raises UserError for text that is not UTF-8, sides of unequal length, no text.
        """
        part = self.sets[name]
        with self._open(part, paths) as streams:
            source, target = parallel_lines(streams, self.names(part))
        return source, target

    def blocks(self, name: str, size: int, paths: Paths, most: int | None = None) -> Iterator[LineBlock]:
        """A training part in blocks of `size` lines. most: only the first so many lines of it, None for all."""
        if most == 0:
            return
        part = self.parts[name]
        names = self.names(part)
        with self._open(part, paths) as (source, target):
            if any(is_sgml(stream.head, stream.name) for stream in (source, target)):
                blocks = _blocks(parallel_lines((source, target), names), size)
            else:
                blocks = parallel_blocks(source, target, size, names)
            yield from blocks if most is None else _first(blocks, most)

    @contextmanager
    def _open(self, part: Part, paths: Paths) -> Iterator[tuple[Stream, Stream]]:
        """The streams of both sides."""
        with ExitStack() as stack:
            places = (part.sides[self.source], part.sides[self.target])
            source, target = (
                stack.enter_context(open_text(paths.get(place.file, self.corpus.folder / place.file), place.member))
                for place in places
            )
            yield source, target


def _first(blocks: Iterable[LineBlock], most: int) -> Iterator[LineBlock]:
    """The blocks up to line number `most`, which ends the last of them; nothing is read beyond."""
    for number, source, target, lines in blocks:
        if lines >= most:
            first, others = (b"\n".join(side.split(b"\n", most)[:most]) + b"\n" for side in (source, target))
            yield number, first, others, most
            return
        yield number, source, target, lines
        most -= lines


def _blocks(sides: Sequence[Sequence[str]], size: int) -> Iterator[LineBlock]:
    """As `parallel_blocks`, of lines that are in memory."""
    for number, start in enumerate(range(0, len(sides[0]), size)):
        block = [side[start : start + size] for side in sides]
        source, target = ("".join(f"{line}\n" for line in side).encode() for side in block)
        yield number, source, target, len(block[0])
