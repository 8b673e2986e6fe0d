"""Adadelta, the norm rule and the non-finite rule against hand values and plain NumPy."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from common.contract import Batch, pad
from common.errors import UserError
from common.ids import EOS
from papers.bahdanau2014.optim import OptimizerConfig, build_optimization, condition_gradients
from papers.bahdanau2014.paper import PAPER

SMALL = ["hidden=5", "embedding=3", "alignment=4", "maxout=2", "vocabulary_size=9"]


class TwoMatrices(nn.Module):
    def __init__(self):
        super().__init__()
        self.W = nn.Parameter(torch.tensor([[1.0, -2.0], [0.5, 3.0]], dtype=torch.float64))
        self.b = nn.Parameter(torch.tensor([4.0], dtype=torch.float64))


def adadelta(weights, gradients, step_size, rho=0.95, epsilon=1e-6):
    """Zeiler 2012, Algorithm 1, in GroundHog's order. It takes gradients and returns the weights after each update."""
    of_gradients, of_steps = np.zeros_like(weights), np.zeros_like(weights)
    for g in gradients:
        of_gradients = rho * of_gradients + (1 - rho) * g**2
        step = np.sqrt(of_steps + epsilon) / np.sqrt(of_gradients + epsilon) * g
        of_steps = rho * of_steps + (1 - rho) * step**2
        weights = weights - step_size * step
        yield weights


@pytest.mark.parametrize("step_size", [1.0, 4.0])
def test_updates_equal_the_recurrence(step_size):
    model = TwoMatrices()
    recipe = PAPER.recipe("rnnsearch-50", [f"step_size={step_size}"])
    optimization = build_optimization(model, recipe)
    assert optimization.learning_rate is None
    generator = np.random.default_rng(3)
    gradients = generator.normal(0, 0.1, (6, 2, 2))
    for gradient, expected in zip(gradients, adadelta(model.W.detach().numpy(), gradients, step_size), strict=True):
        model.W.grad = torch.tensor(gradient)
        optimization.condition_gradients(list(model.parameters()))
        optimization.optimizer.step()
        np.testing.assert_allclose(model.W.detach().numpy(), expected, rtol=1e-12)


def test_first_update_by_hand():
    """A first gradient of 1: step = sqrt(1e-6) / sqrt(0.05 + 1e-6), about 0.00447."""
    model = TwoMatrices()
    optimization = build_optimization(model, PAPER.recipe("rnnsearch-50"))
    model.b.grad = torch.ones(1, dtype=torch.float64)
    optimization.optimizer.step()
    assert model.b.item() == pytest.approx(4.0 - 1e-3 / math.sqrt(0.050001), rel=1e-12)


@pytest.mark.parametrize(
    "before, after",
    [
        ([[3.0, 0.0], [0.0, 0.0], [4.0]], [[0.6, 0.0], [0.0, 0.0], [0.8]]),  # norm 5, scaled as one vector
        ([[0.3, 0.0], [0.0, 0.0], [0.4]], [[0.3, 0.0], [0.0, 0.0], [0.4]]),  # norm 0.5, left alone
    ],
)
def test_joint_norm_is_at_most_one(before, after):
    model = TwoMatrices()
    model.W.grad = torch.tensor(before[:2], dtype=torch.float64)
    model.b.grad = torch.tensor(before[2], dtype=torch.float64)
    condition_gradients(list(model.parameters()), 1.0, 0.1)
    torch.testing.assert_close(model.W.grad, torch.tensor(after[:2], dtype=torch.float64))
    torch.testing.assert_close(model.b.grad, torch.tensor(after[2], dtype=torch.float64))


@pytest.mark.parametrize("culprit", [math.nan, math.inf])
def test_a_non_finite_gradient_becomes_a_tenth_of_the_weights(culprit):
    model = TwoMatrices()
    model.W.grad = torch.full((2, 2), 0.01, dtype=torch.float64)
    model.b.grad = torch.full((1,), culprit, dtype=torch.float64)
    condition_gradients(list(model.parameters()), 1.0, 0.1)
    torch.testing.assert_close(model.W.grad, 0.1 * model.W.detach())
    torch.testing.assert_close(model.b.grad, 0.1 * model.b.detach())


def test_a_parameter_without_gradient_is_passed_over():
    model = TwoMatrices()
    model.b.grad = torch.full((1,), 2.0, dtype=torch.float64)
    condition_gradients(list(model.parameters()), 1.0, 0.1)
    assert model.W.grad is None and model.b.grad.item() == 1.0


@pytest.mark.parametrize("architecture", ["search", "encdec"])
def test_every_parameter_is_updated(architecture):
    torch.manual_seed(2)
    recipe = PAPER.recipe("rnnsearch-50", [*SMALL, f"architecture={architecture}", "step_size=4"])
    model = PAPER.build_model(recipe)
    for parameter in model.parameters():
        nn.init.normal_(parameter, 0.0, 0.3)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    optimization = PAPER.build_optimization(model, recipe)
    batch = Batch(*pad([[2, 3, 4, EOS], [5, EOS]]), *pad([[6, EOS], [7, 8, 2, EOS]]))
    nn.functional.cross_entropy(model(batch)[batch.target_mask], batch.target[batch.target_mask]).backward()
    optimization.condition_gradients(list(model.parameters()))
    optimization.optimizer.step()
    still = [name for name, parameter in model.named_parameters() if torch.equal(parameter, before[name])]
    assert still == []


@pytest.mark.parametrize(
    "key, value",
    [("rho", 1.0), ("epsilon", 0.0), ("step_size", -1.0), ("clip_norm", 0.0), ("non_finite_factor", 1.5)],
)
def test_ranges(key, value):
    values = {"rho": 0.95, "epsilon": 1e-6, "step_size": 1.0, "clip_norm": 1.0, "non_finite_factor": 0.1}
    OptimizerConfig(**values)
    with pytest.raises(UserError, match=f"optimizer.{key}"):
        OptimizerConfig(**{**values, key: value})


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [0.01, 3.0, math.inf])
def test_the_rules_are_exact_to_the_bit(size, dtype):
    """Committed results rest on it: the norm's rounding, one product, and untouched bits below the limit."""
    draw = torch.Generator().manual_seed(6)
    parameters = [nn.Parameter(torch.randn(shape, generator=draw).to(dtype)) for shape in ((3, 5), (7,), (1,))]
    for parameter in parameters:
        parameter.grad = (torch.randn(parameter.shape, generator=draw) * min(size, 1.0)).to(dtype)
    parameters[1].grad[2] *= size
    before = [parameter.grad.clone() for parameter in parameters]
    norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(gradient) for gradient in before]))
    condition_gradients(parameters, 1.0, 0.1)
    for parameter, gradient in zip(parameters, before, strict=True):
        if math.isinf(size):
            expected = 0.1 * parameter.detach()
        else:
            expected = gradient * (1.0 / norm) if norm >= 1 else gradient
        assert torch.equal(parameter.grad, expected)
