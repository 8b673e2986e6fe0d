"""Attention as one function: by hand, beside the papers' own code, and what holds for every score."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from papers.bahdanau2014.model import AlignmentModel
from papers.lineage import PAPERS
from papers.lineage.attention import additive, attend, by_location, cosine, dot, gaussian, hardest, scaled_dot
from papers.vaswani2017.model import scaled_dot_product_attention

W = [torch.linspace(-1, 1, 15, dtype=torch.float64).reshape(5, 3).roll(shift) for shift in (0, 4)]
SCORES = {
    "gaussian": gaussian(0.7),
    "additive": additive(*W, torch.linspace(-2, 3, 5, dtype=torch.float64)),
    "dot": dot,
    "scaled_dot": scaled_dot,
    "cosine": cosine(4.0),
}
each_score = pytest.mark.parametrize("name", SCORES)


def by_hand(name: str, q: list[float], k: list[float]) -> float:
    product = sum(a * b for a, b in zip(q, k, strict=True))
    if name == "gaussian":
        return -sum((a - b) ** 2 for a, b in zip(q, k, strict=True)) / (2 * 0.7**2)
    if name == "additive":
        v = torch.linspace(-2, 3, 5, dtype=torch.float64).tolist()
        rows = zip(*(matrix.tolist() for matrix in W), strict=True)
        sums = [sum(w * a + u * b for w, u, a, b in zip(*row, q, k, strict=True)) for row in rows]
        return sum(v_i * math.tanh(x) for v_i, x in zip(v, sums, strict=True))
    if name == "cosine":
        return 4.0 * product / (math.hypot(*q) * math.hypot(*k))
    return product / (math.sqrt(len(q)) if name == "scaled_dot" else 1)


@each_score
@given(st.integers(0, 10_000))
def test_it_is_the_weighted_average_by_hand(name, seed):
    draw = torch.Generator().manual_seed(seed)
    Q, K, V = (torch.randn(*size, generator=draw, dtype=torch.float64) for size in ((2, 3), (4, 3), (4, 2)))
    found = attend(Q, K, V, SCORES[name])
    for q, result in zip(Q.tolist(), found, strict=True):
        powers = [math.exp(by_hand(name, q, k)) for k in K.tolist()]
        wanted = [
            sum(p * v[column] for p, v in zip(powers, V.tolist(), strict=True)) / sum(powers) for column in (0, 1)
        ]
        torch.testing.assert_close(result, torch.tensor(wanted, dtype=torch.float64))


@each_score
def test_keys_are_a_set_and_the_result_lies_among_the_values(name):
    torch.manual_seed(1)
    Q, K, V = (torch.randn(*size, dtype=torch.float64) for size in ((2, 5, 3), (2, 4, 3), (2, 4, 2)))
    found, order = attend(Q, K, V, SCORES[name]), torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(attend(Q, K[:, order], V[:, order], SCORES[name]), found)
    assert (found <= V.amax(1, keepdim=True) + 1e-9).all() and (found >= V.amin(1, keepdim=True) - 1e-9).all()


@torch.no_grad()
def test_the_papers_own_code_computes_the_same():
    torch.manual_seed(2)
    config = replace(PAPERS["bahdanau2014"].recipe("rnnsearch-50").model, hidden=4, alignment=6)
    model, s, h = AlignmentModel(config), torch.randn(2, 4), torch.randn(2, 3, 8)
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    nn.init.zeros_(model.b_a)
    c, _ = model(s, model.prepare(h, torch.ones(2, 3, dtype=torch.bool)))
    torch.testing.assert_close(attend(s.unsqueeze(1), h, h, additive(model.W_a, model.U_a, model.v_a)).squeeze(1), c)
    Q, K, V = torch.randn(5, 3), torch.randn(4, 3), torch.randn(4, 2)
    torch.testing.assert_close(attend(Q, K, V, scaled_dot), scaled_dot_product_attention(Q, K, V))


def test_the_hardest_weights_are_the_limit_of_softmax():
    e = torch.tensor([[0.3, 0.9, -1.0], [2.0, 1.0, 1.5]])
    assert torch.equal(hardest(e), torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]))
    torch.testing.assert_close((200 * e).softmax(-1), hardest(e))


def test_location_moves_weights_on_by_one():
    before, content = torch.tensor([0.0, 1.0, 0.0, 0.0]), torch.full((4,), 0.25)
    stages = by_location(content, before, gate=0.0, shift=torch.tensor([0.0, 0.0, 1.0]), sharpness=2.0)
    assert torch.equal(stages["gated"], before)
    assert torch.equal(stages["sharpened"], torch.tensor([0.0, 0.0, 1.0, 0.0]))
    stages = by_location(content, before, gate=0.5, shift=torch.tensor([0.5, 0.5, 0.0]), sharpness=2.0)
    gated = [0.125, 0.625, 0.125, 0.125]
    shifted = [0.5 * gated[(i + 1) % 4] + 0.5 * gated[i] for i in range(4)]
    squares = [weight**2 for weight in shifted]
    torch.testing.assert_close(stages["sharpened"], torch.tensor([square / sum(squares) for square in squares]))
