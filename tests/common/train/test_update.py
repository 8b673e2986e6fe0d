"""Recorded updates, rounded shapes and minibatches made ahead change nothing of a training.

On a CPU a replay calls the recorded function again, so everything but CUDA's own recording is tested here.
tests/test_cuda.py tests that.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from common.contract import Batch, pad
from common.errors import Terminated, UserError
from common.ids import EOS, UNK
from common.paper import Paper
from common.prepare.encoded import ParallelIds, write_side
from common.recipe import Recipe
from common.train.loop import Minibatch, Trainer, TrainingText, float32_products, read_log
from common.train.loss import cross_entropy_sum
from common.train.prefetch import Prefetched
from common.train.update import _TRIED, RecordedUpdate, Update, _made_up, rounded
from papers.bahdanau2014.paper import PAPER as BAHDANAU
from papers.vaswani2017.paper import PAPER as VASWANI

WORDS = 23
SYSTEMS = {
    "rnnsearch": (BAHDANAU, "rnnsearch-50", ["hidden=6", "embedding=4", "alignment=5", "maxout=3"]),
    "rnnencdec": (BAHDANAU, "rnnencdec-50", ["hidden=6", "embedding=4", "alignment=5", "maxout=3"]),
    "transformer": (VASWANI, "base", ["N=1", "d_model=8", "d_ff=12", "h=2", "d_k=3", "d_v=4", "P_drop=0"]),
}
every_system = pytest.mark.parametrize("system", SYSTEMS)


def recipe_of(system: str, *overrides: str) -> tuple[Paper, Recipe]:
    paper, name, sizes = SYSTEMS[system]
    shared = [f"vocabulary_size={WORDS}", "run.device=cpu", "run.threads=1", "evaluate.average=1", "log_every=4"]
    small = ["batch.sentences=6", "batch.tokens=null", "checkpoint_every=4", "state_every=3", "validate_every=8"]
    return paper, paper.recipe(name, [*shared, *sizes, *small, *overrides])


def sentences(seed: int, count: int, longest: int = 19) -> list[list[int]]:
    draw = np.random.default_rng(seed)
    return [draw.integers(UNK, WORDS, draw.integers(1, longest)).tolist() for _ in range(count)]


def batch(count: int, seed: int = 1) -> Batch:
    return Batch(*itertools.chain(*(pad([[*s, EOS] for s in sentences(seed + k, count)]) for k in (0, 1))))


@pytest.fixture
def text(tmp_path: Path) -> TrainingText:
    for split, count in (("train", 90), ("valid", 5)):
        for side, seed in (("source", 11), ("target", 12)):
            write_side(tmp_path, split, side, sentences(seed, count), WORDS)
    return TrainingText(ParallelIds.open(tmp_path, "train"), ParallelIds.open(tmp_path, "valid"), "toy")


def trainer(
    system: str,
    text: TrainingText,
    run: Path,
    *overrides: str,
    recorded: bool = False,
    kind: type[Trainer] = Trainer,
) -> Trainer:
    paper, recipe = recipe_of(system, *overrides)
    run.mkdir(exist_ok=True)
    torch.manual_seed(3)
    model = paper.build_model(recipe)
    made = kind(model, paper.build_optimization(model, recipe), text, recipe, run)
    if recorded:
        made.recorded, made.update = True, RecordedUpdate(model, made.optimization, recipe.train)
    made.resume()
    return made


@every_system
@pytest.mark.parametrize("path", ["readable", "fast"])
def test_rounding_a_shape_changes_no_loss_and_no_gradient(system: str, path: str) -> None:
    paper, recipe = recipe_of(system, f"run.path={path}")
    model = paper.build_model(recipe).double()
    for parameter in model.parameters():
        nn.init.normal_(parameter, 0.0, 0.3)
    found = []
    for given_batch in (batch(67), rounded(batch(67))):
        model.zero_grad()
        loss = cross_entropy_sum(model(given_batch), given_batch.target, given_batch.target_mask, 0.1)
        loss.backward()
        found.append([loss.detach().double(), *(parameter.grad for parameter in model.parameters())])
    assert rounded(batch(67)).source.shape == (68, 20)
    for ours, theirs in zip(*found, strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None and theirs is not None:
            torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-10)  # the loss is summed in float32


@given(st.integers(1, 5000))
def test_a_size_grows_by_an_eighth_at_most_and_few_sizes_are_left(size: int) -> None:
    grown = rounded(Batch(*(torch.ones(1, size, dtype=torch.bool) for _ in range(4))))
    assert len(grown.source) == 2
    assert size <= grown.source.shape[1] <= max(2, size * 9 / 8)
    assert bin(grown.source.shape[1]).strip("0b").count("1") <= 4
    assert len(bin(grown.source.shape[1]).rstrip("0")) - 2 <= 4


def test_what_is_tried_out_has_no_shape_of_the_data_and_leaves_no_trace(text: TrainingText, tmp_path: Path) -> None:
    for B, S, T in _TRIED:
        again = rounded(_made_up(B, S, T))
        assert len(again.source) != B and again.source.shape[1] != S and again.target.shape[1] != T
    made = trainer("transformer", text, tmp_path / "run", "train.steps=4", "P_drop=0.3", recorded=True)
    assert isinstance(made.update, RecordedUpdate)
    made.update.loss.fill_(7.0)
    made.model.train()
    before = torch.get_rng_state()
    made.update.try_out()
    assert torch.equal(torch.get_rng_state(), before) and float(made.update.loss) == 7.0
    assert not any(parameter.grad.any() for parameter in made.update.parameters) and made.update.shapes == 0


@every_system
def test_recorded_updates_are_the_plain_ones(system: str, text: TrainingText, tmp_path: Path) -> None:
    """Twelve updates of two minibatches each: weights, losses and norms agree to rounding."""
    words = ("train.steps=12", "batch.accumulate=2")
    plain, replayed = (trainer(system, text, tmp_path / str(k), *words, recorded=bool(k)) for k in (0, 1))
    for made in (plain, replayed):
        made.fit(lambda line: None)
    assert isinstance(replayed.update, RecordedUpdate) and replayed.update.shapes > 1
    for (name, ours), theirs in zip(plain.model.named_parameters(), replayed.model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=2e-4, atol=1e-5, msg=name)
    for ours, theirs in zip(read_log(tmp_path / "0"), read_log(tmp_path / "1"), strict=True):
        for key in {"loss", "dev_nll_per_token"} & {*ours}:
            assert theirs[key] == pytest.approx(ours[key], rel=1e-5)


@pytest.mark.parametrize("recorded", [False, True])
@every_system
def test_a_stopped_training_goes_on_to_the_same_bits(
    system: str, recorded: bool, text: TrainingText, tmp_path: Path
) -> None:
    """Stop after every second update or so: weights and log equal those of a training that was never stopped."""
    words = ("train.steps=11", "P_drop=0.2" if system == "transformer" else "train.label_smoothing=0.1")
    whole = trainer(system, text, tmp_path / "whole", *words, recorded=recorded)
    whole.fit(lambda line: None)
    stopped = 0
    while True:
        parts = trainer(system, text, tmp_path / "parts", *words, recorded=recorded)
        wanted = parts.progress.step + 2
        real = parts.update.finish

        def finish(step: int, parts: Trainer = parts, wanted: int = wanted, real=real) -> None:
            real(step)
            parts.stopping = step == wanted

        parts.update.finish = finish  # type: ignore[method-assign]
        try:
            parts.fit(lambda line: None)
            break
        except Terminated:
            stopped += 1
    assert stopped == 5
    for (name, ours), theirs in zip(whole.model.named_parameters(), parts.model.parameters(), strict=True):
        assert torch.equal(ours, theirs), name
    logs = [
        [{key: entry[key] for key in ("step", "loss", "dev_nll_per_token") if key in entry} for entry in read_log(run)]
        for run in (tmp_path / "whole", tmp_path / "parts")
    ]
    assert logs[0] == logs[1] and len(logs[0]) == 5


class Failing(Trainer):
    """A trainer whose data fail after seven minibatches, in the thread that makes them."""

    def _data(self) -> Iterator[Minibatch]:
        yield from itertools.islice(super()._data(), 7)
        raise UserError("the disk is gone")


@every_system
def test_a_training_whose_data_failed_goes_on_to_the_same_bits(system: str, text: TrainingText, tmp_path: Path) -> None:
    whole = trainer(system, text, tmp_path / "whole", "train.steps=11")
    whole.fit(lambda line: None)
    failing = trainer(system, text, tmp_path / "run", "train.steps=11", kind=Failing)
    with pytest.raises(UserError, match="the disk is gone"):
        failing.fit(lambda line: None)
    again = trainer(system, text, tmp_path / "run", "train.steps=11")
    assert failing.progress.step == 7 and again.progress.step == 6
    again.fit(lambda line: None)
    for (name, ours), theirs in zip(whole.model.named_parameters(), again.model.parameters(), strict=True):
        assert torch.equal(ours, theirs), name


@pytest.mark.parametrize(
    ("spoiled", "message"), [(5, "the loss is nan at update 6"), (6, "update 6 has left weights that are not finite")]
)
def test_no_state_is_made_of_what_is_no_number(spoiled: int, message: str, text: TrainingText, tmp_path: Path) -> None:
    """States are due at updates 3, 4, 6 and 8. A weight becomes NaN at an update with a state, or before one."""
    made = trainer("rnnsearch", text, tmp_path / "run", "train.steps=9")
    real = made.update.finish

    def finish(step: int) -> None:
        real(step)
        if step == spoiled:
            with torch.no_grad():
                next(made.model.parameters()).fill_(torch.nan)

    made.update.finish = finish  # type: ignore[method-assign]
    with pytest.raises(UserError, match=f"{message}; what was saved before is intact"):
        made.fit(lambda line: None)
    states = sorted(path.name for path in (tmp_path / "run" / "state").iterdir())
    assert states == ["000000003.safetensors", "000000004.safetensors"]


def test_learning_rate_in_a_tensor_is_set_in_place(text: TrainingText, tmp_path: Path) -> None:
    made = trainer("transformer", text, tmp_path / "run", "train.steps=4")
    group = made.optimization.optimizer.param_groups[0]
    rate = group["lr"] = torch.tensor(7.0)
    made.update._set_learning_rate(3)
    assert group["lr"] is rate and made.optimization.learning_rate is not None
    assert float(rate) == pytest.approx(made.optimization.learning_rate(3))


def test_update_sums_the_loss_of_its_minibatches() -> None:
    paper, recipe = recipe_of("rnnencdec")
    model = paper.build_model(recipe)
    update = Update(model, paper.build_optimization(model, recipe), recipe.train)
    update.begin()
    pairs = [batch(4), batch(3, seed=5)]
    for one in pairs:
        update.add(one, 1)
    expected = sum(float(cross_entropy_sum(model(one), one.target, one.target_mask).detach()) for one in pairs)
    assert float(update.loss) == pytest.approx(expected, rel=1e-6)
    squares = sum(float((parameter.grad.double() ** 2).sum()) for parameter in model.parameters())
    assert float(update.gradient_norm()) == pytest.approx(squares**0.5, rel=1e-5)


@every_system
def test_one_shape_many_times_in_the_first_update(system: str) -> None:
    """Computed, recorded and replayed: each adds the same gradients and loss."""
    paper, recipe = recipe_of(system)
    model = paper.build_model(recipe)
    update = RecordedUpdate(model, paper.build_optimization(model, recipe), recipe.train)
    once, found = rounded(batch(5)), []
    for times in (1, 3):
        update.begin()
        update.loss.zero_()
        for _ in range(times):
            update.add(once, 2)
        found.append([update.loss.clone(), *(parameter.grad.clone() for parameter in update.parameters)])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(3 * ours, theirs, rtol=1e-5, atol=1e-6)


def test_precision_holds_for_the_block_only() -> None:
    before = torch.get_float32_matmul_precision()
    with float32_products("tf32"):
        assert torch.get_float32_matmul_precision() == "high"
    assert torch.get_float32_matmul_precision() == before == "highest"


def test_items_come_in_order_and_an_exception_after_those_before_it() -> None:
    def items() -> Iterator[int]:
        yield from range(20)
        raise UserError("the disk is gone")

    with Prefetched(items(), ahead=3) as made:
        assert [next(made) for _ in range(20)] == list(range(20))
        with pytest.raises(UserError, match="the disk is gone"):
            next(made)


def test_the_thread_ends_with_the_block() -> None:
    before = threading.active_count()
    with pytest.raises(KeyError), Prefetched(itertools.count(), ahead=2) as made:
        assert next(made) == 0
        raise KeyError
    assert threading.active_count() == before
