"""The text of a corpus in one pair of languages: its files, its parts and sets, and how their pairs are read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.corpus.archives import Stream
from common.corpus.declaration import Corpus, Part, find_corpus
from common.corpus.fetch import File, fetch_all
from common.corpus.lines import LineBlock, open_text, parallel_blocks, parallel_lines
from common.corpus.sgml import is_sgml
from common.errors import UserError
from common.files import checksum
from common.recipe import Data

Paths = Mapping[str, Path]
"""Paths of public files by name, as `Bitext.download` returns them. A file that is not in it is a local file."""


@dataclass(frozen=True)
class Bitext:
    """The text that a recipe's data section selects from a corpus. `choose` makes it."""

    corpus: Corpus
    source: str
    """Language code of the source side."""
    target: str
    parts: Mapping[str, Part]
    """Training parts by name, in reading order."""
    sets: Mapping[str, Part]
    """All development and test sets by name."""
    development: tuple[str, ...]
    """Names of the sets that together are the development set."""
    first: int | None
    """Number of training pairs to read, counted over the parts in order. None reads all."""

    def names(self, part: Part) -> tuple[str, str]:
        """Return the names of the source and the target side of a part or set, for messages."""
        return str(part.sides[self.source]), str(part.sides[self.target])

    @property
    def texts(self) -> dict[str, Any]:
        """Locations of source and target for each training part in order and for each set, as plain values.

        Training parts are a list because their order matters. `valid` names the sets that are the development set.
        """
        return {
            "train": [[name, *self.names(part)] for name, part in self.parts.items()],
            "sets": {name: list(self.names(part)) for name, part in self.sets.items()},
            "valid": list(self.development),
        }

    @property
    def expected(self) -> dict[str, int]:
        """Number of pairs that are read of each training part, as far as the declaration states it."""
        expected: dict[str, int] = {}
        for name, part in self.parts.items():
            if part.pairs is not None:
                left = part.pairs if self.first is None else self.first - sum(expected.values())
                expected[name] = min(part.pairs, left)
            elif self.first is not None:
                break  # how many pairs this part leaves for the later ones is not known
        return expected

    @property
    def files(self) -> list[str]:
        """Names of all files that are read, without repetition."""
        parts = (*self.parts.values(), *self.sets.values())
        return [*dict.fromkeys(part.sides[side].file for part in parts for side in (self.source, self.target))]

    @property
    def public_files(self) -> list[File]:
        """Those of `files` that are downloaded."""
        return [self.corpus.files[name] for name in self.files if name in self.corpus.files]

    def sums(self) -> dict[str, str]:
        """Return the checksums of all files by name.

        A local file's is computed now, a public file's is the published one.
        Raises UserError for a local file that cannot be read.
        """
        corpus = self.corpus
        try:
            return {
                name: corpus.files[name].checksum[1] if name in corpus.files else checksum(corpus.folder / name)
                for name in self.files
            }
        except OSError as error:
            declaration = corpus.folder / f"{corpus.name}.yaml"
            raise UserError(
                f"{error.filename}: {error.strerror}; {declaration} names this file: put it there, or correct its path"
            ) from None

    def bytes_needed(self, pairs: int, tokens: float) -> tuple[int, int]:
        """Return the bytes to download, as far as sizes are known, and the bytes that preparation writes to the disk.

        pairs: number of training pairs, used if the declaration does not state it. tokens: of a pair, both sides
        together. The second number is an estimate. A token takes 4 bytes as a word number and then 2 or 4 as an id.
        Each shard also lists its words, and a pair has two offsets.
        """
        expected = self.expected
        known = len(expected) == len(self.parts)
        pairs = sum(expected.values()) if known else min(pairs, self.first or pairs)
        return sum(file.size or 0 for file in self.public_files), round(pairs * (8 * tokens + 100))

    def download(self, cache: Path) -> Paths:
        """Download and verify the public files. Returns the paths of their copies by name."""
        paths = fetch_all(self.public_files, cache)
        return {name: paths[file.path] for name, file in self.corpus.files.items() if file.path in paths}

    def read(self, name: str, paths: Paths) -> tuple[list[str], list[str]]:
        """Return the source and target sentences of a development or test set, untokenised, line by line.

        Raises UserError for text that is not UTF-8, for sides of unequal length, and for empty text.
        """
        part = self.sets[name]
        with self._open(part, paths) as streams:
            source, target = parallel_lines(streams, self.names(part))
        return source, target

    def blocks(self, name: str, size: int, paths: Paths, most: int | None = None) -> Iterator[LineBlock]:
        """Yield a training part in blocks of `size` lines. most: stop after so many lines; None reads all."""
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
        """Open the streams of both sides."""
        with ExitStack() as stack:
            places = (part.sides[self.source], part.sides[self.target])
            source, target = (
                stack.enter_context(open_text(paths.get(place.file, self.corpus.folder / place.file), place.member))
                for place in places
            )
            yield source, target


