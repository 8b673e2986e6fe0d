"""Data selection by cross-entropy difference: the pairs of a corpus that are most like in-domain text.

Axelrod, He & Gao 2011 (modified Moore-Lewis): a pair's score is [H_in(source) - H_gen(source)] + [H_in(target) -
H_gen(target)]. Lower is better. H is the cross-entropy of a sentence under a four-gram model, H_in of in-domain text
and H_gen of as much general text. Both models of a language have one vocabulary: the in-domain words seen at least
twice.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import kenlm
import numpy as np
import numpy.typing as npt

from common.errors import UserError
from common.prepare.language_model import estimate, vocabulary

_LANGUAGES = ("source", "target")
BITS = math.log2(10)
"""Bits per unit of KenLM's logarithms, which are to base 10."""


def train_models(
    in_domain: tuple[Iterable[str], Iterable[str]], general: tuple[Iterable[str], Iterable[str]], folder: Path
) -> None:
    """Write the four models, `<in_domain or general>.<source or target>.trie`, into `folder` unless they exist.

    in_domain, general: lines of source and target, tokens joined by single spaces. Each is read at most once.
    In-domain text is held in memory, general text is not. If the general models were trained on a pair, its score is
    that of text most unlike the in-domain text, whatever it says. So general text should contain few or none of the
    pairs to be scored. A text too small for its discounts to be estimated gets lmplz's fixed ones. Only one process at
    a time may train into `folder`. Raises UserError for text that is empty or repeats no word, for a full disk and for
    missing tools.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for language, inside, outside in zip(_LANGUAGES, in_domain, general, strict=True):
        paths = [_path(folder, domain, language) for domain in ("in_domain", "general")]
        if all(path.exists() for path in paths):
            continue
        lines = [line.encode() for line in inside]
        words = vocabulary(lines)
        if not words:
            raise UserError(f"the in-domain {language} text has no word that occurs twice; give more in-domain text")
        estimate(lines, words, paths[0], f"the in-domain {language} text")
        estimate((line.encode() for line in outside), words, paths[1], f"the general {language} text")


class Scorer:
    """Scores of pairs under the models that `train_models` wrote into `folder`.

    The models are mapped into memory and read when needed, so processes share their pages. Raises UserError for a model
    that is missing or damaged.
    """

    def __init__(self, folder: Path) -> None:
        self._models = [
            [open_model(_path(folder, domain, language)) for domain in ("in_domain", "general")]
            for language in _LANGUAGES
        ]

    def scores(self, source: Iterable[str], target: Iterable[str]) -> npt.NDArray[np.float64]:
        """Return for each pair the sum of H_in - H_gen over both languages. It is finite.

        A lower score means more like the in-domain text. H is in bits per token. The end of the sentence is a token and
        is predicted like any other, as in KenLM's perplexity. The beginning is only context.
        """
        pairs = zip(source, target, strict=True)
        return np.fromiter((self._difference(0, one) + self._difference(1, other) for one, other in pairs), np.float64)

    def _difference(self, language: int, line: str) -> float:
        in_domain, general = self._models[language]
        text = line.encode()
        return BITS * float(general.score(text) - in_domain.score(text)) / (len(text.split()) + 1)


def keep_share(scores: Sequence[npt.NDArray[np.float64]], share: float) -> list[npt.NDArray[np.bool_]]:
    """Return masks of the round(share * pairs) pairs with the lowest scores over all shards together.

    scores: of each shard [pairs]. share: 0 to 1. Of equal scores the earlier pair is kept.
    """
    every = np.concatenate(scores)
    count = round(share * len(every))
    kept = np.zeros(len(every), np.bool_)
    if count:
        worst = np.partition(every, count - 1)[count - 1]
        kept = every < worst
        kept[np.flatnonzero(every == worst)[: count - kept.sum()]] = True
    return _by_shard(kept, scores)


def keep_words(
    scores: Sequence[npt.NDArray[np.float64]], words: Sequence[npt.NDArray[np.int64]], limit: int
) -> list[npt.NDArray[np.bool_]]:
    """Return masks of the best pairs over all shards together, as many as have at most `limit` target words in total.

    scores, words: of each shard [pairs]. words are those of the target. Of equal scores the earlier pair is better.
    """
    order = np.argsort(np.concatenate(scores), kind="stable")
    total = np.concatenate(words)[order]
    np.cumsum(total, out=total)
    kept = np.zeros(len(order), np.bool_)
    kept[order[: np.searchsorted(total, limit, side="right")]] = True
    return _by_shard(kept, scores)


def _by_shard(kept: npt.NDArray[np.bool_], shards: Sequence[npt.NDArray[np.float64]]) -> list[npt.NDArray[np.bool_]]:
    return np.split(kept, np.cumsum([len(shard) for shard in shards])[:-1])


def open_model(path: Path) -> Any:
    """Return a model that `estimate` wrote, mapped into memory. Raises UserError if it is missing or damaged."""
    config = kenlm.Config()
    config.load_method = kenlm.LoadMethod.LAZY
    try:
        return kenlm.Model(str(path), config)
    except OSError:
        raise UserError(f"{path}: no language model that KenLM can read; delete it and run again") from None


def _path(folder: Path, domain: str, language: str) -> Path:
    return folder / f"{domain}.{language}.trie"
