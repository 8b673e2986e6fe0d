"""The second pass over the text: it replaces word numbers by ids, which a table of all words gives.

The text itself is not read again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.files import write_once
from common.ids import UNK
from common.prepare.encoded import SIDES, id_type
from common.prepare.tokens import Array, Shard, read_mask, save_arrays

LONGEST = 256
"""Sentences of each length up to this are counted separately, and all longer ones together."""


@dataclass(frozen=True)
class Lexicon:
    """The ids of every word of a corpus. The word with hashes[i] has the ids ids[starts[i] : starts[i + 1]]."""

    hashes: Array
    starts: Array
    ids: Array

    @classmethod
    def build(cls, hashes: Sequence[Array], lengths: Sequence[Array], ids: Sequence[Array], size: int) -> Lexicon:
        """Build the lexicon from the partitions in order. size: rows of the vocabulary."""
        starts = np.cumsum(np.concatenate([np.zeros(1, np.int64), *lengths]))
        return cls(np.concatenate(hashes), starts, np.concatenate(ids).astype(id_type(size)))

    def save(self, path: Path) -> None:
        """Write three files named after `path`, which every process can map into memory."""
        for name in ("hashes", "starts", "ids"):
            np.save(path.with_name(f"{path.name}.{name}.npy"), getattr(self, name))

    @classmethod
    def open(cls, path: Path) -> Lexicon:
        """Map what `save` wrote into memory."""
        return cls(*(np.load(path.with_name(f"{path.name}.{name}.npy"), mmap_mode="r") for name in cls.__annotations__))

    def encode(self, hashes: Array, tokens: Array, lengths: Array) -> tuple[Array, Array]:
        """Return the ids of sentences and the lengths of the sentences in ids, given word numbers.

        hashes: of the words that the numbers stand for, ascending. tokens: word numbers of all sentences. lengths:
        tokens of each sentence.
        """
        # A word that occurs only in pairs left out by selection is not in the table, but no token here refers to it.
        rows = np.minimum(np.searchsorted(self.hashes, hashes), len(self.hashes) - 1)
        starts, sizes = self.starts[rows], self.starts[rows + 1] - self.starts[rows]
        each = sizes[tokens]  # ids of each token
        ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(each)])
        # Position k of the output is the (k - end of the previous token)-th id of its token.
        places = np.arange(ends[-1]) + np.repeat(starts[tokens] - ends[:-1], each)
        borders = ends[np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])]
        return self.ids[places], np.diff(borders)


def encode(shard_path: Path, mask_path: Path | None, lexicons: Sequence[Path], ids: Sequence[Path], path: Path) -> None:
    """Write the ids of a shard's kept pairs to the two files `ids`, then lengths and counts to `path`.

    lexicons, ids: of source and target. The counts are of words, of unknown ids, and of sentences by length.
    """

    def write(part: Path) -> None:
        shard, keep = Shard(shard_path), read_mask(mask_path)
        arrays: dict[str, Array] = {}
        for side, lexicon, out in zip(SIDES, lexicons, ids, strict=True):
            lengths = shard[f"{side}.lengths"]
            tokens = shard.tokens(side, keep)
            lengths = lengths if keep is None else lengths[keep]
            encoded, sizes = Lexicon.open(lexicon).encode(shard[f"{side}.hashes"], tokens, lengths)
            with out.open("wb") as file:
                np.save(file, encoded)
            arrays[f"{side}.lengths"] = sizes.astype(np.int32)
            arrays[f"{side}.unknown"] = np.array(np.count_nonzero(encoded == UNK))
            arrays[f"{side}.words"] = np.array(len(tokens))
            arrays[f"{side}.histogram"] = np.bincount(np.minimum(sizes, LONGEST), minlength=LONGEST + 1)
        save_arrays(part, arrays)

    write_once(path, write)
