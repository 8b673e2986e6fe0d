"""`analyse`: what a finished run shows of its attention and of its training. It is written to RUN/analysis.json.

On sentences of the first test set: agreement of alpha with a statistical aligner, and BLEU with UNK replaced through
the alignment. For each kept checkpoint: the same agreement, and BLEU of some development sentences beside the
likelihood, updates and hours of the log. A model without attention has the course of BLEU alone.
"""

from __future__ import annotations

import datetime
import shutil
import time
from collections import ChainMap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from common.align.attention import source_attention
from common.align.dictionary import Dictionary
from common.align.links import spread
from common.align.measures import Sentence, agree, sharpness
from common.align.record import Analysis, Measure, Moment, Replacement
from common.align.statistical import Aligned, align_test_set
from common.errors import UserError
from common.files import checksum, sha256_json, write_json
from common.ids import UNK
from common.paper import Paper
from common.prepare.prepared import Prepared
from common.result import Example, read_starts, read_typed
from common.run.evaluate import decoding_lines, example_lines, translate_lines
from common.run.folder import REPOSITORY, LoadedRun, device_of, load_run, prepare_data
from common.run.record import commit, environment
from common.run.unknown import Replacer, score_replaced
from common.score.files import tokenised_scores
from common.score.significance import bootstrap_interval
from common.train.checkpoint import kept_checkpoints, load_weights, restore
from common.train.loop import read_log
from common.typed import plain

DEVELOPMENT = 1000
"""Development sentences that each checkpoint translates, at even distances in the set, greedily: the recipe's beam
takes about forty times as long on a processor."""
PANELS = 5
"""Most checkpoints whose alignment of one sentence is kept."""


def analyse_run(
    paper: Paper, path: Path, runs: Path, say: Callable[[str], None], overrides: Sequence[str] = ()
) -> Analysis:
    """Analyse a finished run, write RUN/analysis.json and return what was written.

    overrides: as in `load_run`.
    Raise UserError if the recipe's text is not the one that the run was trained on, and as `align_test_set` does.
    """
    run = load_run(paper, path, overrides)
    prepared = prepare_data(run.recipe, runs)
    starts = read_starts(path)
    if starts and starts[-1].data_sha256 != prepared.identity:
        raise UserError(f"{path}: was trained on other text than data.corpus holds now; give back that text")
    _check_checkpoints(path / "checkpoints")  # before anything that takes long
    test_set = run.recipe.evaluate.sets[0]
    attentive = bool(source_attention(paper, run.model, [([UNK], [UNK])]))
    aligned = align_test_set(prepared, run.recipe, runs, test_set, say) if attentive else None
    started = time.monotonic()
    tested = _Tested(paper, prepared, test_set, aligned) if aligned else None
    replacer = Replacer(paper, run, Dictionary.read(aligned.dictionary)) if aligned else None
    # What the decoded weights show comes first: the course puts other weights into the model.
    agreement = agree(tested.sentences(run), tested.aligned, test_set) if tested else None
    result = path / "result.json"
    sets = {name: prepared.manifest.outputs[name].sha256 for split in (test_set, "valid") for name in _files(split)}
    # The replacement takes a column of the result, if there is one.
    scores = checksum(result) if result.is_file() else None
    pieces = _Pieces.of(run, [prepared.identity, sets, aligned.sha256 if aligned else None, scores])
    replacement = None
    if replacer:
        score = partial(score_replaced, replacer, prepared, test_set, say)
        replacement = pieces.get("replacement", Replacement, score)
    course, alignment = _course(paper, run, prepared, tested, pieces, say)
    analysis = Analysis(
        paper=paper.name,
        recipe=run.recipe.name,
        title=run.recipe.title,
        recipe_sha256=run.recipe.sha256,
        seed=run.recipe.train.seed,
        data_sha256=prepared.identity,
        sets_sha256=sets,
        weights=run.weights,
        agreement=agreement,
        replacement=replacement,
        dev_sentences=min(DEVELOPMENT, len(prepared.valid)),
        course=course,
        alignment=alignment,
        environment=environment(device_of(run.recipe).type),
        seconds=round(time.monotonic() - started, 1),
        time=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        **commit(REPOSITORY),
    )
    write_json(path / "analysis.json", plain(analysis))
    for folder in path.glob("analysis.*.work"):  # those of other commits too
        shutil.rmtree(folder, ignore_errors=True)
    return analysis


def _check_checkpoints(folder: Path) -> None:
    """Raise UserError if no checkpoint is kept, or if one is damaged."""
    if not (kept := kept_checkpoints(folder)):
        raise UserError(f"{folder}: no checkpoint is left whose course could be shown; give them back")
    for checkpoint in kept:
        try:
            load_weights(checkpoint)
        except UserError:
            raise UserError(f"{checkpoint}: damaged; delete it, and the course leaves it out") from None


Kind = TypeVar("Kind")


