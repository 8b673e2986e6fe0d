"""Word pieces (Wu et al. 2016, §4.1), which Vaswani2017 §5.1 names for English-French.

Google's trainer of word pieces was never released, and the Transformer's authors used a third method of their own.
Here pieces are learned as in Hugging Face's WordPieceTrainer: the most frequent pair of symbols is merged until the
vocabulary is full. A word is split as in BERT: the longest known piece first. That trainer itself is not used because
it breaks ties differently at every call (huggingface/tokenizers issue 1794) and takes running text instead of counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from common.errors import UserError
from common.files import read_text, write_whole
from common.progress import progress
from common.text.bpe import learn_merges

PREFIX = "##"
"""The beginning of every piece except a word's first one. The Moses script splits at every #, so no token begins
with it."""
CHARACTERS = 500
"""Largest number of characters in the vocabulary, the most frequent ones. Wu et al. 2016, §4.1, took this number for
Western languages, so that rare characters do not fill the vocabulary."""
_START = " "
"""Mark of a word's first symbol during learning. No token contains a space."""


class WordPieces:
    """A list of pieces.

    A character that is not among them becomes a piece outside the vocabulary, so its word is kept.
    """

    def __init__(self, pieces: Sequence[str], name: str = "word pieces") -> None:
        """Take the pieces. `name` stands for them in the UserError for a damaged list."""
        self.pieces = tuple(pieces)
        self._known = frozenset(pieces)
        if not pieces or len(self._known) < len(pieces) or any([piece] != piece.split() for piece in pieces):
            raise UserError(f"{name}: damaged (not different word pieces, one a line); prepare the data again")
        self._longest = max(map(len, pieces))

    @classmethod
    def learn(cls, counts: Counter[str], size: int) -> WordPieces:
        """Learn at most `size` pieces from word frequencies.

        The frequencies of both languages are added up, in any order.
        The characters come first, separately for the beginning of a word and the rest of it. Then come the results of
        the merges, in their order. There are fewer than `size` pieces if no pair of symbols occurs twice any more.
        Words are tokens: not empty, without white space. Nothing is learned from a word with a character that is not
        among the CHARACTERS most frequent ones. Raises UserError if the characters alone are more than `size`.
        """
        common = _most_frequent_characters(counts)
        words = [word for word in counts if common.issuperset(word)]
        pieces = dict.fromkeys(sorted({_piece(symbol) for word in words for symbol in _symbols(word)}))
        if not 0 < len(pieces) <= size:
            raise UserError(
                f"text.vocabulary_size: the training text has {len(pieces):,} characters (each counted twice if words "
                f"begin with it too) for {size:,} word pieces; use at least as many, or words"
            )
        with progress(size, "learning word pieces", "piece", initial=len(pieces)) as bar:
            for pair in learn_merges((_symbols(word), counts[word]) for word in words):
                if len(pieces) == size:
                    break
                piece = _piece("".join(pair))
                bar.update(piece not in pieces)
                pieces[piece] = None
        return cls(list(pieces))

    def split(self, tokens: Iterable[str]) -> list[str]:
        """Split tokens into pieces, the longest first. All but a word's first piece begin with `##`."""
        pieces = []
        for token in tokens:
            start, prefix = 0, ""
            while start < len(token):
                for end in range(min(len(token), start + self._longest), start, -1):
                    if prefix + token[start:end] in self._known:
                        break
                # If no piece fits, `end` has come down to one character, which becomes a piece by itself.
                pieces.append(prefix + token[start:end])
                start, prefix = end, PREFIX
        return pieces

    @staticmethod
    def join(pieces: Iterable[str]) -> list[str]:
        """Join pieces into tokens. A piece with `##` at the beginning of the list begins a token."""
        return " ".join(pieces).removeprefix(PREFIX).replace(f" {PREFIX}", "").split()

    def save(self, path: Path) -> None:
        """Write one piece a line."""
        write_whole(path, "".join(f"{piece}\n" for piece in self.pieces))

    @classmethod
    def load(cls, path: Path) -> WordPieces:
        """Read what `save` wrote. Raises UserError if the file is missing or damaged."""
        return cls(read_text(path, "prepare the data again").split("\n")[:-1], str(path))


def _most_frequent_characters(counts: Counter[str]) -> frozenset[str]:
    """Return the most frequent characters, at most CHARACTERS. Equally frequent ones are in alphabetical order."""
    characters: Counter[str] = Counter()
    for word, count in counts.items():
        for character in word:
            characters[character] += count
    return frozenset(sorted(characters, key=lambda character: (-characters[character], character))[:CHARACTERS])


def _symbols(word: str) -> list[str]:
    """Return the symbols of a word with which learning begins."""
    return [_START + word[0], *word[1:]]


def _piece(symbol: str) -> str:
    """Return how a symbol of the learner is spelt in the vocabulary."""
    return symbol.removeprefix(_START) if symbol.startswith(_START) else PREFIX + symbol
