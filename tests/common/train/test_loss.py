"""Label smoothing and masking against the formula, in NumPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from common.train.loss import cross_entropy_sum


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.2])
def test_against_the_formula(smoothing):
    rng = np.random.default_rng(3)
    B, T, V = 3, 5, 7
    logits = rng.normal(size=(B, T, V))
    target = rng.integers(0, V, size=(B, T))
    mask = np.arange(T) < np.array([5, 2, 4])[:, None]
    expected = 0.0
    for b in range(B):
        for t in range(T):
            if mask[b, t]:
                log_p = logits[b, t] - math.log(sum(math.exp(x) for x in logits[b, t]))
                q = [1 - smoothing if k == target[b, t] else smoothing / (V - 1) for k in range(V)]
                expected -= sum(q[k] * log_p[k] for k in range(V))
    ours = cross_entropy_sum(torch.tensor(logits), torch.tensor(target), torch.tensor(mask), smoothing)
    assert float(ours) == pytest.approx(expected, rel=1e-5)


def test_entropy_floor_at_v_37000():
    """The smallest possible loss is the smoothed target's own entropy: 1.37695 nats (Vaswani2017 §5.4)."""
    V, eps = 37_000, 0.1
    logits = torch.full((1, 1, V), math.log(eps / (V - 1)), dtype=torch.float64)
    logits[0, 0, 5] = math.log(1 - eps)
    loss = cross_entropy_sum(logits, torch.tensor([[5]]), torch.tensor([[True]]), eps)
    assert float(loss) == pytest.approx(1.37695, abs=1e-4)


def test_padding_has_no_gradient():
    logits = torch.randn(2, 3, 4, requires_grad=True)
    mask = torch.tensor([[True, True, False], [True, False, False]])
    cross_entropy_sum(logits, torch.ones(2, 3, dtype=torch.int64), mask, 0.1).backward()
    assert bool((logits.grad.abs().sum(-1) > 0).eq(mask).all())
