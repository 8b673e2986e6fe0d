"""The work on one shard of a corpus, a few ten thousand pairs, as functions that any process can run.

Preparing has two passes over the text with learning in between: which words there are must be known before the
first of them can get its id. Tokenising takes most of the time, so it happens once: the first pass leaves each shard
as *word numbers*, which count and index the shard's own list of words, and the second turns those into ids without
looking at text again. Every function writes one file, complete or not at all, and does nothing when it is there: that
is how a killed preparation goes on. Nothing here imports torch, so that many processes stay small.

Words are ordered by a 64-bit hash. Its top bits cut the words of all shards into partitions, each small enough to be
counted in memory; and a shard finds its words in the table of all words (`Lexicon`) by binary search.
"""

from __future__ import annotations

import hashlib
import json
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from common.errors import UserError
from common.files import utf8_lines, write_once
from common.prepare.encoded import SIDES, id_type
from common.text.doubts import doubts
from common.text.moses import Tokeniser

PARTITIONS = 32
"""Parts that the words of a corpus are cut into; a power of two."""
_SHIFT = np.uint64(64 - (PARTITIONS - 1).bit_length())
LONGEST = 256
"""Sentence lengths are counted one by one up to here, and all longer ones together."""

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Rules:
    """What happens to the text of a pair before anything is learned from it."""

    source: str
    target: str
    lowercase: bool
    tokeniser: str
    clean_tokens: int | None
    clean_ratio: float | None

    def fault(self, source: Sequence[str], target: Sequence[str]) -> str | None:
        """Why a pair of token lists is left out, or None. Moses clean-corpus-n.perl, after tokenising."""
        if not source or not target:
            return "empty"
        longer, shorter = max(len(source), len(target)), min(len(source), len(target))
        if self.clean_tokens is not None and longer > self.clean_tokens:
            return "too_long"
        if self.clean_ratio is not None and longer > self.clean_ratio * shorter:
            return "ratio"
        return None


@cache
def _tokeniser(language: str, lowercase: bool, tokeniser: str) -> Tokeniser:
    """One of a kind in each process: making one takes longer than a thousand lines."""
    return Tokeniser(language, lowercase, tokeniser)


def save_arrays(path: Path, arrays: dict[str, Array]) -> None:
    """Named arrays in one file, which `np.load` reads one at a time."""
    with path.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def word_hash(word: str) -> int:
    """64 bits of a word, the same in every process."""
    return int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "little")


class _Numbers(dict[str, int]):
    """Numbers of words, by first occurrence. (A defaultdict would need to hold itself, and garbage would pile up.)"""

    def __missing__(self, word: str) -> int:
        number = self[word] = len(self)
        return number


class Words:
    """Tokens of one side of a shard, as they come in, numbered by first occurrence."""

    def __init__(self) -> None:
        self._numbers = _Numbers()
        self._ids = array("I")
        self._lengths = array("I")

    def add(self, tokens: Sequence[str]) -> None:
        """One sentence."""
        self._ids.extend(map(self._numbers.__getitem__, tokens))
        self._lengths.append(len(tokens))

    def arrays(self, side: str) -> dict[str, Array]:
        """What the shard's file keeps of this side, words in order of their hashes."""
        words = list(self._numbers)
        hashes = np.fromiter(map(word_hash, words), dtype=np.uint64, count=len(words))
        order = np.argsort(hashes, kind="stable")
        rank = np.empty_like(order)
        rank[order] = np.arange(len(order))
        blobs = [words[index].encode() for index in order]
        # Where each partition's words begin in the text of all words, one a line.
        lengths = np.cumsum([0, *(len(blob) + 1 for blob in blobs)])
        bounds = lengths[np.searchsorted(hashes[order] >> _SHIFT, np.arange(PARTITIONS + 1))]
        kind = np.uint16 if len(words) <= 1 << 16 else np.uint32
        return {
            f"{side}.hashes": hashes[order],
            f"{side}.words": np.frombuffer(b"".join(blob + b"\n" for blob in blobs), dtype=np.uint8),
            f"{side}.bounds": bounds.astype(np.int64),
            f"{side}.ids": rank[np.array(self._ids, dtype=np.int64)].astype(kind),
            f"{side}.lengths": np.array(self._lengths, dtype=np.uint32),
        }


