"""Sentence pairs as ids on disk: arrays that are mapped into memory and not read as a whole.

One side of a split has shards, `<split>.<side>.<number>.ids.npy` (2 bytes an id if the vocabulary allows, else 4), and
one `<split>.<side>.offsets.npy` with the place where each sentence starts in the concatenation of the shards.
"""

from __future__ import annotations

import errno
import resource
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from common.errors import UserError

SIDES = ("source", "target")
Ids = npt.NDArray[np.uint16] | npt.NDArray[np.int32]
Indices = npt.NDArray[np.signedinteger]
"""Rows or lengths. 4 bytes are enough for a corpus and halve the memory that an epoch's order takes."""


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


def _allow_open_files(more: int) -> None:
    """Raise this process's limit of open files by `more`, as far as the system allows.

    Each mapped file stays open. WMT14 has 817 shards a side, and the limit is often 1,024.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY:
        wanted = soft + more if hard == resource.RLIM_INFINITY else min(soft + more, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


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
        offsets = directory / f"{split}.{side}.offsets.npy"
        paths = [offsets, *sorted(directory.glob(f"{split}.{side}.{'[0-9]' * 5}.ids.npy"))]
        _allow_open_files(len(paths))
        mapped = []
        for path in paths:
            try:
                # A plain view of the map, because slicing an `np.memmap` takes ten times as long.
                mapped.append(np.asarray(np.load(path, mmap_mode="r", allow_pickle=False)))
            except (OSError, ValueError) as error:
                if isinstance(error, OSError) and error.errno == errno.EMFILE:
                    raise UserError(f"{path}: too many open files; raise the limit with `ulimit -n`") from None
                raise UserError(f"{path}: missing or damaged; remove {directory} and prepare again") from None
        starts = np.cumsum([0, *(len(shard) for shard in mapped[1:])])
        if starts[-1] != mapped[0][-1]:
            raise UserError(f"{offsets}: does not fit the shards beside it; remove {directory} and prepare again")
        return cls(tuple(mapped[1:]), starts, mapped[0])

    @property
    def lengths(self) -> Indices:
        """Return the number of pieces of each sentence, without EOS. It is computed anew each time."""
        lengths = np.empty(len(self.offsets) - 1, dtype=np.int32)
        return np.subtract(self.offsets[1:], self.offsets[:-1], out=lengths)

    def sentences(self, rows: Indices) -> list[Ids]:
        """Return the ids of each of the sentences `rows` (B,), without EOS."""
        starts, ends = self.offsets[rows], self.offsets[rows + 1]
        # An empty last sentence starts at the end of the last shard, where no shard begins.
        shards = np.minimum(np.searchsorted(self.starts, starts, side="right"), len(self.shards)) - 1
        before = self.starts[shards]
        # As lists, because single elements of arrays are slow.
        places = zip(shards.tolist(), (starts - before).tolist(), (ends - before).tolist(), strict=True)
        return [self.shards[shard][start:end] for shard, start, end in places]

    def gather(self, rows: Indices) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """Return ids (B, L) of sentences `rows`, ended and padded by EOS (0), and the mask (B, L) of tokens and EOS."""
        sentences = self.sentences(rows)
        lengths = np.fromiter(map(len, sentences), np.int64, len(rows))
        places = np.arange(lengths.max(initial=0) + 1)  # (L,)
        ids = np.zeros((len(rows), len(places)), dtype=np.int64)
        # The rows of the mask are filled one after the other, as the sentences lie in the concatenation.
        ids[places < lengths[:, None]] = np.concatenate([places[:0], *sentences])
        return ids, places <= lengths[:, None]


@dataclass(frozen=True)
class ParallelIds:
    """The pairs of an encoded split that are used, in file order."""

    source: Side
    target: Side
    rows: Indices
    """Row of pair i in the files. Pairs over the length limit have no i."""

    @classmethod
    def open(cls, directory: Path, split: str, max_length: int | None = None) -> ParallelIds:
        """Open the split's pairs with at most `max_length` pieces on either side, EOS not counted.

        Bahdanau2014 §4 and GroundHog `PytablesBitextFetcher.run`: a pair is skipped if either side is longer.
        Raises UserError if no pair is left.
        """
        source, target = (Side.open(directory, split, side) for side in SIDES)
        longer = np.maximum(source.lengths, target.lengths)
        keep = np.ones(len(longer), dtype=bool) if max_length is None else longer <= max_length
        if not keep.any():
            raise UserError(
                f"batch.max_length {max_length} leaves no {split} pair; the shortest has {longer.min()} tokens"
            )
        return cls(source, target, np.flatnonzero(keep).astype(np.int32))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[Ids, Ids]:
        """Return the source and target ids of a pair, without EOS."""
        (source,), (target,) = (side.sentences(self.rows[[index]]) for side in (self.source, self.target))
        return source, target

    @cached_property
    def source_lengths(self) -> Indices:
        """Number of source pieces of each pair, EOS included."""
        return self.source.lengths[self.rows] + 1

    @cached_property
    def target_lengths(self) -> Indices:
        """Number of target pieces of each pair, EOS included."""
        return self.target.lengths[self.rows] + 1
