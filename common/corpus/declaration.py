"""The corpora a recipe may name, declared as data, and their sentence pairs.

A declaration is a YAML file: those in `declared/` are known by name, one of your own by its path. `train` has parts,
`sets` the development and test sets; each lists which file holds which language, and `files` where a file is to be had:

    title: My corpus                      train: {en: train.en, fr: train.fr}
    valid: {en: valid.en, fr: valid.fr}   # four paths beside this file are a whole declaration

`generated: true` marks text that a program made; every table and page with its scores then says so.
A path is a file on this machine or, where `files` has it, a public one; after a space comes the member of an archive.
What it holds is UTF-8 with one sentence a line, or a set in WMT's SGML; compressed by gzip, xz, bzip2 or not.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

from common.corpus.archives import ARCHIVE, Stream
from common.corpus.fetch import File, fetch_all
from common.corpus.lines import Block, open_text, parallel_blocks, parallel_lines
from common.corpus.sgml import is_sgml
from common.errors import UserError
from common.files import checksum
from common.recipe import Data, Estimate, is_path, read_yaml
from common.typed import checked

DECLARED = Path(__file__).parent / "declared"
"""Declarations known by their file's name."""


@dataclass(frozen=True)
class Place:
    """Where the lines of one side are: a file, or a member of an archive."""

    file: str
    """Its name under `files`, or else a path on this machine."""
    member: str | None = None

    def __str__(self) -> str:
        return f"{self.file}{f' {self.member}' if self.member else ''}"


@dataclass(frozen=True)
class Part:
    """Text that belongs together, in two or more languages, line by line."""

    sides: Mapping[str, Place]
    """By language code."""
    pairs: int | None = None
    """How many lines the declaration expects; a difference is reported and stops nothing."""

    def names(self, data: Data) -> tuple[str, str]:
        """What messages call the source and the target side."""
        return str(self.sides[data.source]), str(self.sides[data.target])


@dataclass(frozen=True)
class Corpus:
    """A parallel corpus: where it is, whose it is, what parts it has."""

    name: str
    title: str
    """As tables and reports call it."""
    licence: str
    citation: str
    train: Mapping[str, Sequence[Part]] = field(default_factory=dict)
    """By name; of a part's variants, the first that has both languages is read."""
    sets: Mapping[str, Sequence[Part]] = field(default_factory=dict)
    """Development and test sets. One called `valid` is the development set where a recipe names none."""
    files: Mapping[str, File] = field(default_factory=dict)
    """Public files by name."""
    folder: Path = DECLARED
    """Where paths on this machine start."""
    generated: bool = False
    """Made by a program rather than written by people: to be said wherever its scores appear."""

    @property
    def languages(self) -> tuple[str, ...]:
        """Codes of all languages, in the order of their first appearance."""
        variants = [part for named in (self.train, self.sets) for parts in named.values() for part in parts]
        return tuple(dict.fromkeys(language for part in variants for language in part.sides))

    def _choose(self, named: Mapping[str, Sequence[Part]], name: str, data: Data) -> Part | None:
        return next((part for part in named[name] if {data.source, data.target} <= part.sides.keys()), None)

    def training_parts(self, data: Data) -> dict[str, Part]:
        """The parts `data` asks for by name, in its order, or all that have both languages.

        Raises UserError for an unknown name, a part without the languages, none at all.
        """
        found = {name: self._choose(self.train, name, data) for name in self._known(self.train, data.parts, "parts")}
        missing = [name for name in data.parts if found[name] is None]
        if missing:
            raise UserError(f"data.parts: `{missing[0]}` of {self.name} has no {data.source}-{data.target} text")
        return {name: part for name, part in found.items() if part}

    def expected(self, data: Data) -> dict[str, int]:
        """How many pairs `data` reads of each training part, as far as the declaration tells."""
        expected: dict[str, int] = {}
        for name, part in self.training_parts(data).items():
            if part.pairs is not None:
                left = part.pairs if data.first is None else data.first - sum(expected.values())
                expected[name] = min(part.pairs, left)
            elif data.first is not None:
                break  # how many it leaves for the parts after it is not known
        return expected

    def held_out(self, data: Data) -> dict[str, Part]:
        """All development and test sets that have both languages."""
        found = {name: self._choose(self.sets, name, data) for name in self.sets}
        return {name: part for name, part in found.items() if part}

    def development(self, data: Data) -> tuple[str, ...]:
        """Names of the sets that make up the development set; UserError when one is not there."""
        names = data.valid or (("valid",) if "valid" in self.sets else ())
        if not names:
            raise UserError(
                f"data.valid is empty and {self.name} has no set `valid`; name some of {', '.join(self.sets)}"
            )
        there = self.held_out(data)
        if unknown := [name for name in names if name not in there]:
            raise UserError(f"data.valid: {self.name} has no set `{unknown[0]}`; it has {', '.join(there)}")
        return names

    def _known(self, named: Mapping[str, Any], names: Sequence[str], key: str) -> Sequence[str]:
        if unknown := [name for name in names if name not in named]:
            raise UserError(
                f"data.{key}: {self.name} has no part `{unknown[0]}`; it has {', '.join(named)}; [] takes all"
            )
        return names or list(named)


