"""RNNsearch as the equations of the paper's Appendix A, one step and one line at a time.

Bahdanau2014 is arXiv:1409.0473v7. GroundHog is the authors' code (lisa-groundhog/GroundHog, 4d2433b). It decides
where the paper is silent or contradicts itself. D1, D2, ... are the deviations listed in README.md.

The order is that of use: initialisation (B.1), gated units (A.1.1), alignment model (A.1.2), encoder (A.2.1), decoder
and deep output (A.2.2), then the whole model, which trainer and beam search call. RNNencdec and GroundHog's own output
layer come last.
Nothing is rearranged for speed here; fast.py computes the same functions from the same parameters, faster.

Letters are the paper's: x source words, y target words, h annotations, s decoder states, c contexts, e energies,
alpha weights, z update gates, r reset gates. A tilde is written out: s_tilde. Sizes: B sentences, N rows being
decoded, S source positions (T_x), T target positions (T_y), n hidden units, n' alignment units, m embedding size,
l maxout units, C size of a context (2n, RNNencdec n), V words (K_x, K_y).
A vector is a row of a matrix, one row a sentence, so the paper's W x is written x @ W.T.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.contract import Batch
from common.ids import START
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
    """When the decoder state reads a word (D1). See the methods `RNNsearch.R1`, `R2` and `R3`."""
    readout: Literal["direct", "factored"]
    """`direct`: the paper's W_o. `factored`: the authors' two matrices and their reserved vocabulary row (D2)."""
    factored_size: int
    """Size between the two matrices of `factored` (unused by direct)."""
    biases: Biases
    """`none`: the equations as printed. `paper`: one per sum (App. B.1 "bias"). `authors`: GroundHog's set (D3)."""

    def __post_init__(self) -> None:
        for key in ("hidden", "embedding", "alignment", "maxout", "factored_size"):
            require(getattr(self, key) > 0, f"model.{key}", "be positive")

    @property
    def context(self) -> int:
        """C, size of a context vector: of an annotation [fwd h_j; bwd h_j], or of RNNencdec's fwd h_Tx."""
        return 2 * self.hidden if self.architecture == "search" else self.hidden


# ----------------------------------------------------------------------------------------------------------------
# Initialisation, Bahdanau2014 App. B.1 "Parameter Initialization"


def gaussian(rows: int, columns: int, deviation: float = 0.01) -> nn.Parameter:
    """Draw weights from N(0, deviation^2): 0.01 unless the paper says otherwise."""
    return nn.Parameter(torch.empty(rows, columns).normal_(0.0, deviation))


def orthogonal(size: int) -> nn.Parameter:
    """Draw a random orthogonal matrix, by a QR decomposition (D7)."""
    return nn.Parameter(nn.init.orthogonal_(torch.empty(size, size)))


def bias(size: int, biases: Biases, *present: Biases) -> nn.Parameter | float:
    """Make a vector of zeros if `biases` is one of the variants `present`. Otherwise return the number 0."""
    return nn.Parameter(torch.zeros(size)) if biases in present else 0.0


class Embedding(nn.Module):
    """E x: the embedding of a word."""

    def __init__(self, words: int, m: int, biases: Biases) -> None:
        super().__init__()
        self.E = gaussian(words, m)  # a word's vector is a row of E, the paper's column
        self.b_E = bias(m, biases, "authors")

    def forward(self, ids: Tensor) -> Tensor:
        """Look up the vectors (.., m) of ids (..)."""
        # The paper does not say what y_0 = START is. GroundHog's `Shift` makes its vector zero, bias included.
        vectors = F.embedding(ids.clamp(min=0), self.E) + self.b_E  # (.., m)
        return vectors * (ids != START).unsqueeze(-1)


# ----------------------------------------------------------------------------------------------------------------
# Bahdanau2014 App. A.1.1 "Recurrent Neural Network"


