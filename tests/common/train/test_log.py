"""A training's log, and the same for TensorBoard: what its values are, and that a stop leaves none twice or wrong."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.image import imread

from common.errors import UserError
from common.recipe import Recipe
from common.run.curves import draw_curves
from common.run.folder import prepare_data, train_run
from common.train.batching import load_batch, minibatches
from common.train.checkpoint import load_weights
from common.train.loop import Trainer, TrainingText, read_log
from papers.bahdanau2014.paper import PAPER as BAHDANAU
from papers.vaswani2017.paper import PAPER as VASWANI
from tests.conftest import REPEATED, TINY

RECIPE = BAHDANAU.recipe("demo/rnnsearch-30", TINY)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose prepared data all tests of this file share."""
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def whole(runs: Path) -> Path:
    """A training that was never stopped, without a board."""
    train_run(BAHDANAU, RECIPE, runs / "whole", runs, print)
    return runs / "whole"


def stop_at_the_end(line: str) -> None:
    """Stop a training when it reports its last update, which is logged by then and not saved."""
    if f"update {RECIPE.train.steps}/" in line:
        raise KeyboardInterrupt


@pytest.fixture(scope="module")
def stopped(runs: Path) -> Path:
    """The same training with a board, stopped at update 12 and gone on with from update 8."""
    pytest.importorskip("tensorboard", reason="the optional package tensorboard is not here")
    run = runs / "stopped"
    with pytest.raises(KeyboardInterrupt):
        train_run(BAHDANAU, RECIPE, run, runs, stop_at_the_end, tensorboard=True)
    assert read_log(run)[-1]["step"] == 12 and max((run / "state").iterdir()).stem == "000000008"
    assert train_run(BAHDANAU, RECIPE, run, runs, print, tensorboard=True) == 12
    return run


