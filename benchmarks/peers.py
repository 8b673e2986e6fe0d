"""The Transformer of other libraries, as peers to measure beside: the recipe's sizes, a `Batch` in, logits out."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.contract import Batch
from common.errors import UserError
from common.ids import EOS
from common.recipe import Recipe
from papers.vaswani2017.model import sinusoids

LONGEST = 512
"""Positions that a peer's table has."""


def marian_config(recipe: Recipe, words: int, pad: int) -> Any:
    """Return Hugging Face's configuration of a Marian model of the recipe's sizes. pad: id of padding and start."""
    from transformers import MarianConfig

    m, sides = recipe.model, ("encoder", "decoder")
    sizes = {"layers": m.N, "ffn_dim": m.d_ff, "attention_heads": m.h}
    return MarianConfig(
        vocab_size=words, d_model=m.d_model, **{f"{side}_{what}": n for side in sides for what, n in sizes.items()},
        dropout=m.P_drop, attention_dropout=0.0, activation_dropout=0.0, activation_function="relu",
        scale_embedding=True, max_position_embeddings=LONGEST, share_encoder_decoder_embeddings=True,
        tie_word_embeddings=True, pad_token_id=pad, eos_token_id=EOS, decoder_start_token_id=pad,
        forced_eos_token_id=None,
    )  # fmt: skip


class Marian(nn.Module):
    """Marian's Transformer in Hugging Face's library: post-norm, one embedding matrix, biases, its own attention."""

    def __init__(self, recipe: Recipe) -> None:
        """Raise UserError without the library."""
        try:
            from transformers import MarianMTModel
        except ImportError:
            raise UserError("transformers is missing; pip install transformers, in this environment") from None
        super().__init__()
        self.model = MarianMTModel(marian_config(recipe, recipe.text.vocabulary_size, pad=EOS))

    def forward(self, batch: Batch) -> Tensor:
        """Compute the logits (B, T, V)."""
        logits: Tensor = self.model(
            input_ids=batch.source,
            attention_mask=batch.source_mask.long(),
            decoder_input_ids=batch.previous.clamp(min=0),
            use_cache=False,
        ).logits
        return logits


class TorchTransformer(nn.Module):
    """`torch.nn.Transformer`, which also drops attention weights and inner units, with embeddings around it."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        m = recipe.model
        self.E = nn.Parameter(torch.randn(recipe.text.vocabulary_size, m.d_model) * m.d_model**-0.5)
        self.layers = nn.Transformer(
            m.d_model, m.h, m.N, m.N, m.d_ff, m.P_drop, activation="relu", batch_first=True, norm_first=False
        )
        self.dropout = nn.Dropout(m.P_drop)
        self.register_buffer("PE", sinusoids(LONGEST, m.d_model).float(), persistent=False)

    def forward(self, batch: Batch) -> Tensor:
        """Compute the logits (B, T, V)."""
        T, padding = batch.target.shape[1], ~batch.source_mask
        causal = torch.ones(T, T, dtype=torch.bool, device=padding.device).triu(1)
        source, target = self._embed(batch.source), self._embed(batch.previous.clamp(min=0))
        x: Tensor = self.layers(
            source, target, tgt_mask=causal, src_key_padding_mask=padding, memory_key_padding_mask=padding,
            tgt_is_causal=True,
        )  # fmt: skip
        return x @ self.E.T

    def _embed(self, words: Tensor) -> Tensor:
        vectors = F.embedding(words, self.E) * math.sqrt(self.E.shape[1])
        return self.dropout(vectors + self.PE[: words.shape[1]])
