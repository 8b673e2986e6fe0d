"""A run folder: what training leaves there for the later verbs.

RUN/recipe.yaml          the resolved recipe
RUN/text/                vocabularies, BPE codes, tokenisation: enough to translate without the corpus; their checksums
RUN/checkpoints/         weights by update
RUN/state/               what a stopped training resumes from: its last state and the one before
RUN/log.jsonl            by update: loss, rates, norm, padding, speed, memory, likelihood of the development set
RUN/loss.png             the curves of the log, once the training has come to its end
RUN/tensorboard/         the log for TensorBoard (`train --tensorboard`)
RUN/starts.json          each start of the training: update, machine, time, commit, data, changed fields of the recipe
RUN/training.lock        held by the process that trains, so that no other trains the same run
RUN/training.json        the same for the last start, once the training has come to its end
RUN/model.safetensors    the weights that are decoded (`average`)
RUN/result.json          scores and everything that they rest on (`score`)
RUN/attention.json       attention of the example sentences for the figures, if the model has any (`score`)
RUN/analysis.json        attention beside a statistical aligner, and the kept checkpoints (`analyse`)
"""

from __future__ import annotations

import datetime
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any, Literal

import torch
import yaml
from torch import nn

from common.errors import UserError, enough_memory
from common.files import HALF, Stopped, checksums, first_changed, locked, write_json, write_whole
from common.paper import Paper
from common.prepare.preparation import prepare
from common.prepare.prepared import Prepared
from common.progress import Standing, training_progress
from common.recipe import Recipe, current, difference, override, recipe_from_dict
from common.result import Reached, Start, Training, Weights, facts, read_starts, read_training, read_typed
from common.run.curves import draw_curves
from common.run.exported import OWN, check_run, read_export, whole
from common.run.record import commit, environment, matmul_rate
from common.text.pipeline import TextPipeline
from common.train.board import Board, require_tensorboard
from common.train.checkpoint import (
    average,
    kept_checkpoints,
    load_weights,
    read_about,
    restore,
    save_weights,
)
from common.train.loop import Trainer, TrainingText, read_log
from common.train.parallel import ALONE, World, is_first, joined, sigterm_stops
from common.train.state import has_updates
from common.typed import build, plain
from common.yaml_files import read_yaml

SMALLER = "lower the sizes in the recipe's sections model and text, or use a machine with more memory"
"""What to do about a model that is too large."""
REPOSITORY = Path(__file__).resolve().parents[2]
"""The checkout whose commit every result names."""
_SUMS = "sha256.json"
"""Checksums of the other files in RUN/text. A run of an older program has none."""


@dataclass(frozen=True)
class LoadedRun:
    """A trained run that is ready to translate."""

    path: Path
    recipe: Recipe
    text: TextPipeline
    model: nn.Module
    weights: Weights
    world: World = ALONE
    """The processes that share the decoding."""

    @property
    def decoded(self) -> str:
        """The decoded weights in words: `the weights of update 1,000`."""
        steps = ", ".join(f"{step:,}" for step in self.weights.steps)
        averaged = len(self.weights.steps) > 1
        return f"the mean of updates {steps}" if averaged else f"the weights of update {steps}"


def device_of(recipe: Recipe) -> torch.device:
    """Return the device that a recipe asks for. Raise UserError if it asks for CUDA and there is none."""
    wanted = recipe.run.device
    if wanted == "cuda" and not torch.cuda.is_available():
        raise UserError("recipe key `run.device` is cuda, but no CUDA device is here; write auto or cpu")
    return torch.device("cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu")


def settled(recipe: Recipe) -> Recipe:
    """Return the recipe with the path that `auto` stands for on this machine. Raise UserError as `device_of` does."""
    if recipe.run.path != "auto":
        return recipe
    path: Literal["readable", "fast"] = "fast" if device_of(recipe).type == "cuda" else "readable"
    return replace(recipe, run=replace(recipe.run, path=path))


def prepare_data(recipe: Recipe, runs: Path, workers: int | None = None) -> Prepared:
    """Download, tokenise and encode the recipe's corpus under `runs`, unless that is already done.

    workers: number of processes.
    """
    return prepare(
        recipe.data,
        recipe.text,
        runs / "data",
        runs / "downloads",
        max_length=recipe.batch.max_length,
        splits=recipe.evaluate.sets,
        estimate=recipe.estimate,
        workers=workers,
    )


