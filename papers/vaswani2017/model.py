"""The Transformer as the equations of the paper's §3, one line each.

The order: attention (§3.2), feed-forward (§3.3), residual connection and normalisation (§5.4), layers (§3.1),
positions (§3.5), then the model that trainer and beam search call, with its embeddings (§3.4), and last the
initialisation. Nothing is rearranged for speed here. fast.py computes the same functions from the same parameters.

Letters: B sentences in a batch, S source positions, T target positions given, t target positions already decoded,
N = B x beam rows, V words, d = d_model, h heads, d_k and d_v the sizes of a key and a value in one head.

Where the paper is silent this follows the authors' first public code (tensor2tensor v1.0, June 2017). README.md
lists those places under "Open questions" and every departure under "Deviations". What that code has otherwise than the
paper is in authors.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.contract import Batch
from common.ids import START
from common.recipe import LATER, require

LAYER_NORM_EPSILON = 1e-6
"""Added to the variance inside the square root (tensor2tensor v1.0). PyTorch's own default is 1e-5."""


@dataclass(frozen=True)
class ModelConfig:
    """One row of Vaswani2017 Table 3, under the table's own letters."""

    N: int
    """Number of layers in the encoder, and the same number in the decoder."""
    d_model: int
    d_ff: int
    h: int
    """Number of heads. h x d_k need not be d_model (Table 3, rows B)."""
    d_k: int
    d_v: int
    P_drop: float
    attention_bias: bool
    """Whether the four projections of every attention have biases. The paper's equations have none."""
    positions: Literal["sinusoidal", "learned"]
    """Kind of positional encoding. `learned` is Table 3 row E."""
    learned_positions: int | None
    """Rows of each stack's learned table, null with sinusoids. Positions past the end share the last row."""
    attention_dropout: float = field(default=0.0, metadata=LATER)
    """Dropout of the weights of every attention. Only parsing has it (§6.3)."""

    def __post_init__(self) -> None:
        for key in ("N", "d_model", "d_ff", "h", "d_k", "d_v"):
            require(getattr(self, key) > 0, f"model.{key}", "be positive")
        require(self.d_model % 2 == 0, "model.d_model", "be even: sines and cosines come in pairs")
        for key in ("P_drop", "attention_dropout"):
            require(0 <= getattr(self, key) < 1, f"model.{key}", "lie in [0, 1)")
        learned = self.positions == "learned"
        require((self.learned_positions or 0) > 0 or not learned, "model.learned_positions", "be positive when learned")
        require(self.learned_positions is None or learned, "model.learned_positions", "be null with sinusoids")


# ----------------------------------------------------------------------------------------------------------------
# Vaswani2017 §3.2 "Attention"


def attention_weights(Q: Tensor, K: Tensor, mask: Tensor | None) -> Tensor:
    """Compute the weights of Eq. (1), Vaswani2017 §3.2.1, one for each query and key: softmax(Q K^T / sqrt(d_k)).

    Q (.., T, d_k), K (.., S, d_k); result (.., T, S). mask broadcasts to (.., T, S) and is True where a query may
    attend to a key. Every query needs at least one such key.
    """
    d_k = Q.shape[-1]
    compatibility = (Q / math.sqrt(d_k)) @ K.transpose(-2, -1)  # (.., T, S); v1.0 scales Q first, too
    if mask is not None:
        compatibility = compatibility.masked_fill(~mask, -math.inf)  # §3.2.3: the softmax makes it a weight of 0
    return compatibility.softmax(dim=-1)  # over the keys


def scaled_dot_product_attention(
    Q: Tensor, K: Tensor, V: Tensor, mask: Tensor | None = None, dropout: nn.Module | None = None
) -> Tensor:
    """Compute Vaswani2017 Eq. (1) "Scaled Dot-Product Attention": softmax(Q K^T / sqrt(d_k)) V.

    Q (.., T, d_k), K (.., S, d_k), V (.., S, d_v), mask as above; result (.., T, d_v). dropout: of the weights (§6.3).
    """
    weights = attention_weights(Q, K, mask)  # (.., T, S)
    return (dropout(weights) if dropout else weights) @ V