def declared_names() -> list[str]:
    """Names of the corpora that need no path."""
    return sorted(path.stem for path in DECLARED.glob("*.yaml"))


def find_corpus(name: str) -> Corpus:
    """The corpus declared under that name, or in the YAML file it is the path of; UserError naming those there are."""
    path = Path(name) if is_path(name) else DECLARED / f"{name}.yaml"
    if not path.is_file():
        raise UserError(
            f"data.corpus is `{name}`; the corpora are {', '.join(declared_names())}, or give the path of a YAML file"
        )
    return read_declaration(path)


def read_declaration(path: Path) -> Corpus:
    """The corpus a YAML file declares; UserError naming the file and what is wrong with it."""
    values = read_yaml(path)
    known = {"title", "licence", "citation", "generated", "train", "sets", "valid", "test", "files"}
    if not isinstance(values, dict) or not {"title", "train"} <= values.keys() <= known:
        raise UserError(f"{path}: a corpus has the keys title, train, and any of {', '.join(sorted(known))}")
    where = str(path)
    try:
        sets, more = {name: values[name] for name in ("valid", "test") if name in values}, values.get("sets", {})
        if twice := [name for name in sets if name in more]:
            raise UserError(f"{where}: the set `{twice[0]}` is declared twice, by itself and under `sets`; remove one")
        sets |= more
        train = values["train"]
        if all(not isinstance(item, (list, dict)) for item in train.values()):
            train = {"train": train}
        _check_names([*train], f"{where}: part")
        _check_names([*sets, "train"], f"{where}: set")
        return Corpus(
            name=path.stem,
            title=checked(str, values["title"], "title", where),
            licence=checked(str, values.get("licence", "not stated"), "licence", where),
            citation=checked(str, values.get("citation", "not stated"), "citation", where),
            train={name: _parts(item, name, where) for name, item in train.items()},
            sets={name: _parts(item, name, where) for name, item in sets.items()},
            files={name: _file(path.stem, name, facts) for name, facts in values.get("files", {}).items()},
            folder=path.resolve().parent,
            generated=checked(bool, values.get("generated", False), "generated", where),
        )
    except (AttributeError, TypeError, KeyError, ValueError) as error:
        raise UserError(f"{path}: not a declaration as common/corpus/declaration.py describes it ({error})") from None


