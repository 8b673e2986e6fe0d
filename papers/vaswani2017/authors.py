"""The authors' first public code where it computes another function than the paper: tensor2tensor v1.0, June 2017.

Each difference is a field of the recipe, and its default is the paper's. `variants/authors-v1` has them all. Two more
need nothing here: biases on the projections of attention (`model.attention_bias`) and embedding rows beyond the
vocabulary (`text.vocabulary_size`). Where the paper is silent, model.py itself follows this code.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from common.recipe import LATER, require
from papers.vaswani2017.model import Matrices, ModelConfig, Sinusoids, Transformer


@dataclass(frozen=True)
class AuthorsConfig(ModelConfig):
    """Recipe section `model`: the paper's choices, and those in which the authors' code departs from the paper."""

    sinusoids: Literal["interleaved", "halves"] = field(default="interleaved", metadata=LATER)
    """Form of the sinusoids. `interleaved`: §3.5. `halves`: all sines, then all cosines, with other frequencies."""
    target_spaces: int = field(default=0, metadata=LATER)
    """Rows of a learned table with one vector for each kind of output (v1.0: 32 languages and forms of data). The
    vector of the language that is translated to is added to all source embeddings. 0: no table, as in the paper."""
    embedding_matrices: Literal[1, 2, 3] = field(default=1, metadata=LATER)
    """How many matrices embed and score words. 1: one for all (§3.4). 2: one for the source, one for target and softmax
    (v1.0 on word pieces). 3: source, target and softmax have one each (v1.0's big model for English-French)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        sinusoidal = self.positions == "sinusoidal"
        require(sinusoidal or self.sinusoids == "interleaved", "model.sinusoids", "be interleaved without sinusoids")
        require(self.d_model > 2 or self.sinusoids == "interleaved", "model.d_model", "be above 2 with halves")
        require(0 <= self.target_spaces <= 10**6, "model.target_spaces", "be from 0 to 1,000,000")

    @property
    def departs(self) -> bool:
        """Whether the model is another than model.py's."""
        return (self.sinusoids, self.target_spaces, self.embedding_matrices) != ("interleaved", 0, 1)


def sinusoids_in_halves(length: int, d_model: int, device: torch.device | None = None) -> Tensor:
    """Tabulate v1.0's PE(pos, i) = sin(pos / 10000^(i/(d/2 - 1))), PE(pos, d/2 + i) = cos of it; (length, d).

    The wavelengths end at 10000 x 2 pi exactly, where those of §3.5 end one step before it.
    """
    pos = torch.arange(length, dtype=torch.float64, device=device).unsqueeze(1)  # (length, 1)
    i = torch.arange(d_model // 2, dtype=torch.float64, device=device)  # (d / 2,)
    angle = pos / 10000.0 ** (i / (d_model / 2 - 1))  # (length, d / 2)
    return torch.cat([angle.sin(), angle.cos()], dim=-1)  # (length, d)


class WithTargetSpace(nn.Module):
    """Positional encodings with the vector of the target space added to each. v1.0 adds both to the embeddings."""

    def __init__(self, positions: nn.Module, spaces: int, d_model: int) -> None:
        """Draw the vectors as v1.0 draws any matrix that it gives no rule of its own: Glorot-uniform."""
        super().__init__()
        self.positions = positions
        bound = math.sqrt(6 / (spaces + d_model))
        self.spaces = nn.Parameter(torch.empty(spaces, d_model).uniform_(-bound, bound))

    def forward(self, first: int, count: int) -> Tensor:
        """Return the sums for positions first .. first + count - 1; (count, d)."""
        # One language pair reads one row, always the same: here the first. The others are never trained.
        return self.positions(first, count) + self.spaces[0]


MATRICES = {1: ("E", "E", "E"), 2: ("E_source", "E_decoder", "E_decoder"), 3: ("E_source", "E_target", "E_softmax")}
"""Parameter names of the matrices of source, target and softmax, by `embedding_matrices`."""


class AuthorsTransformer(Transformer):
    """The model of model.py, with those of the code's differences that the recipe names."""

    def __init__(self, config: AuthorsConfig, vocabulary_size: int) -> None:
        """Draw the parameters as Transformer does, and after them those that the paper does not have."""
        super().__init__(config, vocabulary_size)
        if config.sinusoids == "halves":
            self.source_positions = Sinusoids(config.d_model, table=sinusoids_in_halves)
            self.target_positions = Sinusoids(config.d_model, table=sinusoids_in_halves)
        if config.target_spaces:
            self.source_positions = WithTargetSpace(self.source_positions, config.target_spaces, config.d_model)
        self._matrices = MATRICES[config.embedding_matrices]
        if config.embedding_matrices > 1:
            del self.E
            for name in dict.fromkeys(self._matrices):
                E = nn.init.normal_(torch.empty(vocabulary_size, config.d_model), std=config.d_model**-0.5)
                self.register_parameter(name, nn.Parameter(E))

    @property
    def matrices(self) -> Matrices:
        """Return the matrix of each use."""
        return Matrices(*(getattr(self, name) for name in self._matrices))