def exact(run: Path, without: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    return [{key: entry[key] for key in REPEATED if key in entry and key not in without} for entry in read_log(run)]


def by_hand(recipe: Recipe, runs: Path) -> tuple[float, float]:
    """Return gradient norm and share of padding of the first update, without the trainer."""
    prepared = prepare_data(recipe, runs)
    ids = prepared.train
    order = minibatches(ids.source_lengths, ids.target_lengths, recipe.batch, recipe.train.seed, 0)
    batch = load_batch(ids, order[0])
    torch.manual_seed(recipe.train.seed)
    model = VASWANI.build_model(recipe)
    log_p = model(batch).log_softmax(-1)
    right = log_p.gather(-1, batch.target[..., None])[..., 0]
    (-right[batch.target_mask].mean()).backward()
    squares = sum(float((parameter.grad.double() ** 2).sum()) for parameter in model.parameters())
    return squares**0.5, float((~batch.target_mask).double().mean())


def test_the_values_of_a_line_are_those_of_the_update(runs: Path) -> None:
    """Against the gradients, the masks and the schedule of Vaswani2017 §5.3, each computed here."""
    words = [
        "P_drop=0.0",
        "label_smoothing=0.0",
        "log_every=1",
        "train.steps=3",
        "evaluate.average=1",
        "batch.tokens=300",
    ]
    recipe = VASWANI.recipe("demo/base-enfr", [*TINY, "text.bpe_merges=60", "N=1", *words])
    train_run(VASWANI, recipe, runs / "line", runs, print)
    lines = [entry for entry in read_log(runs / "line") if "loss" in entry]
    norm, padding = by_hand(recipe, runs)
    assert lines[0]["gradient_norm"] == pytest.approx(norm, rel=1e-5)
    assert lines[0]["padding_share"] == pytest.approx(padding, rel=1e-9) and padding > 0
    d_model, warmup, factor = recipe.model.d_model, recipe.optimizer.warmup_steps, recipe.optimizer.factor
    expected = [factor * d_model**-0.5 * min(step**-0.5, step * warmup**-1.5) for step in (1, 2, 3)]
    assert [line["learning_rate"] for line in lines] == pytest.approx(expected, rel=1e-9)
    assert all(0.05 < line["peak_memory_gib"] < 64 and line["updates_per_second"] > 0 for line in lines)


def test_an_infinite_gradient_norm_is_null(runs: Path, tmp_path: Path) -> None:
    """GroundHog's rule trains on after such a gradient, and JSON has no infinity."""
    recipe = BAHDANAU.recipe("demo/rnnsearch-30", [*TINY, "train.steps=2", "evaluate.average=1"])
    prepared = prepare_data(recipe, runs)
    model = BAHDANAU.build_model(recipe)
    next(model.parameters()).register_hook(lambda gradient: torch.full_like(gradient, torch.inf))
    text = TrainingText(prepared.train, prepared.valid, prepared.identity)
    Trainer(model, BAHDANAU.build_optimization(model, recipe), text, recipe, tmp_path).fit(print)
    line = (tmp_path / "log.jsonl").read_text().splitlines()[0]
    assert '"gradient_norm": null' in line and "Infinity" not in line and json.loads(line)["loss"] > 0


def test_a_board_changes_no_update(whole: Path, stopped: Path) -> None:
    assert exact(stopped, without=("samples",)) == exact(whole)
    for name in ("000000008.safetensors", "000000012.safetensors"):
        one, other = (load_weights(run / "checkpoints" / name)[0] for run in (whole, stopped))
        assert all(one[key].equal(other[key]) for key in other)


def test_a_board_has_the_log_once(stopped: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = EventAccumulator(str(stopped / "tensorboard")).Reload()
    log = read_log(stopped)
    keys = {key for entry in log for key in entry} - {"step", "epoch", "seconds", "samples"}
    tags = {key: f"dev/{key[4:]}" if key.startswith("dev_") else f"train/{key}" for key in keys}
    assert set(board.Tags()["scalars"]) == set(tags.values())
    assert {"loss", "learning_rate", "gradient_norm", "padding_share", "peak_memory_gib"} <= keys
    for key, tag in tags.items():
        points = [(event.step, event.value) for event in board.Scalars(tag)]
        assert points == [(entry["step"], float(np.float32(entry[key]))) for entry in log if key in entry]
    shown = [
        (event.step, event.tensor_proto.string_val[0].decode()) for event in board.Tensors("dev/samples/text_summary")
    ]
    samples = {entry["step"]: entry["samples"] for entry in log if "samples" in entry}
    assert [step for step, _ in shown] == list(samples) == [6, 12]
    assert all(len(samples[step]) == 4 and all(line in text for line in samples[step]) for step, text in shown)


def test_a_board_can_be_made_of_a_finished_run(whole: Path, runs: Path) -> None:
    pytest.importorskip("tensorboard", reason="the optional package tensorboard is not here")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train_run(BAHDANAU, RECIPE, whole, runs, print, tensorboard=True)
    board = EventAccumulator(str(whole / "tensorboard")).Reload()
    assert [event.step for event in board.Scalars("train/loss")] == [4, 8, 12]


def test_a_missing_package_is_told_before_anything_is_made(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(UserError, match="^--tensorboard needs .*: pip install tensorboard$"):
        train_run(BAHDANAU, RECIPE, runs / "none", runs, print, tensorboard=True)
    assert not (runs / "none").exists()


def test_the_picture_of_a_stopped_training_is_that_of_one_never_stopped(whole: Path, runs: Path) -> None:
    run = runs / "picture"
    with pytest.raises(KeyboardInterrupt):
        train_run(BAHDANAU, RECIPE, run, runs, stop_at_the_end)
    assert not (run / "loss.png").exists()
    train_run(BAHDANAU, RECIPE, run, runs, print)
    assert (run / "loss.png").read_bytes() == (whole / "loss.png").read_bytes()


def test_the_picture_has_both_curves(whole: Path) -> None:
    """Each in its own colour. A log without a measured development set has one curve."""

    def colours(entries: list[dict[str, Any]]) -> set[str]:
        pixels = (imread(io.BytesIO(draw_curves(RECIPE, entries)))[..., :3] * 255).round().astype(int)
        return {"#" + "".join(f"{value:02X}" for value in pixel) for pixel in np.unique(pixels.reshape(-1, 3), axis=0)}

    log = read_log(whole)
    assert {"#0072B2", "#D55E00"} <= colours(log)
    assert "#D55E00" not in colours([entry for entry in log if "loss" in entry])