class DecoderUnits(nn.Module):
    """Gated hidden units of the decoder: s_i = f(s_{i-1}, y_{i-1}, c_i), App. A.1.1, A.2.2."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        m, n, C, biases = config.embedding, config.hidden, config.context, config.biases
        self.W, self.W_z, self.W_r = gaussian(n, m), gaussian(n, m), gaussian(n, m)
        self.U, self.U_z, self.U_r = orthogonal(n), orthogonal(n), orthogonal(n)
        self.C, self.C_z, self.C_r = gaussian(n, C), gaussian(n, C), gaussian(n, C)
        self.b = bias(n, biases, "paper", "authors")  # GroundHog gives the candidate a bias, but not the gates
        self.b_z, self.b_r = bias(n, biases, "paper"), bias(n, biases, "paper")

    def forward(self, Ey: Tensor, s: Tensor, c: Tensor) -> Tensor:
        """Compute the next state (N, n) from a word's E y (N, m), a state s (N, n) and a context vector c (N, C)."""
        # z_i: how much of the state is renewed, (N, n).
        z = torch.sigmoid(Ey @ self.W_z.T + s @ self.U_z.T + c @ self.C_z.T + self.b_z)
        # r_i: how much of the state the candidate may see, (N, n).
        r = torch.sigmoid(Ey @ self.W_r.T + s @ self.U_r.T + c @ self.C_r.T + self.b_r)
        # r acts before the matrix U. In torch's GRU it acts after U, which is another function.
        s_tilde = torch.tanh(Ey @ self.W.T + (r * s) @ self.U.T + c @ self.C.T + self.b)  # (N, n)
        # z = 1 takes the candidate, z = 0 keeps the state; in torch's GRU it is the other way round.
        return (1 - z) * s + z * s_tilde


# ----------------------------------------------------------------------------------------------------------------
# Bahdanau2014 App. A.1.2 "Alignment Model", §3.1 "Decoder: General Description"


@dataclass(frozen=True)
class Annotations:
    """What attention reads: annotations h (B, S, 2n), U_a h (B, S, n') and padding (B, S)."""

    h: Tensor
    U_a_h: Tensor
    padding: Tensor
    """0 at words, -inf at padding. It is added to the energies, so that padding gets the weight 0."""

    def select(self, rows: Tensor) -> Annotations:
        """Return the annotations of these rows."""
        return Annotations(self.h[rows], self.U_a_h[rows], self.padding[rows])


class AlignmentModel(nn.Module):
    """a(s_{i-1}, h_j): how well the words around source position j match target word i."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        n, units = config.hidden, config.alignment
        self.W_a, self.U_a = gaussian(units, n, 0.001), gaussian(units, 2 * n, 0.001)  # (n', n), (n', 2n)
        self.v_a = nn.Parameter(torch.zeros(units))  # (n',); an untrained model weighs all words alike
        self.b_a = bias(units, config.biases, "paper")

    def prepare(self, h: Tensor, mask: Tensor) -> Annotations:
        """Compute U_a h_j once for a sentence, because it does not depend on i (App. A.1.2)."""
        U_a_h = h @ self.U_a.T + self.b_a  # (B, S, n')
        padding = torch.zeros_like(mask, dtype=h.dtype).masked_fill(~mask, -torch.inf)  # (B, S)
        return Annotations(h, U_a_h, padding)

    def forward(self, s: Tensor, source: Annotations) -> tuple[Tensor, Tensor]:
        """Compute the context vector c_i (N, 2n) and its weights alpha_i (N, S) from s_{i-1} (N, n)."""
        # App. A.1.2: e_ij = v_a' tanh(W_a s_{i-1} + U_a h_j); s is the same for all j, hence the new axis.
        e = torch.tanh((s @ self.W_a.T).unsqueeze(1) + source.U_a_h) @ self.v_a  # (N, S)
        # Bahdanau2014 Eq. (6) "weights": alpha_ij = exp(e_ij) / sum_k exp(e_ik).
        alpha = torch.softmax(e + source.padding, dim=-1)  # (N, S)
        # Bahdanau2014 Eq. (5) "context vector": c_i = sum_j alpha_ij h_j.
        c = torch.bmm(alpha.unsqueeze(1), source.h).squeeze(1)  # (N, 1, S) x (N, S, 2n) -> (N, 2n)
        return c, alpha


# ----------------------------------------------------------------------------------------------------------------
# Bahdanau2014 App. A.2.1 "Encoder", §3.2 "Encoder: Bidirectional RNN for Annotating Sequences"


class EncoderUnits(nn.Module):
    """Gated hidden units of one direction: h_i = f(x_i, h_{i-1}), Bahdanau2014 Eq. (1), App. A.2.1."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        m, n, biases = config.embedding, config.hidden, config.biases
        self.W, self.W_z, self.W_r = gaussian(n, m), gaussian(n, m), gaussian(n, m)
        self.U, self.U_z, self.U_r = orthogonal(n), orthogonal(n), orthogonal(n)
        self.b = bias(n, biases, "paper", "authors")
        self.b_z, self.b_r = bias(n, biases, "paper"), bias(n, biases, "paper")

    def forward(self, Ex: Tensor, h: Tensor) -> Tensor:
        """Compute h_i (B, n) from the vector E x_i (B, m) and from h_{i-1} (B, n)."""
        # The decoder's equations without a context.
        z = torch.sigmoid(Ex @ self.W_z.T + h @ self.U_z.T + self.b_z)  # (B, n)
        r = torch.sigmoid(Ex @ self.W_r.T + h @ self.U_r.T + self.b_r)  # (B, n)
        h_tilde = torch.tanh(Ex @ self.W.T + (r * h) @ self.U.T + self.b)  # (B, n)
        return (1 - z) * h + z * h_tilde

    def read(self, Ex: Tensor, mask: Tensor) -> Tensor:
        """Compute the states (B, S, n) of E x (B, S, m), read from the first column to the last, from h_0 = 0."""
        h = Ex.new_zeros(len(Ex), len(self.U))  # (B, n)
        states = []
        for Ex_i, real in zip(Ex.unbind(1), mask.unbind(1), strict=True):
            h = torch.where(real.unsqueeze(1), self(Ex_i, h), h)  # (B, n); padding does not change the state
            states.append(h)
        return torch.stack(states, dim=1)  # (B, S, n)


