"""Scores of text: the papers' tokenised BLEU in its variants, and files of hypotheses against references."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from common.data.text import Tokeniser
from common.eval.bleu import Score, sacre_bleu, tokenised_bleu
from common.eval.by_length import bleu_by_bins
from common.eval.significance import bootstrap_interval
from common.lines import check_parallel, read_lines

_BIN = 10
"""Source words a bin of BLEU by length."""


def tokenised_scores(
    hypotheses: Sequence[str], references: Sequence[str], metric: str, lowercase: bool
) -> dict[str, Score]:
    """multi-bleu's BLEU of tokenised text; where a paper split compounds, also without and with the quote change.

    metric: `tokenised` or `tokenised_compound`, as in the recipe section `evaluate`; it is among the keys.
    """
    plain = {"tokenised": tokenised_bleu(hypotheses, references, lowercase=lowercase)}
    if metric == "tokenised":
        return plain
    return plain | {
        name: tokenised_bleu(
            hypotheses, references, lowercase=lowercase, compound_split=True, reference_quotes=name.endswith("quotes")
        )
        for name in ("tokenised_compound", "tokenised_compound_quotes")
    }


def score_files(
    hypothesis: Path,
    reference: Path,
    source: Path | None,
    language: str,
    metric: str,
    lowercase: bool,
    quotes_2014: bool,
) -> dict[str, Any]:
    """Tokenised BLEU and sacreBLEU of detokenised text files, with intervals, and BLEU by source length.

    language: of hypothesis and reference; metric, lowercase, quotes_2014: as in a recipe. Raises UserError for
    files that are missing, empty, not UTF-8 or of unequal length.
    """
    hypotheses, references = read_lines(hypothesis), read_lines(reference)
    check_parallel(hypotheses, references, (str(hypothesis), str(reference)))
    tokeniser = Tokeniser(language, lowercase=lowercase, quotes_2014=quotes_2014)
    hypothesis_tokens, reference_tokens = (
        [tokeniser.tokenise(line) for line in lines] for lines in (hypotheses, references)
    )
    scores = tokenised_scores(hypothesis_tokens, reference_tokens, metric, lowercase)
    shown = {
        name: _with_interval(score)
        for name, score in (scores | {"sacrebleu": sacre_bleu(hypotheses, references, lowercase=lowercase)}).items()
    }
    if source is None:
        return shown
    sources = read_lines(source)
    check_parallel(hypotheses, sources, (str(hypothesis), str(source)))
    lengths = np.array([len(line.split()) for line in sources])
    bins = bleu_by_bins(scores[metric].statistics, lengths, range(1, int(lengths.max()) + _BIN + 1, _BIN))
    by_length = [{"low": b.low, "high": b.high - 1, "bleu": b.bleu, "sentences": b.sentences} for b in bins]
    return {**shown, "by_length": by_length}


def _with_interval(score: Score) -> dict[str, Any]:
    low, high = bootstrap_interval(score.statistics)
    return {"bleu": score.value, "low": low, "high": high, "signature": score.signature}
