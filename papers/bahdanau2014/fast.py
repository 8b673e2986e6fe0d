"""RNNsearch faster: the functions of model.py from the same parameters, with the work of many words done at once.

What does not depend on the state is computed outside the loops over words: every word's products with W, W_z and W_r,
and the whole output layer. Matrices that multiply the same vector are stacked into one product. The encoder's two
directions run side by side. tests/test_fast.py compares logits, gradients, steps and beam search with model.py's.

Letters are model.py's; D directions of the encoder (2, RNNencdec 1).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.contract import Batch
from common.ids import START
from papers.bahdanau2014.beam_state import SharedState, attend
from papers.bahdanau2014.model import (
    DecoderUnits,
    Encoder,
    EncoderUnits,
    FactoredReadout,
    ForwardEncoder,
    Readout,
    RNNsearch,
    State,
)


def given(b: nn.Parameter | float) -> nn.Parameter | None:
    """Return a bias as `F.linear` takes it: None if the variant has none."""
    return b if isinstance(b, nn.Parameter) else None


class Recurrent(NamedTuple):
    """The matrices of one or more directions that multiply the state, stacked once for a sentence."""

    U: Tensor
    """(.., n, n)"""
    U_zr: Tensor
    """U_z above U_r, (.., 2n, n)."""

    @staticmethod
    def of(units: EncoderUnits | DecoderUnits) -> Recurrent:
        """Stack the matrices of one direction, or of the decoder."""
        return Recurrent(units.U, torch.cat([units.U_z, units.U_r]))


def from_words(units: EncoderUnits | DecoderUnits, words: Tensor) -> Tensor:
    """Compute [W; W_z; W_r] E x + biases at all positions in one product: (.., m) -> (.., 3n)."""
    biases = None
    if isinstance(units.b, nn.Parameter):
        zeros = torch.zeros_like(units.b)  # (n,): GroundHog's gates have no bias
        biases = torch.cat([b if isinstance(b, nn.Parameter) else zeros for b in (units.b, units.b_z, units.b_r)])
    return F.linear(words, torch.cat([units.W, units.W_z, units.W_r]), biases)  # (.., 3n)


def gated_units(sums: Tensor, state: Tensor, recurrent: Recurrent) -> Tensor:
    """Compute the next state (.., B, n) from `state` (.., B, n). Leading axes run side by side.

    sums (.., B, 3n): what candidate, update and reset gate get apart from the state (W E x, C c, biases).
    """
    U, U_zr = recurrent
    to_candidate, to_gates = torch.split(sums, [U.shape[-1], U_zr.shape[-2]], dim=-1)  # (.., B, n), (.., B, 2n)
    z, r = torch.sigmoid(to_gates + state @ U_zr.mT).chunk(2, dim=-1)  # (.., B, n)
    candidate = torch.tanh(to_candidate + (r * state) @ U.mT)  # r acts before U, as in the paper
    return (1 - z) * state + z * candidate


def annotate(encoder: Encoder | ForwardEncoder, source: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Compute what `encoder` computes: annotations h (B, S, D n) and the last state (B, n) of the last direction.

    For RNNencdec h is only the last annotation, (B, 1, n).
    """
    directions = [encoder.forward_rnn, *([encoder.backward_rnn] if isinstance(encoder, Encoder) else [])]
    x = encoder.embedding(source.t())  # (S, B, m): time comes first, so that a step is a slice without gaps
    sums = [from_words(rnn, x) for rnn in directions]  # D of (S, B, 3n)
    masks = [mask.t()] * len(directions)  # D of (S, B)
    # Both directions share one loop over time; the backward RNN reads the flipped sentence.
    sums[1:], masks[1:] = [a.flip(0) for a in sums[1:]], [m.flip(0) for m in masks[1:]]
    states = _recur(directions, torch.stack(sums, dim=1), torch.stack(masks, dim=1).unsqueeze(-1))  # S of (D, B, n)
    if len(directions) == 1:
        return states[-1][0].unsqueeze(1), states[-1][0]  # RNNencdec reads no annotation but its last
    forwards = torch.stack([state[0] for state in states], dim=1)  # (B, S, n)
    backwards = torch.stack([state[1] for state in reversed(states)], dim=1)  # (B, S, n), in source order
    return torch.cat([forwards, backwards], dim=-1), states[-1][1]  # (B, S, 2n), bwd h_1


