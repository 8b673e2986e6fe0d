"""The Transformer, read in the paper's order: attention (§3.2), feed-forward (§3.3), embeddings (§3.4), positions
(§3.5), layers and stacks (§3.1), then the model that trainer and beam search call.

Letters: B sentences in a batch, S source positions, T target positions given, t target positions already decoded,
N = B x beam rows, V words, d = d_model, h heads, d_k and d_v the sizes of a key and a value in one head.

Where the paper is silent this follows the authors' first public code (tensor2tensor v1.0, June 2017); README.md
lists those places under "Open questions" and every departure under "Deviations".
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.model import START, Batch
from common.recipe import require

LAYER_NORM_EPSILON = 1e-6
"""Inside the square root (tensor2tensor v1.0); PyTorch's own default is 1e-5."""


@dataclass(frozen=True)
class ModelConfig:
    """One row of Vaswani2017 Table 3, under the table's own letters."""

    N: int
    """Layers in the encoder, and again in the decoder."""
    d_model: int
    d_ff: int
    h: int
    """Heads; h x d_k need not be d_model (Table 3, rows B)."""
    d_k: int
    d_v: int
    P_drop: float
    attention_bias: bool
    """Biases on the four projections of every attention; the paper's equations have none."""
    positions: Literal["sinusoidal", "learned"]
    """`learned` is Table 3 row E."""
    learned_positions: int | None
    """Rows of each stack's learned table, null with sinusoids; positions past the end share the last row."""

    def __post_init__(self) -> None:
        for key in ("N", "d_model", "d_ff", "h", "d_k", "d_v"):
            require(getattr(self, key) > 0, f"model.{key}", "be positive")
        require(self.d_model % 2 == 0, "model.d_model", "be even: sines and cosines come in pairs")
        require(0 <= self.P_drop < 1, "model.P_drop", "lie in [0, 1)")
        learned = self.positions == "learned"
        require((self.learned_positions or 0) > 0 or not learned, "model.learned_positions", "be positive when learned")
        require(self.learned_positions is None or learned, "model.learned_positions", "be null with sinusoids")


def attention_weights(Q: Tensor, K: Tensor, mask: Tensor | None) -> Tensor:
    """Vaswani2017 §3.2.1, the first factor of Eq. (1): softmax(Q K^T / sqrt(d_k)), a query's weights over the keys.

    Q (..., T, d_k), K (..., S, d_k); mask broadcasts to (..., T, S) and is True where a query may look, at one
    key or more; result (..., T, S).
    """
    compatibility = (Q / math.sqrt(Q.shape[-1])) @ K.transpose(-2, -1)  # (..., T, S)
    if mask is not None:
        compatibility = compatibility.masked_fill(~mask, -math.inf)
    return compatibility.softmax(dim=-1)


def scaled_dot_product_attention(Q: Tensor, K: Tensor, V: Tensor, mask: Tensor | None = None) -> Tensor:
    """Vaswani2017 Eq. (1) "Scaled Dot-Product Attention": softmax(Q K^T / sqrt(d_k)) V.

    Q (..., T, d_k), K (..., S, d_k), V (..., S, d_v), mask as above; result (..., T, d_v).
    """
    return attention_weights(Q, K, mask) @ V


def linear(fan_in: int, fan_out: int, bias: bool, drawn_with: int = 0) -> nn.Linear:
    """x W + b with b = 0 and W Glorot-uniform (not in the paper; tensor2tensor v1.0).

    drawn_with: further output columns that the authors' code initialises in the same matrix.
    """
    layer = nn.Linear(fan_in, fan_out, bias=bias)
    bound = math.sqrt(6 / (fan_in + fan_out + drawn_with))
    nn.init.uniform_(layer.weight, -bound, bound)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer


