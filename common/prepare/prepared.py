"""A prepared corpus as training and scoring read it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.files import sha256_json, utf8_lines
from common.prepare.encoded import ParallelIds
from common.text.pipeline import TextPipeline


@dataclass(frozen=True)
class Prepared:
    """A prepared corpus, opened."""

    directory: Path
    manifest: dict[str, Any]
    text: TextPipeline
    train: ParallelIds
    valid: ParallelIds

    @classmethod
    def open(cls, directory: Path, max_length: int | None) -> Prepared:
        """The folder's contents, training pairs limited to `max_length` pieces a side; `valid` is not limited.

        The manifest has `train_used` added: the limit and how many pairs it kept and dropped.
        """
        manifest = json.loads((directory / "manifest.json").read_text(encoding="utf-8"))
        train = ParallelIds.open(directory, "train", max_length)
        dropped = manifest["counts"]["train"]["pairs"] - len(train)
        manifest["train_used"] = {"max_length": max_length, "pairs": len(train), "dropped_by_length": dropped}
        return cls(directory, manifest, TextPipeline.load(directory), train, ParallelIds.open(directory, "valid"))

    @property
    def facts(self) -> dict[str, Any]:
        """The manifest without what differs from one preparation of the same data to the next: time and memory."""
        return {key: value for key, value in self.manifest.items() if key != "steps"}

    @property
    def identity(self) -> str:
        """Hash of all that an update depends on: training ids, vocabularies, how text is split, the length limit.

        Development and test sets are not in it: a training may go on when they change.
        """
        held_out = tuple(f"{split}." for split in self.manifest["counts"] if split != "train")
        files = {name: facts["sha256"] for name, facts in self.manifest["outputs"].items()}
        trained_on = {name: digest for name, digest in files.items() if not name.startswith(held_out)}
        return sha256_json({"files": trained_on, "used": self.manifest["train_used"]})

    def lines(self, split: str) -> dict[str, list[str]]:
        """Lines of a split other than train.

        Keys: source and reference, untokenised; source_tokens and reference_tokens, tokens joined by spaces.
        With data.lowercase all but source are lower-cased.
        """
        files = {
            "source": "source",
            "source_tokens": "source.tok",
            "reference": "target",
            "reference_tokens": "target.tok",
        }
        paths = {key: self.directory / f"{split}.{name}" for key, name in files.items()}
        if not all(path.is_file() for path in paths.values()):
            known = ", ".join(name for name in self.manifest["counts"] if name != "train")
            raise UserError(f"{self.directory} has no text of `{split}`; it has {known}")
        return {key: utf8_lines(path.read_bytes(), str(path)) for key, path in paths.items()}