def _recur(directions: list[EncoderUnits], sums: Tensor, masks: Tensor) -> list[Tensor]:
    """Compute the states (D, B, n) after each of S words, from sums (S, D, B, 3n) and masks (S, D, B, 1)."""
    recurrent = Recurrent(*map(torch.stack, zip(*map(Recurrent.of, directions), strict=True)))
    h = sums.new_zeros(*sums.shape[1:3], recurrent.U.shape[-1])  # h_0 = 0, (D, B, n)
    states = []
    for sum_t, mask_t in zip(sums.unbind(0), masks.unbind(0), strict=True):
        h = torch.where(mask_t, gated_units(sum_t, h, recurrent), h)  # padding does not change the state
        states.append(h)
    return states


def read_out(readout: Readout | FactoredReadout, s: Tensor, Ey: Tensor, c: Tensor) -> Tensor:
    """Compute what `readout` computes, with biases inside the products: logits (.., V), of one word or of all."""
    t_tilde = F.linear(s, readout.U_o, given(readout.b_o)) + Ey @ readout.V_o.t() + c @ readout.C_o.t()  # (.., 2l)
    t = torch.maximum(t_tilde[..., 0::2], t_tilde[..., 1::2])  # (.., l)
    b = given(readout.b_softmax)
    if isinstance(readout, Readout):
        return F.linear(t, readout.W_o, b)
    words = readout.words  # without the reserved row, whose logit nobody wants (D2)
    return F.linear(t @ readout.W_o1.t(), readout.W_o2[:words], None if b is None else b[:words])


class Stacked(NamedTuple):
    """The decoder's matrices that multiply the state and the context vector, stacked once for a sentence."""

    recurrent: Recurrent
    C: Tensor
    """[C; C_z; C_r], (3n, C)."""

    def update(self, sums: Tensor, s: Tensor, c: Tensor) -> Tensor:
        """Compute the next state (N, n). sums (N, 3n): the word's part, from `from_words`."""
        return gated_units(torch.addmm(sums, c, self.C.t()), s, self.recurrent)


class FastRNNsearch(RNNsearch):
    """The model of model.py with its parameters, computed in another order."""

    def encode(self, source: Tensor, source_mask: Tensor) -> State:
        """Compute the state before the first word, from ids and mask (B, S)."""
        h, last = annotate(self.encoder, source, source_mask)  # (B, S, C), (B, n)
        s_0 = torch.tanh(F.linear(last, self.W_s, given(self.b_s)))
        return SharedState(s_0, torch.zeros_like(h[:, 0]), self.align.prepare(h, source_mask))

    def step(self, previous: Tensor, state: State) -> tuple[Tensor, State]:
        """Compute the logits (N, V) of the word after `previous` (N,), and the state after this step."""
        Ey = self.embedding(previous)
        read, state, _ = self._turn(self._stacked(), from_words(self.decoder, Ey), state, previous == START)
        return read_out(self.readout, read, Ey, state.c), state

    def unroll(self, batch: Batch) -> tuple[Tensor, list[Tensor | None]]:
        """Feed the target word by word, and compute the output layer for all words at once."""
        Ey = self.embedding(batch.previous)  # (B, T, m)
        stacked, state = self._stacked(), self.encode(batch.source, batch.source_mask)
        reads, contexts, alphas = [], [], []
        for i, sums in enumerate(from_words(self.decoder, Ey).unbind(1)):
            # Only the first word can be START, so the other steps need no test for it.
            first = batch.previous[:, i] == START if i == 0 else None
            read, state, alpha = self._turn(stacked, sums, state, first)
            reads.append(read)  # (B, n)
            contexts.append(state.c)  # (B, C)
            alphas.append(alpha)
        return read_out(self.readout, torch.stack(reads, dim=1), Ey, torch.stack(contexts, dim=1)), alphas

    def _turn(
        self, stacked: Stacked, sums: Tensor, state: State, first: Tensor | None
    ) -> tuple[Tensor, State, Tensor | None]:
        """Compute the s (N, n) that the output layer reads for word i, the state after it and alpha_i (N, S).

        sums (N, 3n): y_{i-1}'s part of the decoder's sums. first (N,): rows where i = 1; None if there are none.
        """
        if self.config.step_order == "R1":
            s = stacked.update(sums, state.s, state.c)  # (N, n)
            if first is not None:
                s = torch.where(first.unsqueeze(1), state.s, s)  # the recurrence never reads y_0
            c, alpha = attend(self.align, s, state.source)  # (N, C), (N, S)
            return s, SharedState(s, c, state.source), alpha
        c, alpha = attend(self.align, state.s, state.source)  # (N, C), (N, S)
        s = stacked.update(sums, state.s, c)
        read = s if self.config.step_order == "R2" else state.s  # R3 reads s_{i-1}
        return read, SharedState(s, c, state.source), alpha

    def _stacked(self) -> Stacked:
        # Stacked anew in every call, because an update changes the parameters.
        return Stacked(Recurrent.of(self.decoder), torch.cat([self.decoder.C, self.decoder.C_z, self.decoder.C_r]))
