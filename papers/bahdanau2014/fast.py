"""RNNsearch faster: the functions of model.py from the same parameters, with the work of many words done at once.

What does not depend on the state is computed outside the loops over words: every word's products with W, W_z and W_r,
every annotation's with C, C_z and C_r, and the whole output layer. Matrices that multiply the same vector are stacked
into one product. The encoder's two directions run side by side. The loops and their derivatives are in recurrence.py.
tests/test_fast.py compares logits, gradients, steps and beam search with model.py's.

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
    AlignmentModel,
    DecoderUnits,
    Encoder,
    EncoderUnits,
    FactoredReadout,
    ForwardEncoder,
    LastState,
    Readout,
    RNNsearch,
    State,
)
from papers.bahdanau2014.recurrence import PLAIN, Source, Steps, attend_and_recur, recur, step


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


def annotate(
    encoder: Encoder | ForwardEncoder, source: Tensor, mask: Tensor, steps: Steps = PLAIN
) -> tuple[Tensor, Tensor]:
    """Compute what `encoder` computes: annotations h (B, S, D n) and the last state (B, n) of the last direction.

    For RNNencdec h is only the last annotation, (B, 1, n).
    """
    directions = [encoder.forward_rnn, *([encoder.backward_rnn] if isinstance(encoder, Encoder) else [])]
    n = len(encoder.forward_rnn.U)
    x = encoder.embedding(source.t())  # (S, B, m): time comes first, so that a step is a slice without gaps
    sums = [from_words(rnn, x) for rnn in directions]  # D of (S, B, 3n)
    # Padding does not change the state: its update gate is 0, the sigmoid of -inf.
    for sum_d in sums:
        sum_d[..., n : 2 * n].masked_fill_(~mask.t().unsqueeze(2), -torch.inf)
    sums[1:] = [sum_d.flip(0) for sum_d in sums[1:]]  # the backward RNN reads the flipped sentence
    recurrent = Recurrent(*map(torch.stack, zip(*map(Recurrent.of, directions), strict=True)))
    h_0 = x.new_zeros(len(directions), len(source), n)
    states = recur(torch.stack(sums), h_0, *recurrent, steps)  # (D, S, B, n); both directions share one loop
    if len(directions) == 1:
        return states[0, -1].unsqueeze(1), states[0, -1]  # RNNencdec reads no annotation but its last
    in_order = [states[0], states[1].flip(0)]  # (S, B, n)
    h = torch.cat([direction.transpose(0, 1) for direction in in_order], dim=-1)
    return h, states[1, -1]  # (B, S, 2n), bwd h_1


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
        return step(torch.addmm(sums, c, self.C.t()), s, *self.recurrent)[0]


class FastRNNsearch(RNNsearch):
    """The model of model.py with its parameters, computed in another order."""

    steps: Steps = PLAIN
    """The functions of one word in training. Compiled ones compute the same."""

    def encode(self, source: Tensor, source_mask: Tensor) -> State:
        """Compute the state before the first word, from ids and mask (B, S)."""
        h, last = annotate(self.encoder, source, source_mask, self._steps())  # (B, S, C), (B, n)
        s_0 = torch.tanh(F.linear(last, self.W_s, given(self.b_s)))
        return SharedState(s_0, torch.zeros_like(h[:, 0]), self.align.prepare(h, source_mask))

    def step(self, previous: Tensor, state: State) -> tuple[Tensor, State]:
        """Compute the logits (N, V) of the word after `previous` (N,), and the state after this step."""
        Ey = self.embedding(previous)
        read, state, _ = self._turn(self._stacked(), from_words(self.decoder, Ey), state, previous == START)
        return read_out(self.readout, read, Ey, state.c), state

    def unroll(self, batch: Batch) -> tuple[Tensor, list[Tensor | None]]:
        """Compute the states word by word, and the output layer for all words at once."""
        order, state = self.config.step_order, self.encode(batch.source, batch.source_mask)
        Ey = self.embedding(torch.cat([batch.previous, batch.target[:, -1:]], dim=1))  # y_0 .. y_T, (B, T + 1, m)
        # R1 updates the state after word i is written, by y_i. The others update it before that, by y_{i-1}.
        sums = from_words(self.decoder, (Ey[:, 1:] if order == "R1" else Ey[:, :-1]).transpose(0, 1))  # (T, B, 3n)
        states, c, alphas = self._decode(sums, state)
        states = torch.cat([state.s.to(states.dtype).unsqueeze(0), states])  # (T + 1, B, n)
        s = (states[1:] if order == "R2" else states[:-1]).transpose(0, 1)  # that the output layer reads, (B, T, n)
        return read_out(self.readout, s, Ey[:, :-1], c), alphas

    def _decode(self, sums: Tensor, state: State) -> tuple[Tensor, Tensor, list[Tensor | None]]:
        """Compute the states (T, B, n) after T updates, the context vectors (B, T or 1, C) before them, and alphas.

        sums (T, B, 3n): the words' part of the decoder's sums. In every step order attention precedes the update.
        """
        (U, U_zr), C = self._stacked()
        source = state.source
        if isinstance(source, LastState):
            sums = sums + F.linear(source.h_Tx, C)  # the same for all words
            return recur(sums, state.s, U, U_zr, self._steps()), source.h_Tx.unsqueeze(1), [None] * len(sums)
        assert isinstance(self.align, AlignmentModel)
        read = Source(source.U_a_h, F.linear(source.h, C), source.padding, self.align.v_a)
        W = torch.cat([self.align.W_a, U_zr])
        states, alphas = attend_and_recur(sums, state.s, U, W, read, self._steps())
        return states, alphas.transpose(0, 1) @ source.h, list(alphas.unbind(0))

    def _turn(self, stacked: Stacked, sums: Tensor, state: State, first: Tensor) -> tuple[Tensor, State, Tensor | None]:
        """Compute the s (N, n) that the output layer reads for word i, the state after it and alpha_i (N, S).

        sums (N, 3n): y_{i-1}'s part of the decoder's sums. first (N,): rows where i = 1.
        """
        if self.config.step_order == "R1":
            s = stacked.update(sums, state.s, state.c)  # (N, n)
            s = torch.where(first.unsqueeze(1), state.s, s)  # the recurrence never reads y_0
            c, alpha = attend(self.align, s, state.source)  # (N, C), (N, S)
            return s, SharedState(s, c, state.source), alpha
        c, alpha = attend(self.align, state.s, state.source)  # (N, C), (N, S)
        s = stacked.update(sums, state.s, c)
        read = s if self.config.step_order == "R2" else state.s  # R3 reads s_{i-1}
        return read, SharedState(s, c, state.source), alpha

    def _steps(self) -> Steps:
        # Sets and samples come in many shapes, each of which would be compiled, and trainings would depend on them.
        return self.steps if self.training else PLAIN

    def _stacked(self) -> Stacked:
        # Stacked anew in every call, because an update changes the parameters.
        return Stacked(Recurrent.of(self.decoder), torch.cat([self.decoder.C, self.decoder.C_z, self.decoder.C_r]))
