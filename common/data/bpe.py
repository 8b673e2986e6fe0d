"""Joint byte-pair encoding (Sennrich et al. 2016) through subword-nmt. Vaswani2017 §5.1 "byte-pair encoding"."""

from __future__ import annotations

import contextlib
import io
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from subword_nmt.apply_bpe import BPE
from subword_nmt.learn_bpe import learn_bpe
from tqdm import tqdm

from common.data.progress import progress
from common.errors import UserError

SEPARATOR = "@@"
"""Ends every piece but a word's last. The tokeniser splits at every @, so no word ends in it by itself."""


class Bpe:
    """Merge operations, in the order learned."""

    def __init__(self, codes: str, name: str = "BPE codes") -> None:
        """codes: the text subword-nmt writes; `name` is what the UserError for a damaged one calls it."""
        version, *merges = codes.split("\n")[:-1] or [""]
        if version != "#version: 0.2" or not merges or any(len(line.split(" ")) != 2 for line in merges):
            raise UserError(f"{name}: damaged (not merge operations, two symbols a line); prepare the data again")
        self.codes = codes
        self._bpe = BPE(io.StringIO(codes), separator=SEPARATOR)

    @classmethod
    def learn(cls, counts: Counter[str], merges: int) -> Bpe:
        """At most `merges` operations from word frequencies, those of both languages added up.

        Fewer are learned when no two symbols meet twice any more.
        """
        dictionary = io.StringIO("".join(f"{word} {count}\n" for word, count in counts.items()))
        if all(len(word) < 2 for word in counts):
            raise UserError("data.segmentation bpe: the training text has no word of two letters; use words")
        # subword-nmt draws its own bar and notes on standard error; ours counts the codes as it writes them.
        with progress(merges, "learning BPE", "merge") as bar, contextlib.redirect_stderr(io.StringIO()):
            codes = _Counted(bar)
            learn_bpe(dictionary, codes, merges, is_dict=True)
        if codes.getvalue().count("\n") == 1:
            raise UserError("data.segmentation bpe: no two letters meet twice in the training text; use words")
        return cls(codes.getvalue())

    def split(self, tokens: Iterable[str]) -> list[str]:
        """Pieces of tokens: all but a word's last end in `@@`."""
        pieces: list[str] = self._bpe.segment_tokens(tokens)
        return pieces

    @staticmethod
    def join(pieces: Iterable[str]) -> list[str]:
        """Tokens from pieces; a continuation that nothing follows stands as a word."""
        joined = " ".join(pieces).replace(f"{SEPARATOR} ", "").removesuffix(SEPARATOR)
        return joined.split()

    def save(self, path: Path) -> None:
        """The codes in subword-nmt's own format."""
        path.write_text(self.codes, encoding="utf-8", newline="\n")

    @classmethod
    def load(cls, path: Path) -> Bpe:
        """What `save` wrote; UserError when the file is missing or damaged."""
        try:
            return cls(path.read_bytes().decode("utf-8"), str(path))
        except OSError as error:
            raise UserError(f"{path}: {error.strerror}; prepare the data again") from None
        except UnicodeDecodeError:
            raise UserError(f"{path}: damaged (not UTF-8); prepare the data again") from None


class _Counted(io.StringIO):
    """Text in memory that moves a progress bar by one for each line written."""

    def __init__(self, bar: tqdm) -> None:
        super().__init__()
        self._bar = bar

    def write(self, text: str) -> int:
        self._bar.update()
        return super().write(text)
