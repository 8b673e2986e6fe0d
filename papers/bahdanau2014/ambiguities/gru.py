"""RNNsearch with the gated unit of torch.nn.GRU in place of the paper's.

Programs that name this paper often use it. Its reset gate acts after the product with U, which has a bias of its own.
Its update gate z = 1 keeps the state, where the paper's takes the candidate. The second difference only renames 1 - z;
the first makes another function. All else is model.py's, initial values included, and so are the letters.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from common.recipe import LATER
from papers.bahdanau2014.model import DecoderUnits, Encoder, EncoderUnits, ModelConfig, RNNsearch, bias


@dataclass(frozen=True)
class UnitsConfig(ModelConfig):
    """Recipe section `model`: the paper's choices, and one that the paper does not leave open."""

    units: Literal["paper", "torch"] = field(default="paper", metadata=LATER)
    """`paper`: the gated unit of App. A.1.1. `torch`: that of torch.nn.GRU, in encoder and decoder."""


class TorchEncoderUnits(EncoderUnits):
    """The hidden units of one direction, with torch's equations."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.b_h = bias(config.hidden, config.biases, "paper")  # torch's b_hn; the sums for z and r need no second one

    def forward(self, Ex: Tensor, h: Tensor) -> Tensor:
        """Compute h_i (B, n) from the vector E x_i (B, m) and from h_{i-1} (B, n)."""
        z = torch.sigmoid(Ex @ self.W_z.T + h @ self.U_z.T + self.b_z)  # (B, n)
        r = torch.sigmoid(Ex @ self.W_r.T + h @ self.U_r.T + self.b_r)  # (B, n)
        h_tilde = torch.tanh(Ex @ self.W.T + r * (h @ self.U.T + self.b_h) + self.b)  # (B, n)
        return z * h + (1 - z) * h_tilde


class TorchDecoderUnits(DecoderUnits):
    """The hidden units of the decoder, with torch's equations. Their input is [E y; c]."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.b_h = bias(config.hidden, config.biases, "paper")

    def forward(self, Ey: Tensor, s: Tensor, c: Tensor) -> Tensor:
        """Compute the next state (N, n) from a word's E y (N, m), a state s (N, n) and a context vector c (N, C)."""
        z = torch.sigmoid(Ey @ self.W_z.T + s @ self.U_z.T + c @ self.C_z.T + self.b_z)  # (N, n)
        r = torch.sigmoid(Ey @ self.W_r.T + s @ self.U_r.T + c @ self.C_r.T + self.b_r)  # (N, n)
        s_tilde = torch.tanh(Ey @ self.W.T + r * (s @ self.U.T + self.b_h) + c @ self.C.T + self.b)  # (N, n)
        return z * s + (1 - z) * s_tilde


class TorchUnitsRNNsearch(RNNsearch):
    """The model of model.py with other units."""

    def __init__(self, config: ModelConfig, words: int) -> None:
        """Draw the parameters as `RNNsearch` does, and those of the units once more."""
        super().__init__(config, words)
        self.encoder.forward_rnn = TorchEncoderUnits(config)
        if isinstance(self.encoder, Encoder):
            self.encoder.backward_rnn = TorchEncoderUnits(config)
        self.decoder = TorchDecoderUnits(config)
