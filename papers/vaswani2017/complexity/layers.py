"""The layer types of Vaswani2017 Table 1. Each maps one sequence (1, n, d) to another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from papers.vaswani2017.model import MultiHeadAttention, scaled_dot_product_attention
from papers.vaswani2017.paper import PAPER

KERNEL = 3
"""k, the width of a kernel."""
WINDOW = 16
"""r, the positions that restricted self-attention looks at."""
HEAD = 64
"""d_k = d_v of the base and the big model (Table 3). The layers have it at every d from 64 on."""


class SelfAttention(nn.Module):
    """Table 1 "Self-Attention": the attention of model.py (§3.2.2), each position to all."""

    def __init__(self, d: int, projections: bool = True) -> None:
        super().__init__()
        h = max(1, d // HEAD)
        self.attention = MultiHeadAttention(
            replace(PAPER.recipe("base").model, d_model=d, h=h, d_k=d // h, d_v=d // h, attention_bias=False)
        )
        if not projections:  # Eq. (1) alone, in h heads: what Table 1 counts
            for name in ("W_Q", "W_K", "W_V", "W_O"):
                setattr(self.attention, name, nn.Identity())

    def forward(self, x: Tensor) -> Tensor:
        """Map x (1, n, d) to (1, n, d)."""
        return self.attention(x, self.attention.keys_values(x), None)


class RestrictedSelfAttention(SelfAttention):
    """Table 1 "Self-Attention (restricted)": each position to the r around it (§4)."""

    def __init__(self, d: int, projections: bool = True, r: int = WINDOW) -> None:
        super().__init__(d, projections)
        self.r = r
        self.before = (r - 1) // 2
        """How many positions of a window come before its own. As many come after it, or one more."""

    def forward(self, x: Tensor) -> Tensor:
        """Map x (1, n, d) to (1, n, d)."""
        own = self.attention.keys_values(x)  # (1, h, n, d_k)
        K, V = self.windows(own.K), self.windows(own.V)  # (1, h, n, r, d_k)
        Q = self.attention.queries(x).unsqueeze(3)  # (1, h, n, 1, d_k): each position asks its own window
        heads = scaled_dot_product_attention(Q, K, V, self.inside(x.shape[1])).squeeze(3)  # (1, h, n, d_v)
        return self.attention.W_O(heads.transpose(1, 2).flatten(2))  # (1, n, d)

    def windows(self, x: Tensor) -> Tensor:
        """Return for each position of x (1, h, n, d_k) the r around it: (1, h, n, r, d_k), zeros past both ends."""
        padded = F.pad(x, (0, 0, self.before, self.r - 1 - self.before))  # (1, h, n + r - 1, d_k)
        return padded.unfold(2, self.r, 1).transpose(3, 4)  # a view, which the matrix product copies

    def inside(self, n: int) -> Tensor:
        """Return which places of each window lie within the sequence, (n, 1, r)."""
        position = torch.arange(n).unsqueeze(1) + torch.arange(self.r) - self.before  # (n, r)
        return ((position >= 0) & (position < n)).unsqueeze(1)


class Recurrent(nn.Module):
    """Table 1 "Recurrent": h_t = tanh(x_t W + h_(t-1) U), with d units."""

    def __init__(self, d: int) -> None:
        super().__init__()
        self.W, self.U = nn.Linear(d, d, bias=False), nn.Linear(d, d, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map x (1, n, d) to (1, n, d)."""
        inputs = self.W(x)  # (1, n, d): waits for no other position, so all at once
        h, outputs = torch.zeros_like(x[:, 0]), []
        for t in range(x.shape[1]):
            h = torch.tanh(inputs[:, t] + self.U(h))  # (1, d)
            outputs.append(h)
        return torch.stack(outputs, dim=1)


class Convolutional(nn.Module):
    """Table 1 "Convolutional": each position from k, of which it is the last. They are `dilation` apart."""

    def __init__(self, d: int, k: int = KERNEL, dilation: int = 1) -> None:
        super().__init__()
        self.before = (k - 1) * dilation
        self.convolution = nn.Conv1d(d, d, k, dilation=dilation, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map x (1, n, d) to (1, n, d)."""
        padded = F.pad(x.transpose(1, 2), (self.before, 0))  # (1, d, before + n)
        return self.convolution(padded).transpose(1, 2)


@dataclass(frozen=True)
class LayerType:
    """A layer type of Table 1, or a variant of one."""

    label: str
    row: str
    """The row of Table 1, as reported.yaml calls it."""
    make: Callable[[int, int], nn.Module]
    """Makes the layer from d and its place in a stack, counted from 0."""
    flops: Callable[[int, int], int]
    """FLOPs from n and d."""
    formula: str
    """The same in print."""
    path: str = "path"
    """The column of Table 1 that states its longest path."""

    def build(self, d: int, place: int = 0) -> nn.Module:
        """Make a layer with Glorot-uniform matrices from torch's global generator, as the model's are drawn."""
        layer = self.make(d, place)
        for matrix in layer.parameters():
            nn.init.xavier_uniform_(matrix)
        return layer


SELF_ATTENTION = LayerType(
    "self-attention",
    "self-attention",
    lambda d, place: SelfAttention(d),
    lambda n, d: 4 * n**2 * d + 8 * n * d**2,
    "4 n² d + 8 n d²",
)
SELF_ATTENTION_BARE = LayerType(
    "self-attention, no projections",
    "self-attention",
    lambda d, place: SelfAttention(d, projections=False),
    lambda n, d: 4 * n**2 * d,
    "4 n² d",
)
RECURRENT = LayerType(
    "recurrent",
    "recurrent",
    lambda d, place: Recurrent(d),
    lambda n, d: 4 * n * d**2,
    "4 n d²",
)
CONVOLUTIONAL = LayerType(
    f"convolutional, k = {KERNEL}",
    "convolutional",
    lambda d, place: Convolutional(d),
    lambda n, d: 2 * KERNEL * n * d**2,
    "2 k n d²",
    "path contiguous",
)
DILATED = LayerType(
    f"convolutional, k = {KERNEL}, dilated",
    "convolutional",
    lambda d, place: Convolutional(d, dilation=KERNEL**place),  # §4: log_k(n) layers connect all positions
    lambda n, d: 2 * KERNEL * n * d**2,
    "2 k n d²",
)
RESTRICTED = LayerType(
    f"restricted, r = {WINDOW}",
    "restricted",
    lambda d, place: RestrictedSelfAttention(d),
    lambda n, d: 4 * WINDOW * n * d + 8 * n * d**2,
    "4 r n d + 8 n d²",
)
RESTRICTED_BARE = LayerType(
    f"restricted, r = {WINDOW}, no projections",
    "restricted",
    lambda d, place: RestrictedSelfAttention(d, projections=False),
    lambda n, d: 4 * WINDOW * n * d,
    "4 r n d",
)
TYPES = (
    SELF_ATTENTION,
    SELF_ATTENTION_BARE,
    RECURRENT,
    CONVOLUTIONAL,
    DILATED,
    RESTRICTED,
    RESTRICTED_BARE,
)
"""The rows of Table 1 in its order, each followed by its variant."""