def _check_names(names: Sequence[str], what: str) -> None:
    """UserError unless all names can be those of files in one folder."""
    for name in names:
        if not re.fullmatch(r"\w[\w.+-]*", name):
            raise UserError(f"{what} `{name}`: write a name of letters, digits, `_`, `.`, `+` and `-`")
    for one, other in combinations(names, 2):
        if one.casefold() == other.casefold():
            raise UserError(f"{what} `{one}`: the name `{other}` is taken; choose another")


def _parts(item: Any, name: str, where: str) -> list[Part]:
    parts = []
    for variant in item if isinstance(item, list) else [item]:
        pairs = checked(int | None, variant.get("pairs"), f"{name}.pairs", where)
        texts = {language: text for language, text in variant.items() if language != "pairs"}
        _check_names([*texts], f"{where}: language")
        sides = {language: _place(checked(str, text, f"{name}.{language}", where)) for language, text in texts.items()}
        if len(sides) < 2:
            raise ValueError(f"{variant} has fewer than two languages")
        for one, other in combinations(sides, 2):
            if sides[one] == sides[other]:
                raise UserError(f"{where}: {name} has the same text for {one} and {other}; {_apart(sides[one])}")
        parts.append(Part(sides, pairs))
    return parts


def _apart(place: Place) -> str:
    """How to get the text of each language from a file that holds both."""
    name = str(place).lower()
    if ".tsv" in name:
        return f"make a file of each column, with cut -f1 and cut -f2 of {place}, and name those"
    if ".tmx" in name:
        return f"convert {place} to two text files with one sentence a line, and name those"
    return "name a file for each language"


def _place(text: str) -> Place:
    """`ARCHIVE MEMBER`, or a path, in which a space is a space. Other names for the same file become one."""
    archive = ARCHIVE.fullmatch(text)
    file, member = archive.groups() if archive else (text, None)
    return Place(os.path.normpath(os.path.expanduser(file)), member)


def _file(corpus: str, name: str, facts: Mapping[str, Any]) -> File:
    if os.path.isabs(name) or ".." in Path(name).parts:
        raise ValueError(f"{name} is no name within a folder of downloads")
    urls = facts["url"] if isinstance(facts["url"], list) else [facts["url"]]
    sums = {key: facts.get(key) for key in ("size", "sha256", "md5")}
    if not (sums["sha256"] or sums["md5"]):
        raise ValueError(f"{name} has neither sha256 nor md5")
    return File(tuple(urls), f"{corpus}/{name}", **sums)


def check_languages(data: Data) -> Corpus:
    """The corpus of `data`; UserError when it is unknown or lacks a language, a part or a development set."""
    corpus = find_corpus(data.corpus)
    for key, language in (("source", data.source), ("target", data.target)):
        if language not in corpus.languages:
            raise UserError(f"data.{key} is `{language}`; {corpus.name} has {', '.join(corpus.languages)}")
    if data.source == data.target:
        raise UserError(f"data.source and data.target are both `{data.source}`; choose two languages")
    corpus.development(data)
    if not corpus.training_parts(data):
        raise UserError(f"{corpus.name} has no {data.source}-{data.target} training text")
    return corpus


def texts_read(corpus: Corpus, data: Data) -> dict[str, Any]:
    """What `data` reads of the corpus: places of source and target of each training part in turn and of each set.

    Training parts are a list, for their order matters; `valid` names the sets that together are the development set.
    """
    return {
        "train": [[name, *part.names(data)] for name, part in corpus.training_parts(data).items()],
        "sets": {name: part.names(data) for name, part in corpus.held_out(data).items()},
        "valid": corpus.development(data),
    }


def _places(corpus: Corpus, data: Data) -> list[Place]:
    parts = [*corpus.training_parts(data).values(), *corpus.held_out(data).values()]
    return [part.sides[language] for part in parts for language in (data.source, data.target)]


def public_files(corpus: Corpus, data: Data) -> list[File]:
    """The public files that `data` needs, each once."""
    names = dict.fromkeys(place.file for place in _places(corpus, data) if place.file in corpus.files)
    return [corpus.files[name] for name in names]


