"""alpha of many pairs at once is alpha of each alone, without padding."""

from __future__ import annotations

import numpy as np
import torch

from common.align.attention import source_attention
from common.contract import Batch, pad
from common.ids import EOS
from papers.bahdanau2014.paper import PAPER as BAHDANAU
from papers.vaswani2017.paper import PAPER as VASWANI

PAIRS = [([5, 6, 7], [4, 4]), ([3], [2, 5, 6, 7, 8, 9]), ([9] * 9, []), ([2, 3], [3, 2])] * 12
"""More than are computed together, of all lengths, one of them without a target word."""


def model(system: str, *words: str) -> torch.nn.Module:
    torch.manual_seed(1)
    sizes = ["hidden=6", "embedding=5", "alignment=4", "maxout=3", "text.vocabulary_size=12", *words]
    built = BAHDANAU.build_model(BAHDANAU.recipe(f"demo/{system}", sizes)).eval()
    for parameter in built.parameters():  # at first alpha is nearly the same everywhere
        torch.nn.init.normal_(parameter)
    return built


def test_rows_and_columns_are_the_words_and_end_tokens_of_each_pair():
    search = model("rnnsearch-50")
    found = source_attention(BAHDANAU, search, PAIRS)
    for (source, target), alpha in zip(PAIRS, found, strict=True):
        alone = search.alignment(Batch(*pad([[*source, EOS]]), *pad([[*target, EOS]])))[0]
        assert alpha.shape == (len(target) + 1, len(source) + 1)
        np.testing.assert_allclose(alpha, alone.detach().numpy(), atol=1e-6)
        np.testing.assert_allclose(alpha.sum(axis=1), 1, atol=1e-6)
    assert np.ptp(found[1]) > 0.01, "the weights differ"


def test_without_attention_there_is_none():
    assert source_attention(BAHDANAU, model("rnnencdec-50"), PAIRS) == []


def test_layers_and_heads_are_averaged():
    torch.manual_seed(1)
    sizes = ["N=2", "d_model=8", "d_ff=8", "h=2", "d_k=4", "d_v=4", "text.vocabulary_size=60", "bpe_merges=30"]
    transformer = VASWANI.build_model(VASWANI.recipe("demo/base-enfr", sizes)).eval()
    (alpha,) = source_attention(VASWANI, transformer, [([5, 6], [7, 8, 9])])
    batch = Batch(*pad([[5, 6, EOS]]), *pad([[7, 8, 9, EOS]]))
    (maps,) = VASWANI.attention(transformer, batch)
    assert maps["source"].shape == (2, 2, 4, 3)
    heads = [maps["source"][layer, head].detach().numpy() for layer in (0, 1) for head in (0, 1)]
    np.testing.assert_allclose(alpha, sum(heads) / 4, atol=1e-6)
