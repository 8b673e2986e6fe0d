"""Sentence pairs as ids on disk: two flat arrays a side, mapped into memory rather than read."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from common.errors import UserError

SIDES = ("source", "target")


def write_side(directory: Path, split: str, side: str, sentences: Iterable[list[int]]) -> None:
    """Ids without EOS as `<split>.<side>.ids.npy`, int32, and where each sentence starts as `.offsets.npy`, int64."""
    ids, offsets = array("i"), array("q", [0])
    for sentence in sentences:
        ids.extend(sentence)
        offsets.append(len(ids))
    np.save(directory / f"{split}.{side}.ids.npy", np.array(ids, dtype=np.int32))
    np.save(directory / f"{split}.{side}.offsets.npy", np.array(offsets, dtype=np.int64))


@dataclass(frozen=True)
class Side:
    """One language: sentence i is ids[offsets[i] : offsets[i + 1]], without EOS."""

    ids: npt.NDArray[np.int32]
    offsets: npt.NDArray[np.int64]

    @classmethod
    def open(cls, directory: Path, split: str, side: str) -> Side:
        """What `write_side` wrote, memory-mapped."""
        arrays = []
        for name in ("ids", "offsets"):
            path = directory / f"{split}.{side}.{name}.npy"
            try:
                arrays.append(np.load(path, mmap_mode="r", allow_pickle=False))
            except (OSError, ValueError):
                raise UserError(f"{path}: missing or damaged; remove {directory} and prepare again") from None
        return cls(*arrays)

    def gather(self, rows: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """Ids (B, L) of sentences `rows`, each ended and padded by EOS (0), and the mask (B, L) of words and end."""
        starts = self.offsets[rows]
        lengths = self.offsets[rows + 1] - starts
        places = np.arange(lengths.max(initial=0) + 1)  # (L,)
        words = places < lengths[:, None]  # (B, L)
        ids = np.zeros(words.shape, dtype=np.int64)
        ids[words] = self.ids[(starts[:, None] + places)[words]]
        return ids, places <= lengths[:, None]


@dataclass(frozen=True)
class ParallelIds:
    """The pairs that are used of an encoded split, in file order."""

    source: Side
    target: Side
    rows: npt.NDArray[np.int64]
    """Where pair i lies in the files; pairs over the length limit have no i."""

    @classmethod
    def open(cls, directory: Path, split: str, max_length: int | None = None) -> ParallelIds:
        """The split's pairs with at most `max_length` pieces on either side, EOS not counted.

        Bahdanau2014 §4 and GroundHog `PytablesBitextFetcher.run`: a pair is skipped if either side is longer.
        """
        source, target = (Side.open(directory, split, side) for side in SIDES)
        longer = np.maximum(np.diff(source.offsets), np.diff(target.offsets))
        keep = np.ones(len(longer), dtype=bool) if max_length is None else longer <= max_length
        if not keep.any():
            raise UserError(
                f"data.max_length {max_length} leaves no {split} pair; the shortest has {longer.min()} tokens"
            )
        return cls(source, target, np.flatnonzero(keep))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        """Source and target ids of a pair, without EOS."""
        row = self.rows[index]
        source, target = (side.ids[side.offsets[row] : side.offsets[row + 1]] for side in (self.source, self.target))
        return source, target

    @cached_property
    def source_lengths(self) -> npt.NDArray[np.int64]:
        """Source pieces of each pair, EOS included."""
        return np.diff(self.source.offsets)[self.rows] + 1

    @cached_property
    def target_lengths(self) -> npt.NDArray[np.int64]:
        """Target pieces of each pair, EOS included."""
        return np.diff(self.target.offsets)[self.rows] + 1