def _first(blocks: Iterable[LineBlock], most: int) -> Iterator[LineBlock]:
    """Yield the blocks up to line number `most`, at which the last block is cut. Nothing beyond it is read."""
    for number, source, target, lines in blocks:
        if lines >= most:
            first, others = (b"\n".join(side.split(b"\n", most)[:most]) + b"\n" for side in (source, target))
            yield number, first, others, most
            return
        yield number, source, target, lines
        most -= lines


def _blocks(sides: Sequence[Sequence[str]], size: int) -> Iterator[LineBlock]:
    """Yield blocks as `parallel_blocks` does, from lines in memory."""
    for number, start in enumerate(range(0, len(sides[0]), size)):
        block = [side[start : start + size] for side in sides]
        source, target = ("".join(f"{line}\n" for line in side).encode() for side in block)
        yield number, source, target, len(block[0])


def choose(data: Data) -> Bitext:
    """Return the text that `data` selects from the corpus it names.

    Raises UserError for an unknown corpus, and for a language, a part or a development set that it does not have.
    """
    corpus = find_corpus(data.corpus)
    for key, language in (("source", data.source), ("target", data.target)):
        if language not in corpus.languages:
            raise UserError(f"data.{key} is `{language}`; {corpus.name} has {', '.join(corpus.languages)}")
    if data.source == data.target:
        raise UserError(f"data.source and data.target are both `{data.source}`; choose two languages")
    sets = _in_both(corpus.sets, data)
    development = _development(corpus, data, sets)
    return Bitext(corpus, data.source, data.target, _training_parts(corpus, data), sets, development, data.first)


def _development(corpus: Corpus, data: Data, sets: Mapping[str, Part]) -> tuple[str, ...]:
    """Return the names of the sets that together are the development set."""
    names = data.valid or (("valid",) if "valid" in corpus.sets else ())
    if not names:
        known = ", ".join(corpus.sets)
        raise UserError(f"data.valid is empty and {corpus.name} has no set `valid`; name some of {known}")
    if unknown := [name for name in names if name not in sets]:
        raise UserError(f"data.valid: {corpus.name} has no set `{unknown[0]}`; it has {', '.join(sets)}")
    return names


def _training_parts(corpus: Corpus, data: Data) -> dict[str, Part]:
    """Return the training parts that `data` names, in its order, or all that have both languages."""
    pair, found = f"{data.source}-{data.target}", _in_both(corpus.train, data)
    for name in data.parts:
        if name not in corpus.train:
            known = ", ".join(corpus.train)
            raise UserError(f"data.parts: {corpus.name} has no part `{name}`; it has {known}; [] takes all")
        if name not in found:
            raise UserError(f"data.parts: `{name}` of {corpus.name} has no {pair} text")
    if not found:
        raise UserError(f"{corpus.name} has no {pair} training text")
    return {name: found[name] for name in data.parts or found}


def _in_both(named: Mapping[str, Sequence[Part]], data: Data) -> dict[str, Part]:
    """Return for each name the first variant that has both languages. A name without one is left out."""
    first = {
        name: next((part for part in variants if {data.source, data.target} <= part.sides.keys()), None)
        for name, variants in named.items()
    }
    return {name: part for name, part in first.items() if part}
