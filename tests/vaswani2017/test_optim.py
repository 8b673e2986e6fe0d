"""The learning rate against the values it must have, and Adam against its update written out in NumPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from common.errors import UserError
from papers.vaswani2017.optim import build_optimization, learning_rate
from papers.vaswani2017.paper import PAPER

RATES = [
    (512, 1, 1.747e-7), (512, 1000, 1.747e-4), (512, 4000, 6.988e-4), (512, 10_000, 4.419e-4), (512, 100_000, 1.398e-4),
    (1024, 4000, 4.941e-4), (1024, 10_000, 3.125e-4), (1024, 100_000, 9.882e-5), (1024, 300_000, 5.705e-5),
]  # fmt: skip


@pytest.mark.parametrize(("d_model", "step", "expected"), RATES)
def test_learning_rate_has_the_papers_values(d_model: int, step: int, expected: float) -> None:
    assert learning_rate(step, d_model, warmup_steps=4000) == pytest.approx(expected, rel=5e-4)


def test_learning_rate_rises_in_a_line_to_its_peak_and_falls_as_the_root() -> None:
    rates = [learning_rate(step, 64, warmup_steps=50) for step in range(1, 201)]
    assert np.allclose(np.diff(rates[:50]), rates[0])
    assert max(rates) == rates[49] == pytest.approx(1 / math.sqrt(64 * 50))
    assert rates[199] == pytest.approx(rates[49] / 2)


def test_the_paper_trains_with_its_own_rate() -> None:
    model = torch.nn.Linear(3, 2)
    optimization = build_optimization(model, PAPER.recipe("big"))
    assert optimization.learning_rate is not None and optimization.condition_gradients is None
    assert optimization.learning_rate(4000) == pytest.approx(4.941e-4, rel=1e-4)
    tripled = build_optimization(model, PAPER.recipe("big", ["optimizer.factor=3"]))
    assert tripled.learning_rate is not None and tripled.learning_rate(4000) == pytest.approx(3 * 4.941e-4, rel=1e-4)


def test_adam_is_the_published_update() -> None:
    """Kingma & Ba 2015, Algorithm 1, for three updates with the paper's constants."""
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 2).double()
    recipe = PAPER.recipe("base")
    optimization = build_optimization(model, recipe)
    weight = model.weight.detach().numpy().copy()
    m, v = np.zeros_like(weight), np.zeros_like(weight)
    assert optimization.learning_rate is not None
    for step in (1, 2, 3):
        gradient = np.random.default_rng(step).normal(size=weight.shape)
        rate = optimization.learning_rate(step)
        m, v = 0.9 * m + 0.1 * gradient, 0.98 * v + 0.02 * gradient**2
        weight -= rate * (m / (1 - 0.9**step)) / (np.sqrt(v / (1 - 0.98**step)) + 1e-9)
        model.weight.grad, model.bias.grad = torch.from_numpy(gradient), torch.zeros_like(model.bias)
        for group in optimization.optimizer.param_groups:
            group["lr"] = rate
        optimization.optimizer.step()
    np.testing.assert_allclose(model.weight.detach().numpy(), weight, rtol=1e-12)
    (group,) = optimization.optimizer.param_groups
    assert (group["betas"], group["eps"], group["weight_decay"]) == ((0.9, 0.98), 1e-9, 0)


def test_clip_norm_scales_all_gradients_together() -> None:
    model = torch.nn.Linear(2, 1)
    optimization = build_optimization(model, PAPER.recipe("base", ["clip_norm=5"]))
    assert optimization.condition_gradients is not None
    for gradient, expected in (([30.0, 40.0], [3.0, 4.0]), ([0.3, 0.4], [0.3, 0.4])):
        model.weight.grad, model.bias.grad = torch.tensor([gradient]), torch.zeros(1)
        optimization.condition_gradients(list(model.parameters()))
        assert model.weight.grad[0].tolist() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    "override", ["beta2=1.0", "epsilon=0", "warmup_steps=0", "factor=-1", "clip_norm=0", "epsilon=1e-9"]
)
def test_values_out_of_range_are_refused_by_name(override: str) -> None:
    with pytest.raises(UserError, match=override.partition("=")[0]):
        PAPER.recipe("base", [override])
