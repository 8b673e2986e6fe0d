"""The corpora that a recipe can name, declared as data.

A declaration is a YAML file. The files in `declared/` are known by name, one of your own by its path. `train` has
parts, and `sets` has the development and test sets. Each of them says which file holds which language. `files` gives
the addresses of public files:

    title: My corpus                      train: {en: train.en, fr: train.fr}
    valid: {en: valid.en, fr: valid.fr}   # four paths beside this file are a whole declaration

`generated: true` marks text that a program made. Every table and page with its scores then says so.
A path is a public file if `files` has it, otherwise a file on this machine. The member of an archive follows after a
space. A file of trees (`.mrg`, `.tree`) has two sides, which follow after a space too: `train.mrg words` are its
sentences, and `train.mrg brackets` its trees (common/trees/linear.py). Any other file holds UTF-8 text with one
sentence a line, or a set in WMT's SGML. All may be compressed by gzip, xz or bzip2.
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
from common.corpus.fetch import File
from common.errors import UserError
from common.trees.linear import TREEBANK
from common.typed import checked
from common.yaml_files import is_path, read_yaml

DECLARED = Path(__file__).parent / "declared"
"""Folder of the declarations that are known by their file's name."""


@dataclass(frozen=True)
class Place:
    """The location of one side's lines: a file, or a member of an archive."""

    file: str
    """Name of the file under `files`, or else a path on this machine."""
    member: str | None = None

    def __str__(self) -> str:
        return f"{self.file}{f' {self.member}' if self.member else ''}"


@dataclass(frozen=True)
class Part:
    """Parallel text in two or more languages: line i of one translates line i of the others."""

    sides: Mapping[str, Place]
    """Location of each language's lines, by language code."""
    pairs: int | None = None
    """Number of lines that the declaration expects. A difference is reported, but the program goes on."""


@dataclass(frozen=True)
class Corpus:
    """A parallel corpus: its files, its licence and citation, its parts and sets."""

    name: str
    title: str
    """Name of the corpus in tables and reports."""
    licence: str
    citation: str
    train: Mapping[str, Sequence[Part]] = field(default_factory=dict)
    """Training parts by name. If a part has variants, the first one that has both languages is read."""
    sets: Mapping[str, Sequence[Part]] = field(default_factory=dict)
    """Development and test sets by name. `valid` is the development set if a recipe names none."""
    files: Mapping[str, File] = field(default_factory=dict)
    """Public files by name."""
    folder: Path = DECLARED
    """Folder in which relative paths of local files start."""
    generated: bool = False
    """Whether a program made the text and not people. This must be said wherever its scores appear."""

    @property
    def languages(self) -> tuple[str, ...]:
        """Codes of all languages, in the order in which they first appear."""
        variants = [part for named in (self.train, self.sets) for parts in named.values() for part in parts]
        return tuple(dict.fromkeys(language for part in variants for language in part.sides))


def declared_names() -> list[str]:
    """Return the names of the corpora that need no path."""
    return sorted(path.stem for path in DECLARED.glob("*.yaml"))


def find_corpus(name: str) -> Corpus:
    """Return the corpus of that name, or of the YAML file at that path. Raises UserError listing the known names."""
    path = Path(name) if is_path(name) else DECLARED / f"{name}.yaml"
    if not path.is_file():
        raise UserError(
            f"data.corpus is `{name}`; the corpora are {', '.join(declared_names())}, or give the path of a YAML file"
        )
    return read_declaration(path)


def read_declaration(path: Path) -> Corpus:
    """Return the corpus that a YAML file declares. Raises UserError naming the file and what is wrong with it."""
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
    """Raise UserError unless all names can be names of different files in one folder."""
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
        if pairs is not None and pairs < 0:
            raise UserError(f"{where}: {name}.pairs is {pairs}; write how many there are, or nothing")
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
    """Return the advice on how to separate the languages of a file that holds both."""
    name = str(place).lower()
    if ".tsv" in name:
        return f"make a file of each column, with cut -f1 and cut -f2 of {place}, and name those"
    if ".tmx" in name:
        return f"convert {place} to two text files with one sentence a line, and name those"
    return "name a file for each language"


def _place(text: str) -> Place:
    """Return the location that `ARCHIVE MEMBER` or a path names. Spellings of one path give the same Place."""
    if "\0" in text:
        raise ValueError(f"{text!r} is no path")
    named = ARCHIVE.fullmatch(text) or TREEBANK.fullmatch(text)
    file, member = named.groups() if named else (text, None)
    return Place(os.path.normpath(os.path.expanduser(file)), member)


def _file(corpus: str, name: str, facts: Mapping[str, Any]) -> File:
    if os.path.isabs(name) or ".." in Path(name).parts:
        raise ValueError(f"{name} is no name within a folder of downloads")
    urls = facts["url"] if isinstance(facts["url"], list) else [facts["url"]]
    sums = {key: facts.get(key) for key in ("size", "sha256", "md5")}
    if not (sums["sha256"] or sums["md5"]):
        raise ValueError(f"{name} has neither sha256 nor md5")
    return File(tuple(urls), f"{corpus}/{name}", **sums)