class MultiHeadAttention(nn.Module):
    """Vaswani2017 §3.2.2 "Multi-Head Attention": Concat(head_1 .. head_h) W^O, head_i = Attention(Q W_i^Q, ..).

    The h projections W_i^Q stand side by side in one matrix W_Q, and likewise for keys and values.
    """

    def __init__(self, config: ModelConfig, of: Literal["itself", "source"]) -> None:
        super().__init__()
        d, bias = config.d_model, config.attention_bias
        self.h = config.h
        keys, values = config.h * config.d_k, config.h * config.d_v
        # The authors' code keeps W_Q, W_K, W_V of self-attention in one matrix, and W_K, W_V of attention to the
        # source; the functions are the same, but Glorot's bound goes by the width of what is drawn together.
        self.W_Q = linear(d, keys, bias, drawn_with=keys + values if of == "itself" else 0)
        self.W_K = linear(d, keys, bias, drawn_with=(keys if of == "itself" else 0) + values)
        self.W_V = linear(d, values, bias, drawn_with=(keys if of == "itself" else 0) + keys)
        self.W_O = linear(values, d, bias)

    def queries(self, x: Tensor) -> Tensor:
        """Q W_i^Q for every head: (B, T, d) -> (B, h, T, d_k)."""
        return self._heads(self.W_Q(x))

    def keys_values(self, x: Tensor) -> KeysValues:
        """K W_i^K and V W_i^V for every head of positions x (B, S, d)."""
        return KeysValues(self._heads(self.W_K(x)), self._heads(self.W_V(x)))

    def forward(self, x: Tensor, attended: KeysValues, mask: Tensor | None) -> Tensor:
        """Positions x (B, T, d) look at `attended` (B, h, S, ..) where mask (.., T, S) lets them: (B, T, d)."""
        heads = scaled_dot_product_attention(self.queries(x), attended.K, attended.V, mask)  # (B, h, T, d_v)
        result: Tensor = self.W_O(heads.transpose(1, 2).flatten(2))
        return result

    def _heads(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], self.h, -1).transpose(1, 2)  # (B, T, h x d_k) -> (B, h, T, d_k)


@dataclass(frozen=True)
class KeysValues:
    """What attention looks at: K (B, h, S, d_k) and V (B, h, S, d_v)."""

    K: Tensor
    V: Tensor

    def select(self, rows: Tensor) -> KeysValues:
        """Row i of the result is row `rows[i]`."""
        return KeysValues(self.K[rows], self.V[rows])

    @property
    def length(self) -> int:
        """Positions held."""
        return self.K.shape[2]

    def nothing(self) -> KeysValues:
        """No position yet, in the sizes of these."""
        return KeysValues(self.K[:, :, :0].detach(), self.V[:, :, :0].detach())

    def followed_by(self, new: KeysValues) -> KeysValues:
        """These positions, then those of `new`."""
        return KeysValues(torch.cat([self.K, new.K], dim=2), torch.cat([self.V, new.V], dim=2))


class FeedForward(nn.Module):
    """Vaswani2017 §3.3 Eq. (2) "Position-wise Feed-Forward Network": max(0, x W_1 + b_1) W_2 + b_2."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.W_1 = linear(config.d_model, config.d_ff, bias=True)
        self.W_2 = linear(config.d_ff, config.d_model, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, d) -> (B, T, d), every position by itself."""
        result: Tensor = self.W_2(F.relu(self.W_1(x)))
        return result


class AddAndNorm(nn.Module):
    """Vaswani2017 §3.1 and §5.4: LayerNorm(x + Dropout(Sublayer(x))), the norm after the sum (post-norm)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(config.d_model, eps=LAYER_NORM_EPSILON)
        self.dropout = nn.Dropout(config.P_drop)

    def forward(self, x: Tensor, sublayer: Tensor) -> Tensor:
        """x and the sub-layer's output, both (B, T, d)."""
        result: Tensor = self.norm(x + self.dropout(sublayer))
        return result


class EncoderLayer(nn.Module):
    """Vaswani2017 §3.1 "Encoder": self-attention, then feed-forward."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.self_attention, self.self_attention_norm = MultiHeadAttention(config, of="itself"), AddAndNorm(config)
        self.feed_forward, self.feed_forward_norm = FeedForward(config), AddAndNorm(config)

    def forward(self, x: Tensor, source_mask: Tensor) -> Tensor:
        """x (B, S, d), source_mask (B, 1, 1, S): padded positions are no keys; their own outputs go unread."""
        own = self.self_attention.keys_values(x)
        x = self.self_attention_norm(x, self.self_attention(x, own, source_mask))
        x = self.feed_forward_norm(x, self.feed_forward(x))
        return x


class DecoderLayer(nn.Module):
    """Vaswani2017 §3.1 "Decoder": masked self-attention, encoder-decoder attention, then feed-forward."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.self_attention, self.self_attention_norm = MultiHeadAttention(config, of="itself"), AddAndNorm(config)
        self.source_attention, self.source_attention_norm = MultiHeadAttention(config, of="source"), AddAndNorm(config)
        self.feed_forward, self.feed_forward_norm = FeedForward(config), AddAndNorm(config)

    def forward(
        self, x: Tensor, past: KeysValues, source: KeysValues, causal_mask: Tensor | None, source_mask: Tensor
    ) -> tuple[Tensor, KeysValues]:
        """New positions x (B, T, d) after those in `past`: their output and `past` with them added.

        source: keys and values of the encoder's output; causal_mask (T, t + T), source_mask (B, 1, 1, S).
        """
        past = past.followed_by(self.self_attention.keys_values(x))
        x = self.self_attention_norm(x, self.self_attention(x, past, causal_mask))
        x = self.source_attention_norm(x, self.source_attention(x, source, source_mask))
        return self.feed_forward_norm(x, self.feed_forward(x)), past


