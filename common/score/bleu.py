"""Corpus BLEU as the papers measured it (multi-bleu.perl) and as it is compared today (sacreBLEU).

sacreBLEU counts the n-grams of each sentence, and every score is a function of the summed counts. The same statistics
therefore serve confidence intervals, paired tests and BLEU by sentence length. A signature names every choice that
changes the number, the language and the year of the tokenisation included.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import sacrebleu
from sacrebleu.metrics.bleu import BLEU

from common.corpus.lines import check_parallel
from common.errors import UserError
from common.progress import progress
from common.text.moses import base_language

Statistics = npt.NDArray[np.int64]
"""N-gram statistics by sentence, (sentences, 10): clipped matches for n = 1..4, n-grams of the hypothesis for n = 1..4,
length of the hypothesis and length of the reference, both in tokens."""
Sums = npt.NDArray[np.int64] | npt.NDArray[np.float64]
"""Statistics summed over sentences, (..., 10)."""

DOUBLE_QUOTES = re.compile("[«»“”„‟〝〞〟＂❝❞⹂]")
"""Unicode double quotes, which the 2017 reference has in ASCII (`ascii_quotes`)."""

_OTHER_SPACES = {
    code: 0xF0000 + code for code in range(0x3001) if chr(code).isspace() and chr(code) not in " \t\n\r\f\v"
}
"""White space beyond ASCII and a private character for each. The Perl pipelines read bytes, so only ASCII white space
separates words there. sacreBLEU splits as Python does, also at French no-break spaces, and must not see them."""


@dataclass(frozen=True, eq=False)
class Score:
    """A score with its provenance: BLEU here, and chrF and TER, whose statistics are others (chrf_ter.py)."""

    value: float
    """The score x 100."""
    signature: str
    """Every choice that changes the number."""
    statistics: Statistics
    """By sentence, in the order of the input."""
    detail: str
    """Precisions, brevity penalty and lengths, as the metric's own tool prints them."""
    of_sums: Callable[[Sums], npt.NDArray[np.float64]]
    """The same score as a function of summed statistics, (..., 10) to (...)."""
    lower_is_better: bool = False
    """Whether a smaller value is the better one: of TER, not of BLEU."""


def tokenised_bleu(
    hypotheses: Sequence[str],
    references: Sequence[str],
    *,
    tokenization: str,
    compound_split: bool = False,
    reference_quotes: bool = False,
    subset: str | None = None,
) -> Score:
    """Compute the papers' BLEU: multi-bleu.perl on text that is already tokenised, with one reference.

    `tokenization` names casing and tokenisation, as `Tokeniser.signature` does. `subset` names the sentences if they
    are only a part of a set. Both enter the signature and change nothing else.
    `compound_split` splits hyphenated words on both sides (Vaswani2017, see `split_compounds`).
    `reference_quotes` makes the references' quotes ASCII (Vaswani2017, see `ascii_quotes`).
    Raise UserError if the inputs are empty or of unequal length.
    """
    check_parallel(hypotheses, references, ("the hypotheses", "the references"))
    if reference_quotes:
        references = [ascii_quotes(line) for line in references]
    statistics = _count(
        BLEU(tokenize="none", effective_order=True),
        [_as_perl_reads(line, compound_split) for line in hypotheses],
        [_as_perl_reads(line, compound_split) for line in references],
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
    tokenize: str | None = None,
) -> Score:
    """Compute sacreBLEU on detokenised text with one reference, with the signature that sacreBLEU prints.

    tokenize: sacreBLEU's name of a tokeniser. Without it sacreBLEU chooses by the target `language`.
    `subset`: as in `tokenised_bleu`.
    Raise UserError if the inputs are empty or of unequal length, and as `sacre_metric` does.
    """
    check_parallel(hypotheses, references, ("the hypotheses", "the references"))
    metric = sacre_metric(language, lowercase, tokenize)
    score = metric.corpus_score(hypotheses, [references])
    signature = metric.get_signature()
    signature.update("subset", subset)
    # A second metric for the counts, so that the signature is the one of sacreBLEU's default settings.
    statistics = _count(sacre_metric(language, lowercase, tokenize, effective_order=True), hypotheses, references)
    return Score(score.score, f"BLEU|{signature}", statistics, str(score), sacre_bleu_of_sums)


def sacre_metric(language: str, lowercase: bool, tokenize: str | None = None, *, effective_order: bool = False) -> BLEU:
    """Set sacreBLEU up for a target language, as its command line does. tokenize: as in `sacre_bleu`.

    sacreBLEU knows languages by two letters: zh, not zh-TW. Raise UserError if the packages that split the language
    into words are not installed.
    """
    base = base_language(language)
    # The language chooses the tokeniser. To one that is named sacreBLEU would only answer with advice, each time.
    chooses = "" if tokenize else base
    try:
        return BLEU(lowercase=lowercase, tokenize=tokenize, effective_order=effective_order, trg_lang=chooses)
    except (RuntimeError, AssertionError):  # no MeCab, or another dictionary than sacreBLEU's
        raise UserError(
            f'sacreBLEU needs MeCab to split `{language}` into words; install it: pip install "sacrebleu[{base}]"'
        ) from None


