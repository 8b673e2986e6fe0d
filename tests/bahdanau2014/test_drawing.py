"""Figure 1 shows what the built model does: sizes, the order of the calls, who reads which vector."""

from __future__ import annotations

import pytest
import torch

from common.contract import Batch, pad
from common.ids import EOS
from papers.bahdanau2014.architecture import draw, observe
from papers.bahdanau2014.paper import PAPER

SOURCE, TARGET = [3, 4, 5, 6, EOS], [7, 8, 9, EOS]
SIZES = ["hidden=5", "embedding=3", "alignment=7", "maxout=4", "vocabulary_size=11", "path=readable"]
FLOW = {
    "R1": {"decoder": ["embedding", None, None], "align": ["decoder"], "readout": ["decoder", "embedding", "align"]},
    "R2": {"align": [None], "decoder": ["embedding", None, "align"], "readout": ["decoder", "embedding", "align"]},
    "R3": {"align": [None], "decoder": ["embedding", None, "align"], "readout": [None, "embedding", "align"]},
}
"""The modules of a turn in the order of their calls, and what made each vector that they read: written out by hand."""


def built(order):
    torch.manual_seed(1)
    model = PAPER.build_model(PAPER.recipe("rnnsearch-50", [*SIZES, f"step_order={order}"]))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    return model, Batch(*pad([SOURCE]), *pad([TARGET]))


@pytest.mark.parametrize("order", FLOW)
def test_arrows_go_where_vectors_are_read(order):
    model, batch = built(order)
    shapes, turns = observe(model, batch)
    assert shapes["encoder"] == (1, 5, 10) and shapes["encoder.forward_rnn"] == (1, 5)
    assert len(turns) == len(TARGET)
    for turn in turns[1:]:  # the first turn has no word before
        assert turn.order == list(FLOW[order])
        assert {name: turn.origins[name] for name in turn.order} == FLOW[order]


def test_the_hooks_are_gone_afterwards():
    model, batch = built("R1")
    observe(model, batch)
    assert not any(module._forward_hooks for module in model.modules())


def test_the_drawing_names_words_and_sizes():
    model, batch = built("R1")
    drawing = draw(model, batch, ["the", "old", "man", ".", "</s>"], ["l&apos;", "homme", ".", "</s>"], 2)
    texts = [text.get_text() for text in drawing.axes[0].texts]
    assert {"old", "l'  ($y_{i-1}$)", "homme  ($y_i$)", r"$h_j$   10", r"$E x_j$   3"} <= set(texts)
    alpha = model.alignment(batch)[0, 1]
    widths = [line.get_linewidth() for line in drawing.axes[0].lines]
    assert widths == pytest.approx((0.5 + 8 * alpha).tolist())
