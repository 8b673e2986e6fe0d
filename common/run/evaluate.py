"""Decode and score a run's test sets: RUN/result.json holds the numbers and everything behind them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch

from common.contract import Batch, Seq2SeqModel, pad
from common.decode.translate import decode_ids, translate_stream
from common.errors import UserError
from common.files import sha256_json, write_json
from common.ids import EOS
from common.paper import Paper
from common.prepare.prepared import Prepared
from common.progress import clock
from common.recipe import Decode
from common.run.folder import REPOSITORY, LoadedRun, device_of, load_run, prepare_data, read_starts, steps_of
from common.run.plan import training_flops
from common.run.record import commit, environment
from common.score.bleu import sacre_bleu, sacre_metric
from common.score.by_length import without_unknown
from common.score.files import notes, tokenised_scores
from common.score.significance import bootstrap_interval
from common.train.loop import negative_log_likelihood, read_log

_TRAIN_SAMPLE = 1000
"""Training pairs whose likelihood is measured; enough for the two digits that Bahdanau2014 Table 2 prints."""
_LONGEST = 3
"""Long sentences kept word for word, as many as Bahdanau2014 Table 3 shows."""


def translate_lines(
    run: LoadedRun, lines: list[str], decode: Decode, say: Callable[[int, int], None] | None = None
) -> list[list[int]]:
    """Target ids, EOS left out, of untokenised source lines."""
    assert isinstance(run.model, Seq2SeqModel)
    sources, together = [run.text.encode_source(line) for line in lines], run.recipe.run.decode_batch
    return [
        list(hypothesis.tokens)
        for hypothesis in decode_ids(run.model, sources, decode, together=together, progress=say)
    ]


def translate(run: LoadedRun, lines: Iterable[str], together: int = 512) -> Iterator[str]:
    """Detokenised translations of untokenised lines, in order, as they come; empty lines stay empty.

    together: lines read before the first answer; more are faster, one is for a person who types.
    """

    def block(lines: list[str]) -> list[str]:
        return [
            run.text.detokenise(run.text.target_tokens(ids)) for ids in translate_lines(run, lines, run.recipe.decode)
        ]

    return translate_stream(lines, block, block=together)


def evaluate_run(
    paper: Paper, path: Path, runs: Path, say: Callable[[str], None], overrides: Sequence[str] = ()
) -> dict[str, Any]:
    """Decode every set the recipe names, score it, and write RUN/result.json; returns what was written.

    overrides: as of `load_run`. UserError where the recipe's text is no longer the one the run was trained on.
    """
    run = load_run(paper, path, overrides)
    sacre_metric(run.recipe.data.target, run.recipe.text.lowercase)  # refuses before hours of decoding, not after
    prepared = prepare_data(run.recipe, runs)
    starts = read_starts(path)
    if starts and starts[-1]["data_sha256"] != prepared.identity:
        raise UserError(
            f"{path}: was trained on other text than data.corpus {run.recipe.data.corpus} holds now, so its words have "
            "other ids; give back that text, or train again"
        )
    training = _read_training(path, starts, max(steps_of(run.weights)))
    say(f"{run.recipe.name} decodes with {run.decoded}")
    sets = {name: _evaluate_set(run, prepared, name, say) for name in run.recipe.evaluate.sets}
    result = {
        "paper": paper.name,
        "recipe": run.recipe.name,
        "title": run.recipe.title,
        "resolved_recipe": run.recipe.to_dict(),
        "recipe_sha256": sha256_json(run.recipe.to_dict()),
        "generated": prepared.manifest["generated"],
        "data": prepared.facts,
        "training": training | _likelihoods(run, prepared, path),
        "weights": run.weights,
        "environment": environment(device_of(run.recipe).type),
        "flops_counted": training_flops(paper, run.recipe) * training["progress"]["step"],
        "sets": sets,
        **commit(REPOSITORY),
    }
    write_json(path / "attention.json", attention_examples(paper, run, prepared), indent=None)
    write_json(path / "result.json", result)
    return result


def _read_training(path: Path, starts: list[dict[str, Any]], step: int) -> dict[str, Any]:
    """What is known of the training up to the decoded `step`: of a training that ended there, training.json.

    Otherwise what the last start and the log up to that step say, marked unfinished.
    """
    with suppress(FileNotFoundError):
        training = json.loads((path / "training.json").read_text(encoding="utf-8"))
        if training["progress"]["step"] == step:
            return {**training, "starts": starts, "complete": True}
    log = [entry for entry in read_log(path) if entry["step"] <= step]
    if not log:
        raise UserError(f"{path}: nothing trained yet; run `train` first")
    progress = {"step": step, "epoch": log[-1]["epoch"], "seconds": log[-1]["seconds"]}
    return {**(starts[-1] if starts else {}), "progress": progress, "starts": starts, "complete": False}


def _likelihoods(run: LoadedRun, prepared: Prepared, path: Path) -> dict[str, Any]:
    """Train and dev negative log-likelihood of the decoded weights, and the dev curve of the training."""
    curve = [
        {key: entry[key] for key in ("step", "dev_nll_per_token")}
        for entry in read_log(path)
        if "dev_nll_per_token" in entry
    ]
    return {
        "train": negative_log_likelihood(run.model, prepared.train, _TRAIN_SAMPLE),
        "dev": negative_log_likelihood(run.model, prepared.valid),
        "dev_curve": curve,
    }


def _evaluate_set(run: LoadedRun, prepared: Prepared, name: str, say: Callable[[str], None]) -> dict[str, Any]:
    """The columns of one test set: all sentences and, where the recipe asks, those without unknown words."""
    lines = prepared.lines(name)
    decode = run.recipe.decode
    everything = np.ones(len(lines["source"]), dtype=bool)
    columns = {"all": _column(run, lines, everything, decode, f"{name}, all", say)}
    if run.recipe.evaluate.no_unk:
        sources, references = (
            [line.split(" ") for line in lines[key]] for key in ("source_tokens", "reference_tokens")
        )
        known = without_unknown(sources, references, run.text.source_vocabulary, run.text.target_vocabulary)
        if known.any():
            columns["no_unk"] = _column(run, lines, known, _without_unk(decode), f"{name}, no UNK", say, "no-unk")
    lengths = np.array([len(line.split(" ")) for line in lines["source_tokens"]])
    longest = np.argsort(-lengths, kind="stable")[:_LONGEST]
    hypotheses = columns["all"]["hypotheses"]
    return {
        "columns": columns,
        "longest": [
            {"source": lines["source"][i], "reference": lines["reference"][i], "hypothesis": hypotheses[i]}
            for i in longest
        ],
    }


def _without_unk(decode: Decode) -> Decode:
    """The search of the No-UNK column: UNK disallowed (Bahdanau2014 Table 1)."""
    return Decode(**{**decode.__dict__, "suppress_unk": True})


def _column(
    run: LoadedRun,
    lines: dict[str, list[str]],
    chosen: np.ndarray,
    decode: Decode,
    label: str,
    say: Callable[[str], None],
    subset: str | None = None,
) -> dict[str, Any]:
    """Decode and score the chosen sentences of a set; `subset` is what signatures call them unless they are all."""
    kept = {key: [value for value, keep in zip(values, chosen, strict=True) if keep] for key, values in lines.items()}
    started = time.monotonic()

    def progress(done: int, total: int) -> None:
        seconds = time.monotonic() - started
        rate = done / seconds
        left = clock((total - done) / rate)
        say(f"{run.recipe.name} decoding {label}: {done:,}/{total:,} sentences, {rate:,.1f}/s, {left} left")

    ids = translate_lines(run, kept["source"], decode, progress)
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
    return {
        "bleu": score.value,
        "interval": bootstrap_interval(score.statistics, score.of_sums),
        "signature": score.signature,
        "detail": score.detail,
        "variants": {other.signature: other.value for other in scores.values()},
        "sacrebleu": sacre.value,
        "sacrebleu_signature": sacre.signature,
        "notes": notes(data.target, kept["reference"], kept["reference_tokens"], sacre.signature),
        "sentences": int(chosen.sum()),
        "seconds": round(seconds, 3),
        "statistics": [" ".join(map(str, row)) for row in score.statistics.tolist()],
        "source_lengths": " ".join(str(len(line.split(" "))) for line in kept["source_tokens"]),
        "hypotheses": detokenised,
    }


def attention_examples(paper: Paper, run: LoadedRun, prepared: Prepared) -> list[dict[str, Any]]:
    """Attention between each example sentence and the run's own translation of it, teacher-forced."""
    chosen = list(run.recipe.run.examples) or _typical(run, prepared)
    examples = []
    for line, ids in zip(chosen, translate_lines(run, chosen, run.recipe.decode), strict=True):
        source, source_mask = pad([[*run.text.encode_source(line), EOS]])
        target, target_mask = pad([[*ids, EOS]])
        batch = Batch(source, source_mask, target, target_mask).to(next(run.model.parameters()).device)
        with torch.inference_mode():
            attention = paper.attention(run.model, batch)
        if not attention:  # a model without any
            return []
        examples.append(
            {
                "line": line,
                "source": [*run.text.source_tokens(line), "</s>"],
                "target": [*run.text.target_pieces(ids), "</s>"],
                "attention": attention[0],
            }
        )
    return examples


