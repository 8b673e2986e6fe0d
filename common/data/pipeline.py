"""From untokenised text to ids and back: all that a trained run needs to translate, without its training data."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from common.data.bpe import Bpe
from common.data.text import Tokeniser
from common.data.vocabulary import Vocabulary
from common.errors import UserError
from common.model import EOS
from common.recipe import Data


@dataclass(frozen=True)
class TextPipeline:
    """Tokenisers, segmentation and vocabularies of one language pair.

    Names: tokens are Moses tokens (escaped); pieces are what has an id, that is tokens or, with BPE, parts of them.
    """

    source_language: str
    target_language: str
    lowercase: bool
    moses_2014_quotes: bool
    source_vocabulary: Vocabulary
    target_vocabulary: Vocabulary
    bpe: Bpe | None
    """None when words are the pieces."""

    @classmethod
    def learn(cls, data: Data, source_counts: Counter[str], target_counts: Counter[str]) -> TextPipeline:
        """Segmentation and vocabularies from the token frequencies of the training text."""
        common = (data.source, data.target, data.lowercase, data.moses_2014_quotes)
        if data.bpe_merges is None:
            source, target = (
                Vocabulary.build(counts, data.vocabulary_size) for counts in (source_counts, target_counts)
            )
            return cls(*common, source, target, None)
        both = source_counts + target_counts
        bpe = Bpe.learn(both, data.bpe_merges)
        shared = Vocabulary.build(piece_counts(both, bpe), data.vocabulary_size)
        return cls(*common, shared, shared, bpe)

    @cached_property
    def source_tokeniser(self) -> Tokeniser:
        """Of the source language."""
        return Tokeniser(self.source_language, self.lowercase, self.moses_2014_quotes)

    @cached_property
    def target_tokeniser(self) -> Tokeniser:
        """Of the target language."""
        return Tokeniser(self.target_language, self.lowercase, self.moses_2014_quotes)

    def pieces(self, tokens: str) -> list[str]:
        """Pieces of tokens joined by spaces."""
        return self.bpe.split(tokens.split()) if self.bpe else tokens.split()

    def source_tokens(self, line: str) -> list[str]:
        """The pieces of an untokenised source line, as figures show them."""
        return self.pieces(self.source_tokeniser.tokenise(line))

    def encode_source(self, line: str) -> list[int]:
        """Ids of an untokenised source line; no EOS."""
        return self.source_vocabulary.encode(self.source_tokens(line))

    def encode_target(self, line: str) -> list[int]:
        """Ids of an untokenised target line; no EOS."""
        return self.target_vocabulary.encode(self.pieces(self.target_tokeniser.tokenise(line)))

    def target_pieces(self, ids: Iterable[int]) -> list[str]:
        """The target pieces of ids up to the first EOS."""
        until = []
        for index in map(int, ids):
            if index == EOS:
                break
            until.append(index)
        return self.target_vocabulary.decode(until)

    def target_tokens(self, ids: Iterable[int]) -> list[str]:
        """The target tokens of ids up to the first EOS, sub-words joined: what tokenised BLEU compares."""
        pieces = self.target_pieces(ids)
        return self.bpe.join(pieces) if self.bpe else pieces

    def detokenise(self, tokens: Iterable[str]) -> str:
        """Plain target text."""
        return self.target_tokeniser.detokenise(" ".join(tokens))

    def save(self, directory: Path) -> None:
        """Into `directory`: text.json, source.vocab, target.vocab and, with BPE, bpe.codes."""
        facts = {
            "source_language": self.source_language,
            "target_language": self.target_language,
            "lowercase": self.lowercase,
            "moses_2014_quotes": self.moses_2014_quotes,
            "segmentation": "bpe" if self.bpe else "words",
        }
        (directory / "text.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
        self.source_vocabulary.save(directory / "source.vocab")
        self.target_vocabulary.save(directory / "target.vocab")
        if self.bpe:
            self.bpe.save(directory / "bpe.codes")

    @classmethod
    def load(cls, directory: Path) -> TextPipeline:
        """What `save` wrote; UserError naming the file that is missing or damaged."""
        path = directory / "text.json"
        try:
            facts = json.loads(path.read_text(encoding="utf-8"))
            words = {"words": True, "bpe": False}[facts.pop("segmentation")]
            return cls(
                **facts,
                source_vocabulary=Vocabulary.load(directory / "source.vocab"),
                target_vocabulary=Vocabulary.load(directory / "target.vocab"),
                bpe=None if words else Bpe.load(directory / "bpe.codes"),
            )
        except OSError as error:
            raise UserError(f"{path}: {error.strerror}; is {directory} a finished run?") from None
        except (ValueError, KeyError, TypeError, AttributeError):
            raise UserError(f"{path}: damaged; prepare the data again") from None


def piece_counts(counts: Counter[str], bpe: Bpe) -> Counter[str]:
    """Frequencies of sub-words, from those of words."""
    pieces: Counter[str] = Counter()
    for word, count in counts.items():
        for piece in bpe.split([word]):
            pieces[piece] += count
    return pieces
