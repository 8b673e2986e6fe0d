"""A run folder: what training leaves behind and everything later verbs need.

RUN/recipe.yaml          the resolved recipe
RUN/text/                vocabularies, BPE codes, tokenisation: enough to translate without the corpus
RUN/checkpoints/         weights by step
RUN/state.pt             what a killed training resumes from
RUN/log.jsonl            loss, rate and dev likelihood by step
RUN/training.json        where, when, on which commit and data the training ran
RUN/model.safetensors    the weights that are decoded (`average`)
RUN/result.json          scores with all that stands behind them (`score`)
RUN/attention.json       attention of the example sentences, for the figures (`score`)
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn

from common.data.pipeline import TextPipeline
from common.data.prepare import Prepared, prepare
from common.errors import UserError
from common.eval.record import commit, environment, sha256_json, write_json_atomically
from common.paper import Paper
from common.recipe import Recipe, read_yaml, recipe_from_dict
from common.train.checkpoint import average, kept_checkpoints, load_weights, restore, save_weights
from common.train.loop import Corpus, Progress, Trainer

REPOSITORY = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class LoadedRun:
    """A trained run, ready to translate."""

    path: Path
    recipe: Recipe
    text: TextPipeline
    model: nn.Module
    weights: dict[str, Any]
    """What is known of the weights: the step, or the steps averaged."""


def device_of(recipe: Recipe) -> torch.device:
    """The device a recipe asks for; UserError when it wants CUDA and there is none."""
    wanted = recipe.train.device
    if wanted == "cuda" and not torch.cuda.is_available():
        raise UserError("recipe key `train.device` is cuda, but no CUDA device is here; write auto or cpu")
    return torch.device("cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu")


def prepare_data(recipe: Recipe, runs: Path, workers: int | None = None) -> Prepared:
    """The recipe's corpus, downloaded, tokenised and encoded under `runs`; done once. workers: processes."""
    return prepare(recipe.data, recipe.evaluate.sets, runs / "data", runs / "downloads", workers)


def train_run(paper: Paper, recipe: Recipe, run: Path, runs: Path, say: Callable[[str], None]) -> Progress:
    """Train `recipe` in the folder `run`, or go on with what is there; returns where it ended."""
    claim_folder(run, recipe)
    done = run / "training.json"
    if done.is_file():
        return Progress(**json.loads(done.read_text(encoding="utf-8"))["progress"])
    prepared = prepare_data(recipe, runs)
    (run / "text").mkdir(exist_ok=True)
    prepared.text.save(run / "text")
    torch.set_num_threads(recipe.train.threads)
    torch.manual_seed(recipe.train.seed)
    device = device_of(recipe)
    model = paper.build_model(recipe).to(device)
    identity = sha256_json(prepared.facts)
    corpus = Corpus(prepared.train, prepared.valid, identity)
    trainer = Trainer(model, paper.build_optimization(model, recipe), corpus, recipe, run)
    source = commit(REPOSITORY)
    progress = trainer.fit(say)
    write_json_atomically(
        done,
        {
            "finished": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            "progress": asdict(progress),
            "parameters": sum(parameter.numel() for parameter in trainer.parameters),
            "environment": environment(device.type),
            "data_sha256": identity,
            **source,
        },
    )
    return progress


def claim_folder(run: Path, recipe: Recipe) -> None:
    """Write the recipe into a new run folder, or check that an old one holds the same recipe."""
    path = run / "recipe.yaml"
    plain = recipe.to_dict()
    if path.is_file():
        before = read_yaml(path)
        if before != plain:
            raise UserError(
                f"{run}: was trained by another recipe ({first_difference(before, plain)}); "
                "choose another --out folder or delete it"
            )
        return
    try:
        run.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True), encoding="utf-8")
    except OSError as error:
        raise UserError(f"{run}: {error.strerror}; choose an --out folder that can be written") from None


def first_difference(before: Any, after: Any, key: str = "") -> str:
    """The first leaf in which two nested mappings differ, as `key: before, now after`."""
    if isinstance(before, dict) and isinstance(after, dict):
        for name in [*before, *after]:
            if before.get(name) != after.get(name):
                return first_difference(before.get(name), after.get(name), f"{key}.{name}".lstrip("."))
    return f"`{key}` was {before}, now {after}"


def read_recipe(paper: Paper, run: Path) -> Recipe:
    """The recipe a run folder was trained by."""
    path = run / "recipe.yaml"
    if not path.is_file():
        raise UserError(f"{run}: not a run folder (no recipe.yaml); make one with `train RECIPE --out {run}`")
    values = read_yaml(path)
    if not isinstance(values, dict):
        raise UserError(f"{path}: damaged; delete {run} and train again")
    return recipe_from_dict(values, paper.sections, str(path))


def average_run(run: Path, last: int) -> dict[str, Any]:
    """Mean of the run's `last` checkpoints into RUN/model.safetensors; returns the steps that went in."""
    kept = kept_checkpoints(run / "checkpoints")
    if not kept:
        raise UserError(f"{run}: no checkpoints to average; train the run first")
    weights, about = average(kept[-last:])
    save_weights(run / "model.safetensors", weights, about)
    return about


def load_run(paper: Paper, run: Path) -> LoadedRun:
    """A run's model in evaluation mode: the averaged weights, or without them the last checkpoint."""
    recipe = read_recipe(paper, run)
    kept = kept_checkpoints(run / "checkpoints")
    path = run / "model.safetensors"
    if not path.is_file():
        if not kept:
            raise UserError(f"{run}: no checkpoint yet; finish `train {recipe.name} --out {run}` first")
        path = kept[-1]
    weights, about = load_weights(path)
    torch.set_num_threads(recipe.train.threads)
    model = paper.build_model(recipe)
    restore(model, weights, path)
    return LoadedRun(run, recipe, TextPipeline.load(run / "text"), model.to(device_of(recipe)).eval(), about)
