"""The Transformer faster: the functions of model.py from the same parameters.

PyTorch's fused attention computes Eq. (1) without storing the weights of every query. On a CPU this saves memory, but
no time: an update at base's width takes as long as with model.py, and at the widths of demo and
multi30k a little longer (benchmarks/results/train.json). One product for W_Q, W_K and W_V saves nothing there either.
Dropout draws the same numbers in the same order as in model.py. Beam search computes the hypotheses of a sentence as
positions of one sentence (beam_state.py).

On a GPU, `accelerate` compiles the training: one function for all encoder layers and one for all decoder layers. There
W_Q, W_K and W_V of a self-attention are one product, and dropout draws other numbers. With `precision: bfloat16` the
layers hand on vectors in bfloat16 (D7).
tests/test_fast.py compares logits, gradients, steps, beam search and attention maps with model.py's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.contract import Batch
from common.ids import START
from common.train.compiling import compile_once
from papers.vaswani2017.authors import AuthorsConfig, AuthorsTransformer
from papers.vaswani2017.beam_state import Growing, SharedState
from papers.vaswani2017.model import (
    AddAndNorm,
    DecoderLayer,
    EncoderLayer,
    KeysValues,
    Linear,
    MultiHeadAttention,
    Sinusoids,
    TransformerState,
    scaled_dot_product_attention,
)

FEW = 8
"""Queries of one sentence below which PyTorch's kernel for CPUs is slower than the formula: those of a beam."""
LONGEST = 4096
"""Positions for which `accelerate` tabulates the sinusoids."""


def attend(Q: Tensor, K: Tensor, V: Tensor, mask: Tensor | None, dropout: nn.Module | None) -> Tensor:
    """Compute `scaled_dot_product_attention`, on a CPU and for many queries by PyTorch's kernel.

    PyTorch's kernels for CUDA sum the gradients of long sentences in no fixed order. But a training that is killed and
    resumed must end with the same weights as one that is not. So a GPU computes the formula of model.py. Dropout of the
    weights needs them too.
    """
    if Q.is_cuda or Q.shape[-2] < FEW or (dropout and dropout.training):
        return scaled_dot_product_attention(Q, K, V, mask, dropout)  # (.., T, d_v)
    return F.scaled_dot_product_attention(Q, K, V, attn_mask=mask)  # (.., T, d_v)


class FusedAttention(MultiHeadAttention):
    """Multi-head attention with the parameters of `attention`, computed by `attend`."""

    def __init__(self, attention: MultiHeadAttention) -> None:
        nn.Module.__init__(self)  # MultiHeadAttention's would make parameters
        self.h = attention.h
        # The same modules under the same names, so that a checkpoint fits both.
        self.W_Q, self.W_K, self.W_V, self.W_O = attention.W_Q, attention.W_K, attention.W_V, attention.W_O
        self.dropout = attention.dropout

    def forward(self, x: Tensor, attended: KeysValues, mask: Tensor | None) -> Tensor:
        """Attend from positions x (B, T, d) to `attended` (B, h, S, ..) where mask (.., T, S) is True: (B, T, d)."""
        heads = attend(self.queries(x), attended.K, attended.V, mask, self.dropout)  # (B, h, T, d_v)
        return self.W_O(heads.transpose(1, 2).flatten(2))  # (B, T, h x d_v) -> (B, T, d)


# ----------------------------------------------------------------------------------------------------------------
# What `accelerate` compiles. The layers are those of model.py, in training only: all words are there, and none is past.


def heads_of(x: Tensor, h: int, *projections: Linear) -> list[Tensor]:
    """Project x (B, T, d) by several matrices in one product, and split each result into heads (B, h, T, ..)."""
    weights: list[Tensor] = [projection.weight for projection in projections]
    biases: list[Tensor] = [projection.bias for projection in projections if projection.bias is not None]
    together = F.linear(x, torch.cat(weights), torch.cat(biases) if biases else None)  # (B, T, sum of h x ..)
    parts = together.split([projection.out_features for projection in projections], dim=-1)
    return [part.unflatten(-1, (h, -1)).transpose(1, 2) for part in parts]


def attention(own: MultiHeadAttention, Q: Tensor, K: Tensor, V: Tensor, mask: Tensor) -> Tensor:
    """Attend with queries, keys and values in heads (B, h, .., ..) where the mask is True: (B, T, d)."""
    heads = scaled_dot_product_attention(Q, K, V, mask, own.dropout)  # (B, h, T, d_v); its steps become one
    return own.W_O(heads.transpose(1, 2).flatten(2))  # (B, T, h x d_v) -> (B, T, d)


def add_and_norm(own: AddAndNorm, x: Tensor, sublayer: Tensor) -> Tensor:
    """Compute sum, mean, variance and norm in float32 at least, and return x's type (D7). All are (B, T, d)."""
    return own(x.to(torch.promote_types(x.dtype, torch.float32)), sublayer).to(x.dtype)


def embed(vectors: Tensor, words: Tensor, positions: Tensor, dropout: nn.Dropout, stream: torch.dtype) -> Tensor:
    """Compute Dropout(sqrt(d) E[word] + PE) in the type `stream`, as `_embed` does; vectors (B, T, d) are E[word]."""
    vectors = (vectors * math.sqrt(vectors.shape[-1])).masked_fill((words == START).unsqueeze(-1), 0.0)
    return dropout(vectors + positions).to(stream)  # (B, T, d)


