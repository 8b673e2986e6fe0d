"""The steps from RNNsearch to the Transformer, assembled from the modules of both papers' model.py.

Letters: B sentences, S source positions, T target positions, N rows being decoded, V words, d = d_model, the size of
every vector here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from common.contract import Batch
from common.recipe import require
from papers.bahdanau2014.model import AlignmentModel, Annotations, Embedding, Readout, RNNsearch
from papers.bahdanau2014.model import ModelConfig as Bahdanau
from papers.vaswani2017.model import (
    AddAndNorm,
    MultiHeadAttention,
    Sinusoids,
    Transformer,
    TransformerState,
    attention_weights,
    glorot,
)
from papers.vaswani2017.model import ModelConfig as Vaswani

Step = Literal[
    "rnnsearch", "dot-product", "no-recurrence", "self-attention", "positions", "heads", "residuals", "transformer"
]
STEPS: tuple[Step, ...] = get_args(Step)
"""The steps in their order. Each keeps what those before it have changed."""


@dataclass(frozen=True)
class ModelConfig:
    """Recipe section `model`."""

    step: Step
    """The last change that is made."""
    d_model: int
    """d, size of every vector: n, m, n' and l of Bahdanau2014 too."""
    h: int
    """Heads, from the step `heads` on. There is one before."""
    d_ff: int
    """Units of the feed-forward layers of the last step."""
    N: int
    """Layers of the last step. There is one before."""

    def __post_init__(self) -> None:
        for key in ("d_model", "h", "d_ff", "N"):
            require(getattr(self, key) > 0, f"model.{key}", "be positive")
        require(self.d_model % self.h == 0, "model.d_model", "be a multiple of model.h")

    def has(self, step: Step) -> bool:
        """Return whether this step or an earlier one made that change."""
        return STEPS.index(step) <= STEPS.index(self.step)

    @property
    def bahdanau(self) -> Bahdanau:
        """The sizes of the modules of Bahdanau2014: their recipe's choices, all vectors of size d."""
        d = self.d_model
        return Bahdanau("search", d, d, d, d, step_order="R1", readout="direct", factored_size=d, biases="paper")

    @property
    def vaswani(self) -> Vaswani:
        """The sizes of the modules of Vaswani2017. Nothing is dropped, because the other modules drop nothing."""
        h = self.h if self.has("heads") else 1
        size = self.d_model // h
        return Vaswani(self.N, self.d_model, self.d_ff, h, size, size, 0.0, False, "sinusoidal", None)


def build_model(config: ModelConfig, words: int) -> nn.Module:
    """Build the model of a step, its parameters drawn from torch's global generator. words: V, on either side."""
    if config.has("transformer"):
        return Transformer(config.vaswani, words)
    if config.has("no-recurrence"):
        return Between(config, words)
    model = RNNsearch(config.bahdanau, words)
    if config.has("dot-product"):
        model.align = ScaledDotProduct(config.bahdanau)
    return model


class ScaledDotProduct(AlignmentModel):
    """The alignment model of RNNsearch with Vaswani2017 Eq. (1) in place of its tanh and its v_a.

    W_a s is the query, U_a h_j are the keys, and h_j are the values.
    """

    def __init__(self, config: Bahdanau) -> None:
        super().__init__(config)
        del self.v_a

    def forward(self, s: Tensor, source: Annotations) -> tuple[Tensor, Tensor]:
        """Compute the context vector c_i (N, 2d) and its weights alpha_i (N, S) from s_{i-1} (N, d)."""
        query, mask = (s @ self.W_a.T).unsqueeze(1), (source.padding == 0).unsqueeze(1)  # (N, 1, d), (N, 1, S)
        alpha = attention_weights(query, source.U_a_h, mask)  # (N, 1, S)
        return (alpha @ source.h).squeeze(1), alpha.squeeze(1)


class Instead(nn.Module):
    """What stands where the later model adds and normalises: the sub-layer's output takes the place of its input."""

    def forward(self, x: Tensor, sublayer: Tensor) -> Tensor:
        """Return the sub-layer's output."""
        return sublayer


