"""Words and their ids: EOS is 0, UNK is 1, and the shortlist begins at 2 with the most frequent word."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from torchtext.vocab import Vocab

from common.errors import UserError
from common.files import read_text, write_whole
from common.ids import UNK

UNK_TEXT = "UNK"
"""The spelling of an unknown word in outputs, as in GroundHog's."""
SPECIALS = 2
"""Number of rows before the first word: EOS and UNK."""


class Vocabulary:
    """A shortlist with a fixed number of rows.

    size counts EOS, UNK and also the rows that stay without a word if the text has fewer types. EOS and UNK have no
    spelling here, so a text may contain `UNK` or `<unk>` as ordinary words.
    """

    def __init__(self, words: Sequence[str], size: int) -> None:
        self.words = tuple(words)
        self.size = size
        self._ids = {word: index for index, word in enumerate(self.words, start=SPECIALS)}

    @classmethod
    def build(cls, counts: Counter[str], size: int) -> Vocabulary:
        """Return the vocabulary of the `size` - 2 most frequent words.

        Equally frequent words are in alphabetical order.
        """
        # Without specials: torchtext would drop words of the text that are spelt like one.
        return cls(Vocab(counts, max_size=size - SPECIALS, specials=[]).itos, size)

    def __len__(self) -> int:
        return self.size

    def __contains__(self, word: object) -> bool:
        return word in self._ids

    def encode(self, tokens: Iterable[str]) -> list[int]:
        """Return the ids of tokens, UNK for a token outside the vocabulary. No EOS is added."""
        ids = self._ids
        return [ids.get(token, UNK) for token in tokens]

    def decode(self, ids: Iterable[int]) -> list[str]:
        """Return the words of ids. EOS is skipped, and a row without a word is shown as UNK."""
        words = self.words
        rows = (int(index) - SPECIALS for index in ids)
        return [words[row] if 0 <= row < len(words) else UNK_TEXT for row in rows if row != -SPECIALS]

    def save(self, path: Path) -> None:
        """Write one word a line, below a line with the number of rows and of words."""
        lines = (f"{self.size} {len(self.words)}", *self.words)
        write_whole(path, "".join(f"{line}\n" for line in lines))

    @classmethod
    def load(cls, path: Path) -> Vocabulary:
        """Read what `save` wrote. Raises UserError if the file is missing or damaged."""
        try:
            header, *words = read_text(path, "prepare the data again").split("\n")[:-1]
            size, count = map(int, header.split(" "))
        except ValueError:
            raise UserError(f"{path}: not a vocabulary of this program; prepare the data again") from None
        if len(words) != count or count > size - SPECIALS or len(set(words)) != count or "" in words:
            raise UserError(f"{path}: damaged (its words do not match its first line); prepare the data again")
        return cls(words, size)