def train_run(
    paper: Paper, recipe: Recipe, run: Path, runs: Path, say: Callable[[str], None], tensorboard: bool = False
) -> int:
    """Train `recipe` in the folder `run`, or continue the run that is there. Return the number of updates made.

    A folder with updates belongs to the recipe that made them. A changed field that would make another model is
    refused. Other changed fields are accepted and noted in starts.json. A folder without an update may be used for any
    recipe.
    tensorboard: whether to write RUN/tensorboard too, for a finished run from its log.
    """
    if tensorboard:
        require_tensorboard()  # before the hours of preparing and training
    check_run(run, "choose another --out folder")
    device, recipe = device_of(recipe), settled(recipe)
    changed = _changed(paper, run, recipe)
    done = read_training(run)
    read_starts(run)  # a damaged file is refused before anything is changed
    if done and done.progress.step == recipe.train.steps:
        # Not only if a field has changed: a copied run may be another recipe's of the same fields.
        if is_first() and read_recipe(paper, run) != recipe:
            _take_over(run, recipe, runs, changed, done)
        if tensorboard and is_first():
            with Board(run, read_log(run), recipe, prepare_data(recipe, runs)):
                pass
        return done.progress.step
    prepared = prepare_data(recipe, runs)
    torch.set_num_threads(recipe.run.threads)
    world = joined(device)
    with _own_folder(run) if world.first else nullcontext():
        trainer = _trainer(paper, recipe, run, prepared, device, world)
        trainer.resume()
        world.wait()  # the first process must not write a log or state that another one has not read yet
        start = _start(trainer, prepared, changed, device)
        # Files of an earlier start are changed only from here on, when it is certain that this one can continue.
        if world.first:
            _begin(run, recipe, prepared, start)
        board = Board(run, read_log(run), recipe, prepared) if tensorboard and world.first else nullcontext()
        with saving_on_sigterm(trainer), board as trainer.board, _shown(trainer, say) as show:
            steps = trainer.fit(show).step
        if world.first:
            _end(run, trainer, start)
    return steps


def _start(trainer: Trainer, prepared: Prepared, changed: dict[str, tuple[Any, Any]], device: torch.device) -> Start:
    """Return what is noted of this start."""
    (rate,) = trainer.world.sum([matmul_rate(device)])
    return Start(
        step=trainer.progress.step,
        time=_now(),
        changed=changed,
        data_sha256=prepared.identity,
        environment=environment(device.type),
        matmul_flops_per_second=rate,  # of all processes together
        **commit(REPOSITORY),
    )


def _shown(trainer: Trainer, say: Callable[[str], None]) -> AbstractContextManager[Callable[[Standing | str], None]]:
    """Return how this process shows where the training is. Only the first one does."""
    if not trainer.world.first:
        return nullcontext(lambda told: None)
    return training_progress(trainer.recipe.name, trainer.progress.step, trainer.recipe.train.steps, say)


