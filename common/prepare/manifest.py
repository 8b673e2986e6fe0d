"""manifest.json of a prepared folder: what went in, what came out, by which tools; written and read here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from common.files import write_json
from common.prepare.encoded import SIDES

NAME = "manifest.json"


@dataclass(frozen=True)
class SideCounts:
    """One language of a set."""

    tokens: int
    """Pieces of all sentences, their ends not counted."""
    mean_length: float
    """Pieces a sentence, its end counted."""
    unk_rate: float
    """Share of pieces without an id of their own."""
    vocabulary_words: int
    """Words of the vocabulary, EOS and UNK not counted."""
    words: int | None = None
    """Tokens before they were split; of the training text only."""
    word_types: int | None = None
    """How many of them are different; of the training text only."""

    @classmethod
    def of(cls, pairs: int, pieces: int, unknown: int, vocabulary_words: int) -> SideCounts:
        """From sums over all sentences."""
        return cls(pieces, round(pieces / pairs + 1, 4), round(unknown / max(pieces, 1), 6), vocabulary_words)


@dataclass(frozen=True)
class SetCounts:
    """A development or test set."""

    pairs: int
    source: SideCounts
    target: SideCounts


@dataclass(frozen=True)
class TrainCounts(SetCounts):
    """The training text."""

    parts: Mapping[str, Mapping[str, int]]
    """By part: pairs read, kept, left out for which reason."""
    types_learned_from: int | None = None
    """The most frequent types of words, from which sub-words were learned; None where words stay whole."""
    types: int | None = None
    """Types of words on both sides together; None where words stay whole."""
    piece_types: int | None = None
    """Types of sub-words that occur; None where words stay whole."""

    @property
    def dropped(self) -> dict[str, int]:
        """Pairs of all parts that were left out, by reason."""
        reasons = ("empty", "too_long", "ratio", "unselected")
        return {reason: sum(part.get(reason, 0) for part in self.parts.values()) for reason in reasons}


@dataclass(frozen=True)
class Counts:
    """What there is to count in all sets."""

    train: TrainCounts
    held_out: Mapping[str, SetCounts]
    """The development set `valid` and then the test sets, by name."""


@dataclass(frozen=True)
class Output:
    """A prepared file."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Step:
    """What a step of preparing took, in the attempt that finished."""

    step: str
    seconds: float
    peak_memory_bytes: int
    """Of all processes together."""


@dataclass(frozen=True)
class Manifest:
    """All that is known of a prepared corpus."""

    format: int
    corpus: str
    """Its name."""
    title: str
    generated: bool
    licence: str
    citation: str
    expected: Mapping[str, int]
    """Pairs of each training part, as far as the declaration tells."""
    data: Mapping[str, Any]
    text: Mapping[str, Any]
    """The two sections of the recipe that the files depend on."""
    tools: Mapping[str, str]
    """Versions."""
    texts: Mapping[str, Any]
    """As `Bitext.texts`."""
    inputs: Mapping[str, str]
    """Checksums of the files that were read."""
    counts: Counts
    warnings: tuple[str, ...]
    """Of text that may be the wrong one."""
    outputs: Mapping[str, Output]
    """By file name; this file and the summary are not among them."""
    steps: tuple[Step, ...]

    @classmethod
    def read(cls, directory: Path) -> Manifest:
        """What `write` wrote. Raises OSError, ValueError, KeyError or TypeError where it is missing or damaged."""
        values = json.loads((directory / NAME).read_text(encoding="utf-8"))
        counts = values["counts"]
        train = _set_counts(TrainCounts, counts.pop("train"))
        held_out = {name: _set_counts(SetCounts, facts) for name, facts in counts.items()}
        values["counts"] = Counts(train, held_out)
        values["warnings"] = tuple(values["warnings"])
        values["outputs"] = {name: Output(**facts) for name, facts in values["outputs"].items()}
        values["steps"] = tuple(Step(**step) for step in values["steps"])
        return cls(**values)

    def write(self, directory: Path) -> None:
        """Write the file into `directory`, complete or not at all."""
        write_json(directory / NAME, self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """The same as plain values, as the file has them."""
        sets = {"train": self.counts.train, **self.counts.held_out}
        return {**asdict(self), "counts": {name: _flat(counts) for name, counts in sets.items()}}


Kind = TypeVar("Kind", bound=SetCounts)


def _flat(counts: SetCounts) -> dict[str, Any]:
    """One mapping: `source_tokens` is the `tokens` of `source`; what there is not to count is left out."""
    flat: dict[str, Any] = {}
    for key, value in asdict(counts).items():
        flat |= {f"{key}_{name}": item for name, item in value.items()} if key in SIDES else {key: value}
    if isinstance(counts, TrainCounts):
        flat |= {f"dropped_{reason}": pairs for reason, pairs in counts.dropped.items()}
    return {key: value for key, value in flat.items() if value is not None}


def _set_counts(kind: type[Kind], flat: Mapping[str, Any]) -> Kind:
    """The counts that `_flat` gave."""
    names = [field.name for field in fields(SideCounts)]
    source, target = (
        SideCounts(**{name: flat[f"{side}_{name}"] for name in names if f"{side}_{name}" in flat}) for side in SIDES
    )
    others = {field.name: flat[field.name] for field in fields(kind) if field.name in flat}
    return kind(source=source, target=target, **others)
