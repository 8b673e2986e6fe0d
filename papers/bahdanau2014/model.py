"""RNNsearch and RNNencdec, read in the order of the paper's Appendix A.

Bahdanau2014 is arXiv:1409.0473v7; GroundHog is the authors' code (lisa-groundhog/GroundHog, 4d2433b), which
decides where the paper is silent or contradicts itself. D1, D2, ... are the deviations listed in README.md.

Letters, the paper's: x source words, y target words, h annotations, s decoder states, c contexts, e energies,
alpha weights. Sizes: B sentences, N rows being decoded, S source positions (T_x), T target positions (T_y),
n hidden units, n' alignment units, m embedding size, l maxout units, C size of a context (2n, RNNencdec n),
V words (K_x, K_y). D directions of the encoder (2, RNNencdec 1).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.model import START, Batch
from common.recipe import require

Biases = Literal["none", "paper", "authors"]


@dataclass(frozen=True)
class ModelConfig:
    """Recipe section `model`."""

    architecture: Literal["search", "encdec"]
    """`search`: RNNsearch; `encdec`: RNNencdec, the same decoder with one context, the encoder's last state."""
    hidden: int
    """n, units of each encoder direction and of the decoder."""
    embedding: int
    """m, size of a word's vector on either side."""
    alignment: int
    """n', units of the alignment model (unused by encdec)."""
    maxout: int
    """l, maxout units of the output layer, each over a pair of linear units."""
    step_order: Literal["R1", "R2", "R3"]
    """When the state takes in a word (D1); see `RNNsearch._turn`."""
    readout: Literal["direct", "factored"]
    """`direct`: the paper's W_o; `factored`: the authors' two matrices and their reserved vocabulary row (D2)."""
    factored_size: int
    """Size between the two matrices of `factored` (unused by direct)."""
    biases: Biases
    """`none`: the equations as printed; `paper`: one per sum (App. B.1 "bias"); `authors`: GroundHog's set (D3)."""

    def __post_init__(self) -> None:
        for key in ("hidden", "embedding", "alignment", "maxout", "factored_size"):
            require(getattr(self, key) > 0, f"model.{key}", "be positive")


# ----------------------------------------------------------------------------------------------------------------
# Initialisation, Bahdanau2014 App. B.1 "Parameter Initialization"


def gaussian(rows: int, columns: int, deviation: float = 0.01) -> nn.Parameter:
    """Weights from N(0, deviation^2): 0.01 unless the paper says otherwise."""
    return nn.Parameter(torch.empty(rows, columns).normal_(0.0, deviation))


def orthogonal(size: int) -> nn.Parameter:
    """A random orthogonal matrix, from a QR decomposition (D7)."""
    return nn.Parameter(nn.init.orthogonal_(torch.empty(size, size)))


def bias(size: int, present: bool) -> nn.Parameter | None:
    """Zeros; None where the variant has no bias."""
    return nn.Parameter(torch.zeros(size)) if present else None


# ----------------------------------------------------------------------------------------------------------------
# Bahdanau2014 App. A.1.1 "Recurrent Neural Network"


def gated_unit(sums: Tensor, state: Tensor, U: Tensor, U_zr: Tensor) -> Tensor:
    """The next state of gated hidden units, which are not torch's GRU: there r scales U s, here s itself.

    sums (.., B, 3n): what reaches candidate, update and reset gate from elsewhere (W E x, C c, biases);
    state (.., B, n); U (.., n, n); U_zr (.., 2n, n) is U_z above U_r. Leading axes run side by side.
    """
    to_candidate, to_gates = torch.split(sums, [U.shape[-1], U_zr.shape[-2]], dim=-1)
    z, r = torch.sigmoid(to_gates + state @ U_zr.mT).chunk(2, dim=-1)
    candidate = torch.tanh(to_candidate + (r * state) @ U.mT)
    return (1 - z) * state + z * candidate


class GatedUnits(nn.Module):
    """Parameters of one recurrence: W, U and, in the decoder, C, each for candidate, update z and reset r."""

    def __init__(self, m: int, n: int, context: int, biases: Biases) -> None:
        super().__init__()
        self.W, self.W_z, self.W_r = gaussian(n, m), gaussian(n, m), gaussian(n, m)
        self.U, self.U_z, self.U_r = orthogonal(n), orthogonal(n), orthogonal(n)
        if context:
            self.C, self.C_z, self.C_r = gaussian(n, context), gaussian(n, context), gaussian(n, context)
        self.b = bias(n, biases != "none")
        self.b_z, self.b_r = bias(n, biases == "paper"), bias(n, biases == "paper")

    def from_words(self, words: Tensor) -> Tensor:
        """[W; W_z; W_r] E x + biases, at all positions in one product: (.., m) -> (.., 3n)."""
        biases = None if self.b is None else self._biases(self.b)
        return F.linear(words, torch.cat([self.W, self.W_z, self.W_r]), biases)

    def _biases(self, b: Tensor) -> Tensor:
        """(3n,): the candidate's bias and those of the gates, which GroundHog has not."""
        gates = [torch.zeros_like(b)] * 2 if self.b_z is None or self.b_r is None else [self.b_z, self.b_r]
        return torch.cat([b, *gates])

    def recurrent(self) -> tuple[Tensor, Tensor]:
        """U (n, n) and [U_z; U_r] (2n, n), as `gated_unit` takes them."""
        return self.U, torch.cat([self.U_z, self.U_r])