def sinusoids(length: int, d_model: int, device: torch.device | None = None) -> Tensor:
    """Vaswani2017 §3.5: PE(pos, 2i) = sin(pos / 10000^(2i/d)), PE(pos, 2i+1) = cos of the same; (length, d)."""
    pos = torch.arange(length, dtype=torch.float64, device=device).unsqueeze(1)
    two_i = torch.arange(0, d_model, 2, dtype=torch.float64, device=device)
    angle = pos / 10000.0 ** (two_i / d_model)  # (length, d / 2)
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)


class Sinusoids(nn.Module):
    """The fixed table of §3.5, a buffer outside the checkpoint that grows when a longer sentence comes."""

    PE: Tensor

    def __init__(self, d_model: int, length: int = 256) -> None:
        super().__init__()
        self.register_buffer("PE", sinusoids(length, d_model).to(torch.get_default_dtype()), persistent=False)

    def forward(self, first: int, count: int) -> Tensor:
        """Encodings of positions first .. first + count - 1; (count, d)."""
        length, d_model = self.PE.shape
        if first + count > length:
            self.PE = sinusoids(max(first + count, 2 * length), d_model, self.PE.device).to(self.PE.dtype)
        return self.PE[first : first + count]


class LearnedPositions(nn.Module):
    """Vaswani2017 Table 3 row E: one trained vector per position."""

    def __init__(self, d_model: int, length: int) -> None:
        super().__init__()
        self.PE = nn.Parameter(torch.empty(length, d_model))
        nn.init.normal_(self.PE, std=d_model**-0.5)

    def forward(self, first: int, count: int) -> Tensor:
        """Vectors of positions first .. first + count - 1; (count, d)."""
        pos = torch.arange(first, first + count, device=self.PE.device)
        return self.PE[pos.clamp(max=self.PE.shape[0] - 1)]


def _positions(config: ModelConfig) -> nn.Module:
    if config.learned_positions is not None:
        return LearnedPositions(config.d_model, config.learned_positions)
    return Sinusoids(config.d_model)


@dataclass(frozen=True)
class TransformerState:
    """The decoder between two words, as `common.model.DecoderState`."""

    source: tuple[KeysValues, ...]
    """Per decoder layer, of the encoder's output: computed once, (N, h, S, ..)."""
    source_mask: Tensor
    """(N, 1, 1, S), True on real words."""
    past: tuple[KeysValues, ...]
    """Per decoder layer, of the words so far: (N, h, t, ..)."""

    def select(self, rows: Tensor) -> TransformerState:
        """Row i of the result is row `rows[i]`, in every tensor."""
        source = tuple(layer.select(rows) for layer in self.source)
        return TransformerState(source, self.source_mask[rows], self._past(rows))

    def reorder(self, rows: Tensor) -> TransformerState:
        """As `select` when no row leaves its own sentence, so that the source's tensors stay."""
        return TransformerState(self.source, self.source_mask, self._past(rows))

    def _past(self, rows: Tensor) -> tuple[KeysValues, ...]:
        return tuple(layer.select(rows) for layer in self.past)


@dataclass(frozen=True)
class AttentionMaps:
    """Weights of every layer and head, softmax over the last axis, of one teacher-forced batch."""

    encoder: Tensor
    """(N layers, B, h, S, S)"""
    decoder: Tensor
    """(N layers, B, h, T, T)"""
    source: Tensor
    """(N layers, B, h, T, S): decoder positions over source positions."""