@dataclass(frozen=True)
class KeysValues:
    """What attention attends to: keys K (B, h, S, d_k) and values V (B, h, S, d_v)."""

    K: Tensor
    V: Tensor

    def select(self, rows: Tensor) -> KeysValues:
        """Return keys and values whose row i is row `rows[i]`."""
        return KeysValues(self.K[rows], self.V[rows])

    @property
    def length(self) -> int:
        """Number of positions."""
        return self.K.shape[2]

    def nothing(self) -> KeysValues:
        """Return keys and values of no position, in the sizes of these."""
        # Detached, because an empty tensor needs no gradient.
        return KeysValues(self.K[:, :, :0].detach(), self.V[:, :, :0].detach())

    def followed_by(self, new: KeysValues) -> KeysValues:
        """Return the positions of these and, after them, those of `new`."""
        return KeysValues(torch.cat([self.K, new.K], dim=2), torch.cat([self.V, new.V], dim=2))  # (B, h, S + new, ..)


class Linear(nn.Linear):
    """x W + b. It is zero until `initialise` draws it, so that one place draws all parameters of a model."""

    def reset_parameters(self) -> None:
        """Set the parameters to zero, where `nn.Linear` would draw them."""
        for parameter in self.parameters():
            nn.init.zeros_(parameter)


class MultiHeadAttention(nn.Module):
    """Vaswani2017 §3.2.2 "Multi-Head Attention": Concat(head_1 .. head_h) W^O, head_i = Attention(Q W_i^Q, ..).

    The h projections W_i^Q are side by side in one matrix W_Q, and likewise for keys and values.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.h = config.h
        # h x d_k and h x d_v, which need not be d (Table 3, rows B).
        d, keys, values, bias = config.d_model, config.h * config.d_k, config.h * config.d_v, config.attention_bias
        self.W_Q, self.W_K, self.W_V = Linear(d, keys, bias), Linear(d, keys, bias), Linear(d, values, bias)
        self.W_O = Linear(values, d, bias)  # h x d_v -> d
        self.dropout = nn.Dropout(config.attention_dropout) if config.attention_dropout else None

    def queries(self, x: Tensor) -> Tensor:
        """Project to Q W_i^Q for every head: (B, T, d) -> (B, h, T, d_k)."""
        return self._heads(self.W_Q(x))

    def keys_values(self, x: Tensor) -> KeysValues:
        """Project positions x (B, S, d) to K W_i^K and V W_i^V for every head."""
        return KeysValues(self._heads(self.W_K(x)), self._heads(self.W_V(x)))

    def forward(self, x: Tensor, attended: KeysValues, mask: Tensor | None) -> Tensor:
        """Attend from positions x (B, T, d) to `attended` (B, h, S, ..) where mask (.., T, S) is True: (B, T, d)."""
        heads = scaled_dot_product_attention(self.queries(x), attended.K, attended.V, mask, self.dropout)
        concat = heads.transpose(1, 2).flatten(2)  # (B, h, T, d_v) -> (B, T, h x d_v)
        return self.W_O(concat)  # (B, T, d)

    def _heads(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], self.h, -1).transpose(1, 2)  # (B, T, h x d_k) -> (B, h, T, d_k)


# ----------------------------------------------------------------------------------------------------------------
# Vaswani2017 §3.3 "Position-wise Feed-Forward Networks", §3.1 "Encoder and Decoder Stacks"


class FeedForward(nn.Module):
    """Vaswani2017 §3.3 Eq. (2) "Position-wise Feed-Forward Network": max(0, x W_1 + b_1) W_2 + b_2."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.W_1 = Linear(config.d_model, config.d_ff)
        self.W_2 = Linear(config.d_ff, config.d_model)

    def forward(self, x: Tensor) -> Tensor:
        """Map x (B, T, d) to (B, T, d), each position by itself."""
        return self.W_2(F.relu(self.W_1(x)))  # d -> d_ff -> d; no dropout inside: §5.4 names none


class AddAndNorm(nn.Module):
    """Vaswani2017 §3.1 and §5.4: LayerNorm(x + Dropout(Sublayer(x))), the norm after the sum (post-norm)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(config.d_model, eps=LAYER_NORM_EPSILON)
        self.dropout = nn.Dropout(config.P_drop)

    def forward(self, x: Tensor, sublayer: Tensor) -> Tensor:
        """Return the normalised sum of x and the sub-layer's output, all (B, T, d)."""
        # Dropout is applied to the sub-layer's output, never to x (§5.4).
        return self.norm(x + self.dropout(sublayer))


