"""Corpus BLEU as the papers measured it (multi-bleu.perl) and as it is compared today (sacreBLEU).

N-grams are counted by sacreBLEU, sentence by sentence, and every score is a function of the summed counts,
so that the same statistics serve confidence intervals, paired tests and BLEU by sentence length.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import sacrebleu
from sacrebleu.metrics.bleu import BLEU

from common.errors import UserError
from common.lines import check_parallel

# (sentences, 10): clipped n-gram matches for n = 1..4, hypothesis n-grams for n = 1..4,
# hypothesis length, reference length (lengths in tokens).
Statistics = npt.NDArray[np.int64]

DOUBLE_QUOTES = re.compile("[«»“”„‟〝〞〟＂❝❞⹂]")
# The Perl pipelines read bytes, where only ASCII white space separates words; Python would also split at
# French no-break spaces. Those are swapped for private characters before sacreBLEU, which splits as Python does.
_OTHER_SPACES = {
    code: 0xF0000 + code for code in range(0x3001) if chr(code).isspace() and chr(code) not in " \t\n\r\f\v"
}


@dataclass(frozen=True, eq=False)
class Score:
    """A BLEU score that carries its own provenance."""

    value: float  # BLEU x 100
    signature: str  # every choice that affects the number
    statistics: Statistics  # per sentence, in input order
    detail: str  # precisions, brevity penalty and lengths as the metric's own tool prints them


def tokenised_bleu(
    hypotheses: Sequence[str],
    references: Sequence[str],
    *,
    lowercase: bool = False,
    compound_split: bool = False,
    reference_quotes: bool = False,
    tokenization: str = "moses-escaped",
) -> Score:
    """The papers' BLEU: multi-bleu.perl on text that is already tokenised, one reference.

    `lowercase` folds A-Z only, which is all that multi-bleu.perl -lc does to UTF-8 text.
    `compound_split` splits hyphenated words on both sides (Vaswani2017, see `split_compounds`).
    `reference_quotes` makes the references' quotes ASCII (Vaswani2017, see `ascii_quotes`).
    `tokenization` names how the caller tokenised; it enters the signature and changes nothing else.
    Raises UserError for unequal or empty inputs.
    """
    check_parallel(hypotheses, references, ("the hypotheses", "the references"))
    if reference_quotes:
        references = [ascii_quotes(line) for line in references]
    statistics = _count(
        BLEU(tokenize="none", effective_order=True),
        (_as_perl_reads(line, lowercase, compound_split) for line in hypotheses),
        (_as_perl_reads(line, lowercase, compound_split) for line in references),
    )
    signature = (
        f"multi-bleu|nrefs:1|case:{'lc-ascii' if lowercase else 'mixed'}|tok:{tokenization}"
        f"|split:{'hyphen' if compound_split else 'no'}|quotes:{'ref-ascii' if reference_quotes else 'no'}"
        f"|smooth:none|version:sacrebleu-{sacrebleu.__version__}"
    )
    return Score(bleu(statistics), signature, statistics, _multi_bleu_line(statistics))


def sacre_bleu(
    hypotheses: Sequence[str], references: Sequence[str], *, lowercase: bool = False, tokenize: str = "13a"
) -> Score:
    """sacreBLEU on detokenised text, one reference, with the signature sacreBLEU itself prints.

    The value is sacreBLEU's, which smooths zero counts; `bleu(score.statistics)` agrees unless one is zero.
    Raises UserError for unequal or empty inputs and for a tokeniser that sacreBLEU does not have.
    """
    check_parallel(hypotheses, references, ("the hypotheses", "the references"))
    if tokenize not in BLEU.TOKENIZERS:
        raise UserError(f"sacreBLEU has no tokeniser {tokenize!r}; choose one of {', '.join(BLEU.TOKENIZERS)}")
    metric = BLEU(lowercase=lowercase, tokenize=tokenize)
    score = metric.corpus_score(hypotheses, [references])
    counter = BLEU(lowercase=lowercase, tokenize=tokenize, effective_order=True)
    statistics = _count(counter, hypotheses, references)
    return Score(score.score, f"BLEU|{metric.get_signature()}", statistics, str(score))


def bleu(statistics: Statistics) -> float:
    """Corpus BLEU x 100 of these sentences by multi-bleu's rules: unsmoothed, 0 if any precision is 0."""
    return float(bleu_of_sums(statistics.sum(axis=0)))


def bleu_of_sums(sums: npt.NDArray[np.int64] | npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """BLEU x 100 of summed statistics, (..., 10) to (...); Papineni et al. 2002 with N = 4."""
    matches, totals, hypothesis, reference = sums[..., :4], sums[..., 4:8], sums[..., 8], sums[..., 9]
    with np.errstate(divide="ignore", invalid="ignore"):  # only where a precision is 0, discarded below
        log_precision = np.log(matches / totals).mean(axis=-1)
        log_penalty = np.minimum(0.0, 1.0 - reference / hypothesis)
        score = 100.0 * np.exp(log_penalty + log_precision)
    return np.where(matches.min(axis=-1) > 0, score, 0.0)


def split_compounds(line: str) -> str:
    """Split hyphenated words, `a-b` to `a ##AT##-##AT## b`, as the 2017 get_ende_bleu script did.

    The original is a byte-wise Perl substitution without overlap: in `a-b-c` only the first hyphen splits,
    in `a-é-b` both do since `é` is two bytes. Text from Moses' aggressive tokeniser is split already.
    """
    return re.sub(rb"(\S)-(\S)", rb"\1 ##AT##-##AT## \2", line.encode()).decode()


def ascii_quotes(line: str) -> str:
    """Turn each Unicode double quote of a tokenised, escaped line into the token `&quot;`.

    That is what the Moses tokeniser would have written had the quote been ASCII, including the spaces around
    it: the change made to the reference behind the 2017 English-German scores. Single quotes stay.
    """
    return DOUBLE_QUOTES.sub(" &quot; ", line)


def _as_perl_reads(line: str, lowercase: bool, compound_split: bool) -> str:
    """The line with the options applied byte-wise, as Perl does without a UTF-8 layer."""
    if compound_split:
        line = split_compounds(line)
    if lowercase:
        line = line.encode().lower().decode()
    return line.translate(_OTHER_SPACES)


def _count(metric: BLEU, hypotheses: Iterable[str], references: Iterable[str]) -> Statistics:
    """Per-sentence statistics. Effective order is on only to keep sacreBLEU from warning: counts ignore it."""
    scores = (metric.sentence_score(hyp, [ref]) for hyp, ref in zip(hypotheses, references, strict=True))
    return np.array([[*s.counts, *s.totals, s.sys_len, s.ref_len] for s in scores], dtype=np.int64)


def _multi_bleu_line(statistics: Statistics) -> str:
    """The line multi-bleu.perl prints; where that divides by zero (no hypothesis has a word), zeros."""
    *counts, hypothesis, reference = statistics.sum(axis=0).tolist()
    if reference == 0:
        return "BLEU = 0, 0/0/0/0 (BP=0, ratio=0, hyp_len=0, ref_len=0)"
    precisions = "/".join(f"{100 * counts[n] / max(counts[4 + n], 1):.1f}" for n in range(4))
    penalty = np.exp(min(0.0, 1 - reference / hypothesis)) if hypothesis else 0.0
    return (
        f"BLEU = {bleu(statistics):.2f}, {precisions} (BP={penalty:.3f}, "
        f"ratio={hypothesis / reference:.3f}, hyp_len={hypothesis}, ref_len={reference})"
    )