class Transformer(nn.Module):
    """Vaswani2017 Figure 1 "The Transformer": the `common.model.Seq2SeqModel` of this paper."""

    encoder: list[EncoderLayer]
    decoder: list[DecoderLayer]

    def __init__(self, config: ModelConfig, vocabulary_size: int) -> None:
        super().__init__()
        self.d_model = config.d_model
        # §3.4: one matrix E serves source embedding, target embedding and the pre-softmax transformation.
        self.E = nn.Parameter(torch.empty(vocabulary_size, config.d_model))
        nn.init.normal_(self.E, std=config.d_model**-0.5)
        self.source_positions, self.target_positions = _positions(config), _positions(config)
        self.dropout = nn.Dropout(config.P_drop)
        self.encoder = nn.ModuleList(EncoderLayer(config) for _ in range(config.N))  # type: ignore[assignment]
        self.decoder = nn.ModuleList(DecoderLayer(config) for _ in range(config.N))  # type: ignore[assignment]

    def forward(self, batch: Batch) -> Tensor:
        """Teacher-forced logits (B, T, V)."""
        x, _ = self._decode(batch.previous, self.encode(batch.source, batch.source_mask))
        return self._logits(x)

    def encode(self, source: Tensor, source_mask: Tensor) -> TransformerState:
        """The state before the first target word; source and mask are (B, S)."""
        key_mask = source_mask[:, None, None, :]  # (B, 1, 1, S)
        x = self._embed(source, self.source_positions, first=0)  # (B, S, d)
        for layer in self.encoder:
            x = layer(x, key_mask)
        keys_values = tuple(layer.source_attention.keys_values(x) for layer in self.decoder)
        return TransformerState(keys_values, key_mask, tuple(layer.nothing() for layer in keys_values))

    def step(self, previous: Tensor, state: TransformerState) -> tuple[Tensor, TransformerState]:
        """Logits (N, V) of the word after `previous` (N,), START at first, and the state after it."""
        x, state = self._decode(previous.unsqueeze(1), state)
        return self._logits(x.squeeze(1)), state

    @torch.no_grad()
    def attention_maps(self, batch: Batch) -> AttentionMaps:
        """Every layer's and head's weights on a teacher-forced batch (Figures 3 to 5); in eval mode, for no dropout."""
        weights: dict[MultiHeadAttention, Tensor] = {}

        def record(module: MultiHeadAttention, arguments: tuple[Tensor, KeysValues, Tensor | None], _: Tensor) -> None:
            x, attended, mask = arguments
            weights[module] = attention_weights(module.queries(x), attended.K, mask)

        attentions = [module for module in self.modules() if isinstance(module, MultiHeadAttention)]
        handles = [module.register_forward_hook(record) for module in attentions]
        try:
            self(batch)
        finally:
            for handle in handles:
                handle.remove()
        return AttentionMaps(
            encoder=torch.stack([weights[layer.self_attention] for layer in self.encoder]),
            decoder=torch.stack([weights[layer.self_attention] for layer in self.decoder]),
            source=torch.stack([weights[layer.source_attention] for layer in self.decoder]),
        )

    def _decode(self, words: Tensor, state: TransformerState) -> tuple[Tensor, TransformerState]:
        """Decoder output (N, T, d) at T new words (N, T), and the state after them.

        Training calls it with all words on an empty past, decoding with one: the same lines compute both.
        """
        t, T = state.past[0].length, words.shape[1]
        x = self._embed(words, self.target_positions, first=t)
        # §3.2.3: position i sees itself and what came before. A lone last position sees everything.
        causal_mask = torch.ones(T, t + T, dtype=torch.bool, device=words.device).tril(t) if T > 1 else None
        past = []
        for layer, before, source in zip(self.decoder, state.past, state.source, strict=True):
            x, now = layer(x, before, source, causal_mask, state.source_mask)
            past.append(now)
        return x, TransformerState(state.source, state.source_mask, tuple(past))

    def _embed(self, words: Tensor, positions: nn.Module, first: int) -> Tensor:
        """Vaswani2017 §3.4, §3.5, §5.4: Dropout(sqrt(d) E[word] + PE), words (B, T) at positions first, first + 1, ..

        START is no word and embeds as zero (tensor2tensor v1.0 shifts the target after embedding it).
        """
        vectors = F.embedding(words.clamp(min=0), self.E) * math.sqrt(self.d_model)  # (B, T, d)
        vectors = vectors.masked_fill((words == START).unsqueeze(-1), 0.0)
        result: Tensor = self.dropout(vectors + positions(first, words.shape[1]))
        return result

    def _logits(self, x: Tensor) -> Tensor:
        """Vaswani2017 §3.4: the pre-softmax transformation x E^T, without bias or scale; (.., d) -> (.., V)."""
        return F.linear(x, self.E)