def input_sums(data: Data) -> dict[str, str]:
    """Checksum of everything the corpus of `data` is made from, by name of the file."""
    corpus = check_languages(data)
    names = dict.fromkeys(place.file for place in _places(corpus, data))
    try:
        return {
            name: corpus.files[name].checksum[1] if name in corpus.files else checksum(corpus.folder / name)
            for name in names
        }
    except OSError as error:
        raise UserError(f"{error.filename}: {error.strerror}; {corpus.name} names this file") from None


def disk_needed(corpus: Corpus, data: Data, estimate: Estimate) -> tuple[int, int]:
    """Bytes of the public files of `data`, as far as their sizes are known, and of its preparation while it runs.

    The second is an estimate from the pairs to be read and the recipe's mean lengths: a token takes 4 bytes as a word
    number (shards.tokenise) and then 2 or 4 as an id, each shard lists its words, and a pair has two offsets.
    """
    expected = corpus.expected(data)
    known = len(expected) == len(corpus.training_parts(data))
    pairs = sum(expected.values()) if known else min(estimate.pairs, data.first or estimate.pairs)
    tokens = estimate.source_tokens + estimate.target_tokens
    return sum(file.size or 0 for file in public_files(corpus, data)), round(pairs * (8 * tokens + 100))


def download(corpus: Corpus, data: Data, cache: Path) -> dict[str, Path]:
    """Verified copies of the public files that `data` needs, by name."""
    paths = fetch_all(public_files(corpus, data), cache)
    return {name: paths[file.path] for name, file in corpus.files.items() if file.path in paths}


def read_set(corpus: Corpus, data: Data, name: str, paths: Mapping[str, Path]) -> tuple[list[str], list[str]]:
    """Source and target sentences of a development or test set, untokenised, line by line.

    paths: of public files, by name. Raises UserError for text that is not UTF-8, sides of unequal length, no text.
    """
    part = corpus.held_out(data)[name]
    with _open(corpus, part.sides[data.source], paths) as one, _open(corpus, part.sides[data.target], paths) as other:
        source, target = parallel_lines((one, other), part.names(data))
    return source, target


def read_blocks(
    corpus: Corpus, data: Data, name: str, paths: Mapping[str, Path], size: int, most: int | None = None
) -> Iterator[Block]:
    """A training part in blocks of `size` lines. most: only the first so many lines of it, None for all."""
    if most == 0:
        return
    part = corpus.training_parts(data)[name]
    names = part.names(data)
    with _open(corpus, part.sides[data.source], paths) as one, _open(corpus, part.sides[data.target], paths) as other:
        if any(is_sgml(stream.head, stream.name) for stream in (one, other)):
            blocks = _blocks(parallel_lines((one, other), names), size)
        else:
            blocks = parallel_blocks(one, other, size, names)
        yield from blocks if most is None else _first(blocks, most)


def _first(blocks: Iterable[Block], most: int) -> Iterator[Block]:
    """The blocks up to line number `most`, which ends the last of them; nothing is read beyond."""
    for number, source, target, lines in blocks:
        if lines >= most:
            first, others = (b"\n".join(side.split(b"\n", most)[:most]) + b"\n" for side in (source, target))
            yield number, first, others, most
            return
        yield number, source, target, lines
        most -= lines


def _blocks(sides: Sequence[Sequence[str]], size: int) -> Iterator[Block]:
    """As `parallel_blocks`, of lines that are in memory."""
    for number, start in enumerate(range(0, len(sides[0]), size)):
        block = [side[start : start + size] for side in sides]
        source, target = ("".join(f"{line}\n" for line in side).encode() for side in block)
        yield number, source, target, len(block[0])


def _open(corpus: Corpus, place: Place, paths: Mapping[str, Path]) -> AbstractContextManager[Stream]:
    return open_text(paths.get(place.file, corpus.folder / place.file), place.member)