@contextmanager
def saving_on_sigterm(trainer: Trainer) -> Iterator[None]:
    """Let SIGTERM save the state after the current update, for the time of the block. The next one ends at once.

    Several processes agree on an update, and only the first SIGTERM counts: torchrun may add one of its own.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int = signal.SIGTERM, frame: FrameType | None = None) -> None:
        trainer.stopping = True
        if trainer.world.size == 1:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    if trainer.world.size > 1:
        with sigterm_stops(stop, lambda: trainer.ending):
            yield
        return

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _trainer(
    paper: Paper, recipe: Recipe, run: Path, prepared: Prepared, device: torch.device, world: World
) -> Trainer:
    """Build model, optimizer and data as they are before the first update.

    Every process has the same weights, and a random stream of its own for dropout.
    """
    torch.manual_seed(recipe.train.seed)
    with enough_memory(f"{run}: the model of {recipe.name}", SMALLER):
        model = paper.build_model(recipe).to(device)
    if not world.first:
        # After the weights: all processes must begin with the same ones, and each must draw its own dropout.
        torch.manual_seed(recipe.train.seed + world.rank)
    text = TrainingText(prepared.train, prepared.valid, prepared.identity)
    trainer = Trainer(model, paper.build_optimization(model, recipe), text, recipe, run, world)
    if trainer.recorded:
        paper.accelerate(model)
    return trainer


def _begin(run: Path, recipe: Recipe, prepared: Prepared, start: Start) -> None:
    """Write this recipe into the folder, and note the start."""
    write_recipe(run, recipe)
    text = run / "text"
    text.mkdir(exist_ok=True)
    (text / _SUMS).unlink(missing_ok=True)
    prepared.text.save(text)
    write_json(text / _SUMS, checksums(text))
    _note(run, start)
    (run / "training.json").unlink(missing_ok=True)


def _end(run: Path, trainer: Trainer, start: Start) -> None:
    """Note that the training has come to the end of its recipe."""
    training = Training(
        finished=_now(),
        progress=Reached(**asdict(trainer.progress)),
        parameters=sum(parameter.numel() for parameter in trainer.parameters),
        **facts(start),
        starts=read_starts(run),
    )
    write_json(run / "training.json", plain(training))
    write_whole(run / "loss.png", draw_curves(trainer.recipe, read_log(run)))


def _changed(paper: Paper, run: Path, recipe: Recipe) -> dict[str, tuple[Any, Any]]:
    """Return the fields that differ from those with which the updates in `run` were made: key -> (then, now).

    Raise UserError for a field that would make another model.
    """
    if not has_updates(run):
        return {}
    changed = {key: (before, now) for key, (now, before) in difference(recipe, read_recipe(paper, run)).items()}
    for key, (before, now) in changed.items():
        if recipe.may_change(key) is None:
            raise UserError(
                f"{run}: was trained by another recipe (`{key}` was {before}, now {now}), which makes another model; "
                "choose another --out folder or delete it"
            )
    done = read_training(run)
    if done and done.progress.step > recipe.train.steps:
        made = f"{done.progress.step:,} updates"
        raise UserError(f"{run}: has made {made}; set train.steps, now {recipe.train.steps:,}, to more")
    return changed


def _take_over(run: Path, recipe: Recipe, runs: Path, changed: dict[str, tuple[Any, Any]], done: Training) -> None:
    """Give a finished run the changed fields of `recipe`, and note them. Raise UserError if they name another text."""
    starts = read_starts(run)
    known = facts(starts[-1] if starts else done)
    reads = any(key.startswith("data.") for key in changed)
    if reads and prepare_data(recipe, runs).identity != known["data_sha256"]:
        raise UserError(
            f"{run}: was trained on other text than data.corpus {recipe.data.corpus} holds; "
            "give back that text, or choose another --out folder"
        )
    _note(run, Start(step=done.progress.step, time=_now(), changed=changed, **known))
    write_recipe(run, recipe)


def _note(run: Path, start: Start) -> None:
    """Add a start to starts.json. A start at update 0 replaces all earlier ones."""
    starts = read_starts(run) if start.step else ()
    write_json(run / "starts.json", plain((*starts, start)))


def _now() -> str:
    """Return the time: ISO 8601, UTC."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")


@contextmanager
def _own_folder(run: Path) -> Iterator[None]:
    """Make the run's folder, delete the unfinished files of a killed training, and keep other trainings out.

    Raise UserError if it cannot be written, or if another process trains in it.
    """
    at_once = threading.Event()
    at_once.set()
    with ExitStack() as held:
        try:
            held.enter_context(locked(run / "training", at_once))
            for half in (half for folder in (run, run / "checkpoints", run / "state") for half in folder.glob(HALF)):
                half.unlink()
        except Stopped:
            raise UserError(f"{run}: another process trains this run; wait for its end, or stop it first") from None
        except OSError as error:
            raise UserError(f"{run}: {error.strerror}; choose an --out folder that can be written") from None
        yield


def write_recipe(run: Path, recipe: Recipe) -> None:
    """Write the resolved recipe into the run's folder, completely or not at all."""
    write_whole(run / "recipe.yaml", yaml.safe_dump(recipe.to_dict(), sort_keys=False, allow_unicode=True))


def read_recipe(paper: Paper, run: Path) -> Recipe:
    """Read the recipe that a run folder was trained by. Every verb opens a run with this.

    Raise UserError if it is not a run folder, or another paper's.
    """
    check_run(run, "name the folder of a run, which `train` made")
    return recipe_in(paper, run)


def recipe_in(paper: Paper, run: Path) -> Recipe:
    """Read the recipe in the folder of a run or of an exported model. Raise UserError as `read_recipe` does."""
    path = run / "recipe.yaml"
    if has_updates(run) and not path.is_file():
        raise UserError(
            f"{path}: missing, without which nobody knows what was trained here; put it back, or name another folder"
        )
    if not path.is_file():
        raise UserError(f"{run}: not a run folder (no recipe.yaml); make one with `train RECIPE --out {run}`")
    values = read_yaml(path)
    if not isinstance(values, dict):
        raise UserError(f"{path}: damaged; put it back, or delete {run} and train again")
    try:
        return recipe_from_dict(current(values), paper.sections, str(path))
    except UserError:
        if makers := [other.name for other in paper.others if _fits(other, values)]:
            program = f"python -m papers.{makers[0]}"
            raise UserError(f"{run}: made by {makers[0]}; call `{program}` with it, or name another folder") from None
        raise


