"""Sentence pairs as ids on disk: arrays that are mapped into memory and not read as a whole.

One side of a split has shards, `<split>.<side>.<number>.ids.npy` (2 bytes an id if the vocabulary allows, else 4), and
one `<split>.<side>.offsets.npy` with the place where each sentence starts in the concatenation of the shards.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from common.errors import UserError

SIDES = ("source", "target")
Ids = npt.NDArray[np.uint16] | npt.NDArray[np.int32]


def id_type(vocabulary_size: int) -> type[np.uint16] | type[np.int32]:
    """Return the narrowest type that holds every id of a vocabulary."""
    return np.uint16 if vocabulary_size <= np.iinfo(np.uint16).max + 1 else np.int32


def shard_name(split: str, side: str, number: int) -> str:
    """Return the file name of one shard's ids."""
    return f"{split}.{side}.{number:05d}.ids.npy"


def write_offsets(
    directory: Path, split: str, side: str, lengths: Iterable[npt.NDArray[np.integer]], pairs: int
) -> None:
    """Write `<split>.<side>.offsets.npy` (pairs + 1,), int64, from the sentence lengths of each shard in order."""
    path = directory / f"{split}.{side}.offsets.npy"
    offsets = np.lib.format.open_memmap(path, mode="w+", dtype=np.int64, shape=(pairs + 1,))
    offsets[0] = row = 0
    for shard in lengths:
        np.cumsum(shard, out=offsets[row + 1 : row + 1 + len(shard)])
        offsets[row + 1 : row + 1 + len(shard)] += offsets[row]
        row += len(shard)
    offsets.flush()


def write_side(
    directory: Path, split: str, side: str, sentences: Sequence[Sequence[int]], vocabulary_size: int
) -> None:
    """Write a whole side, ids without EOS, as one shard."""
    ids = [index for sentence in sentences for index in sentence]
    np.save(directory / shard_name(split, side, 0), np.array(ids, dtype=id_type(vocabulary_size)))
    write_offsets(directory, split, side, [np.array([len(sentence) for sentence in sentences])], len(sentences))


@dataclass(frozen=True)
class Side:
    """One language. Sentence i is the ids offsets[i] : offsets[i + 1] of all shards concatenated, without EOS."""

    shards: tuple[Ids, ...]
    starts: npt.NDArray[np.int64]
    """(K + 1,): where each of the K shards starts in the concatenation. A shard ends where a sentence ends."""
    offsets: npt.NDArray[np.int64]

    @classmethod
    def open(cls, directory: Path, split: str, side: str) -> Side:
        """Map one side in `directory` into memory. Raises UserError if something is missing or damaged."""
        paths = sorted(directory.glob(f"{split}.{side}.{'[0-9]' * 5}.ids.npy"))
        offsets = directory / f"{split}.{side}.offsets.npy"
        mapped = []
        for path in (offsets, *paths):
            try:
                mapped.append(np.load(path, mmap_mode="r", allow_pickle=False))
            except (OSError, ValueError):
                raise UserError(f"{path}: missing or damaged; remove {directory} and prepare again") from None
        starts = np.cumsum([0, *(len(shard) for shard in mapped[1:])])
        if starts[-1] != mapped[0][-1]:
            raise UserError(f"{offsets}: does not fit the shards beside it; remove {directory} and prepare again")
        return cls(tuple(mapped[1:]), starts, mapped[0])

    def sentence(self, row: int) -> Ids:
        """Return the ids of one sentence, without EOS."""
        start, end = self.offsets[row], self.offsets[row + 1]
        shard = int(np.searchsorted(self.starts, start, side="right")) - 1
        # An empty last sentence starts at the end of the last shard, where no shard begins.
        shard = min(shard, len(self.shards) - 1)
        return self.shards[shard][start - self.starts[shard] : end - self.starts[shard]]

    def gather(self, rows: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """Return ids (B, L) of sentences `rows`, ended and padded by EOS (0), and the mask (B, L) of tokens and EOS."""
        lengths = self.offsets[rows + 1] - self.offsets[rows]
        places = np.arange(lengths.max(initial=0) + 1)  # (L,)
        ids = np.zeros((len(rows), len(places)), dtype=np.int64)
        for line, row, length in zip(ids, rows, lengths, strict=True):
            line[:length] = self.sentence(row)
        return ids, places <= lengths[:, None]


@dataclass(frozen=True)
class ParallelIds:
    """The pairs of an encoded split that are used, in file order."""

    source: Side
    target: Side
    rows: npt.NDArray[np.int64]
    """Row of pair i in the files. Pairs over the length limit have no i."""

    @classmethod
    def open(cls, directory: Path, split: str, max_length: int | None = None) -> ParallelIds:
        """Open the split's pairs with at most `max_length` pieces on either side, EOS not counted.

        Bahdanau2014 §4 and GroundHog `PytablesBitextFetcher.run`: a pair is skipped if either side is longer.
        Raises UserError if no pair is left.
        """
        source, target = (Side.open(directory, split, side) for side in SIDES)
        longer = np.maximum(np.diff(source.offsets), np.diff(target.offsets))
        keep = np.ones(len(longer), dtype=bool) if max_length is None else longer <= max_length
        if not keep.any():
            raise UserError(
                f"batch.max_length {max_length} leaves no {split} pair; the shortest has {longer.min()} tokens"
            )
        return cls(source, target, np.flatnonzero(keep))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[Ids, Ids]:
        """Return the source and target ids of a pair, without EOS."""
        return self.source.sentence(self.rows[index]), self.target.sentence(self.rows[index])

    @cached_property
    def source_lengths(self) -> npt.NDArray[np.int64]:
        """Number of source pieces of each pair, EOS included."""
        return np.diff(self.source.offsets)[self.rows] + 1

    @cached_property
    def target_lengths(self) -> npt.NDArray[np.int64]:
        """Number of target pieces of each pair, EOS included."""
        return np.diff(self.target.offsets)[self.rows] + 1
