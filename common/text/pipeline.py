"""From untokenised text to ids and back: all that a trained run needs to translate, without its training data."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
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
"""Segmenters by their name in a recipe (text.segmentation)."""
SEGMENTER_FILES = {"bpe": "bpe.codes", "wordpieces": "wordpieces.txt"}
"""Name of the file in which each segmenter is saved."""
FILES = ("text.json", "source.vocab", "target.vocab", *SEGMENTER_FILES.values())
"""Names of all files that a pipeline may be saved in."""


@dataclass(frozen=True)
class TextPipeline:
    """Tokenisers, segmentation and vocabularies of one language pair.

    Tokens are the output of the tokeniser, escaped if it is Moses. Pieces have an id. They are tokens or parts of
    tokens.
    """

    source_language: str
    target_language: str
    lowercase: bool
    tokeniser: str
    """A version of the Moses script, or none, named as in a recipe."""
    source_vocabulary: Vocabulary
    target_vocabulary: Vocabulary
    segmenter: Segmenter | None
    """None if the pieces are whole words."""

    @property
    def segmentation(self) -> str:
        """words, bpe or wordpieces, named as in a recipe."""
        return next((name for name, kind in SEGMENTERS.items() if isinstance(self.segmenter, kind)), "words")

    @cached_property
    def source_tokeniser(self) -> Tokeniser:
        """The tokeniser of the source language."""
        return Tokeniser(self.source_language, self.lowercase, self.tokeniser)

    @cached_property
    def target_tokeniser(self) -> Tokeniser:
        """The tokeniser of the target language."""
        return Tokeniser(self.target_language, self.lowercase, self.tokeniser)

    def pieces(self, tokens: str) -> list[str]:
        """Return the pieces of tokens that are joined by spaces."""
        return self.segmenter.split(tokens.split()) if self.segmenter else tokens.split()

    def source_tokens(self, line: str) -> list[str]:
        """Return the pieces of an untokenised source line, as figures show them."""
        return self.pieces(self.source_tokeniser.tokenise(line))

    def encode_source(self, line: str) -> list[int]:
        """Return the ids of an untokenised source line, without EOS."""
        return self.source_vocabulary.encode(self.source_tokens(line))

    def encode_target(self, line: str) -> list[int]:
        """Return the ids of an untokenised target line, without EOS."""
        return self.target_vocabulary.encode(self.pieces(self.target_tokeniser.tokenise(line)))

    def target_pieces(self, ids: Iterable[int]) -> list[str]:
        """Return the target pieces of ids up to the first EOS."""
        until = []
        for index in map(int, ids):
            if index == EOS:
                break
            until.append(index)
        return self.target_vocabulary.decode(until)

    def target_tokens(self, ids: Iterable[int]) -> list[str]:
        """Return the target tokens of ids up to the first EOS, sub-words joined.

        Tokenised BLEU compares these tokens.
        """
        return self.joined(self.target_pieces(ids))

    def joined(self, pieces: Sequence[str]) -> list[str]:
        """Return the tokens of pieces."""
        return self.segmenter.join(pieces) if self.segmenter else list(pieces)

    def detokenise(self, tokens: Iterable[str]) -> str:
        """Return the plain text of target tokens."""
        return self.target_tokeniser.detokenise(" ".join(tokens))

    def save(self, directory: Path) -> None:
        """Write text.json, source.vocab, target.vocab and, for sub-words, the segmenter's file into `directory`."""
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
        """Read what `save` wrote. Raises UserError naming the file that is missing or damaged."""
        path = directory / "text.json"
        try:
            facts = json.loads(path.read_text(encoding="utf-8"))
            if "moses_2014_quotes" in facts:  # the run is of an earlier version
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
