"""The two loops over words as differentiable functions, for training: `recur` and `attend_and_recur`.

Autograd would add a product to the gradient of every weight matrix at every word. Here the backward pass keeps what the
sums of each word receive, and each matrix gets its gradient from one product over all words. Of the alignment model
only a row per word is kept; its hidden layer, (B, S, n') per word, is computed again.
tests/bahdanau2014/test_recurrence.py compares the derivatives with finite differences, and tests/test_fast.py with
model.py's.

Letters are model.py's; I words that are read, one after the other. d_x is the derivative of the loss by x. The three
parts of a sum are in the order candidate, update gate, reset gate. The `..` of a shape are axes that run side by side:
the encoder's directions.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from common.train.compiling import compile_once


def product(x: Tensor, weight: Tensor) -> Tensor:
    """Compute x @ weight in the precision of `weight`, and return it in that of x."""
    return (x.to(weight.dtype) @ weight).to(x.dtype)


# ----------------------------------------------------------------------------------------------------------------
# One word: gated units, App. A.1.1


def gated_units(sums: Tensor, gates: Tensor, h: Tensor, U: Tensor) -> tuple[Tensor, ...]:
    """Compute the next state (.., B, n) from `h` (.., B, n), and its gates z and r and its candidate.

    sums (.., B, 3n): what candidate and gates get apart from the state. gates (.., B, 2n): [U_z; U_r] h.
    """
    n = h.shape[-1]
    z, r = torch.sigmoid(sums[..., n:] + gates).split(n, dim=-1)
    candidate = torch.tanh(sums[..., :n] + product(r * h, U.mT))  # r acts before U, as in the paper
    return (1 - z) * h + z * candidate, z, r, candidate


def d_gated_units(
    d_next: Tensor, h: Tensor, z: Tensor, r: Tensor, candidate: Tensor, U: Tensor
) -> tuple[Tensor, Tensor]:
    """Compute d_sums (.., B, 3n), and d_h (.., B, n) without what comes through U_z and U_r."""
    d_candidate = d_next * z * (1 - candidate * candidate)
    d_z = d_next * (candidate - h) * z * (1 - z)
    d_rh = product(d_candidate, U)
    d_r = d_rh * h * r * (1 - r)
    return torch.cat([d_candidate, d_z, d_r], dim=-1), d_next * (1 - z) + d_rh * r


def step(sums: Tensor, h: Tensor, U: Tensor, U_zr: Tensor) -> tuple[Tensor, ...]:
    """Read one word: as `gated_units`."""
    return gated_units(sums, product(h, U_zr.mT), h, U)


def d_step(
    d_next: Tensor, d_state: Tensor, h: Tensor, kept: tuple[Tensor, ...], U: Tensor, U_zr: Tensor
) -> tuple[Tensor, Tensor]:
    """Compute d_sums (.., B, 3n) and d_h (.., B, n) of `step`.

    d_next, d_state (.., B, n): what the next state receives from the words after it, and from outside the loop.
    kept: z, r and candidate.
    """
    z, r, candidate = kept
    d_sums, d_h = d_gated_units(d_next + d_state, h, z, r, candidate, U)
    return d_sums, d_h + product(d_sums[..., h.shape[-1] :], U_zr)


# ----------------------------------------------------------------------------------------------------------------
# One word of the decoder: alignment model, App. A.1.2, and gated units


class Source(NamedTuple):
    """What attention reads of a batch of sentences, and the weights v_a (n',)."""

    U_a_h: Tensor
    """(B, S, n')"""
    C_h: Tensor
    """[C; C_z; C_r] h_j, (B, S, 3n). C c_i = sum_j alpha_ij C h_j, so the product with C need not wait for alpha."""
    padding: Tensor
    """0 at words, -inf at padding, (B, S)."""
    v_a: Tensor


def attentive_step(sums: Tensor, s: Tensor, U: Tensor, W: Tensor, source: Source) -> tuple[Tensor, ...]:
    """Attend, then read one word: return the results of `gated_units`, alpha (B, S) and W_a s (B, n').

    W (n' + 2n, n): [W_a; U_z; U_r], which all multiply the state s (B, n).
    """
    U_a_h, C_h, padding, v_a = source
    W_a_s, gates = product(s, W.mT).tensor_split([len(v_a)], dim=-1)  # (B, n'), (B, 2n)
    e = torch.tanh(W_a_s.unsqueeze(1) + U_a_h) @ v_a  # (B, S)
    alpha = torch.softmax(e + padding, dim=-1)
    context = product(alpha.unsqueeze(1), C_h).squeeze(1)  # (B, 3n)
    return *gated_units(sums + context, gates, s, U), alpha, W_a_s


def d_attentive_step(
    d_next: Tensor,
    d_state: Tensor,
    d_alpha: Tensor,
    s: Tensor,
    kept: tuple[Tensor, ...],
    U: Tensor,
    W: Tensor,
    source: Source,
    totals: tuple[Tensor, Tensor],
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute d_sums (B, 3n), d_W_s (B, n' + 2n) and d_s (B, n) of `attentive_step`.

    d_next, d_state and d_alpha (B, S) are as in `d_step`. kept: z, r, candidate, alpha and W_a s.
    totals: this word's part is added to d_U_a_h / v_a (B, S, n') and to d_v_a (n',).
    """
    U_a_h, C_h, _, v_a = source
    z, r, candidate, alpha, W_a_s = kept
    d_sums, d_s = d_gated_units(d_next + d_state, s, z, r, candidate, U)
    d_alpha = d_alpha + product(d_sums.unsqueeze(1), C_h.mT).squeeze(1)  # (B, S)
    d_e = alpha * (d_alpha - (alpha * d_alpha).sum(dim=-1, keepdim=True))  # (B, S)
    hidden = torch.tanh(W_a_s.unsqueeze(1) + U_a_h)  # (B, S, n')
    slope = d_e.unsqueeze(2) * (1 - hidden * hidden)  # (B, S, n'), by W_a s + U_a h, v_a apart
    d_W_s = torch.cat([v_a * slope.sum(dim=1), d_sums[:, s.shape[1] :]], dim=-1)
    totals[0].add_(slope)
    totals[1].add_(hidden.flatten(0, 1).mT @ d_e.flatten())
    return d_sums, d_W_s, d_s + product(d_W_s, W)


# ----------------------------------------------------------------------------------------------------------------
# All words


class Steps(NamedTuple):
    """The functions of one word, as they are or compiled."""

    step: Callable[..., tuple[Tensor, ...]]
    d_step: Callable[..., tuple[Tensor, ...]]
    attentive_step: Callable[..., tuple[Tensor, ...]]
    d_attentive_step: Callable[..., tuple[Tensor, ...]]


PLAIN = Steps(step, d_step, attentive_step, d_attentive_step)
"""The functions as they are."""


@functools.cache
def compiled_steps() -> Steps:
    """Return the functions with the elementwise work of a word in few kernels. They are compiled on first use.

    Sizes that change are made variable on their first change, so that the sizes of the model stay constants.
    """
    return Steps(*(compile_once(function, dynamic=None) for function in PLAIN))


def d_weight(d_Wx: Tensor, x: Tensor, dtype: torch.dtype) -> Tensor:
    """Compute the gradient of W from d_Wx (.., I, B, rows) and x (.., I, B, columns) in one product over all words."""
    return d_Wx.flatten(-3, -2).mT.to(dtype) @ x.flatten(-3, -2).to(dtype)


class _Recurrence(torch.autograd.Function):
    """`recur`, with weights in the precision of the products."""

    @staticmethod
    def forward(ctx: Any, steps: Steps, sums: Tensor, h_0: Tensor, U: Tensor, U_zr: Tensor) -> Tensor:
        h, states, kept = h_0, [], []
        with torch.autocast(sums.device.type, enabled=False):
            for sums_i in sums.unbind(-3):
                h, *gates = steps.step(sums_i, h, U, U_zr)
                states.append(h)
                kept.extend(gates)
        ctx.steps, stacked = steps, torch.stack(states, dim=-3)
        ctx.save_for_backward(sums, h_0, U, U_zr, stacked, *kept)
        return stacked

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_states: Tensor) -> tuple[Tensor | None, ...]:
        sums, h_0, U, U_zr, states, *kept = ctx.saved_tensors
        n, gates = h_0.shape[-1], list(zip(*(kept[part::3] for part in range(3)), strict=True))
        h = torch.cat([h_0.unsqueeze(-3), states[..., :-1, :, :]], dim=-3)  # before each word, (.., I, B, n)
        d_h, d_sums = torch.zeros_like(h_0), []
        for d_state, h_i, gates_i in reversed(list(zip(d_states.unbind(-3), h.unbind(-3), gates, strict=True))):
            d_sums_i, d_h = ctx.steps.d_step(d_h, d_state, h_i, gates_i, U, U_zr)
            d_sums.append(d_sums_i)
        by_word = torch.stack(d_sums[::-1], dim=-3)  # (.., I, B, 3n)
        rh = torch.stack(kept[1::3], dim=-3) * h
        d_U, d_U_zr = d_weight(by_word[..., :n], rh, U.dtype), d_weight(by_word[..., n:], h, U.dtype)
        return None, by_word.to(sums.dtype), d_h, d_U, d_U_zr


class _AttentiveRecurrence(torch.autograd.Function):
    """`attend_and_recur`, with weights in the precision of the products."""

    @staticmethod
    def forward(
        ctx: Any, steps: Steps, sums: Tensor, s_0: Tensor, U: Tensor, W: Tensor, *source: Tensor
    ) -> tuple[Tensor, Tensor]:
        s, states, kept = s_0, [], []
        with torch.autocast(sums.device.type, enabled=False):
            for sums_i in sums.unbind(0):
                s, *rest = steps.attentive_step(sums_i, s, U, W, Source(*source))
                states.append(s)
                kept.extend(rest)
        ctx.steps, stacked = steps, torch.stack(states)
        ctx.save_for_backward(sums, s_0, U, W, *source, stacked, *kept)
        return stacked, torch.stack(kept[3::5])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_states: Tensor, d_alphas: Tensor) -> tuple[Tensor | None, ...]:
        sums, s_0, U, W, U_a_h, C_h, padding, v_a, states, *kept = ctx.saved_tensors
        source, n = Source(U_a_h, C_h, padding, v_a), s_0.shape[-1]
        s = torch.cat([s_0.unsqueeze(0), states[:-1]])  # before each word, (I, B, n)
        results = list(zip(*(kept[part::5] for part in range(5)), strict=True))
        totals = torch.zeros_like(U_a_h, dtype=s.dtype), torch.zeros_like(v_a)
        d_s, d_sums, d_W_s = torch.zeros_like(s_0), [], []
        for d_state, d_alpha, s_i, results_i in reversed(list(zip(d_states, d_alphas, s, results, strict=True))):
            d_sums_i, d_W_s_i, d_s = ctx.steps.d_attentive_step(
                d_s, d_state, d_alpha, s_i, results_i, U, W, source, totals
            )
            d_sums.append(d_sums_i)
            d_W_s.append(d_W_s_i)
        by_word = torch.stack(d_sums[::-1])  # (I, B, 3n)
        d_U = d_weight(by_word[..., :n], torch.stack(kept[1::5]) * s, U.dtype)
        d_W = d_weight(torch.stack(d_W_s[::-1]), s, W.dtype)
        alphas = torch.stack(kept[3::5], dim=-1)  # (B, S, I)
        d_C_h = product(alphas, by_word.transpose(0, 1).to(C_h.dtype)).to(C_h.dtype)  # sum_i alpha_ij d_sums_i
        d_U_a_h = (totals[0] * v_a).to(U_a_h.dtype)
        return None, by_word.to(sums.dtype), d_s, d_U, d_W, d_U_a_h, d_C_h, None, totals[1]


def precision(weight: Tensor) -> torch.dtype:
    """Return what products with `weight` are computed in: autocast's precision inside autocast."""
    kind = weight.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else weight.dtype


def recur(sums: Tensor, h_0: Tensor, U: Tensor, U_zr: Tensor, steps: Steps = PLAIN) -> Tensor:
    """Compute the states (.., I, B, n) after each word, from sums (.., I, B, 3n) and h_0 (.., B, n).

    U (.., n, n), U_zr (.., 2n, n): [U_z; U_r].
    """
    dtype = precision(U)
    states: Tensor = _Recurrence.apply(steps, sums, h_0.to(U.dtype), U.to(dtype), U_zr.to(dtype))
    return states


def attend_and_recur(
    sums: Tensor, s_0: Tensor, U: Tensor, W: Tensor, source: Source, steps: Steps = PLAIN
) -> tuple[Tensor, Tensor]:
    """Attend and read, word by word: compute the states (I, B, n) after each word and alphas (I, B, S).

    sums (I, B, 3n), s_0 (B, n), U (n, n). W (n' + 2n, n): [W_a; U_z; U_r]. alpha_i depends on the state before word i.
    """
    dtype = precision(U)
    results: tuple[Tensor, Tensor] = _AttentiveRecurrence.apply(
        steps, sums, s_0.to(U.dtype), U.to(dtype), W.to(dtype), *source
    )
    return results
