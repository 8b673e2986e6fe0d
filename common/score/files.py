"""Scores of text: the variants of the papers' tokenised BLEU, and files of hypotheses against references."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sacremoses.corpus import NonbreakingPrefixes

from common.corpus.lines import read_parallel
from common.errors import UserError
from common.progress import counted, progress
from common.recipe import Recipe
from common.score.bleu import Score, sacre_bleu, tokenised_bleu
from common.score.by_length import bleu_by_bins
from common.score.significance import bootstrap_interval, plain_difference
from common.text.doubts import doubts, warn
from common.text.moses import Tokeniser, base_language

_BIN = 10
"""Width of a bin of BLEU by length, in source words."""
_WITHOUT_SPACES = re.compile("[\u0e00-\u0eff\u0f00-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]+")
"""Thai, Lao, Tibetan, Burmese, Khmer, Japanese and Chinese, which are written without spaces between words."""
_LONGEST_WORD = 4
"""Mean length, in characters of those scripts, up to which the text counts as split into words."""


def tokenised_scores(
    hypotheses: Sequence[str], references: Sequence[str], metric: str, *, tokenization: str, subset: str | None = None
) -> dict[str, Score]:
    """Compute multi-bleu's BLEU of tokenised text in every variant that the recipe's metric asks for.

    With `tokenised_compound` there are three: with unsplit words, with split compounds, and with split compounds and
    ASCII quotes.
    metric: `tokenised` or `tokenised_compound`, as in the recipe section `evaluate`. It is among the keys of the
    result.
    tokenization, subset: as in `tokenised_bleu`.
    """
    return {
        name: tokenised_bleu(hypotheses, references, tokenization=tokenization, subset=subset, **options)
        for name, options in _variants(metric).items()
    }


def _variants(metric: str) -> dict[str, dict[str, Any]]:
    """Return the options of `tokenised_bleu` for each variant that a metric asks for."""
    options: dict[str, dict[str, Any]] = {
        "tokenised": {},
        "tokenised_compound": {"compound_split": True},
        "tokenised_compound_quotes": {"compound_split": True, "reference_quotes": True},
    }
    return {"tokenised": {}} if metric == "tokenised" else options


def score_files(
    hypothesis: Path,
    reference: Path,
    source: Path | None,
    recipe: Recipe,
    language: str | None = None,
    lowercase: bool = False,
    against: Path | None = None,
) -> dict[str, Any]:
    """Compute tokenised BLEU and sacreBLEU of detokenised text files, with intervals, and BLEU by source length.

    recipe: says how to tokenise and which BLEU is the paper's.
    language: of hypothesis and reference. The default is the recipe's target.
    lowercase: lower-case before tokenising, which some recipes do in any case.
    against: another output for the same sentences. The differences from it, by paired bootstrap, are `differences`.
    Raise UserError if a file is missing, empty, not UTF-8 or of another length than the others, or if the references
    have no word.

    Source length is in words between white space.
    """
    given = {"hypothesis": hypothesis, "reference": reference, "source": source, "against": against}
    paths = {name: path for name, path in given.items() if path is not None}
    texts = dict(zip(paths, read_parallel(*paths.values()), strict=True))
    language, lowercase = language or recipe.data.target, lowercase or recipe.text.lowercase
    tokeniser = Tokeniser(language, lowercase, recipe.text.tokeniser)
    outputs = [name for name in ("hypothesis", "against") if name in texts]
    for name, path in paths.items():
        examine(texts[name], path, None if name == "source" else recipe.text.tokeniser, name == "reference")
    metric, references = recipe.evaluate.metric, texts["reference"]
    steps = len(outputs) + 1 + 2 * len(outputs) * (len(_variants(metric)) + 1)
    with progress(steps, "scoring", " steps") as bar:
        tokens = dict(counted(bar, ((key, [*map(tokeniser.tokenise, texts[key])]) for key in (*outputs, "reference"))))

        def scores_of(name: str) -> Iterator[tuple[str, Score]]:
            """Yield the scores of an output by name."""
            pair, signature = (tokens[name], tokens["reference"]), tokeniser.signature
            for key, options in _variants(metric).items():
                yield key, tokenised_bleu(*pair, tokenization=signature, **options)
            yield "sacrebleu", sacre_bleu(texts[name], references, language, lowercase=lowercase)

        scores, *others = (dict(counted(bar, scores_of(name))) for name in outputs)
        shown: dict[str, Any] = {
            "recipe": recipe.name,
            "language": language,
            "tokeniser": tokeniser.signature,
            "notes": notes(language, references, tokens["reference"], scores["sacrebleu"].signature),
            **dict(counted(bar, ((key, _with_interval(score)) for key, score in scores.items()))),
        }
        if others:
            compared = ((key, plain_difference(score, others[0][key])) for key, score in scores.items())
            shown["differences"] = dict(counted(bar, compared))
    return shown if source is None else {**shown, "by_length": _by_length(scores[metric], metric, texts["source"])}


def _by_length(score: Score, metric: str, source: Sequence[str]) -> list[dict[str, Any]]:
    """Return BLEU by source length, in words between white space, as plain values."""
    lengths = np.array([len(line.split()) for line in source])
    bins = bleu_by_bins(score.statistics, lengths, range(1, int(lengths.max()) + _BIN + 1, _BIN))
    return [{"score": metric, "low": b.low, "high": b.high - 1, "bleu": b.bleu, "sentences": b.sentences} for b in bins]


def examine(lines: Sequence[str], path: Path, tokeniser: str | None, references: bool = False) -> None:
    """Print warnings of lines that look like the wrong input of a tokeniser, if one is named, or that have no word.

    Raise UserError if references have no word: nothing can be right then.
    """
    if not any(map(str.split, lines)):
        if references:
            raise UserError(f"{path}: has no word in it; put one reference on each line")
        warn([f"{path}: has no word in it; is it the file that is meant?"])
    if tokeniser:
        warn(doubts(lines, str(path), tokeniser))


def notes(language: str, references: Sequence[str], tokens: Sequence[str], sacre_signature: str) -> list[str]:
    """Return what a reader of the scores must know about the language.

    There are two cases: Moses has no rules for the language, or the text is not split into words.
    references: detokenised lines.
    tokens: the same lines, tokenised.
    """
    found = unknown_language(language)
    if _unsplit(tokens):
        found.append("Moses does not split this text into words, so tokenised BLEU takes whole clauses for words")
    if "|tok:13a|" in sacre_signature and _unsplit(references):
        own = base_language(language) in ("zh", "ja")
        found.append(
            "sacreBLEU's 13a takes whole clauses of this text for words. Of what is written without spaces sacreBLEU "
            + (
                "splits zh and ja with tokenisers of their own, which `score --hypothesis F --reference F` uses"
                if own
                else f"splits zh and ja, and the language is `{language}`"
            )
        )
    return found


def unknown_language(language: str) -> list[str]:
    """Return a note if Moses has no rules for the language."""
    if base_language(language) in NonbreakingPrefixes().available_langs.values():
        return []
    return [f"Moses knows no abbreviations of `{language}` and takes the English ones, as tokenizer.perl does"]


def _unsplit(lines: Sequence[str]) -> bool:
    """Return whether most of the text is in scripts without spaces and is not split into words."""
    together = [len(word) for line in lines for word in _WITHOUT_SPACES.findall(line)]
    letters = sum(map(str.isalpha, "".join(lines)))
    return sum(together) > letters / 2 and sum(together) > _LONGEST_WORD * len(together)


def _with_interval(score: Score) -> dict[str, Any]:
    """Return a score as plain values, with its interval."""
    low, high = bootstrap_interval(score.statistics, score.of_sums)
    return {"bleu": score.value, "low": low, "high": high, "signature": score.signature}
