"""The first pass over the text: a block of lines becomes a shard of tokens.

A shard has *word numbers*, which index its own list of words. The words are in the order of a 64-bit hash. The top
bits of the hash divide the words of all shards into partitions. Each partition is small enough to be counted in memory.
"""

from __future__ import annotations

import hashlib
import json
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from common.errors import UserError
from common.files import utf8_lines, write_once
from common.prepare.encoded import SIDES
from common.text.doubts import doubts
from common.text.moses import Tokeniser

PARTITIONS = 32
"""Number of parts into which the words of a corpus are divided, a power of two."""
_SHIFT = np.uint64(64 - (PARTITIONS - 1).bit_length())

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
        """Return why a pair of token lists is left out, or None. This is Moses clean-corpus-n.perl after tokenising."""
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
    """Return this process's tokeniser of a kind. Making one takes longer than tokenising a thousand lines."""
    return Tokeniser(language, lowercase, tokeniser)


def save_arrays(path: Path, arrays: dict[str, Array]) -> None:
    """Write named arrays into one file, from which `np.load` reads one at a time."""
    with path.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def save_array(path: Path, array: Array) -> None:
    """Write an array under exactly this name. `np.save` itself would add `.npy` to another ending."""
    with path.open("wb") as file:
        np.save(file, array)


def word_hash(word: str) -> int:
    """Return a 64-bit hash of a word, the same in every process."""
    return int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "little")


class Numbers(dict[str, int]):
    """Numbers of words, by first occurrence. (A defaultdict would form a cycle, freed late.)"""

    def __missing__(self, word: str) -> int:
        number = self[word] = len(self)
        return number


class Words:
    """The tokens of one side of a shard, added sentence by sentence. Words are numbered by first occurrence."""

    def __init__(self) -> None:
        self._numbers = Numbers()
        self._ids = array("I")
        self._lengths = array("I")

    def add(self, tokens: Sequence[str]) -> None:
        """Add one sentence."""
        self._ids.extend(map(self._numbers.__getitem__, tokens))
        self._lengths.append(len(tokens))

    def arrays(self, side: str) -> dict[str, Array]:
        """Return what the shard's file keeps of this side, with words in the order of their hashes."""
        words = list(self._numbers)
        hashes = np.fromiter(map(word_hash, words), dtype=np.uint64, count=len(words))
        order = np.argsort(hashes, kind="stable")
        rank = np.empty_like(order)
        rank[order] = np.arange(len(order))
        blobs = [words[index].encode() for index in order]
        # Where each partition's words begin in the text of all words, which has one word a line.
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
    """Tokenise a block of lines and write the pairs that `rules` keep to `path`.

    names: of both files, for messages. first_line: the block's first line number in the files, from 1.
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
    """A shard that `tokenise` wrote. Its arrays are read when needed."""

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
        """Number of pairs read, kept, and left out for each reason."""
        return Counter(json.loads(self["outcome"].tobytes()))

    @property
    def doubts(self) -> tuple[list[str], list[str]]:
        """Reasons why the text of the source and of the target side may be the wrong one."""
        source, target = json.loads(self["doubts"].tobytes())
        return source, target

    def words(self, side: str, partition: int | None = None) -> list[str]:
        """Return the words of one side, of all partitions or of one, in the order of their hashes."""
        blob = self[f"{side}.words"]
        if partition is not None:
            low, high = self[f"{side}.bounds"][partition : partition + 2]
            blob = blob[low:high]
        return blob.tobytes().decode().split("\n")[:-1]

    def partition(self, side: str, number: int) -> slice:
        """Return which of the shard's words belong to a partition."""
        low, high = np.searchsorted(self[f"{side}.hashes"] >> _SHIFT, [number, number + 1])
        return slice(int(low), int(high))

    def tokens(self, side: str, keep: Array | None) -> Array:
        """Return the word numbers of one side, sentence by sentence, of the pairs in the mask `keep` or of all."""
        ids = self[f"{side}.ids"]
        return ids if keep is None else ids[np.repeat(keep, self[f"{side}.lengths"])]

    def lines(self, side: str, chosen: Array | None = None) -> list[str]:
        """Return sentences as tokens joined by spaces, those in the mask or index array `chosen` or all."""
        words, ids = self.words(side), self[f"{side}.ids"].tolist()
        ends = np.cumsum(self[f"{side}.lengths"], dtype=np.int64)
        starts = ends - self[f"{side}.lengths"]
        if chosen is not None:
            starts, ends = starts[chosen], ends[chosen]
        return [
            " ".join([words[number] for number in ids[start:end]])
            for start, end in zip(starts.tolist(), ends.tolist(), strict=True)
        ]


def read_mask(path: Path | None) -> Array | None:
    """Read which pairs of a shard selection keeps. None means all."""
    return None if path is None else np.load(path, allow_pickle=False)