def _typical(run: LoadedRun, prepared: Prepared) -> list[str]:
    """Four test sentences of 10 to 20 words without unknown words, as Bahdanau2014 Figure 3 (b)-(d) drew them."""
    lines = prepared.lines(run.recipe.evaluate.sets[0])
    vocabulary = run.text.source_vocabulary
    fitting = [
        raw
        for raw, tokens in zip(lines["source"], lines["source_tokens"], strict=True)
        if 10 <= len(tokens.split(" ")) <= 20
        and (run.recipe.text.segmentation != "words" or all(token in vocabulary for token in tokens.split(" ")))
    ]
    return fitting[:4]


def summary(result: dict[str, Any]) -> str:
    """A result's scores as text, below the signatures of their metrics and what must be known of the language."""
    columns = [column for values in result["sets"].values() for column in values["columns"].values()]
    about = [f"  [{column[key]}]" for key in ("signature", "sacrebleu_signature") for column in columns]
    about += [f"  note: {note}" for column in columns for note in column["notes"]]
    title = f"{result['recipe']}: {result['title']}" + (" (generated text)" if result["generated"] else "")
    lines = [title, *dict.fromkeys(about)]
    for name, values in result["sets"].items():
        for column, scores in values["columns"].items():
            low, high = scores["interval"]
            lines.append(
                f"  {name} {column}: BLEU {scores['bleu']:.2f} (95% {low:.2f} to {high:.2f}), "
                f"sacreBLEU {scores['sacrebleu']:.2f}, {scores['sentences']} sentences"
            )
    return "\n".join(lines)
