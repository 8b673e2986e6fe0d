"""The corpora a recipe may name, declared as data.

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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

from common.corpus.archives import ARCHIVE
from common.corpus.bitext import Bitext
from common.corpus.fetch import File
from common.errors import UserError
from common.recipe import Data, is_path, read_yaml
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

    def choose(self, data: Data) -> Bitext:
        """What `data` reads of this corpus.

        Raises UserError for a language, a part or a development set that it does not have.
        """
        for key, language in (("source", data.source), ("target", data.target)):
            if language not in self.languages:
                raise UserError(f"data.{key} is `{language}`; {self.name} has {', '.join(self.languages)}")
        if data.source == data.target:
            raise UserError(f"data.source and data.target are both `{data.source}`; choose two languages")
        sets = _in_both(self.sets, data)
        development = self._development(data, sets)
        return Bitext(self, data.source, data.target, self._training_parts(data), sets, development, data.first)

    def _development(self, data: Data, sets: Mapping[str, Part]) -> tuple[str, ...]:
        """Names of the sets that make up the development set."""
        names = data.valid or (("valid",) if "valid" in self.sets else ())
        if not names:
            raise UserError(
                f"data.valid is empty and {self.name} has no set `valid`; name some of {', '.join(self.sets)}"
            )
        if unknown := [name for name in names if name not in sets]:
            raise UserError(f"data.valid: {self.name} has no set `{unknown[0]}`; it has {', '.join(sets)}")
        return names

    def _training_parts(self, data: Data) -> dict[str, Part]:
        """The training parts that `data` names, in its order, or all that have both languages."""
        pair, found = f"{data.source}-{data.target}", _in_both(self.train, data)
        for name in data.parts:
            if name not in self.train:
                known = ", ".join(self.train)
                raise UserError(f"data.parts: {self.name} has no part `{name}`; it has {known}; [] takes all")
            if name not in found:
                raise UserError(f"data.parts: `{name}` of {self.name} has no {pair} text")
        if not found:
            raise UserError(f"{self.name} has no {pair} training text")
        return {name: found[name] for name in data.parts or found}


def _in_both(named: Mapping[str, Sequence[Part]], data: Data) -> dict[str, Part]:
    """Of each the first variant that has both languages, if there is one."""
    first = {
        name: next((part for part in variants if {data.source, data.target} <= part.sides.keys()), None)
        for name, variants in named.items()
    }
    return {name: part for name, part in first.items() if part}


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
