"""Corpus BLEU as the papers measured it (multi-bleu.perl) and as it is compared today (sacreBLEU).

N-grams are counted by sacreBLEU, sentence by sentence, and every score is a function of the summed counts,
so that the same statistics serve confidence intervals, paired tests and BLEU by sentence length.
A signature holds every choice that changes the number, the language and year of the tokenisation among them.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import sacrebleu
from sacrebleu.metrics.bleu import BLEU

from common.corpus.lines import check_parallel
from common.errors import UserError
from common.text.moses import base_language

# (sentences, 10): clipped n-gram matches for n = 1..4, hypothesis n-grams for n = 1..4,
# hypothesis length, reference length (lengths in tokens).
Statistics = npt.NDArray[np.int64]
Sums = npt.NDArray[np.int64] | npt.NDArray[np.float64]

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
    of_sums: Callable[[Sums], npt.NDArray[np.float64]]  # the same score of summed statistics, (..., 10) to (...)


def tokenised_bleu(
    hypotheses: Sequence[str],
    references: Sequence[str],
    *,
    tokenization: str,
    compound_split: bool = False,
    reference_quotes: bool = False,
    subset: str | None = None,
) -> Score:
    """The papers' BLEU: multi-bleu.perl on text that is already tokenised, one reference.

    `tokenization` says how the caller cased and tokenised, as `Tokeniser.signature` does; `subset` which sentences
    of a set these are. Both enter the signature and change nothing else.
    `compound_split` splits hyphenated words on both sides (Vaswani2017, see `split_compounds`).
    `reference_quotes` makes the references' quotes ASCII (Vaswani2017, see `ascii_quotes`).
    Raises UserError for unequal or empty inputs.
    """
    check_parallel(hypotheses, references, ("the hypotheses", "the references"))
    if reference_quotes:
        references = [ascii_quotes(line) for line in references]
    statistics = _count(
        BLEU(tokenize="none", effective_order=True),
        (_as_perl_reads(line, compound_split) for line in hypotheses),
        (_as_perl_reads(line, compound_split) for line in references),
    )
    signature = (
        f"multi-bleu|nrefs:1{f'|subset:{subset}' if subset else ''}|{tokenization}"
        f"|split:{'hyphen' if compound_split else 'no'}|quotes:{'ref-ascii' if reference_quotes else 'no'}"
        f"|smooth:none|version:sacrebleu-{sacrebleu.__version__}"
    )
    return Score(bleu(statistics), signature, statistics, _multi_bleu_line(statistics), bleu_of_sums)


def sacre_bleu(
    hypotheses: Sequence[str],
    references: Sequence[str],
    language: str,
    *,
    lowercase: bool = False,
    subset: str | None = None,
) -> Score:
    """sacreBLEU on detokenised text, one reference, with the signature sacreBLEU itself prints.

    The tokeniser is the one that sacreBLEU chooses for the target `language`. `subset`: as in `tokenised_bleu`.
    Raises UserError for unequal or empty inputs, and as `sacre_metric` does.
    """
    check_parallel(hypotheses, references, ("the hypotheses", "the references"))
    metric = sacre_metric(language, lowercase)
    score = metric.corpus_score(hypotheses, [references])
    signature = metric.get_signature()
    signature.update("subset", subset)
    statistics = _count(sacre_metric(language, lowercase, effective_order=True), hypotheses, references)
    return Score(score.score, f"BLEU|{signature}", statistics, str(score), sacre_bleu_of_sums)


def sacre_metric(language: str, lowercase: bool, effective_order: bool = False) -> BLEU:
    """sacreBLEU as its command line sets it up for a target language, of which it knows two letters: zh, not zh-TW.

    Raises UserError where the packages that split the language into words are not installed.
    """
    base = base_language(language)
    try:
        return BLEU(lowercase=lowercase, effective_order=effective_order, trg_lang=base)
    except (RuntimeError, AssertionError):  # no MeCab, or another dictionary than sacreBLEU's
        raise UserError(
            f'sacreBLEU needs MeCab to split `{language}` into words; install it: pip install "sacrebleu[{base}]"'
        ) from None


def bleu(statistics: Statistics) -> float:
    """Corpus BLEU x 100 of these sentences by multi-bleu's rules: unsmoothed, 0 if any precision is 0."""
    return float(bleu_of_sums(statistics.sum(axis=0)))


def bleu_of_sums(sums: Sums) -> npt.NDArray[np.float64]:
    """BLEU x 100 of summed statistics, (..., 10) to (...); Papineni et al. 2002 with N = 4."""
    matches, totals, hypothesis, reference = sums[..., :4], sums[..., 4:8], sums[..., 8], sums[..., 9]
    with np.errstate(divide="ignore", invalid="ignore"):  # only where a precision is 0, discarded below
        log_precision = np.log(matches / totals).mean(axis=-1)
        log_penalty = np.minimum(0.0, 1.0 - reference / hypothesis)
        score = 100.0 * np.exp(log_penalty + log_precision)
    return np.where(matches.min(axis=-1) > 0, score, 0.0)


def sacre_bleu_of_sums(sums: Sums) -> npt.NDArray[np.float64]:
    """The same as sacreBLEU smooths it (`exp`): the k-th n-gram order without a match counts 1 / 2^k matches.

    0 remains where there is no match at all, or no n-gram of some order.
    """
    matches, totals = sums[..., :4], sums[..., 4:8]
    missing = matches == 0
    smoothed = missing & (totals > 0) & ~missing.all(axis=-1, keepdims=True)
    matches = np.where(smoothed, 0.5 ** missing.cumsum(axis=-1), matches)
    return bleu_of_sums(np.concatenate([matches, sums[..., 4:]], axis=-1))


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


def _as_perl_reads(line: str, compound_split: bool) -> str:
    """The line for sacreBLEU to split at spaces where Perl does, which reads bytes."""
    return (split_compounds(line) if compound_split else line).translate(_OTHER_SPACES)


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