def tokenise(rules: Rules, names: tuple[str, str], first_line: int, source: bytes, target: bytes, path: Path) -> None:
    """Tokenise a block of lines and keep the pairs that `rules` keep, in `path`.

    names: of both files, for messages; first_line: the block's first line number in them, from 1.
    """

    def write(part: Path) -> None:
        tokenisers = [
            _tokeniser(language, rules.lowercase, rules.tokeniser) for language in (rules.source, rules.target)
        ]
        sides = [utf8_lines(block, name, first_line) for block, name in zip((source, target), names, strict=True)]
        remarks = [doubts(*side, rules.tokeniser, first_line) for side in zip(sides, names, strict=True)]
        outcome: Counter[str] = Counter(read=len(sides[0]))
        words, rows = [Words(), Words()], []
        for row, lines in enumerate(zip(*sides, strict=True), start=first_line):
            tokens = [tokeniser.tokenise(line).split() for tokeniser, line in zip(tokenisers, lines, strict=True)]
            fault = rules.fault(*tokens)
            outcome[fault or "kept"] += 1
            if fault is None:
                rows.append(row)
                for side, sentence in zip(words, tokens, strict=True):
                    side.add(sentence)
        arrays = {
            key: array for side, word in zip(SIDES, words, strict=True) for key, array in word.arrays(side).items()
        }
        told = {"outcome": _as_array(outcome), "doubts": _as_array(remarks), "rows": np.array(rows, dtype=np.uint32)}
        save_arrays(part, told | arrays)

    write_once(path, write)


def _as_array(values: Any) -> Array:
    return np.frombuffer(json.dumps(values).encode(), dtype=np.uint8)


class Shard:
    """What `tokenise` left, read as needed."""

    def __init__(self, path: Path) -> None:
        try:
            self._file = np.load(path, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: damaged ({error}); remove it and run again") from None

    def __getitem__(self, key: str) -> Array:
        array: Array = self._file[key]
        return array

    @property
    def outcome(self) -> Counter[str]:
        """How many pairs were read, kept, and left out for which reason."""
        return Counter(json.loads(self["outcome"].tobytes()))

    @property
    def doubts(self) -> tuple[list[str], list[str]]:
        """Why the text of the source and of the target side may be the wrong one."""
        source, target = json.loads(self["doubts"].tobytes())
        return source, target

    def words(self, side: str, partition: int | None = None) -> list[str]:
        """The words of one side, of all partitions or of one, in order of their hashes."""
        blob = self[f"{side}.words"]
        if partition is not None:
            low, high = self[f"{side}.bounds"][partition : partition + 2]
            blob = blob[low:high]
        return blob.tobytes().decode().split("\n")[:-1]

    def partition(self, side: str, number: int) -> slice:
        """Which of the shard's words lie in a partition."""
        low, high = np.searchsorted(self[f"{side}.hashes"] >> _SHIFT, [number, number + 1])
        return slice(int(low), int(high))

    def lines(self, side: str, chosen: Array | None = None) -> list[str]:
        """Sentences as tokens joined by spaces, those of the mask or index array `chosen` or all."""
        words, ids = self.words(side), self[f"{side}.ids"].tolist()
        ends = np.cumsum(self[f"{side}.lengths"], dtype=np.int64)
        starts = ends - self[f"{side}.lengths"]
        if chosen is not None:
            starts, ends = starts[chosen], ends[chosen]
        return [
            " ".join([words[number] for number in ids[start:end]])
            for start, end in zip(starts.tolist(), ends.tolist(), strict=True)
        ]


def _tokens_of(shard: Shard, side: str, keep: Array | None) -> Array:
    """Word numbers of the pairs that are kept."""
    ids = shard[f"{side}.ids"]
    return ids if keep is None else ids[np.repeat(keep, shard[f"{side}.lengths"])]


def read_mask(path: Path | None) -> Array | None:
    """Which pairs of a shard selection keeps, or None for all."""
    return None if path is None else np.load(path, allow_pickle=False)


def count(shard_path: Path, mask_path: Path | None, path: Path) -> None:
    """How often each word of a shard occurs in the pairs that are kept."""

    def write(part: Path) -> None:
        shard, keep = Shard(shard_path), read_mask(mask_path)
        counts: dict[str, Array] = {
            side: np.bincount(_tokens_of(shard, side, keep), minlength=len(shard[f"{side}.hashes"])) for side in SIDES
        }
        save_arrays(part, counts)

    write_once(path, write)


def gather_types(partition: int, shard_paths: Sequence[Path], count_paths: Sequence[Path], path: Path) -> None:
    """The types of one partition over all shards, in order of their hashes, with their counts on either side."""

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
    """Words of one partition of all shards. hashes (N,), ascending; counts (N, 2): on the source and target side."""

    words: list[str]
    hashes: Array
    counts: Array

    @classmethod
    def load(cls, path: Path) -> Types:
        """What `gather_types` wrote."""
        with np.load(path, allow_pickle=False) as file:
            return cls(file["words"].tobytes().decode().split("\n")[:-1], file["hashes"], file["counts"])


class Segmenter(Protocol):
    """Sub-words: BPE or word pieces."""

    def split(self, tokens: Iterable[str]) -> list[str]:
        """The pieces of tokens."""


def split_types(types_path: Path, segmenter: Segmenter, path: Path) -> None:
    """The pieces of every type of a partition, as numbers into the partition's own list of pieces."""

    def write(part: Path) -> None:
        types = Types.load(types_path)
        numbers = _Numbers()
        split = [[numbers[piece] for piece in segmenter.split([word])] for word in types.words]
        flat = np.array([number for pieces in split for number in pieces], dtype=np.int64)
        lengths = np.array([len(pieces) for pieces in split], dtype=np.int64)
        weights = np.repeat(types.counts.sum(axis=1), lengths)
        counts = np.bincount(flat, weights=weights, minlength=len(numbers)).astype(np.int64)
        names = np.frombuffer("".join(f"{piece}\n" for piece in numbers).encode(), dtype=np.uint8)
        save_arrays(part, {"pieces": names, "counts": counts, "flat": flat, "lengths": lengths})

    write_once(path, write)


@dataclass(frozen=True)
class Lexicon:
    """The ids of every word of a corpus: of the word with hashes[i] they are ids[starts[i] : starts[i + 1]]."""

    hashes: Array
    starts: Array
    ids: Array

    @classmethod
    def build(cls, hashes: Sequence[Array], lengths: Sequence[Array], ids: Sequence[Array], size: int) -> Lexicon:
        """From partitions in order. size: rows of the vocabulary."""
        starts = np.cumsum(np.concatenate([np.zeros(1, np.int64), *lengths]))
        return cls(np.concatenate(hashes), starts, np.concatenate(ids).astype(id_type(size)))

    def save(self, path: Path) -> None:
        """Into three files named after `path`, to be mapped by every process."""
        for name in ("hashes", "starts", "ids"):
            np.save(path.with_name(f"{path.name}.{name}.npy"), getattr(self, name))

    @classmethod
    def open(cls, path: Path) -> Lexicon:
        """What `save` wrote, memory-mapped."""
        return cls(*(np.load(path.with_name(f"{path.name}.{name}.npy"), mmap_mode="r") for name in cls.__annotations__))

    def encode(self, hashes: Array, tokens: Array, lengths: Array) -> tuple[Array, Array]:
        """Ids of sentences and their lengths in ids, from word numbers.

        hashes: of the words the numbers mean, ascending; tokens: word numbers of all sentences; lengths: of each.
        """
        # A word that only pairs left out by selection have is not in the table; no token here means it.
        rows = np.minimum(np.searchsorted(self.hashes, hashes), len(self.hashes) - 1)
        starts, sizes = self.starts[rows], self.starts[rows + 1] - self.starts[rows]
        each = sizes[tokens]  # ids of each token
        ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(each)])
        # Position k of the output is the (k - end of the token before)-th id of its token.
        places = np.arange(ends[-1]) + np.repeat(starts[tokens] - ends[:-1], each)
        borders = ends[np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])]
        return self.ids[places], np.diff(borders)