def _fits(paper: Paper, values: dict[str, Any]) -> bool:
    """Return whether plain values are a recipe of the paper."""
    try:
        recipe_from_dict(current(values), paper.sections, paper.name)
    except UserError:
        return False
    return True


def average_run(run: Path, last: int) -> tuple[int, ...]:
    """Average the run's `last` checkpoints into RUN/model.safetensors. Return the updates that they are from.

    Raise UserError if there are not so many.
    """
    kept = kept_checkpoints(run / "checkpoints")
    if not kept:
        raise UserError(f"{run}: no checkpoints to average; train the run first")
    if last > len(kept):
        steps = ", ".join(f"{int(path.stem):,}" for path in kept)
        raise UserError(
            f"{run}: {last} checkpoints are to be averaged and {len(kept)} kept (update {steps}); "
            f"write --last {len(kept)}, or raise train.keep_checkpoints before training"
        )
    weights, about = average(kept[-last:])
    save_weights(run / "model.safetensors", weights, about)
    return _known(about, run).steps


def load_run(paper: Paper, run: Path, overrides: Sequence[str] = (), exported: bool = False) -> LoadedRun:
    """Load a run's model in evaluation mode: the averaged weights or, if there are none, the last checkpoint.

    overrides: `key=value` words for fields that no update depends on, such as decode.beam and run.device.
    exported: whether a folder that was exported in our own format will do too.
    Raise UserError if the average is older than the last checkpoint, or if a field cannot be changed any more.
    """
    also = exported and read_export(run)
    trained = recipe_in(paper, whole(run, OWN)) if also else read_recipe(paper, run)
    recipe = settled(override(trained, paper.sections, overrides))
    for key, (now, before) in difference(recipe, trained).items():
        if recipe.may_change(key) != "at any time":
            raise UserError(f"{run}: was trained with `{key}` {before}; {now} wants a training of its own")
    path = _weights(run, recipe.name)
    device = device_of(recipe)
    world = joined(device)
    weights, about = load_weights(path)
    torch.set_num_threads(recipe.run.threads)
    with enough_memory(f"{path}: the model of {recipe.name}", SMALLER):
        model = paper.build_model(recipe)
        restore(model, weights, path)
        model = model.to(device).eval()
    return LoadedRun(run, recipe, _text(run), model, _known(about, path), world)


def _text(run: Path) -> TextPipeline:
    """Load the run's own copy of its text pipeline. Raise UserError if it is missing or damaged."""
    text = run / "text"
    try:
        sums = read_typed(text / _SUMS, dict[str, str], "sha256", "put it back") if (text / _SUMS).exists() else {}
        if changed := first_changed(text, sums):
            raise UserError(f"{changed}: damaged or missing, not what `train` wrote")
        return TextPipeline.load(text)
    except UserError as error:
        raise UserError(f"{error}: {text_again(run)}") from None


def text_again(run: Path) -> str:
    """Return what to do about a finished run whose text is damaged."""
    return f"delete {run / 'training.json'} and call the same `train` again, which writes the text and no update"


def _weights(run: Path, name: str) -> Path:
    """Return the file that is decoded. Raise UserError if it is an average and training has gone further since."""
    averaged, kept = run / "model.safetensors", kept_checkpoints(run / "checkpoints")
    if not averaged.is_file():
        if not kept:
            raise UserError(f"{run}: no checkpoint yet; finish `train {name} --out {run}` first")
        return kept[-1]
    steps = _known(read_about(averaged), averaged).steps
    if kept and int(kept[-1].stem) > max(steps, default=0):
        raise UserError(
            f"{averaged}: is of update {', '.join(f'{step:,}' for step in steps)}, but training has gone on to "
            f"{int(kept[-1].stem):,}; run `average {run}` again, or delete the file to decode the last checkpoint"
        )
    return averaged


def _known(about: dict[str, Any], path: Path) -> Weights:
    """Return the header of a file of weights as typed values."""
    return build(Weights, about, "about", str(path))
