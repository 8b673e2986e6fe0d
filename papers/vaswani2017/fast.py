"""The Transformer faster: the functions of model.py from the same parameters.

PyTorch's fused attention computes Eq. (1) without storing the weights of every query. On a CPU core this saves a little
at base's width. At the widths of demo and multi30k an update takes as long
as with model.py. One product for W_Q, W_K and W_V together saves nothing at any
width, so it is not used. Dropout draws the same numbers in the same order as in model.py.
tests/test_fast.py compares logits, gradients, steps, beam search and attention maps with model.py's.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from papers.vaswani2017.beam_state import Growing, SharedState
from papers.vaswani2017.model import (
    KeysValues,
    ModelConfig,
    MultiHeadAttention,
    Transformer,
    TransformerState,
    scaled_dot_product_attention,
)

FEW = 8
"""Queries of one sentence below which PyTorch's kernel for CPUs is slower than the formula: those of a beam."""


def attend(Q: Tensor, K: Tensor, V: Tensor, mask: Tensor | None) -> Tensor:
    """Compute `scaled_dot_product_attention`, on a CPU and for many queries by PyTorch's kernel.

    PyTorch's kernels for CUDA sum the gradients of long sentences in no fixed order. But a training that is killed and
    resumed must end with the same weights as one that is not. So a GPU computes the formula of model.py.
    """
    if Q.is_cuda or Q.shape[-2] < FEW:
        return scaled_dot_product_attention(Q, K, V, mask)  # (.., T, d_v)
    return F.scaled_dot_product_attention(Q, K, V, attn_mask=mask)  # (.., T, d_v)


class FusedAttention(MultiHeadAttention):
    """Multi-head attention with the parameters of `attention`, computed by `attend`."""

    def __init__(self, attention: MultiHeadAttention) -> None:
        nn.Module.__init__(self)  # MultiHeadAttention's would make parameters
        self.h = attention.h
        # The same modules under the same names, so that a checkpoint fits both.
        self.W_Q, self.W_K, self.W_V, self.W_O = attention.W_Q, attention.W_K, attention.W_V, attention.W_O

    def forward(self, x: Tensor, attended: KeysValues, mask: Tensor | None) -> Tensor:
        """Attend from positions x (B, T, d) to `attended` (B, h, S, ..) where mask (.., T, S) is True: (B, T, d)."""
        heads = attend(self.queries(x), attended.K, attended.V, mask)  # (B, h, T, d_v)
        return self.W_O(heads.transpose(1, 2).flatten(2))  # (B, T, h x d_v) -> (B, T, d)


class FastTransformer(Transformer):
    """The model of model.py with its parameters. Every attention is fused."""

    def __init__(self, config: ModelConfig, vocabulary_size: int) -> None:
        """Draw the parameters as Transformer does."""
        super().__init__(config, vocabulary_size)
        # After the parameters are drawn, so that a seed gives the weights of model.py.
        for encoder_layer in self.encoder:
            encoder_layer.self_attention = FusedAttention(encoder_layer.self_attention)
        for layer in self.decoder:
            layer.self_attention = FusedAttention(layer.self_attention)
            layer.source_attention = FusedAttention(layer.source_attention)

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
        x = self._embed(previous.unsqueeze(1), self.target_positions, first=state.ancestors.shape[1])  # (N, 1, d)
        x = x.view(len(state.source_mask), state.rows, -1)  # (B, k, d)
        past = []
        for layer, before, source in zip(self.decoder, state.past, state.source, strict=True):
            x, now = layer(x, Growing.of(before), source, mask, state.source_mask)
            past.append(now)
        return self._logits(x.flatten(0, 1)), SharedState(state.source, state.source_mask, tuple(past), ancestors)
