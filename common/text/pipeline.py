"""From untokenised text to ids and back: all that a trained run needs to translate, without its training data."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from common.errors import UserError
from common.files import write_json
from common.ids import EOS
from common.recipe import tokeniser_of
from common.text.bpe import Bpe
from common.text.moses import Tokeniser
from common.text.vocabulary import Vocabulary
from common.text.wordpieces import WordPieces

Segmenter = Bpe | WordPieces
SEGMENTERS: dict[str, type[Bpe] | type[WordPieces]] = {"bpe": Bpe, "wordpieces": WordPieces}
"""By the recipe's name for it (text.segmentation)."""
SEGMENTER_FILES = {"bpe": "bpe.codes", "wordpieces": "wordpieces.txt"}
"""What each is saved as."""


@dataclass(frozen=True)
class TextPipeline:
    """Tokenisers, segmentation and vocabularies of one language pair.

    Names: tokens are what the tokeniser makes (Moses: escaped); pieces are what has an id, tokens or parts of them.
    """

    source_language: str
    target_language: str
    lowercase: bool
    tokeniser: str
    """A state of the Moses script, or none; as a recipe calls it."""
    source_vocabulary: Vocabulary
    target_vocabulary: Vocabulary
    segmenter: Segmenter | None
    """None when words are the pieces."""

    @property
    def segmentation(self) -> str:
        """words, bpe or wordpieces, as a recipe calls it."""
        return next((name for name, kind in SEGMENTERS.items() if isinstance(self.segmenter, kind)), "words")

    @cached_property
    def source_tokeniser(self) -> Tokeniser:
        """Of the source language."""
        return Tokeniser(self.source_language, self.lowercase, self.tokeniser)

    @cached_property
    def target_tokeniser(self) -> Tokeniser:
        """Of the target language."""
        return Tokeniser(self.target_language, self.lowercase, self.tokeniser)

    def pieces(self, tokens: str) -> list[str]:
        """Pieces of tokens joined by spaces."""
        return self.segmenter.split(tokens.split()) if self.segmenter else tokens.split()

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
        return self.segmenter.join(pieces) if self.segmenter else pieces

    def detokenise(self, tokens: Iterable[str]) -> str:
        """Plain target text."""
        return self.target_tokeniser.detokenise(" ".join(tokens))

    def save(self, directory: Path) -> None:
        """Into `directory`: text.json, source.vocab, target.vocab and, with sub-words, what splits them."""
        facts = {
            "source_language": self.source_language,
            "target_language": self.target_language,
            "lowercase": self.lowercase,
            "tokeniser": self.tokeniser,
            "segmentation": self.segmentation,
        }
        write_json(directory / "text.json", facts)
        self.source_vocabulary.save(directory / "source.vocab")
        self.target_vocabulary.save(directory / "target.vocab")
        if self.segmenter:
            self.segmenter.save(directory / SEGMENTER_FILES[self.segmentation])

    @classmethod
    def load(cls, directory: Path) -> TextPipeline:
        """What `save` wrote; UserError naming the file that is missing or damaged."""
        path = directory / "text.json"
        try:
            facts = json.loads(path.read_text(encoding="utf-8"))
            if "moses_2014_quotes" in facts:  # of a run of an earlier version
                facts["tokeniser"] = tokeniser_of(facts.pop("moses_2014_quotes"))
            kind = facts.pop("segmentation")
            segmenter = None if kind == "words" else SEGMENTERS[kind].load(directory / SEGMENTER_FILES[kind])
            return cls(
                **facts,
                source_vocabulary=Vocabulary.load(directory / "source.vocab"),
                target_vocabulary=Vocabulary.load(directory / "target.vocab"),
                segmenter=segmenter,
            )
        except OSError as error:
            raise UserError(f"{path}: {error.strerror}; is {directory} a finished run?") from None
        except (ValueError, KeyError, TypeError, AttributeError):
            raise UserError(f"{path}: damaged; prepare the data again") from None