class Embedding(nn.Module):
    """E x, with GroundHog's bias on every word's vector in the variant `authors`."""

    def __init__(self, words: int, m: int, biases: Biases) -> None:
        super().__init__()
        self.E = gaussian(words, m)
        self.b_E = bias(m, biases == "authors")

    def forward(self, ids: Tensor) -> Tensor:
        """Vectors (.., m) of ids (..); that of START is zero, bias included (GroundHog `Shift`)."""
        vectors = F.embedding(ids.clamp(min=0), self.E)
        if self.b_E is not None:
            vectors = vectors + self.b_E
        return vectors * (ids != START).unsqueeze(-1)


# ----------------------------------------------------------------------------------------------------------------
# Bahdanau2014 §3.2 "Encoder: Bidirectional RNN for Annotating Sequences", App. A.2.1


class Encoder(nn.Module):
    """h_t = f(x_t, h_{t-1}), Bahdanau2014 Eq. (1), in one direction (RNNencdec) or both."""

    def __init__(self, config: ModelConfig, words: int) -> None:
        super().__init__()
        self.embedding = Embedding(words, config.embedding, config.biases)
        self.forward_rnn = GatedUnits(config.embedding, config.hidden, 0, config.biases)
        self.backward_rnn = None
        if config.architecture == "search":
            self.backward_rnn = GatedUnits(config.embedding, config.hidden, 0, config.biases)

    @property
    def directions(self) -> list[GatedUnits]:
        """The forward RNN and, in RNNsearch, the backward RNN."""
        return [self.forward_rnn] if self.backward_rnn is None else [self.forward_rnn, self.backward_rnn]

    def forward(self, source: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Annotations h (B, S, D n) and the state (B, n) in which the last direction ends, from ids and mask (B, S).

        The source's EOS is a word like any other: annotated, attended to, and read first by the backward RNN
        (GroundHog `create_padded_batch`).
        """
        x = self.embedding(source.t())  # (S, B, m)
        sums = [rnn.from_words(x) for rnn in self.directions]
        masks = [mask.t()] * len(sums)
        # Both directions share one loop over time, the backward RNN reading the flipped sentence.
        sums[1:], masks[1:] = [a.flip(0) for a in sums[1:]], [m.flip(0) for m in masks[1:]]
        states = self._recur(torch.stack(sums, dim=1), torch.stack(masks, dim=1).unsqueeze(-1))  # S of (D, B, n)
        # Bahdanau2014 Eq. (7) "annotation": h_j = [fwd h_j; bwd h_j].
        forwards = torch.stack([state[0] for state in states], dim=1)
        backwards = [torch.stack([state[1] for state in reversed(states)], dim=1)] if len(sums) == 2 else []
        return torch.cat([forwards, *backwards], dim=-1), states[-1][-1]

    def _recur(self, sums: Tensor, masks: Tensor) -> list[Tensor]:
        """States (D, B, n) after each of the S words, from sums (S, D, B, 3n) and masks (S, D, B, 1)."""
        U, U_zr = (torch.stack(parts) for parts in zip(*(rnn.recurrent() for rnn in self.directions), strict=True))
        h = sums.new_zeros(*sums.shape[1:3], U.shape[-1])
        states = []
        for sum_t, mask_t in zip(sums.unbind(0), masks.unbind(0), strict=True):
            h = torch.where(mask_t, gated_unit(sum_t, h, U, U_zr), h)  # padding leaves the state as it was
            states.append(h)
        return states


# ----------------------------------------------------------------------------------------------------------------
# Bahdanau2014 §3.1 "Decoder: General Description", App. A.1.2 "Alignment Model", App. A.2.2 "Decoder"


@dataclass(frozen=True)
class Annotations:
    """What attention reads: annotations h (B, S, 2n), U_a h (B, S, n'), padding (B, S), 0 or -inf."""

    h: Tensor
    U_a_h: Tensor
    padding: Tensor

    def select(self, rows: Tensor) -> Annotations:
        """The annotations of these rows."""
        return Annotations(self.h[rows], self.U_a_h[rows], self.padding[rows])


class AlignmentModel(nn.Module):
    """a(s_{i-1}, h_j): how well the words around source position j match target word i."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        n, units = config.hidden, config.alignment
        self.W_a, self.U_a = gaussian(units, n, 0.001), gaussian(units, 2 * n, 0.001)
        self.v_a = nn.Parameter(torch.zeros(units))
        self.b_a = bias(units, config.biases == "paper")

    def prepare(self, h: Tensor, mask: Tensor) -> Annotations:
        """U_a h_j does not depend on i, so it is computed once for a sentence (App. A.1.2)."""
        padding = torch.zeros_like(mask, dtype=h.dtype).masked_fill(~mask, -torch.inf)
        return Annotations(h, F.linear(h, self.U_a, self.b_a), padding)

    def forward(self, s: Tensor, source: Annotations) -> tuple[Tensor, Tensor]:
        """The context c_i (N, 2n) and its weights alpha_i (N, S), from s_{i-1} (N, n)."""
        # Bahdanau2014 Eq. (6) "alignment model": e_ij = v_a' tanh(W_a s_{i-1} + U_a h_j).
        e = torch.tanh((s @ self.W_a.t()).unsqueeze(1) + source.U_a_h) @ self.v_a  # (N, S)
        alpha = torch.softmax(e + source.padding, dim=-1)
        # Bahdanau2014 Eq. (5) "context vector": c_i = sum_j alpha_ij h_j.
        return torch.bmm(alpha.unsqueeze(1), source.h).squeeze(1), alpha


class Readout(nn.Module):
    """Deep output with one maxout layer and the softmax's logits: g of Bahdanau2014 Eq. (3) and Eq. (4)."""

    def __init__(self, config: ModelConfig, context: int, words: int) -> None:
        super().__init__()
        biased, linear = config.biases != "none", 2 * config.maxout  # 2l linear units under l maxout units
        self.words, self.factored = words, config.readout == "factored"
        self.U_o, self.V_o = gaussian(linear, config.hidden), gaussian(linear, config.embedding)
        self.C_o, self.b_o = gaussian(linear, context), bias(linear, biased)
        rows = table_rows(config, words)
        if self.factored:
            self.W_o1, self.W_o2 = gaussian(config.factored_size, config.maxout), gaussian(rows, config.factored_size)
        else:
            self.W_o = gaussian(rows, config.maxout)
        self.b_softmax = bias(rows, biased)

    def forward(self, s: Tensor, y: Tensor, c: Tensor) -> Tensor:
        """Logits (.., V) from a state (.., n), the previous word's vector (.., m) and the context (.., C)."""
        pairs = F.linear(s, self.U_o, self.b_o) + y @ self.V_o.t() + c @ self.C_o.t()  # (.., 2l), the paper's t~
        t = torch.maximum(pairs[..., 0::2], pairs[..., 1::2])  # (.., l)
        biases = None if self.b_softmax is None else self.b_softmax[: self.words]
        if self.factored:
            return F.linear(t @ self.W_o1.t(), self.W_o2[: self.words], biases)  # the reserved row is no word (D2)
        return F.linear(t, self.W_o, biases)


def table_rows(config: ModelConfig, words: int) -> int:
    """Rows of embeddings and softmax: GroundHog's tables hold one id that no text uses (D2)."""
    return words + 1 if config.readout == "factored" else words


@dataclass(frozen=True)
class State:
    """All the decoder knows: s (N, n), the last context c (N, C) and, in RNNsearch, what attention reads."""

    s: Tensor
    c: Tensor
    source: Annotations | None

    def select(self, rows: Tensor) -> State:
        """Row i becomes row `rows[i]`."""
        source = None if self.source is None else self.source.select(rows)
        return State(self.s[rows], self.c[rows], source)

    def reorder(self, rows: Tensor) -> State:
        """As `select`, for rows that stay within their own sentence: its annotations need not move."""
        return State(self.s[rows], self.c[rows], self.source)


class RNNsearch(nn.Module):
    """p(y) = prod_i p(y_i | y_1 .. y_{i-1}, x), Bahdanau2014 Eq. (2), for both of the paper's architectures."""

    def __init__(self, config: ModelConfig, words: int) -> None:
        """words: V, the same number for source and target, EOS and UNK included."""
        super().__init__()
        self.config, self.words = config, words
        n, rows = config.hidden, table_rows(config, words)
        context = 2 * n if config.architecture == "search" else n
        self.encoder = Encoder(config, rows)
        if config.architecture == "search":
            self.align = AlignmentModel(config)
        self.W_s, self.b_s = gaussian(n, n), bias(n, config.biases != "none")
        self.embedding = Embedding(rows, config.embedding, config.biases)
        self.decoder = GatedUnits(config.embedding, n, context, config.biases)
        self.readout = Readout(config, context, words)

    def encode(self, source: Tensor, source_mask: Tensor) -> State:
        """The state before the first word, from ids and mask (B, S)."""
        h, last = self.encoder(source, source_mask)
        # App. A.2.2: s_0 = tanh(W_s bwd h_1). The paper gives none for RNNencdec; GroundHog takes fwd h_Tx.
        s_0 = torch.tanh(F.linear(last, self.W_s, self.b_s))
        if self.config.architecture == "encdec":
            return State(s_0, last, None)
        return State(s_0, torch.zeros_like(h[:, 0]), self.align.prepare(h, source_mask))

    def forward(self, batch: Batch) -> Tensor:
        """Teacher-forced logits (B, T, V)."""
        y, read, contexts, _ = self._unroll(batch)
        logits: Tensor = self.readout(torch.stack(read, dim=1), y, torch.stack(contexts, dim=1))
        return logits

    def alignment(self, batch: Batch) -> Tensor:
        """alpha_ij (B, T, S) of the batch's own target, as drawn in Figure 3; RNNsearch only."""
        return torch.stack([alpha for alpha in self._unroll(batch)[3] if alpha is not None], dim=1)

    def step(self, previous: Tensor, state: State) -> tuple[Tensor, State]:
        """Logits (N, V) of the next word after `previous` (N,), and the state that gave them."""
        y = self.embedding(previous)
        state, read, _ = self._turn(self._recurrent(), self.decoder.from_words(y), state, previous == START)
        return self.readout(read, y, state.c), state

    def _unroll(self, batch: Batch) -> tuple[Tensor, list[Tensor], list[Tensor], list[Tensor | None]]:
        """Vectors of the previous words (B, T, m); for each of the T words the state read, c_i and alpha_i."""
        # Nothing masks the target: its padding is on the right, where no real word comes after it.
        y = self.embedding(batch.previous)
        weights, state = self._recurrent(), self.encode(batch.source, batch.source_mask)
        read, contexts, alphas = [], [], []
        for i, sums in enumerate(self.decoder.from_words(y).unbind(1)):
            state, s, alpha = self._turn(weights, sums, state, batch.previous[:, i] == START if i == 0 else None)
            read.append(s)
            contexts.append(state.c)
            alphas.append(alpha)
        return y, read, contexts, alphas

    def _turn(
        self, weights: tuple[Tensor, ...], sums: Tensor, state: State, first: Tensor | None
    ) -> tuple[State, Tensor, Tensor | None]:
        """Word i's turn: the state after it, the s (N, n) that the output layer reads, and alpha_i (N, S).

        sums (N, 3n): y_{i-1}'s share of the decoder's sums; first (N,): rows where i = 1, None when there are none.
        The paper's indices allow two readings and its authors' code is a third; all have the same parameters:
        R1, GroundHog: s_{i-1} = f(s_{i-2}, y_{i-1}, c_{i-1}), then c_i from s_{i-1}, then y_i from s_{i-1}, c_i.
        R2, Eq. (4):   c_i from s_{i-1}, then s_i = f(s_{i-1}, y_{i-1}, c_i), then y_i from s_i, c_i.
        R3, App. A.2.2 to the letter: as R2, but y_i from s_{i-1}.
        """
        if self.config.step_order == "R1":
            s = self._update(weights, sums, state.s, state.c)
            if first is not None:
                s = torch.where(first.unsqueeze(1), state.s, s)  # the recurrence never reads y_0 (GroundHog)
            c, alpha = self._context(s, state)
            return replace(state, s=s, c=c), s, alpha
        c, alpha = self._context(state.s, state)
        s = self._update(weights, sums, state.s, c)
        return replace(state, s=s, c=c), s if self.config.step_order == "R2" else state.s, alpha

    def _context(self, s: Tensor, state: State) -> tuple[Tensor, Tensor | None]:
        """c_i (N, C) and alpha_i (N, S); in RNNencdec every c_i is fwd h_Tx (§3.1, §4.2)."""
        return (state.c, None) if state.source is None else self.align(s, state.source)

    def _recurrent(self) -> tuple[Tensor, Tensor, Tensor]:
        """U, [U_z; U_r] and [C; C_z; C_r] (3n, C), put together once for a sentence and not for every word."""
        return *self.decoder.recurrent(), torch.cat([self.decoder.C, self.decoder.C_z, self.decoder.C_r])

    @staticmethod
    def _update(weights: tuple[Tensor, ...], sums: Tensor, s: Tensor, c: Tensor) -> Tensor:
        """f of the decoder (App. A.2.2): the state (N, n) after taking in a word and its context."""
        U, U_zr, C = weights
        return gated_unit(torch.addmm(sums, c, C.t()), s, U, U_zr)
