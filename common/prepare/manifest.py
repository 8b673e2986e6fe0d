"""manifest.json of a prepared folder: its inputs, its outputs and the tools. It is written and read here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from common.files import write_json
from common.prepare.encoded import SIDES
from common.typed import checked

NAME = "manifest.json"


@dataclass(frozen=True)
class SideCounts:
    """Counts of one language of a set."""

    tokens: int
    """Number of pieces of all sentences, EOS not counted."""
    mean_length: float
    """Mean number of pieces in a sentence, EOS counted."""
    unk_rate: float
    """Share of pieces without an id of their own."""
    vocabulary_words: int
    """Number of words in the vocabulary, EOS and UNK not counted."""
    words: int | None = None
    """Number of tokens before they were split into pieces, for the training text only."""
    word_types: int | None = None
    """Number of different tokens, for the training text only."""

    @classmethod
    def of(cls, pairs: int, pieces: int, unknown: int, vocabulary_words: int) -> SideCounts:
        """Return the counts that follow from sums over all sentences."""
        return cls(pieces, round(pieces / pairs + 1, 4), round(unknown / max(pieces, 1), 6), vocabulary_words)


@dataclass(frozen=True)
class SetCounts:
    """Counts of a development or test set."""

    pairs: int
    source: SideCounts
    target: SideCounts


@dataclass(frozen=True)
class TrainCounts(SetCounts):
    """Counts of the training text."""

    parts: Mapping[str, Mapping[str, int]]
    """By part: number of pairs read, kept, and left out for each reason."""
    types_learned_from: int | None = None
    """Number of word types from which sub-words were learned, the most frequent ones. None if words stay whole."""
    types: int | None = None
    """Number of word types on both sides together. None if words stay whole."""
    piece_types: int | None = None
    """Number of sub-word types that occur. None if words stay whole."""

    @property
    def dropped(self) -> dict[str, int]:
        """Number of pairs that were left out of all parts, by reason."""
        reasons = ("empty", "too_long", "ratio", "unselected")
        return {reason: sum(part.get(reason, 0) for part in self.parts.values()) for reason in reasons}


@dataclass(frozen=True)
class Counts:
    """Counts of all sets."""

    train: TrainCounts
    held_out: Mapping[str, SetCounts]
    """Counts of the development set `valid` and then of the test sets, by name."""


@dataclass(frozen=True)
class Output:
    """Size and checksum of a prepared file."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Step:
    """Time and memory of one step of preparation, in the attempt that finished."""

    step: str
    seconds: float
    peak_memory_bytes: int
    """Of all processes together."""


@dataclass(frozen=True)
class Size:
    """Size of a parallel text."""

    pairs: int
    words: dict[str, int]
    """Tokens by side, `source` and `target`."""


@dataclass(frozen=True)
class Modelled:
    """What language models of several texts say of one side of a development set. The keys are names of the texts."""

    words: int
    """Number of tokens."""
    perplexity: dict[str, float]
    """Per token, the end of each sentence counted."""
    unseen: dict[str, float]
    """Share of the tokens that the text does not have."""
    gain: float
    """Bits per token that the model of the selected text needs less than those of the random texts in the mean."""
    interval: tuple[float, float]
    """From the lowest to the highest end of the 95% bootstrap intervals of this number for each random text. The
    sentences of the set are resampled."""


@dataclass(frozen=True)
class Example:
    """A pair as tokens, and its score in the selection."""

    source: str
    target: str
    score: float


