"""The words of a corpus as types: how often each occurs on either side, in the kept pairs of all shards."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.errors import UserError
from common.files import write_once
from common.prepare.encoded import SIDES
from common.prepare.tokens import Array, Shard, read_mask, save_arrays, word_hash


def count(shard_path: Path, mask_path: Path | None, path: Path) -> None:
    """Write to `path` how often each word of a shard occurs in the kept pairs."""

    def write(part: Path) -> None:
        shard, keep = Shard(shard_path), read_mask(mask_path)
        counts: dict[str, Array] = {
            side: np.bincount(shard.tokens(side, keep), minlength=len(shard[f"{side}.hashes"])) for side in SIDES
        }
        save_arrays(part, counts)

    write_once(path, write)


def gather_types(partition: int, shard_paths: Sequence[Path], count_paths: Sequence[Path], path: Path) -> None:
    """Write the types of one partition of all shards, ordered by hash, with their counts on either side."""

    def write(part: Path) -> None:
        totals: dict[str, list[int]] = defaultdict(lambda: [0, 0])
        for shard_path, count_path in zip(shard_paths, count_paths, strict=True):
            shard, counts = Shard(shard_path), np.load(count_path, allow_pickle=False)
            for index, side in enumerate(SIDES):
                there = counts[side][shard.partition(side, partition)].tolist()
                for word, number in zip(shard.words(side, partition), there, strict=True):
                    if number:
                        totals[word][index] += number
        hashed = sorted((word_hash(word), word) for word in totals)
        hashes = np.array([value for value, _ in hashed], dtype=np.uint64)
        if len(np.unique(hashes)) < len(hashes):
            raise UserError("two words of this corpus have the same 64-bit hash; report this, it is a defect here")
        counts_of = np.array([totals[word] for _, word in hashed], dtype=np.int64).reshape(-1, 2)
        text = "".join(f"{word}\n" for _, word in hashed).encode()
        arrays: dict[str, Array] = {"hashes": hashes, "words": np.frombuffer(text, dtype=np.uint8), "counts": counts_of}
        save_arrays(part, arrays)

    write_once(path, write)


@dataclass(frozen=True)
class Types:
    """Word types of one partition of all shards.

    hashes (N,) are ascending. counts (N, 2) are those on the source and the target side.
    """

    words: list[str]
    hashes: Array
    counts: Array

    @classmethod
    def load(cls, path: Path) -> Types:
        """Read what `gather_types` wrote."""
        with np.load(path, allow_pickle=False) as file:
            return cls(file["words"].tobytes().decode().split("\n")[:-1], file["hashes"], file["counts"])


def most_frequent(types_paths: Iterable[Path], sides: Sequence[int], at_least: int) -> Counter[str]:
    """Return the counts of the `at_least` most frequent types and of those as frequent as the last of them.

    sides: which sides count, 0 the source, 1 the target. The counts of several sides are added up.
    """
    paths = list(types_paths)
    counts = _all_counts(paths, sides)
    limit = int(np.partition(counts, -at_least)[-at_least]) if len(counts) > at_least else 1
    return _above(paths, sides, limit)


def at_most(types_paths: Iterable[Path], sides: Sequence[int], most: int) -> Counter[str]:
    """Return the counts of all types, or of the most frequent ones if there are more than `most`.

    Types as frequent as the first one left out are left out too, so there may be fewer than `most`.
    """
    paths = list(types_paths)
    counts = _all_counts(paths, sides)
    limit = int(np.partition(counts, -most - 1)[-most - 1]) + 1 if len(counts) > most else 1
    return _above(paths, sides, limit)


def count_types(types_paths: Iterable[Path], side: int) -> int:
    """Return how many types occur on one side: 0 the source, 1 the target."""
    return int(np.count_nonzero(_all_counts(list(types_paths), [side])))


def _all_counts(paths: Sequence[Path], sides: Sequence[int]) -> Array:
    counts = []
    for path in paths:
        with np.load(path, allow_pickle=False) as file:
            counts.append(file["counts"][:, list(sides)].sum(axis=1))
    return np.concatenate(counts)


def _above(paths: Sequence[Path], sides: Sequence[int], limit: int) -> Counter[str]:
    return Counter({word: number for word, number in _frequent(paths, sides, limit)})


def _frequent(paths: Sequence[Path], sides: Sequence[int], limit: int) -> Iterator[tuple[str, int]]:
    for path in paths:
        types = Types.load(path)
        counts = types.counts[:, list(sides)].sum(axis=1)
        for index in np.flatnonzero(counts >= limit).tolist():
            yield types.words[index], int(counts[index])