@dataclass(frozen=True)
class _Pieces:
    """What takes long, each kept as soon as it is made. An analysis that was stopped goes on from there."""

    folder: Path

    @classmethod
    def of(cls, run: LoadedRun, others: Sequence[Any]) -> _Pieces:
        """Return those of the same code, weights and recipe. others: what else they depend on, as plain values."""
        code = commit(REPOSITORY)
        key = sha256_json([code["commit"], plain(run.weights), run.recipe.to_dict(), *others])
        pieces = cls(run.path / f"analysis.{key[:12]}.work")
        if code["dirty"]:  # nobody knows which code the pieces are of
            shutil.rmtree(pieces.folder, ignore_errors=True)
        return pieces

    def get(self, name: str, kind: type[Kind], make: Callable[[], Kind]) -> Kind:
        """Return the piece of that name, made now unless it is there."""
        path = self.folder / f"{name}.json"
        if not path.is_file():
            write_json(path, plain(make()))
        piece: Kind = read_typed(path, kind, name, "delete it, and analyse again")
        return piece


def _files(split: str) -> list[str]:
    """Return the tokenised files of a set."""
    return [f"{split}.source.tok", f"{split}.target.tok"]


@dataclass(frozen=True)
class _Tested:
    """The aligned sentences of the test set."""

    paper: Paper
    prepared: Prepared
    test_set: str
    aligned: Aligned

    def sentences(self, run: LoadedRun) -> list[Sentence]:
        """Return the sentences with alpha by the run's present weights, teacher-forced on the references."""
        lines = self.prepared.lines(self.test_set)
        vocabularies = (self.prepared.text.source_vocabulary, self.prepared.text.target_vocabulary)
        pairs = [
            [vocabulary.encode(lines[key][row].split()) for key, vocabulary in zip(_TOKENS, vocabularies, strict=True)]
            for row in self.aligned.rows
        ]
        alphas = source_attention(self.paper, run.model, [(source, target) for source, target in pairs])
        return [
            Sentence(np.array(source, dtype=np.int64), np.array(target, dtype=np.int64), alpha, links)
            for (source, target), alpha, links in zip(pairs, alphas, self.aligned.both, strict=True)
        ]


_TOKENS = ("source_tokens", "reference_tokens")


def _course(
    paper: Paper,
    run: LoadedRun,
    prepared: Prepared,
    tested: _Tested | None,
    pieces: _Pieces,
    say: Callable[[str], None],
) -> tuple[tuple[Moment, ...], Example | None]:
    """Return what each kept checkpoint shows, and one sentence's alpha at some of them.

    The model has the last checkpoint's weights afterwards.
    """
    kept = kept_checkpoints(run.path / "checkpoints")
    lines = example_lines(run, prepared)[:1] if tested else []
    translations = translate_lines(run, lines, run.recipe.decode)
    pairs = [(run.text.encode_source(line), ids) for line, ids in zip(lines, translations, strict=True)]
    shown = {kept[i] for i in spread_ends(len(kept), PANELS)}
    log = read_log(run.path)
    moments, maps = [], dict[str, Any]()
    for path in kept:
        weights, _ = load_weights(path)
        restore(run.model, weights, path)
        step = int(path.stem)
        make = partial(_moment, run, prepared, tested, step, log, say)
        moments.append(pieces.get(path.stem, Moment, make))
        if path in shown:
            maps |= {str(step): alpha.round(4).tolist() for alpha in source_attention(paper, run.model, pairs)}
    if not maps:
        return tuple(moments), None
    source, target = run.text.source_tokens(lines[0]), run.text.target_pieces(translations[0])
    return tuple(moments), Example(line=lines[0], source=(*source, "</s>"), target=(*target, "</s>"), attention=maps)


def _moment(
    run: LoadedRun,
    prepared: Prepared,
    tested: _Tested | None,
    step: int,
    log: Sequence[Mapping[str, Any]],
    say: Callable[[str], None],
) -> Moment:
    """Return what the present weights show, which are those after `step` updates."""
    entries = [entry for entry in log if entry["step"] == step]
    at: dict[str, Any] = dict(ChainMap(*map(dict, entries)))
    return Moment(
        step=step,
        seconds=at.get("seconds"),
        dev_nll_per_token=at.get("dev_nll_per_token"),
        bleu=_dev_bleu(run, prepared, f"at update {step:,}", say),
        alpha=sharpness(tested.sentences(run)) if tested else None,
    )


def spread_ends(count: int, wanted: int) -> list[int]:
    """Return `wanted` of the numbers 0 .. count - 1 at even distances, the first and the last among them, or all."""
    if count <= wanted:
        return list(range(count))
    return [round(i * (count - 1) / (wanted - 1)) for i in range(wanted)]


def _dev_bleu(run: LoadedRun, prepared: Prepared, label: str, say: Callable[[str], None]) -> Measure:
    """Return the paper's BLEU of the sample of development sentences by the present weights, greedily decoded."""
    lines = prepared.lines("valid")
    rows = spread(len(lines["source"]), DEVELOPMENT)
    sources, references = ([lines[key][row] for row in rows] for key in ("source", "reference_tokens"))
    greedy = replace(run.recipe.decode, beam=1, retry=False)
    ids = translate_lines(run, sources, greedy, decoding_lines(run, label, len(rows), say))
    hypotheses = [" ".join(run.text.target_tokens(one)) for one in ids]
    metric, tokenization = run.recipe.evaluate.metric, run.text.target_tokeniser.signature
    score = tokenised_scores(hypotheses, references, metric, tokenization=tokenization)[metric]
    return Measure.of(score.value, bootstrap_interval(score.statistics, score.of_sums))