def encode(
    shard_path: Path, mask_path: Path | None, lexicons: Sequence[Path], unk: int, ids: Sequence[Path], path: Path
) -> None:
    """Ids of the pairs of a shard that are kept, into the two files `ids`; then lengths and counts into `path`.

    lexicons, ids: of source and target. unk: id of unknown words, which are counted.
    """

    def write(part: Path) -> None:
        shard, keep = Shard(shard_path), read_mask(mask_path)
        arrays: dict[str, Array] = {}
        for side, lexicon, out in zip(SIDES, lexicons, ids, strict=True):
            lengths = shard[f"{side}.lengths"]
            tokens = _tokens_of(shard, side, keep)
            lengths = lengths if keep is None else lengths[keep]
            encoded, sizes = Lexicon.open(lexicon).encode(shard[f"{side}.hashes"], tokens, lengths)
            with out.open("wb") as file:
                np.save(file, encoded)
            arrays[f"{side}.lengths"] = sizes.astype(np.int32)
            arrays[f"{side}.unknown"] = np.array(np.count_nonzero(encoded == unk))
            arrays[f"{side}.words"] = np.array(len(tokens))
            arrays[f"{side}.histogram"] = np.bincount(np.minimum(sizes, LONGEST), minlength=LONGEST + 1)
        save_arrays(part, arrays)

    write_once(path, write)


def most_frequent(types_paths: Iterable[Path], sides: Sequence[int], at_least: int) -> Counter[str]:
    """Counts of the `at_least` most frequent types and of those as frequent as the last of them.

    sides: which count, 0 the source, 1 the target; those of several are added up.
    """
    paths = list(types_paths)
    counts = _all_counts(paths, sides)
    limit = int(np.partition(counts, -at_least)[-at_least]) if len(counts) > at_least else 1
    return _above(paths, sides, limit)


def at_most(types_paths: Iterable[Path], sides: Sequence[int], most: int) -> Counter[str]:
    """Counts of all types, or if there are more than `most`, of those more frequent than the next one."""
    paths = list(types_paths)
    counts = _all_counts(paths, sides)
    limit = int(np.partition(counts, -most - 1)[-most - 1]) + 1 if len(counts) > most else 1
    return _above(paths, sides, limit)


def count_types(types_paths: Iterable[Path], side: int) -> int:
    """How many types occur on one side, 0 the source, 1 the target."""
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