class EncoderLayer(nn.Module):
    """Vaswani2017 §3.1 "Encoder": self-attention, then feed-forward."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.self_attention, self.self_attention_norm = MultiHeadAttention(config), AddAndNorm(config)
        self.feed_forward, self.feed_forward_norm = FeedForward(config), AddAndNorm(config)

    def forward(self, x: Tensor, source_mask: Tensor) -> Tensor:
        """Compute the output (B, S, d) at positions x (B, S, d). source_mask (B, 1, 1, S) hides padding from them."""
        # A padded position is still a query and gets an output, which nothing reads.
        own = self.self_attention.keys_values(x)  # (B, h, S, ..)
        x = self.self_attention_norm(x, self.self_attention(x, own, source_mask))  # (B, S, d)
        x = self.feed_forward_norm(x, self.feed_forward(x))  # (B, S, d)
        return x


class DecoderLayer(nn.Module):
    """Vaswani2017 §3.1 "Decoder": masked self-attention, encoder-decoder attention, then feed-forward."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.self_attention, self.self_attention_norm = MultiHeadAttention(config), AddAndNorm(config)
        self.source_attention, self.source_attention_norm = MultiHeadAttention(config), AddAndNorm(config)
        self.feed_forward, self.feed_forward_norm = FeedForward(config), AddAndNorm(config)

    def forward(
        self, x: Tensor, past: KeysValues, source: KeysValues, causal_mask: Tensor | None, source_mask: Tensor
    ) -> tuple[Tensor, KeysValues]:
        """Compute the output at new positions x (B, T, d), and `past` with these positions added.

        past: keys and values of the t positions before. source: keys and values of the encoder's output.
        causal_mask (T, t + T), source_mask (B, 1, 1, S).
        """
        past = past.followed_by(self.self_attention.keys_values(x))  # (B, h, t + T, ..)
        # Queries always come from the decoder. Keys and values come from its own words, then from the source (§3.2.3).
        x = self.self_attention_norm(x, self.self_attention(x, past, causal_mask))  # (B, T, d)
        x = self.source_attention_norm(x, self.source_attention(x, source, source_mask))  # (B, T, d)
        x = self.feed_forward_norm(x, self.feed_forward(x))  # (B, T, d)
        return x, past


# ----------------------------------------------------------------------------------------------------------------
# Vaswani2017 §3.5 "Positional Encoding"


def sinusoids(length: int, d_model: int, device: torch.device | None = None) -> Tensor:
    """Tabulate Vaswani2017 §3.5: PE(pos, 2i) = sin(pos / 10000^(2i/d)), PE(pos, 2i+1) = cos of it; (length, d)."""
    # In double precision: angles grow with pos, but only their remainder after full turns counts.
    pos = torch.arange(length, dtype=torch.float64, device=device).unsqueeze(1)  # (length, 1)
    two_i = torch.arange(0, d_model, 2, dtype=torch.float64, device=device)  # (d / 2,)
    angle = pos / 10000.0 ** (two_i / d_model)  # (length, d / 2)
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)  # (length, d); sines and cosines alternate


class Sinusoids(nn.Module):
    """The fixed table of §3.5. It is a buffer outside the checkpoint and grows if a longer sentence comes."""

    PE: Tensor

    def __init__(self, d_model: int, length: int = 256, table: Callable[..., Tensor] = sinusoids) -> None:
        super().__init__()
        self.table = table
        self.register_buffer("PE", table(length, d_model).to(torch.get_default_dtype()), persistent=False)

    def forward(self, first: int, count: int) -> Tensor:
        """Return the encodings of positions first .. first + count - 1; (count, d)."""
        length, d_model = self.PE.shape
        if first + count > length:  # doubling makes growth rare
            self.PE = self.table(max(first + count, 2 * length), d_model, self.PE.device).to(self.PE.dtype)
        return self.PE[first : first + count]


class LearnedPositions(nn.Module):
    """Vaswani2017 Table 3 row E: one trained vector per position."""

    def __init__(self, d_model: int, length: int) -> None:
        super().__init__()
        self.PE = nn.Parameter(torch.zeros(length, d_model))  # `initialise` draws it

    def forward(self, first: int, count: int) -> Tensor:
        """Return the vectors of positions first .. first + count - 1; (count, d)."""
        pos = torch.arange(first, first + count, device=self.PE.device)  # (count,)
        return self.PE[pos.clamp(max=self.PE.shape[0] - 1)]  # positions past the table share its last row


