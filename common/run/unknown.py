"""UNK replaced through the alignment in a run's translations, and what that changes in BLEU."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from common.align.attention import source_attention
from common.align.dictionary import Dictionary, Replaced, replace_unknown
from common.align.record import Known, Measure, Repaired, Replacement
from common.errors import UserError
from common.ids import UNK
from common.paper import Paper
from common.prepare.prepared import Prepared
from common.result import read_result
from common.run.evaluate import decoding_lines, known_sentences, translate_lines
from common.run.folder import LoadedRun
from common.score.bleu import Statistics, bleu
from common.score.files import tokenised_scores
from common.score.significance import Samples, bootstrap_interval, interval_difference, paired_bootstrap, resample

_EXAMPLES = 4
_SHORT = 25
"""Examples that are kept, and the most source words that they have."""


@dataclass(frozen=True)
class Replacer:
    """A run with attention, and the dictionary that replaces its unknown words."""

    paper: Paper
    run: LoadedRun
    dictionary: Dictionary

    def __post_init__(self) -> None:
        """Raise UserError unless the run has attention and whole words."""
        if self.run.text.segmentation != "words":
            raise UserError(f"{self.run.path}: has sub-words and no UNK to replace; leave --replace-unk out")
        if not source_attention(self.paper, self.run.model, [([UNK], [UNK])]):
            raise UserError(f"{self.run.path}: {self.run.recipe.title} has no attention that finds the source word of "
                            "an UNK; leave --replace-unk out")  # fmt: skip

    def replace(self, lines: Sequence[str], translations: Sequence[Sequence[int]]) -> list[Replaced]:
        """Return the tokens of translations, with each UNK replaced. lines: their untokenised sources."""
        text = self.run.text
        tokens = [text.target_tokens(ids) for ids in translations]
        done = [Replaced(tuple(words), 0, 0) for words in tokens]
        chosen = [i for i, ids in enumerate(translations) if UNK in ids]
        sources = [text.source_tokens(lines[i]) for i in chosen]
        pairs = [
            (text.source_vocabulary.encode(words), translations[i]) for i, words in zip(chosen, sources, strict=True)
        ]
        alphas = source_attention(self.paper, self.run.model, pairs)
        for i, words, alpha in zip(chosen, sources, alphas, strict=True):
            done[i] = replace_unknown(translations[i], tokens[i], words, alpha, self.dictionary)
        return done

    def tokens(self, lines: Sequence[str], translations: Sequence[Sequence[int]]) -> list[tuple[str, ...]]:
        """Return the tokens alone."""
        return [one.tokens for one in self.replace(lines, translations)]


def score_replaced(replacer: Replacer, prepared: Prepared, test_set: str, say: Callable[[str], None]) -> Replacement:
    """Decode a test set, replace UNK, and return BLEU before and after.

    The column No UNK comes from RUN/result.json, if its column All is of the same translations.
    """
    run = replacer.run
    lines = prepared.lines(test_set)
    ids = translate_lines(
        run, lines["source"], run.recipe.decode, decoding_lines(run, test_set, len(lines["source"]), say)
    )
    done = replacer.replace(lines["source"], ids)
    hypotheses = {"before": [" ".join(run.text.target_tokens(one)) for one in ids],
                  "after": [" ".join(one.tokens) for one in done]}  # fmt: skip
    metric, tokenization = run.recipe.evaluate.metric, run.text.target_tokeniser.signature
    before, after = (
        tokenised_scores(found, lines["reference_tokens"], metric, tokenization=tokenization)[metric]
        for found in hypotheses.values()
    )
    known = _known(run, test_set, lines, before.statistics)
    if known is None:
        say(f"{run.path / 'result.json'}: no column No UNK of {test_set} by the same search; its sentences are not "
            "compared")  # fmt: skip
    drawn = resample(before.statistics, after.statistics, of_sums=before.of_sums)
    return Replacement(
        test_set=test_set,
        signature=before.signature,
        dictionary_words=len(replacer.dictionary),
        unknown=sum(list(one).count(UNK) for one in ids),
        translated=sum(one.translated for one in done),
        before=_measure(before.value, drawn[0]),
        after=_measure(after.value, drawn[1]),
        gain=interval_difference(after.value - before.value, drawn[1] - drawn[0]),
        known=known,
        examples=_examples(run, lines, ids, done),
    )


def _measure(value: float, samples: Samples) -> Measure:
    """Return a value with the interval of its resamples."""
    interval = interval_difference(value, samples)
    return Measure.of(value, (interval.low, interval.high))


def _known(run: LoadedRun, test_set: str, lines: Mapping[str, list[str]], before: Statistics) -> Known | None:
    """Return how the sentences of the column No UNK are translated with and without UNK.

    before: counts of all sentences, as decoded. None if the run has no such column, or if its result is of other
    weights, another recipe or other translations.
    """
    path = run.path / "result.json"
    result = read_result(path) if path.is_file() else None
    if not result or (result.weights, result.recipe_sha256) != (run.weights, run.recipe.sha256):
        return None
    columns = result.sets[test_set].columns if test_set in result.sets else {}
    column, known = columns.get("no_unk"), known_sentences(run, lines)
    if not column or not np.array_equal(columns["all"].counts, before) or column.sentences != known.sum():
        return None
    allowed, forbidden = before[known], column.counts
    return Known(
        sentences=column.sentences,
        allowed=Measure.of(bleu(allowed), bootstrap_interval(allowed)),
        forbidden=Measure.of(column.bleu, column.interval),
        gain=paired_bootstrap(forbidden, allowed),
    )


def _examples(
    run: LoadedRun, lines: Mapping[str, list[str]], ids: Sequence[Sequence[int]], done: Sequence[Replaced]
) -> tuple[Repaired, ...]:
    """Return the first short sentences whose translation had an unknown word."""
    chosen = [i for i, one in enumerate(ids) if UNK in one and len(lines["source_tokens"][i].split()) <= _SHORT]
    return tuple(
        Repaired(
            source=lines["source"][i],
            reference=lines["reference"][i],
            before=run.text.detokenise(run.text.target_tokens(ids[i])),
            after=run.text.detokenise(done[i].tokens),
        )
        for i in chosen[:_EXAMPLES]
    )


def summary(name: str, found: Replacement) -> str:
    """Return BLEU before and after as text."""
    lines = [
        f"{name} {found.test_set}: {found.unknown:,} UNK, {found.translated:,} translated by a dictionary of "
        f"{found.dictionary_words:,} words, {found.unknown - found.translated:,} copied  [{found.signature}]"
    ]
    for title, measure in (("as decoded", found.before), ("UNK replaced", found.after)):
        lines.append(f"  {title}: BLEU {measure.value:.2f} (95% {measure.low:.2f} to {measure.high:.2f})")
    lines.append(f"  difference: {found.gain.value:+.2f} (95% {found.gain.low:+.2f} to {found.gain.high:+.2f})")
    if known := found.known:
        lines.append(f" {known.sentences:,} sentences without unknown words:")
        for title, measure in (("as decoded", known.allowed), ("UNK forbidden", known.forbidden)):
            lines.append(f"  {title}: BLEU {measure.value:.2f} (95% {measure.low:.2f} to {measure.high:.2f})")
        lines.append(f"  difference: {known.gain.value:+.2f} (95% {known.gain.low:+.2f} to {known.gain.high:+.2f})")
    return "\n".join(lines)
