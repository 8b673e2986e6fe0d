"""The Transformer faster: the functions of model.py from the same parameters.

PyTorch's fused attention computes Eq. (1) without storing the weights of every query. On a CPU core this saves a little
at base's width, and more in beam search over long sentences. At the widths of demo and multi30k an update takes as long
as with model.py. One product for W_Q, W_K and W_V together saves nothing at any
width, so it is not used. Dropout draws the same numbers in the same order as in model.py.
tests/test_fast.py compares logits, gradients, steps, beam search and attention maps with model.py's.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from papers.vaswani2017.model import (
    KeysValues,
    ModelConfig,
    MultiHeadAttention,
    Transformer,
    scaled_dot_product_attention,
)


def attend(Q: Tensor, K: Tensor, V: Tensor, mask: Tensor | None) -> Tensor:
    """Compute `scaled_dot_product_attention`, on a CPU by PyTorch's kernel.

    PyTorch's kernels for CUDA sum the gradients of long sentences in no fixed order. But a training that is killed and
    resumed must end with the same weights as one that is not. So a GPU computes the formula of model.py.
    """
    if Q.is_cuda:
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
