"""Decode and score a run's test sets. RUN/result.json holds the scores and everything that they rest on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from common.contract import Batch, Seq2SeqModel, pad
from common.decode.translate import Decoding, decode_ids
from common.errors import UserError
from common.files import write_json
from common.ids import EOS
from common.paper import Paper
from common.prepare.prepared import Prepared
from common.progress import clock
from common.recipe import Decode, unlike
from common.result import (
    Column,
    Example,
    LongSentence,
    Measured,
    Reached,
    ResultFile,
    ScoredSet,
    ScoredTraining,
    Start,
    Training,
    facts,
    read_starts,
    read_training,
    rows,
)
from common.run.folder import REPOSITORY, LoadedRun, device_of, load_run, prepare_data, read_recipe
from common.run.plan import training_flops
from common.run.record import commit, environment
from common.score.bleu import sacre_bleu, sacre_metric
from common.score.by_length import without_unknown
from common.score.files import notes, tokenised_scores
from common.score.parses import score_parses
from common.score.significance import bootstrap_interval
from common.train.loop import negative_log_likelihood, read_log
from common.trees.linear import bracket_labels
from common.typed import plain

_TRAIN_SAMPLE = 1000
"""Training pairs whose likelihood is measured. They suffice for the two digits that Bahdanau2014 Table 2 prints."""
_RETRYING = 10.0
"""Least seconds between two lines about sentences that are searched again."""
TokensOf = Callable[[Sequence[str], Sequence[Sequence[int]]], Iterable[Sequence[str]]]
"""From untokenised source lines and the ids of their translations to the tokens of these."""
_LONGEST = 3
"""Long sentences that are kept in full, as many as Bahdanau2014 Table 3 shows."""


def translate_lines(
    run: LoadedRun, lines: list[str], decode: Decode, say: Callable[[Decoding], None] | None = None
) -> list[list[int]]:
    """Translate untokenised source lines. Return target ids without EOS.

    Several processes translate a part of the lines each, and every one returns all translations.
    """
    assert isinstance(run.model, Seq2SeqModel)
    sources, positions = [run.text.encode_source(line) for line in lines], run.recipe.run.decode_positions
    # By length, so that all processes get about the same work.
    own = run.world.part(np.argsort([len(source) for source in sources], kind="stable"))
    found = decode_ids(run.model, [sources[i] for i in own], decode, positions=positions, progress=say)
    translated = dict(pair for part in run.world.gather(list(zip(own.tolist(), found, strict=True))) for pair in part)
    return [list(translated[i].tokens) for i in range(len(lines))]


def translate(
    run: LoadedRun, lines: Iterable[str], together: int = 512, tokens_of: TokensOf | None = None
) -> Iterator[str]:
    """Yield detokenised translations of untokenised lines, in order. Empty lines stay empty.

    together: lines that are read before the first answer. More lines are faster; interactive input wants 1.
    tokens_of: makes the tokens of the translations from their lines and ids. The default is the words of the ids.
    """
    stream = iter(lines)
    while taken := list(islice(stream, together)):
        translated = translate_lines(run, taken, run.recipe.decode)
        tokens = tokens_of(taken, translated) if tokens_of else map(run.text.target_tokens, translated)
        yield from map(run.text.detokenise, tokens)


def evaluate_run(
    paper: Paper, path: Path, runs: Path, say: Callable[[str], None], overrides: Sequence[str] = ()
) -> ResultFile:
    """Decode every set that the recipe names, score it, and write RUN/result.json. Return what was written.

    overrides: as in `load_run`.
    Several processes share the decoding, and the first writes and reports.
    Raise UserError if the recipe's text is not the one that the run was trained on.
    """
    run = load_run(paper, path, overrides)
    if not run.world.first:
        say = _nothing
    sacre_metric(run.recipe.data.target, run.recipe.text.lowercase)  # fails before the hours of decoding if it must
    prepared = prepare_data(run.recipe, runs)
    starts = read_starts(path)
    if starts and starts[-1].data_sha256 != prepared.identity:
        raise UserError(
            f"{path}: was trained on other text than data.corpus {run.recipe.data.corpus} holds now, so its words have "
            "other ids; give back that text, or train again"
        )
    training, complete = _read_training(path, starts, max(run.weights.steps))
    say(f"{run.recipe.name} decodes with {run.decoded}")
    sets = {name: _evaluate_set(run, prepared, name, say) for name in run.recipe.evaluate.sets}
    result = ResultFile(
        paper=paper.name,
        recipe=run.recipe.name,
        title=run.recipe.title,
        resolved_recipe=run.recipe.to_dict(),
        recipe_sha256=run.recipe.sha256,
        generated=prepared.manifest.generated,
        data=prepared.facts,
        training=_with_likelihoods(training, complete, run, prepared),
        weights=run.weights,
        environment=environment(device_of(run.recipe).type),
        flops_counted=training_flops(paper, run.recipe) * training.progress.step,
        sets=sets,
        **commit(REPOSITORY),
    )
    examples = attention_examples(paper, run, example_lines(run, prepared))
    if run.world.first:
        # An earlier result's attention must not stay beside the new scores.
        (path / "attention.json").unlink(missing_ok=True)
        if examples:
            write_json(path / "attention.json", plain(examples), indent=None)
        write_json(path / "result.json", plain(result))
        if other := searched_otherwise(paper, path, run.recipe.to_dict()):
            say(f"{path / 'result.json'}: is now the score with {other}; `score {path}` makes that of its recipe again")
    return result


def searched_otherwise(paper: Paper, path: Path, recipe: Mapping[str, Any]) -> str:
    """Return the fields of search and scoring that differ from RUN/recipe.yaml in a recipe, as words. Empty if none."""
    changed = unlike(recipe, read_recipe(paper, path).to_dict())
    return " ".join(f"{key}={now}" for key, (now, _) in changed.items() if key.startswith(("decode.", "evaluate.")))


def _nothing(line: str) -> None:
    """Say nothing."""


def _read_training(run: Path, starts: tuple[Start, ...], step: int) -> tuple[Training, bool]:
    """Return what is known of the training up to the decoded `step`, and whether it ended there.

    If it did, this is training.json. Otherwise it is what the last start and the log up to that step say.
    Raise UserError if there is no such log.
    """
    training = read_training(run)
    if training and training.progress.step == step:
        return replace(training, starts=starts), True
    log = [entry for entry in read_log(run) if entry["step"] <= step]
    if not log:
        raise UserError(f"{run}: nothing trained yet; run `train` first")
    reached = Reached(step=step, epoch=log[-1]["epoch"], seconds=log[-1]["seconds"])
    return Training(progress=reached, starts=starts, **(facts(starts[-1]) if starts else {})), False


def _with_likelihoods(training: Training, complete: bool, run: LoadedRun, prepared: Prepared) -> ScoredTraining:
    """Add the likelihoods of the decoded weights, and the development curve from the log."""
    curve = [entry for entry in read_log(run.path) if "dev_nll_per_token" in entry]
    return ScoredTraining(
        **vars(training),
        complete=complete,
        train=negative_log_likelihood(run.model, prepared.train, _TRAIN_SAMPLE, run.world),
        dev=negative_log_likelihood(run.model, prepared.valid, world=run.world),
        dev_curve=tuple(Measured(step=entry["step"], dev_nll_per_token=entry["dev_nll_per_token"]) for entry in curve),
    )


def _evaluate_set(run: LoadedRun, prepared: Prepared, name: str, say: Callable[[str], None]) -> ScoredSet:
    """Score one test set: all sentences and, if the recipe asks for it, those without unknown words."""
    lines = prepared.lines(name)
    decode = run.recipe.decode
    everything = np.ones(len(lines["source"]), dtype=bool)
    columns = {"all": _column(run, lines, everything, decode, f"{name}, all", say)}
    if run.recipe.evaluate.no_unk:
        known = known_sentences(run, lines)
        if known.any():
            columns["no_unk"] = _column(run, lines, known, _without_unk(decode), f"{name}, no UNK", say, "no-unk")
    lengths = np.array([len(line.split(" ")) for line in lines["source_tokens"]])
    named = [i for start in run.recipe.run.shown for i, line in enumerate(lines["source"]) if line.startswith(start)]
    chosen = named or np.argsort(-lengths, kind="stable")[:_LONGEST]
    kept = ((lines["source"][i], lines["reference"][i], columns["all"].hypotheses[i]) for i in chosen)
    sentences = tuple(LongSentence(source=s, reference=r, hypothesis=h) for s, r, h in kept)
    parses = None
    if run.recipe.evaluate.brackets:
        phrases = bracket_labels(run.text.target_vocabulary.words)
        parses = score_parses(lines["source"], lines["reference"], columns["all"].hypotheses, phrases, name)
    return ScoredSet(columns=columns, longest=sentences, parses=parses)


def known_sentences(run: LoadedRun, lines: Mapping[str, list[str]]) -> npt.NDArray[np.bool_]:
    """Return which sentences of a set have no unknown word. lines: as `Prepared.lines` returns them."""
    sources, references = ([line.split(" ") for line in lines[key]] for key in ("source_tokens", "reference_tokens"))
    return without_unknown(sources, references, run.text.source_vocabulary, run.text.target_vocabulary)


def _without_unk(decode: Decode) -> Decode:
    """Return the search for the column No UNK, which may not emit UNK (Bahdanau2014 Table 1)."""
    return replace(decode, suppress_unk=True)


def _column(
    run: LoadedRun,
    lines: dict[str, list[str]],
    chosen: np.ndarray,
    decode: Decode,
    label: str,
    say: Callable[[str], None],
    subset: str | None = None,
) -> Column:
    """Decode and score the chosen sentences of a set.

    subset: the signatures' name for these sentences, None for all.
    """
    kept = {key: [value for value, keep in zip(values, chosen, strict=True) if keep] for key, values in lines.items()}
    started = time.monotonic()
    ids = translate_lines(run, kept["source"], decode, decoding_lines(run, label, len(kept["source"]), say))
    seconds = time.monotonic() - started
    tokens = [run.text.target_tokens(sentence) for sentence in ids]
    detokenised = [run.text.detokenise(sentence) for sentence in tokens]
    hypotheses = [" ".join(sentence) for sentence in tokens]
    metric, data = run.recipe.evaluate.metric, run.recipe.data
    tokenization = run.text.target_tokeniser.signature
    scores = tokenised_scores(hypotheses, kept["reference_tokens"], metric, tokenization=tokenization, subset=subset)
    score = scores[metric]
    sacre = sacre_bleu(detokenised, kept["reference"], data.target, lowercase=run.recipe.text.lowercase, subset=subset)
    say(f"{run.recipe.name} {label}: {score.detail}")
    return Column(
        bleu=score.value,
        interval=bootstrap_interval(score.statistics, score.of_sums),
        signature=score.signature,
        detail=score.detail,
        variants={other.signature: other.value for other in scores.values()},
        sacrebleu=sacre.value,
        sacrebleu_signature=sacre.signature,
        notes=tuple(notes(data.target, kept["reference"], kept["reference_tokens"], sacre.signature)),
        sentences=int(chosen.sum()),
        seconds=round(seconds, 3),
        statistics=rows(score.statistics),
        source_lengths=" ".join(str(len(line.split(" "))) for line in kept["source_tokens"]),
        hypotheses=tuple(detokenised),
    )


def decoding_lines(run: LoadedRun, label: str, total: int, say: Callable[[str], None]) -> Callable[[Decoding], None]:
    """Return what tells `say` how far the decoding of `total` sentences has come. It starts now.

    What is searched again is said at most once in `_RETRYING` seconds.
    """
    started = said = time.monotonic()

    def progress(now: Decoding) -> None:
        """Report. All processes are about as far as this one."""
        nonlocal said
        time_now = time.monotonic()
        if now.retrying and time_now - said < _RETRYING:
            return
        done = min(now.done * run.world.size, total)
        said, rate = time_now, done / (time_now - started)
        left = now.retrying or f"{rate:,.1f}/s, {clock((total - done) / rate)} left"
        say(f"{run.recipe.name} decoding {label}: {done:,}/{total:,} sentences, {left}")

    return progress


def attention_examples(paper: Paper, run: LoadedRun, lines: list[str]) -> list[Example]:
    """Return the attention between each source sentence and the run's own translation of it, teacher-forced.

    lines: untokenised. Weights have four decimals, more than a figure can show. The list is empty for a model without
    attention.
    """
    examples = []
    for line, ids in zip(lines, translate_lines(run, lines, run.recipe.decode), strict=True):
        source, source_mask = pad([[*run.text.encode_source(line), EOS]])
        target, target_mask = pad([[*ids, EOS]])
        batch = Batch(source, source_mask, target, target_mask).to(next(run.model.parameters()).device)
        with torch.inference_mode():
            maps = paper.attention(run.model, batch)
        if not maps:
            return []
        examples.append(
            Example(
                line=line,
                source=(*run.text.source_tokens(line), "</s>"),
                target=(*run.text.target_pieces(ids), "</s>"),
                attention={name: weights.double().round(decimals=4).tolist() for name, weights in maps[0].items()},
            )
        )
    return examples


def example_lines(run: LoadedRun, prepared: Prepared) -> list[str]:
    """Return the sentences whose attention is kept: the recipe's or, as in Bahdanau2014 Figure 3 (b)-(d), of the test.

    Those are the first four of 10 to 20 words without unknown words.
    """
    if run.recipe.run.examples:
        return list(run.recipe.run.examples)
    lines = prepared.lines(run.recipe.evaluate.sets[0])
    vocabulary = run.text.source_vocabulary
    fitting = [
        raw
        for raw, tokens in zip(lines["source"], lines["source_tokens"], strict=True)
        if 10 <= len(tokens.split(" ")) <= 20
        and (run.text.segmenter is not None or all(token in vocabulary for token in tokens.split(" ")))
    ]
    return fitting[:4]


def summary(result: ResultFile) -> str:
    """Return a result's scores as text, with the metrics' signatures and the notes on the language above them."""
    columns = [
        (f"{name} {kind}", column) for name, kept in result.sets.items() for kind, column in kept.columns.items()
    ]
    about = [f"  [{column.signature}]" for _, column in columns]
    about += [f"  [{column.sacrebleu_signature}]" for _, column in columns]
    about += [f"  note: {note}" for _, column in columns for note in column.notes or ()]
    about += [f"  [{scored.parses.signature}]" for scored in result.sets.values() if scored.parses]
    title = f"{result.recipe}: {result.title}" + (" (generated text)" if result.generated else "")
    lines = [title, *dict.fromkeys(about)]
    for name, column in columns:
        low, high = column.interval
        lines.append(
            f"  {name}: BLEU {column.bleu:.2f} (95% {low:.2f} to {high:.2f}), "
            f"sacreBLEU {column.sacrebleu:.2f}, {column.sentences} sentences"
        )
    lines += [f"  {name}: {scored.parses.summary}" for name, scored in result.sets.items() if scored.parses]
    return "\n".join(lines)
