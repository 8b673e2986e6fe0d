"""Word pieces (Wu et al. 2016, §4.1), which Vaswani2017 §5.1 names for English-French.

Google's trainer of word pieces was never released, and the Transformer's authors used a third way of their own. Here
pieces are learned as Hugging Face's WordPieceTrainer learns them: the most frequent pair of symbols is merged until the
vocabulary is full. A word is split as BERT splits it: the longest known piece first. That trainer itself breaks ties
anew at every call (huggingface/tokenizers issue 1794) and takes running text instead of counts.
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
"""Begins every piece but a word's first. The Moses script splits at every #, so none of its words begins with it."""
CHARACTERS = 500
"""At most so many characters, the most frequent, enter the vocabulary: what Wu et al. 2016, §4.1, took for Western
languages, so that rare ones do not fill it."""
_START = " "
"""Marks a word's first symbol while learning; no token contains a space."""


class WordPieces:
    """A list of pieces. A character that is none of them is a piece outside the vocabulary, so its word is not lost."""

    def __init__(self, pieces: Sequence[str], name: str = "word pieces") -> None:
        """`name` is what the UserError for a damaged list calls it."""
        self.pieces = tuple(pieces)
        self._known = frozenset(pieces)
        if not pieces or len(self._known) < len(pieces) or any([piece] != piece.split() for piece in pieces):
            raise UserError(f"{name}: damaged (not different word pieces, one a line); prepare the data again")
        self._longest = max(map(len, pieces))

    @classmethod
    def learn(cls, counts: Counter[str], size: int) -> WordPieces:
        """At most `size` pieces from word frequencies, those of both languages added up, whatever their order.

        First the characters, each where it was seen: beginning a word or not. Then what the merges make, in their
        order; fewer than `size` when no two symbols meet twice any more. Words are tokens: not empty, without white
        space. Those with a character beyond the CHARACTERS most frequent are not learned from.
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
        """Pieces of tokens, the longest first; all but a word's first begin with `##`."""
        pieces = []
        for token in tokens:
            start, prefix = 0, ""
            while start < len(token):
                for end in range(min(len(token), start + self._longest), start, -1):
                    if prefix + token[start:end] in self._known:
                        break
                # No piece fits: `end` has come down to one character, which then stands for itself.
                pieces.append(prefix + token[start:end])
                start, prefix = end, PREFIX
        return pieces

    @staticmethod
    def join(pieces: Iterable[str]) -> list[str]:
        """Tokens from pieces; a continuation that follows nothing stands as a word."""
        return " ".join(pieces).removeprefix(PREFIX).replace(f" {PREFIX}", "").split()

    def save(self, path: Path) -> None:
        """One piece a line."""
        write_whole(path, "".join(f"{piece}\n" for piece in self.pieces))

    @classmethod
    def load(cls, path: Path) -> WordPieces:
        """What `save` wrote; UserError when the file is missing or damaged."""
        return cls(read_text(path, "prepare the data again").split("\n")[:-1], str(path))


def _most_frequent_characters(counts: Counter[str]) -> frozenset[str]:
    """At most CHARACTERS, equally frequent ones in alphabetical order."""
    characters: Counter[str] = Counter()
    for word, count in counts.items():
        for character in word:
            characters[character] += count
    return frozenset(sorted(characters, key=lambda character: (-characters[character], character))[:CHARACTERS])


def _symbols(word: str) -> list[str]:
    """What the learner begins with."""
    return [_START + word[0], *word[1:]]


def _piece(symbol: str) -> str:
    """How a symbol of the learner is spelt in the vocabulary."""
    return symbol.removeprefix(_START) if symbol.startswith(_START) else PREFIX + symbol