def _positions(config: ModelConfig) -> Sinusoids | LearnedPositions:
    if config.learned_positions is not None:
        return LearnedPositions(config.d_model, config.learned_positions)
    return Sinusoids(config.d_model)


# ----------------------------------------------------------------------------------------------------------------
# The whole model, Vaswani2017 §3.1, §3.4


@dataclass(frozen=True)
class TransformerState:
    """All that the decoder knows between two words, as a `common.contract.DecoderState`."""

    source: tuple[KeysValues, ...]
    """Keys and values of the encoder's output per decoder layer, computed once, (N, h, S, ..)."""
    source_mask: Tensor
    """(N, 1, 1, S), True on real tokens."""
    past: tuple[KeysValues, ...]
    """Keys and values of the words so far per decoder layer, (N, h, t, ..)."""

    def select(self, rows: Tensor) -> TransformerState:
        """Return a state whose row i is row `rows[i]`, in every tensor."""
        source = tuple(layer.select(rows) for layer in self.source)
        return TransformerState(source, self.source_mask[rows], self._past(rows))

    def reorder(self, rows: Tensor) -> TransformerState:
        """Reorder the rows as `select` does. They stay within their sentence, so the source's tensors stay too."""
        return TransformerState(self.source, self.source_mask, self._past(rows))

    def _past(self, rows: Tensor) -> tuple[KeysValues, ...]:
        return tuple(layer.select(rows) for layer in self.past)


@dataclass(frozen=True)
class AttentionMaps:
    """Weights of every layer and head on one teacher-forced batch. The softmax is over the last axis."""

    encoder: Tensor
    """Encoder self-attention, (N layers, B, h, S, S)."""
    decoder: Tensor
    """Decoder self-attention, (N layers, B, h, T, T)."""
    source: Tensor
    """Attention of decoder positions to source positions, (N layers, B, h, T, S)."""


class Matrices(NamedTuple):
    """The matrices (V, d) by which words become vectors and vectors become logits."""

    source: Tensor
    target: Tensor
    softmax: Tensor


