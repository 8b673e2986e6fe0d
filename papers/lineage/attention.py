"""Attention as one function, a data-dependent weighted average, and the choices that make each paper's form of it.

Letters: T queries, S keys, each with its value. d and d_v are the sizes of a key and of a value.
The notebook beside this file shows which choice is whose, and that our models of 2014 and 2017 compute the same.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

Score = Callable[[Tensor, Tensor], Tensor]
"""From queries (.., T, d) and keys (.., S, d) to how well each query matches each key, (.., T, S)."""
Weigh = Callable[[Tensor], Tensor]
"""From scores (.., T, S) to weights (.., T, S)."""


def softmax(e: Tensor) -> Tensor:
    """Make positive weights that sum to 1 over the keys."""
    return torch.softmax(e, dim=-1)


def attend(Q: Tensor, K: Tensor, V: Tensor, score: Score, weigh: Weigh = softmax) -> Tensor:
    """Return for each query (.., T, d) the average of the values (.., S, d_v), weighted by its keys (.., S, d)."""
    weights = weigh(score(Q, K))  # (.., T, S)
    return weights @ V  # (.., T, d_v)


def gaussian(width: float) -> Score:
    """Score by nearness, -|q - k|^2 / (2 width^2): with softmax the kernel regression of Nadaraya and Watson 1964."""
    return lambda Q, K: -((Q.unsqueeze(-2) - K.unsqueeze(-3)) ** 2).sum(-1) / (2 * width**2)


def additive(W_a: Tensor, U_a: Tensor, v_a: Tensor) -> Score:
    """Score by a network with one hidden layer, v_a' tanh(W_a q + U_a k): Bahdanau2014 App. A.1.2."""
    return lambda Q, K: torch.tanh((Q @ W_a.T).unsqueeze(-2) + (K @ U_a.T).unsqueeze(-3)) @ v_a


def dot(Q: Tensor, K: Tensor) -> Tensor:
    """Score by the dot product q k: Luong et al. 2015, End-To-End Memory Networks."""
    return Q @ K.transpose(-2, -1)


def scaled_dot(Q: Tensor, K: Tensor) -> Tensor:
    """Score by q k / sqrt(d): Vaswani2017 Eq. (1)."""
    return dot(Q, K) / Q.shape[-1] ** 0.5


def cosine(strength: float) -> Score:
    """Score by strength x the cosine of the angle between q and k: content addressing of the Neural Turing Machine."""
    return lambda Q, K: strength * dot(F.normalize(Q, dim=-1), F.normalize(K, dim=-1))


def hardest(e: Tensor) -> Tensor:
    """Give the best key the weight 1 and all others 0: the read of Memory Networks (Weston et al. 2014)."""
    return F.one_hot(e.argmax(dim=-1), e.shape[-1]).to(e.dtype)


def by_location(content: Tensor, before: Tensor, gate: float, shift: Tensor, sharpness: float) -> dict[str, Tensor]:
    """Return the weights (S,) after each stage that the Neural Turing Machine adds to those by content (its §3.3.2).

    before: the weights of the step before, (S,). gate: share of `content`. shift: shares of the shifts by -1, 0 and 1,
    (3,). sharpness: exponent, 1 or more.
    """
    gated = gate * content + (1 - gate) * before
    shifted = sum((share * gated.roll(by) for by, share in zip((-1, 0, 1), shift, strict=True)), torch.zeros(()))
    sharpened = shifted**sharpness / (shifted**sharpness).sum()
    return {"by content": content, "gated": gated, "shifted": shifted, "sharpened": sharpened}
