"""The loops over words and their derivatives: against finite differences, under rounding, padded, compiled.

tests/test_fast.py compares loss and gradients of the whole model with model.py's, in every variant.
"""

from __future__ import annotations

import itertools
import shutil

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.contract import Batch, pad
from common.ids import EOS
from common.train.loss import cross_entropy_sum
from papers.bahdanau2014.optim import build_optimization
from papers.bahdanau2014.paper import PAPER
from papers.bahdanau2014.recurrence import Source, attend_and_recur, compiled_steps, recur
from tests.test_fast import RECURRENT, WORDS, assert_same, batch, loss_and_gradients, twins

B, S, N, UNITS, STEPS = 2, 3, 3, 4, 3
some_variants = pytest.mark.parametrize(
    "name",
    ["search R1 direct paper", "search R2 direct none", "search R3 factored authors", "encdec R1 direct paper"],
)


def inputs(*shapes: tuple[int, ...], seed: int = 0) -> list[Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=draw, dtype=torch.float64).requires_grad_() for shape in shapes]


@pytest.mark.parametrize("side_by_side", [(), (2,)], ids=["one", "two"])
def test_derivatives_of_the_recurrence(side_by_side: tuple[int, ...]) -> None:
    """One sentence is padded at the second word: its update gate is 0 there."""
    shapes = (STEPS, B, 3 * N), (B, N), (N, N), (2 * N, N)
    shut = torch.zeros(STEPS, B, 3 * N, dtype=torch.bool)
    shut[1, 0, N : 2 * N] = True

    def padded(sums: Tensor, *others: Tensor) -> Tensor:
        return recur(sums.masked_fill(shut, -torch.inf), *others)

    arguments = inputs(*((*side_by_side, *shape) for shape in shapes))
    states = padded(*arguments)
    assert torch.equal(states[..., 1, 0, :], states[..., 0, 0, :])
    assert torch.autograd.gradcheck(padded, arguments)


def test_derivatives_of_the_recurrence_with_attention() -> None:
    padding = torch.zeros(B, S, dtype=torch.float64)
    padding[1, 2] = -torch.inf
    shapes = (STEPS, B, 3 * N), (B, N), (N, N), (UNITS + 2 * N, N), (B, S, UNITS), (B, S, 3 * N), (UNITS,)

    def attentive(sums: Tensor, s_0: Tensor, U: Tensor, W: Tensor, *source: Tensor) -> tuple[Tensor, Tensor]:
        return attend_and_recur(sums, s_0, U, W, Source(source[0], source[1], padding, source[2]))

    arguments = inputs(*shapes)
    alphas = attentive(*arguments)[1]
    assert not alphas[:, 1, 2].any()
    torch.testing.assert_close(alphas.sum(-1), torch.ones(STEPS, B, dtype=torch.float64))
    assert torch.autograd.gradcheck(attentive, arguments)


def rounded_up(pairs: Batch, rows: int, source: int, target: int) -> Batch:
    """Add sentences of one EOS without a target, and columns of padding on both sides."""
    longer = Batch(
        F.pad(pairs.source, [0, source, 0, rows], value=EOS),
        F.pad(pairs.source_mask, [0, source, 0, rows]),
        F.pad(pairs.target, [0, target, 0, rows], value=EOS),
        F.pad(pairs.target_mask, [0, target, 0, rows]),
    )
    longer.source_mask[len(pairs.source) :, 0] = True
    return longer


@pytest.mark.parametrize("name", RECURRENT)
def test_rounding_shapes_up_changes_neither_loss_nor_gradients(name: str) -> None:
    _, fast = twins(RECURRENT[name])
    expected = loss_and_gradients(fast)
    fast.zero_grad(set_to_none=True)
    assert_same(loss_and_gradients(fast, rounded_up(batch(), rows=3, source=2, target=4)), expected)


@some_variants
def test_ten_updates_stay_together(name: str) -> None:
    """By the paper's optimizer, each on its own gradients, with a non-finite one on the way."""
    models = twins(RECURRENT[name])
    recipe = PAPER.recipe("rnnsearch-50", ["step_size=4"])
    optimizations = [build_optimization(model, recipe) for model in models]
    before = [parameter.detach().clone() for parameter in models[0].parameters()]
    draw = torch.Generator().manual_seed(2)
    for update in range(10):
        lengths = torch.randint(1, 7, (2, 5), generator=draw).tolist()
        sides = ([[*torch.randint(1, WORDS, (n,), generator=draw).tolist(), EOS] for n in side] for side in lengths)
        pairs = Batch(*itertools.chain.from_iterable(map(pad, sides)))
        for model, optimization in zip(models, optimizations, strict=True):
            optimization.optimizer.zero_grad(set_to_none=True)
            cross_entropy_sum(model(pairs), pairs.target, pairs.target_mask).backward()
            if update == 5:
                model.W_s.grad[0, 0] = torch.inf
            optimization.condition_gradients(list(model.parameters()))
            optimization.optimizer.step()
    for (parameter_name, ours), theirs, start in zip(
        models[0].named_parameters(), models[1].parameters(), before, strict=True
    ):
        assert not torch.equal(ours, start), parameter_name
        # The loss, and the first gradient, are in float32.
        torch.testing.assert_close(theirs, ours, rtol=1e-4, atol=1e-6, msg=parameter_name)


@some_variants
def test_gradients_in_mixed_precision_point_the_same_way(name: str) -> None:
    """Products in bfloat16, states, gates and weights in float32."""
    _, fast = twins(RECURRENT[name])
    fast.float()
    gradients = []
    for mixed in (False, True):
        fast.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            logits = fast(batch())
        cross_entropy_sum(logits, batch().target, batch().target_mask).backward()
        assert all(parameter.grad.dtype == torch.float32 for parameter in fast.parameters())
        gradients.append(torch.cat([parameter.grad.flatten() for parameter in fast.parameters()]))
    assert 0.99 < F.cosine_similarity(*gradients, dim=0) < 1 - 1e-6


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_compiled_functions_compute_the_same() -> None:
    _, fast = twins(RECURRENT["search R1 direct paper"])
    expected = loss_and_gradients(fast)
    fast.zero_grad(set_to_none=True)
    fast.steps = compiled_steps()
    assert_same(loss_and_gradients(fast), expected)


def test_a_processor_runs_the_functions_as_they_are() -> None:
    model: nn.Module = twins(RECURRENT["search R1 direct paper"])[1]
    PAPER.accelerate(model)
    assert model.steps is type(model).steps