class Transformer(nn.Module):
    """Vaswani2017 Figure 1 "The Transformer": the `common.contract.Seq2SeqModel` of this paper."""

    encoder: list[EncoderLayer]
    decoder: list[DecoderLayer]

    def __init__(self, config: ModelConfig, vocabulary_size: int) -> None:
        """Draw the parameters from torch's global generator."""
        super().__init__()
        self.d_model = config.d_model
        self.E = nn.Parameter(torch.zeros(vocabulary_size, config.d_model))  # (V, d)
        self.source_positions: nn.Module = _positions(config)
        self.target_positions: nn.Module = _positions(config)
        self.dropout = nn.Dropout(config.P_drop)
        # A ModuleList registers its layers' parameters and is used as the list it behaves as.
        self.encoder = cast("list[EncoderLayer]", nn.ModuleList(EncoderLayer(config) for _ in range(config.N)))
        self.decoder = cast("list[DecoderLayer]", nn.ModuleList(DecoderLayer(config) for _ in range(config.N)))
        initialise(self)

    @property
    def matrices(self) -> Matrices:
        """Return the matrix of each use. §3.4: they are one matrix E."""
        return Matrices(source=self.E, target=self.E, softmax=self.E)

    def forward(self, batch: Batch) -> Tensor:
        """Compute the teacher-forced logits (B, T, V)."""
        x, _ = self._decode(batch.previous, self.encode(batch.source, batch.source_mask))  # (B, T, d)
        return self._logits(x)

    def encode(self, source: Tensor, source_mask: Tensor) -> TransformerState:
        """Compute the state before the first target word. source and source_mask are (B, S)."""
        key_mask = source_mask[:, None, None, :]  # (B, 1, 1, S)
        x = self._embed(source, self.matrices.source, self.source_positions, first=0)  # (B, S, d)
        for layer in self.encoder:
            x = layer(x, key_mask)  # (B, S, d); no norm after the last layer: post-norm layers end in one
        # All decoder layers attend to the same x, the top encoder layer's output, each through its own W^K and W^V.
        keys_values = tuple(layer.source_attention.keys_values(x) for layer in self.decoder)
        return TransformerState(keys_values, key_mask, tuple(layer.nothing() for layer in keys_values))

    def step(self, previous: Tensor, state: TransformerState) -> tuple[Tensor, TransformerState]:
        """Compute the logits (N, V) of the word after `previous` (N,), START at first, and the state after that."""
        x, state = self._decode(previous.unsqueeze(1), state)  # (N, 1, d)
        return self._logits(x.squeeze(1)), state

    @torch.no_grad()
    def attention_maps(self, batch: Batch) -> AttentionMaps:
        """Record every layer's and head's weights on a teacher-forced batch (Figures 3 to 5).

        The model should be in evaluation mode, so that there is no dropout.
        """
        # Hooks compute the weights a second time, so that the layers need not return them.
        weights: dict[MultiHeadAttention, Tensor] = {}

        def record(module: MultiHeadAttention, arguments: tuple[Tensor, KeysValues, Tensor | None], _: Tensor) -> None:
            x, attended, mask = arguments
            weights[module] = attention_weights(module.queries(x), attended.K, mask)  # (B, h, T, S)

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
        """Compute the decoder's output (N, T, d) at T new words (N, T), and the state after them.

        Training calls it with all words and an empty past, decoding with one word. The same lines compute both.
        """
        t, T = state.past[0].length, words.shape[1]
        x = self._embed(words, self.matrices.target, self.target_positions, first=t)  # (N, T, d)
        # §3.2.3: position i sees itself and what came before, (T, t + T). A single last position sees everything.
        # The target's padding needs no mask: it is on the right, so no real position sees it.
        causal_mask = torch.ones(T, t + T, dtype=torch.bool, device=words.device).tril(t) if T > 1 else None
        past = []
        for layer, before, source in zip(self.decoder, state.past, state.source, strict=True):
            x, now = layer(x, before, source, causal_mask, state.source_mask)
            past.append(now)
        return x, TransformerState(state.source, state.source_mask, tuple(past))

    def _embed(self, words: Tensor, E: Tensor, positions: nn.Module, first: int) -> Tensor:
        """Embed words (B, T) at positions first, first + 1, ..: Dropout(sqrt(d) E[word] + PE), (B, T, d).

        Vaswani2017 §3.4, §3.5, §5.4.
        """
        vectors = F.embedding(words.clamp(min=0), E) * math.sqrt(self.d_model)  # (B, T, d)
        # START is no word: tensor2tensor v1.0 shifts the target after embedding it, so a zero vector comes first.
        vectors = vectors.masked_fill((words == START).unsqueeze(-1), 0.0)
        return self.dropout(vectors + positions(first, words.shape[1]))  # (B, T, d)

    def _logits(self, x: Tensor) -> Tensor:
        """Compute the pre-softmax transformation x E^T, Vaswani2017 §3.4, without bias or scale: (.., d) -> (.., V)."""
        return x @ self.matrices.softmax.T


# ----------------------------------------------------------------------------------------------------------------
# Initialisation: not in the paper, tensor2tensor v1.0


def initialise(model: Transformer) -> None:
    """Draw a model's parameters: word and position vectors from N(0, 1/d), matrices Glorot-uniform, biases 0."""
    nn.init.normal_(model.E, std=model.d_model**-0.5)  # times sqrt(d) in `_embed`: entries of variance 1
    for positions in (model.source_positions, model.target_positions):
        if isinstance(positions, LearnedPositions):
            nn.init.normal_(positions.PE, std=model.d_model**-0.5)
    layers: list[EncoderLayer | DecoderLayer] = [*model.encoder, *model.decoder]
    for layer in layers:
        # The authors' code keeps W_Q, W_K, W_V of self-attention in one matrix, and W_K, W_V of attention to the
        # source in another. The functions are the same, but matrices that are drawn together have one bound.
        own = layer.self_attention
        glorot(own.W_Q, own.W_K, own.W_V)
        glorot(own.W_O)
        if isinstance(layer, DecoderLayer):
            source = layer.source_attention
            glorot(source.W_Q)
            glorot(source.W_K, source.W_V)
            glorot(source.W_O)
        glorot(layer.feed_forward.W_1)
        glorot(layer.feed_forward.W_2)


def glorot(*together: Linear) -> None:
    """Draw W from U(-a, a) with a = sqrt(6 / (fan_in + fan_out)). fan_out is that of all layers drawn `together`."""
    fan_out = sum(layer.out_features for layer in together)
    for layer in together:
        # This draw is overwritten at once. It advances the generator, so that a seed gives the committed runs' weights.
        nn.Linear.reset_parameters(layer)
        bound = math.sqrt(6 / (layer.in_features + fan_out))  # the a above
        nn.init.uniform_(layer.weight, -bound, bound)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