@dataclass(frozen=True)
class SelectionCheck:
    """Selected text beside random text (common/prepare/selection_check.py)."""

    whole: Size
    """All pairs that could be selected."""
    selected: Size
    """Those that were."""
    texts: dict[str, Size]
    """The texts that were modelled: `whole` and `selected`, of a large corpus a sample of them, and `random 1`, ..."""
    sets: dict[str, dict[str, Modelled]]
    """By development set and side."""
    best: tuple[Example, ...]
    """Pairs with the lowest scores, the lowest first."""
    worst: tuple[Example, ...]
    """Pairs with the highest scores, the highest first."""

    @property
    def verdict(self) -> str:
        """Return whether selected text models the development sets better than as much random text.

        `holds` if the gain's interval is above 0 for every set and side, `fails` if one is below, else `undecided`.
        """
        intervals = [side.interval for sides in self.sets.values() for side in sides.values()]
        if all(low > 0 for low, _ in intervals):
            return "holds"
        return "fails" if any(high < 0 for _, high in intervals) else "undecided"


@dataclass(frozen=True)
class Manifest:
    """All that is known about a prepared corpus."""

    format: int
    corpus: str
    """Name of the corpus."""
    title: str
    generated: bool
    licence: str
    citation: str
    expected: Mapping[str, int]
    """Number of pairs of each training part, as far as the declaration states it."""
    data: Mapping[str, Any]
    text: Mapping[str, Any]
    """`data` and `text` are the two sections of the recipe on which the files depend."""
    tools: Mapping[str, str]
    """Versions of packages by name."""
    texts: Mapping[str, Any]
    """The value of `Bitext.texts`."""
    inputs: Mapping[str, str]
    """Checksums of the files that were read."""
    counts: Counts
    warnings: tuple[str, ...]
    """Warnings about text that may be the wrong one."""
    outputs: Mapping[str, Output]
    """Files by name, without this file and the summary."""
    steps: tuple[Step, ...]
    selection: SelectionCheck | None = None
    """None if nothing was selected, or by an older program."""

    @classmethod
    def read(cls, directory: Path) -> Manifest:
        """Read what `write` wrote.

        Raises OSError, ValueError, KeyError, TypeError or UserError if it is missing or damaged.
        """
        values = json.loads((directory / NAME).read_text(encoding="utf-8"))
        counts = values["counts"]
        train = _set_counts(TrainCounts, counts.pop("train"))
        held_out = {name: _set_counts(SetCounts, facts) for name, facts in counts.items()}
        values["counts"] = Counts(train, held_out)
        values["warnings"] = tuple(values["warnings"])
        values["outputs"] = {name: Output(**facts) for name, facts in values["outputs"].items()}
        values["steps"] = tuple(Step(**step) for step in values["steps"])
        values["selection"] = checked(
            SelectionCheck | None, values.get("selection"), "selection", str(directory / NAME)
        )
        return cls(**values)

    def write(self, directory: Path) -> None:
        """Write the file into `directory`, completely or not at all."""
        write_json(directory / NAME, self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """Return the manifest as plain values, as they are in the file."""
        sets = {"train": self.counts.train, **self.counts.held_out}
        values = {**asdict(self), "counts": {name: _flat(counts) for name, counts in sets.items()}}
        return {key: value for key, value in values.items() if value is not None}


Kind = TypeVar("Kind", bound=SetCounts)


def _flat(counts: SetCounts) -> dict[str, Any]:
    """Return counts as one mapping: `source_tokens` is the `tokens` of `source`. Counts that are None are left out."""
    flat: dict[str, Any] = {}
    for key, value in asdict(counts).items():
        flat |= {f"{key}_{name}": item for name, item in value.items()} if key in SIDES else {key: value}
    if isinstance(counts, TrainCounts):
        flat |= {f"dropped_{reason}": pairs for reason, pairs in counts.dropped.items()}
    return {key: value for key, value in flat.items() if value is not None}


def _set_counts(kind: type[Kind], flat: Mapping[str, Any]) -> Kind:
    """Return the counts from which `_flat` made the mapping."""
    names = [field.name for field in fields(SideCounts)]
    source, target = (
        SideCounts(**{name: flat[f"{side}_{name}"] for name in names if f"{side}_{name}" in flat}) for side in SIDES
    )
    others = {field.name: flat[field.name] for field in fields(kind) if field.name in flat}
    return kind(source=source, target=target, **others)