def encoder_layer(layer: EncoderLayer, x: Tensor, source_mask: Tensor) -> Tensor:
    """Compute an encoder layer: x (B, S, d), source_mask (B, 1, 1, S) -> (B, S, d)."""
    own = layer.self_attention
    Q, K, V = heads_of(x, own.h, own.W_Q, own.W_K, own.W_V)  # (B, h, S, ..)
    x = add_and_norm(layer.self_attention_norm, x, attention(own, Q, K, V, source_mask))
    return add_and_norm(layer.feed_forward_norm, x, layer.feed_forward(x))


def decoder_layer(layer: DecoderLayer, x: Tensor, source: Tensor, causal_mask: Tensor, source_mask: Tensor) -> Tensor:
    """Compute a decoder layer: x (B, T, d), source (B, S, d), causal_mask (T, T) -> (B, T, d)."""
    own, other = layer.self_attention, layer.source_attention
    Q, K, V = heads_of(x, own.h, own.W_Q, own.W_K, own.W_V)  # (B, h, T, ..)
    x = add_and_norm(layer.self_attention_norm, x, attention(own, Q, K, V, causal_mask))
    (Q,), (K, V) = heads_of(x, other.h, other.W_Q), heads_of(source, other.h, other.W_K, other.W_V)
    x = add_and_norm(layer.source_attention_norm, x, attention(other, Q, K, V, source_mask))
    return add_and_norm(layer.feed_forward_norm, x, layer.feed_forward(x))


class FastTransformer(AuthorsTransformer):
    """The model of model.py, or of authors.py, with its parameters. Attention is computed by `attend`."""

    def __init__(self, config: AuthorsConfig, vocabulary_size: int) -> None:
        """Draw the parameters as AuthorsTransformer does, which are model.py's if the recipe has none of its fields."""
        super().__init__(config, vocabulary_size)
        # After the parameters are drawn, so that a seed gives the weights of model.py.
        for encoding in self.encoder:
            encoding.self_attention = FusedAttention(encoding.self_attention)
        for layer in self.decoder:
            layer.self_attention = FusedAttention(layer.self_attention)
            layer.source_attention = FusedAttention(layer.source_attention)
        self._compiled: dict[Callable[..., Tensor], Callable[..., Tensor]] = {}
        self._tables: dict[int, Tensor] = {}
        """Sinusoids that training has read, by address. A CUDA graph reads them even after a longer sentence has made
        new ones."""

    def accelerate(self) -> None:
        """Compile what training computes, at the first minibatch. Everything else stays as it is."""
        self._compiled = {function: compile_once(function) for function in (embed, encoder_layer, decoder_layer)}
        for sinusoids in _sinusoids(self):
            sinusoids(0, LONGEST)  # so that it hardly ever grows later

    def forward(self, batch: Batch) -> Tensor:
        """Compute the teacher-forced logits (B, T, V)."""
        if not (self._compiled and self.training):
            return super().forward(batch)
        encode, decode = self._compiled[encoder_layer], self._compiled[decoder_layer]
        source_mask = batch.source_mask[:, None, None, :]  # (B, 1, 1, S)
        source = self._stream(batch.source, self.matrices.source, self.source_positions)  # (B, S, d)
        for encoding in self.encoder:
            source = encode(encoding, source, source_mask)  # (B, S, d)
        x = self._stream(batch.previous, self.matrices.target, self.target_positions)  # (B, T, d)
        T = x.shape[1]
        causal_mask = torch.ones(T, T, dtype=torch.bool, device=x.device).tril()
        for layer in self.decoder:
            x = decode(layer, x, source, causal_mask, source_mask)  # (B, T, d)
        return self._logits(x)

    def _stream(self, words: Tensor, E: Tensor, positions: nn.Module) -> Tensor:
        """Embed words (B, T) in the type in which the layers hand on their vectors: (B, T, d)."""
        # Not compiled: the compiler's code would sum the gradients of a word in no fixed order.
        vectors = F.embedding(words.clamp(min=0), E)  # (B, T, d)
        device = words.device.type
        mixed = torch.is_autocast_enabled(device)
        stream = torch.get_autocast_dtype(device) if mixed else vectors.dtype
        encodings = positions(0, words.shape[1])  # (T, d)
        for sinusoids in _sinusoids(positions):
            self._tables[sinusoids.PE.data_ptr()] = sinusoids.PE
        return self._compiled[embed](vectors, words, encodings, self.dropout, stream)

    def encode(self, source: Tensor, source_mask: Tensor) -> SharedState:
        """Compute the state before the first target word. source and source_mask are (B, S)."""
        return SharedState.of(super().encode(source, source_mask))

    def step(self, previous: Tensor, state: TransformerState) -> tuple[Tensor, SharedState]:
        """Compute the logits (N, V) of the word after `previous` (N,), and the state after that.

        The k hypotheses of a sentence are computed as k positions of one sentence (beam_state.py). A state can be
        stepped once, because the next one is written behind it in the same memory.
        """
        assert isinstance(state, SharedState)
        ancestors, mask = state.grown()  # (N, t + 1), (B, 1, k, (t + 1) k)
        t = state.ancestors.shape[1]
        x = self._embed(previous.unsqueeze(1), self.matrices.target, self.target_positions, first=t)  # (N, 1, d)
        x = x.view(len(state.source_mask), state.rows, -1)  # (B, k, d)
        past = []
        for layer, before, source in zip(self.decoder, state.past, state.source, strict=True):
            x, now = layer(x, Growing.of(before), source, mask, state.source_mask)
            past.append(now)
        return self._logits(x.flatten(0, 1)), SharedState(state.source, state.source_mask, tuple(past), ancestors)


def _sinusoids(module: nn.Module) -> Iterator[Sinusoids]:
    """Yield the tables of sinusoids of a model, or of one side's positions."""
    return (part for part in module.modules() if isinstance(part, Sinusoids))