class Between(nn.Module):
    """A translation model without recurrence that still writes through the output layer of RNNsearch.

    An annotation h_j and a state s_i are vectors of single words, mixed by self-attention if the step has it. A context
    vector is c_i = attention from s_i to all h_j, and the next word depends on s_i, y_{i-1} and c_i as in Eq. (4).
    """

    def __init__(self, config: ModelConfig, words: int) -> None:
        """Draw the parameters from torch's global generator."""
        super().__init__()
        self.d, attention = config.d_model, config.vaswani
        mixed, summed = config.has("self-attention"), config.has("residuals")
        self.source_embedding, self.target_embedding = (Embedding(words, self.d, "none") for _ in range(2))
        self.positions = Sinusoids(self.d) if config.has("positions") else None
        self.source_mixing = MultiHeadAttention(attention) if mixed else None
        self.target_mixing = MultiHeadAttention(attention) if mixed else None
        self.align = MultiHeadAttention(attention)
        self.source_norm, self.target_norm, self.align_norm = (
            AddAndNorm(attention) if summed else Instead() for _ in range(3)
        )
        # `encdec` only gives a context vector the size d. With `search` it would have 2d.
        self.readout = Readout(replace(config.bahdanau, architecture="encdec"), words)
        self.initialise()

    def initialise(self) -> None:
        """Draw embeddings and attention as the Transformer does. The output layer has its own paper's values."""
        for embedding in (self.source_embedding, self.target_embedding):
            nn.init.normal_(embedding.E, std=self.d**-0.5)
        for attention in (self.source_mixing, self.target_mixing, self.align):
            if attention is not None:
                for matrix in (attention.W_Q, attention.W_K, attention.W_V, attention.W_O):
                    glorot(matrix)

    def forward(self, batch: Batch) -> Tensor:
        """Compute the teacher-forced logits (B, T, V), all words at once."""
        return self._decode(batch.previous, self.encode(batch.source, batch.source_mask))[0]

    def encode(self, source: Tensor, source_mask: Tensor) -> TransformerState:
        """Compute the state before the first word, from ids and mask (B, S)."""
        mask = source_mask[:, None, None, :]  # (B, 1, 1, S)
        h = self._embed(self.source_embedding, source, first=0)  # (B, S, d)
        if self.source_mixing is not None:
            own = self.source_mixing.keys_values(h)
            h = self.source_norm(h, self.source_mixing(h, own, mask))  # (B, S, d)
        annotations = self.align.keys_values(h)  # (B, h, S, ..)
        return TransformerState((annotations,), mask, (annotations.nothing(),))

    def step(self, previous: Tensor, state: TransformerState) -> tuple[Tensor, TransformerState]:
        """Compute the logits (N, V) of the word after `previous` (N,), and the state after this step."""
        logits, state, _ = self._decode(previous.unsqueeze(1), state)
        return logits.squeeze(1), state

    def alignment(self, batch: Batch) -> Tensor:
        """Compute the weights (B, T, S) of the batch's own target words over the source, the mean over the heads."""
        state = self.encode(batch.source, batch.source_mask)
        s = self._decode(batch.previous, state)[2]
        return attention_weights(self.align.queries(s), state.source[0].K, state.source_mask).mean(1)

    def _decode(self, words: Tensor, state: TransformerState) -> tuple[Tensor, TransformerState, Tensor]:
        """Compute the logits (N, T, V) after T new words (N, T), the state after them, and s (N, T, d)."""
        past, t, T = state.past[0], state.past[0].length, words.shape[1]
        s = self._embed(self.target_embedding, words, first=t)  # (N, T, d)
        if self.target_mixing is not None:
            past = past.followed_by(self.target_mixing.keys_values(s))  # (N, h, t + T, ..)
            seen = torch.ones(T, t + T, dtype=torch.bool, device=words.device).tril(t)
            s = self.target_norm(s, self.target_mixing(s, past, seen))  # (N, T, d)
        c = self.align_norm(s, self.align(s, state.source[0], state.source_mask))  # (N, T, d)
        logits = self.readout(s, self.target_embedding(words), c)  # (N, T, V)
        return logits, replace(state, past=(past,)), s

    def _embed(self, embedding: Embedding, words: Tensor, first: int) -> Tensor:
        """Embed words (B, T) as Vaswani2017 §3.4 does, with their positions if the step has them: (B, T, d)."""
        vectors = embedding(words) * math.sqrt(self.d)
        return vectors if self.positions is None else vectors + self.positions(first, words.shape[1])
