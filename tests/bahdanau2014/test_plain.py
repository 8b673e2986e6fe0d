"""The plain model of the benchmark computes what model.py computes, so that their times may be compared."""

import torch
from torch import Tensor, nn

from benchmarks.plain_rnnsearch import build
from papers.bahdanau2014.paper import PAPER
from tests.test_fast import batch, close, loss_and_gradients

SIZES = ["hidden=5", "embedding=3", "alignment=7", "maxout=4", "vocabulary_size=13", "run.path=readable"]


def copied(model: nn.Module) -> dict[str, Tensor]:
    """The readable model's weights under the plain model's names."""
    own = model.state_dict()
    plain = {
        "source.weight": own["encoder.embedding.E"],
        "target.weight": own["embedding.E"],
        "initial.weight": own["W_s"],
        "initial.bias": own["b_s"],
        "query.weight": own["align.W_a"],
        "keys.weight": own["align.U_a"],
        "keys.bias": own["align.b_a"],
        "energy.weight": own["align.v_a"].unsqueeze(0),
        "context.weight": torch.cat([own["decoder.C"], own["decoder.C_z"], own["decoder.C_r"]]),
        "output_state.weight": own["readout.U_o"],
        "output_state.bias": own["readout.b_o"],
        "output_word.weight": own["readout.V_o"],
        "output_context.weight": own["readout.C_o"],
        "softmax.weight": own["readout.W_o"],
        "softmax.bias": own["readout.b_softmax"],
    }
    for cell, units in (
        ("forward_rnn", "encoder.forward_rnn"),
        ("backward_rnn", "encoder.backward_rnn"),
        2 * ("decoder",),
    ):
        plain[f"{cell}.input.weight"] = torch.cat([own[f"{units}.{key}"] for key in ("W", "W_z", "W_r")])
        plain[f"{cell}.input.bias"] = torch.cat([own[f"{units}.{key}"] for key in ("b", "b_z", "b_r")])
        plain[f"{cell}.gates.weight"] = torch.cat([own[f"{units}.{key}"] for key in ("U_z", "U_r")])
        plain[f"{cell}.candidate.weight"] = own[f"{units}.U"]
    return plain


def test_the_plain_model_is_the_papers() -> None:
    recipe = PAPER.recipe("rnnsearch-50", SIZES)
    torch.manual_seed(4)
    readable, plain = PAPER.build_model(recipe).double(), build(recipe).double()
    for parameter in readable.parameters():
        nn.init.normal_(parameter, 0.0, 0.6)
    plain.load_state_dict(copied(readable))
    close(plain(batch()), readable(batch()))
    ours, theirs = loss_and_gradients(readable), loss_and_gradients(plain)
    close(theirs["loss"], ours["loss"])
    close(theirs["source.weight"], ours["encoder.embedding.E"])
    close(theirs["query.weight"], ours["align.W_a"])
    assert sum(p.numel() for p in plain.parameters()) == sum(p.numel() for p in readable.parameters())