class Encoder(nn.Module):
    """The bidirectional RNN of RNNsearch. Both directions share the embedding and nothing else."""

    def __init__(self, config: ModelConfig, words: int) -> None:
        super().__init__()
        self.embedding = Embedding(words, config.embedding, config.biases)
        self.forward_rnn = EncoderUnits(config)
        self.backward_rnn = EncoderUnits(config)

    def forward(self, source: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the annotations h (B, S, 2n) and bwd h_1 (B, n) of ids (B, S) under their mask (B, S)."""
        # The source's EOS is a word too: it is annotated, attended to, and read first by the backward RNN (GroundHog
        # `create_padded_batch`).
        Ex = self.embedding(source)  # (B, S, m)
        forward_h = self.forward_rnn.read(Ex, mask)  # (B, S, n)
        # Flipped, so that the last word is read first. Padding comes before it and leaves h_0 = 0.
        backward_h = self.backward_rnn.read(Ex.flip(1), mask.flip(1)).flip(1)  # (B, S, n)
        # Bahdanau2014 Eq. (7) "annotation": h_j = [fwd h_j; bwd h_j].
        return torch.cat([forward_h, backward_h], dim=-1), backward_h[:, 0]  # (B, S, 2n), (B, n)


# ----------------------------------------------------------------------------------------------------------------
# Bahdanau2014 App. A.2.2 "Decoder"


class DeepOutput(nn.Module):
    """The maxout layer of the output, g of Bahdanau2014 Eq. (3) and Eq. (4) without the softmax."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        linear = 2 * config.maxout  # 2l linear units under l maxout units
        # (2l, n), (2l, m), (2l, C), (2l,)
        self.U_o, self.V_o = gaussian(linear, config.hidden), gaussian(linear, config.embedding)
        self.C_o, self.b_o = gaussian(linear, config.context), bias(linear, config.biases, "paper", "authors")

    def maxout(self, s: Tensor, Ey: Tensor, c: Tensor) -> Tensor:
        """Compute t_i (N, l) from a state (N, n), the previous word's vector (N, m) and a context vector (N, C)."""
        t_tilde = s @ self.U_o.T + Ey @ self.V_o.T + c @ self.C_o.T + self.b_o  # (N, 2l)
        # t_ij = max(t~_{i,2j-1}, t~_{i,2j}): each unit takes the larger of two neighbours.
        return torch.maximum(t_tilde[..., 0::2], t_tilde[..., 1::2])  # (N, l)


class Readout(DeepOutput):
    """The paper's output layer: p(y_i | s_i, y_{i-1}, c_i) proportional to exp(y_i' W_o t_i)."""

    def __init__(self, config: ModelConfig, words: int) -> None:
        super().__init__(config)
        # (V, l), (V,)
        self.W_o, self.b_softmax = gaussian(words, config.maxout), bias(words, config.biases, "paper", "authors")

    def forward(self, s: Tensor, Ey: Tensor, c: Tensor) -> Tensor:
        """Compute the logits (N, V). The loss and beam search take their softmax."""
        t = self.maxout(s, Ey, c)  # (N, l)
        return t @ self.W_o.T + self.b_softmax  # (N, V): y_i' W_o t_i for every word y_i


@dataclass(frozen=True)
class State:
    """All that the decoder knows between two words, as a `common.contract.DecoderState`."""

    s: Tensor
    """The decoder's state, (N, n)."""
    c: Tensor
    """The last context vector, (N, C)."""
    source: Annotations | LastState
    """What the context vectors are computed from."""

    def select(self, rows: Tensor) -> State:
        """Return a state whose row i is row `rows[i]`."""
        return State(self.s[rows], self.c[rows], self.source.select(rows))

    def reorder(self, rows: Tensor) -> State:
        """Reorder the rows as `select` does. They stay within their sentence, so its annotations need not move."""
        return State(self.s[rows], self.c[rows], self.source)


class RNNsearch(nn.Module):
    """p(y) = prod_i p(y_i | y_1 .. y_{i-1}, x), Bahdanau2014 Eq. (2), for both of the paper's architectures."""

    def __init__(self, config: ModelConfig, words: int) -> None:
        """Draw the parameters from torch's global generator.

        words: V, the same number for source and target, EOS and UNK included.
        """
        super().__init__()
        self.config, self.words = config, words
        search, n, rows = config.architecture == "search", config.hidden, table_rows(config, words)
        self.encoder = Encoder(config, rows) if search else ForwardEncoder(config, rows)
        self.align = AlignmentModel(config) if search else FixedContext()  # both compute context vectors
        self.W_s, self.b_s = gaussian(n, n), bias(n, config.biases, "paper", "authors")
        self.embedding = Embedding(rows, config.embedding, config.biases)
        self.decoder = DecoderUnits(config)
        self.readout = Readout(config, words) if config.readout == "direct" else FactoredReadout(config, words)

    def forward(self, batch: Batch) -> Tensor:
        """Compute the teacher-forced logits (B, T, V)."""
        return self.unroll(batch)[0]

    def alignment(self, batch: Batch) -> Tensor:
        """Compute alpha_ij (B, T, S) of the batch's own target, as drawn in Figure 3. RNNsearch only."""
        return torch.stack([alpha for alpha in self.unroll(batch)[1] if alpha is not None], dim=1)

    def unroll(self, batch: Batch) -> tuple[Tensor, list[Tensor | None]]:
        """Feed the target word by word. Returns the logits (B, T, V), and alpha_i (B, S) for each of the T words."""
        # Nothing masks the target: its padding is on the right, where no real word comes after it.
        state = self.encode(batch.source, batch.source_mask)
        logits, alphas = [], []
        for previous in batch.previous.unbind(1):
            logits_i, state, alpha_i = self.turn(previous, state)
            logits.append(logits_i)
            alphas.append(alpha_i)
        return torch.stack(logits, dim=1), alphas

    def encode(self, source: Tensor, source_mask: Tensor) -> State:
        """Compute the state before the first word, from ids and mask (B, S)."""
        h, last = self.encoder(source, source_mask)  # (B, S, C), (B, n)
        # App. A.2.2: s_0 = tanh(W_s bwd h_1). The paper has no s_0 for RNNencdec; GroundHog takes fwd h_Tx.
        s_0 = torch.tanh(last @ self.W_s.T + self.b_s)  # (B, n)
        c_0 = torch.zeros_like(h[:, 0])  # (B, C); only R1 reads it, in an update that it skips
        return State(s_0, c_0, self.align.prepare(h, source_mask))

    def step(self, previous: Tensor, state: State) -> tuple[Tensor, State]:
        """Compute the logits (N, V) of the word after `previous` (N,), and the state after this step."""
        logits, state, _ = self.turn(previous, state)
        return logits, state

    def turn(self, previous: Tensor, state: State) -> tuple[Tensor, State, Tensor | None]:
        """Compute the logits (N, V) of word i, the state after it and alpha_i (N, S) from y_{i-1} (N,).

        The paper's indices allow two orders of operations, R2 and R3. Its authors' code has a third, R1 (D1).
        All have the same parameters.
        """
        order = {"R1": self.R1, "R2": self.R2, "R3": self.R3}[self.config.step_order]
        return order(previous, state)

    def R1(self, previous: Tensor, state: State) -> tuple[Tensor, State, Tensor | None]:
        """Update, attend, write, as in GroundHog.

        s_{i-1} = f(s_{i-2}, y_{i-1}, c_{i-1}), c_i from s_{i-1}, y_i from both.
        """
        Ey = self.embedding(previous)  # (N, m)
        s = self.decoder(Ey, state.s, state.c)  # (N, n)
        s = torch.where((previous == START).unsqueeze(1), state.s, s)  # the recurrence never reads y_0: s_0 stays
        c, alpha = self.align(s, state.source)  # (N, C), (N, S)
        return self.readout(s, Ey, c), State(s, c, state.source), alpha

    def R2(self, previous: Tensor, state: State) -> tuple[Tensor, State, Tensor | None]:
        """Attend, update, write, as in Eq. (4).

        c_i from s_{i-1}, s_i = f(s_{i-1}, y_{i-1}, c_i), y_i from both.
        """
        Ey = self.embedding(previous)
        c, alpha = self.align(state.s, state.source)  # (N, C), (N, S)
        s = self.decoder(Ey, state.s, c)  # (N, n)
        return self.readout(s, Ey, c), State(s, c, state.source), alpha

    def R3(self, previous: Tensor, state: State) -> tuple[Tensor, State, Tensor | None]:
        """Attend, write, update, as in App. A.2.2 to the letter.

        c_i and s_i as in R2, but y_i from s_{i-1} and c_i.
        """
        Ey = self.embedding(previous)
        c, alpha = self.align(state.s, state.source)
        s = self.decoder(Ey, state.s, c)
        return self.readout(state.s, Ey, c), State(s, c, state.source), alpha


# ----------------------------------------------------------------------------------------------------------------
# RNNencdec, the paper's baseline: Bahdanau2014 §3.1, §4.2


class ForwardEncoder(nn.Module):
    """One RNN that reads the source forwards."""

    def __init__(self, config: ModelConfig, words: int) -> None:
        super().__init__()
        self.embedding = Embedding(words, config.embedding, config.biases)
        self.forward_rnn = EncoderUnits(config)

    def forward(self, source: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the states (B, S, n) of ids (B, S) under their mask (B, S), and the last one, fwd h_Tx (B, n)."""
        h = self.forward_rnn.read(self.embedding(source), mask)
        return h, h[:, -1]  # padding does not change the state, so this is every sentence's last one


@dataclass(frozen=True)
class LastState:
    """All that RNNencdec keeps of the source: fwd h_Tx (B, n)."""

    h_Tx: Tensor

    def select(self, rows: Tensor) -> LastState:
        """Return the states of these rows."""
        return LastState(self.h_Tx[rows])


class FixedContext(nn.Module):
    """RNNencdec's replacement for the alignment model: every context vector c_i is fwd h_Tx."""

    def prepare(self, h: Tensor, mask: Tensor) -> LastState:
        """Keep the last of the states h (B, S, n)."""
        return LastState(h[:, -1])

    def forward(self, s: Tensor, source: LastState) -> tuple[Tensor, None]:
        """Return the context vector c_i (N, n), which is the same for every s_{i-1} (N, n), and no weights."""
        return source.h_Tx, None


# ----------------------------------------------------------------------------------------------------------------
# GroundHog's output layer (D2)


class FactoredReadout(DeepOutput):
    """Two matrices in place of W_o, with no nonlinearity between them, and one id more than there are words."""

    def __init__(self, config: ModelConfig, words: int) -> None:
        super().__init__(config)
        self.words, rows = words, table_rows(config, words)
        # (factored_size, l), (V + 1, factored_size), (V + 1,)
        self.W_o1, self.W_o2 = gaussian(config.factored_size, config.maxout), gaussian(rows, config.factored_size)
        self.b_softmax = bias(rows, config.biases, "paper", "authors")

    def forward(self, s: Tensor, Ey: Tensor, c: Tensor) -> Tensor:
        """Compute the logits (N, V), without the one of the reserved id."""
        t = self.maxout(s, Ey, c)  # (N, l)
        logits = t @ self.W_o1.T @ self.W_o2.T + self.b_softmax  # (N, V + 1)
        return logits[..., : self.words]


def table_rows(config: ModelConfig, words: int) -> int:
    """Return the number of rows of embeddings and softmax. GroundHog's tables hold one id that no text uses (D2)."""
    return words + 1 if config.readout == "factored" else words