def bleu(statistics: Statistics) -> float:
    """Return corpus BLEU x 100 of these sentences by multi-bleu's rules: unsmoothed, 0 if any precision is 0."""
    return float(bleu_of_sums(statistics.sum(axis=0)))


def bleu_of_sums(sums: Sums) -> npt.NDArray[np.float64]:
    """Return BLEU x 100 of summed statistics, (..., 10) to (...): Papineni et al. 2002 with N = 4."""
    matches, totals, hypothesis, reference = sums[..., :4], sums[..., 4:8], sums[..., 8], sums[..., 9]
    with np.errstate(divide="ignore", invalid="ignore"):  # only where a precision is 0, discarded below
        log_precision = np.log(matches / totals).mean(axis=-1)
        log_penalty = np.minimum(0.0, 1.0 - reference / hypothesis)
        score = 100.0 * np.exp(log_penalty + log_precision)
    return np.where(matches.min(axis=-1) > 0, score, 0.0)


def brevity_penalty(statistics: Statistics) -> float:
    """Return the factor of BLEU by which these sentences pay for being shorter than their references."""
    hypothesis, reference = statistics[:, 8:].sum(axis=0).tolist()
    return float(np.exp(min(0.0, 1 - reference / hypothesis))) if hypothesis else 0.0


def sacre_bleu_of_sums(sums: Sums) -> npt.NDArray[np.float64]:
    """Return the same with sacreBLEU's smoothing `exp`: the k-th n-gram order without a match counts 1 / 2^k matches.

    The score stays 0 if there is no match of any order, or if some order has no n-gram.
    """
    matches, totals = sums[..., :4], sums[..., 4:8]
    missing = matches == 0  # (..., 4)
    smoothed = missing & (totals > 0) & ~missing.all(axis=-1, keepdims=True)
    matches = np.where(smoothed, 0.5 ** missing.cumsum(axis=-1), matches)
    return bleu_of_sums(np.concatenate([matches, sums[..., 4:]], axis=-1))


def split_compounds(line: str) -> str:
    """Split hyphenated words as the 2017 get_ende_bleu script did: `a-b` becomes `a ##AT##-##AT## b`.

    The original is a substitution in Perl that reads bytes and whose matches do not overlap. In `a-b-c` only the first
    hyphen splits. In `a-é-b` both do, since `é` is two bytes. Text from Moses' aggressive tokeniser is already split.
    """
    # On bytes, as the script: on text the two hyphens of `a-é-b` would share the character between them.
    return re.sub(rb"(\S)-(\S)", rb"\1 ##AT##-##AT## \2", line.encode()).decode()


def ascii_quotes(line: str) -> str:
    """Replace each Unicode double quote of a tokenised, escaped line by the token `&quot;`.

    The Moses tokeniser would have written this token, with a space on both sides, if the quote had been ASCII. The
    reference behind the 2017 English-German scores was changed in this way. Single quotes stay.
    """
    return DOUBLE_QUOTES.sub(" &quot; ", line)


def _as_perl_reads(line: str, compound_split: bool) -> str:
    """Prepare a line so that sacreBLEU splits it at the spaces where Perl does, which reads bytes."""
    return (split_compounds(line) if compound_split else line).translate(_OTHER_SPACES)


def _count(metric: BLEU, hypotheses: Sequence[str], references: Sequence[str]) -> Statistics:
    """Count the n-grams of each sentence with sacreBLEU. If it takes long, show how far it is."""
    counts = np.empty((len(hypotheses), 10), dtype=np.int64)
    with progress(len(hypotheses), "counting n-grams", " sentences") as bar:
        for row, (hypothesis, reference) in enumerate(zip(hypotheses, references, strict=True)):
            # The caller's metric has effective order only because sacreBLEU warns without it. The counts do not depend
            # on it.
            found = metric.sentence_score(hypothesis, [reference])
            counts[row] = [*found.counts, *found.totals, found.sys_len, found.ref_len]
            bar.update()
    return counts


def _multi_bleu_line(statistics: Statistics) -> str:
    """Return the line that multi-bleu.perl prints, with zeros where the script divides by zero.

    It does so if no hypothesis has a word.
    """
    *counts, hypothesis, reference = statistics.sum(axis=0).tolist()
    if reference == 0:
        return "BLEU = 0, 0/0/0/0 (BP=0, ratio=0, hyp_len=0, ref_len=0)"
    precisions = "/".join(f"{100 * counts[n] / max(counts[4 + n], 1):.1f}" for n in range(4))
    return (
        f"BLEU = {bleu(statistics):.2f}, {precisions} (BP={brevity_penalty(statistics):.3f}, "
        f"ratio={hypothesis / reference:.3f}, hyp_len={hypothesis}, ref_len={reference})"
    )
