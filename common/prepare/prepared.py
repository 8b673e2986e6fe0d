"""A prepared corpus, as training and scoring read it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.files import sha256_json, utf8_lines
from common.prepare.encoded import ParallelIds
from common.prepare.manifest import Manifest
from common.text.pipeline import TextPipeline
from common.typed import plain


@dataclass(frozen=True)
class TrainUsed:
    """The training pairs that the length limit leaves."""

    max_length: int | None
    pairs: int
    dropped_by_length: int


@dataclass(frozen=True)
class Prepared:
    """A prepared corpus, opened."""

    directory: Path
    manifest: Manifest
    train_used: TrainUsed
    text: TextPipeline
    train: ParallelIds
    valid: ParallelIds

    @classmethod
    def open(cls, directory: Path, max_length: int | None) -> Prepared:
        """Open the folder, with training pairs of at most `max_length` pieces per side. `valid` has no limit."""
        manifest, train = Manifest.read(directory), ParallelIds.open(directory, "train", max_length)
        used = TrainUsed(max_length, len(train), manifest.counts.train.pairs - len(train))
        return cls(directory, manifest, used, TextPipeline.load(directory), train, ParallelIds.open(directory, "valid"))

    @property
    def facts(self) -> dict[str, Any]:
        """What a result keeps, as plain values: the manifest and the part of it that was trained on.

        Time and memory are left out, because they differ between preparations of the same data.
        """
        manifest = {key: value for key, value in self.manifest.to_dict().items() if key != "steps"}
        facts: dict[str, Any] = plain({**manifest, "train_used": asdict(self.train_used)})
        return facts

    @property
    def identity(self) -> str:
        """Hash of all that an update depends on: training ids, vocabularies, segmentation, the length limit.

        Development and test sets are not included, so a training can be continued when they change.
        """
        held_out = tuple(f"{split}." for split in self.manifest.counts.held_out)
        files = {name: file.sha256 for name, file in self.manifest.outputs.items() if not name.startswith(held_out)}
        return sha256_json({"files": files, "used": asdict(self.train_used)})

    def lines(self, split: str) -> dict[str, list[str]]:
        """Return the lines of a split other than train.

        Keys: source and reference are untokenised. source_tokens and reference_tokens are tokens joined by spaces.
        With text.lowercase all but source are lower-cased.
        """
        files = {
            "source": "source",
            "source_tokens": "source.tok",
            "reference": "target",
            "reference_tokens": "target.tok",
        }
        paths = {key: self.directory / f"{split}.{name}" for key, name in files.items()}
        if not all(path.is_file() for path in paths.values()):
            known = ", ".join(self.manifest.counts.held_out)
            raise UserError(f"{self.directory} has no text of `{split}`; it has {known}")
        return {key: utf8_lines(path.read_bytes(), str(path)) for key, path in paths.items()}
