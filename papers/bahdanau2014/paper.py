"""What the shared engine needs to know about Bahdanau et al. 2014."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from common.contract import Batch
from common.paper import Optimization, Paper, ReportedTraining
from common.recipe import Recipe, require
from common.yaml_files import read_yaml
from papers.bahdanau2014.ambiguities.gru import TorchUnitsRNNsearch, UnitsConfig
from papers.bahdanau2014.fast import FastRNNsearch
from papers.bahdanau2014.model import RNNsearch
from papers.bahdanau2014.optim import OptimizerConfig, build_optimization
from papers.bahdanau2014.recurrence import compiled_steps

BLOCKS = {
    "encoder.embedding": "source embedding",
    "encoder.forward_rnn": "encoder, forward",
    "encoder.backward_rnn": "encoder, backward",
    "align": "alignment model",
    "W_s": "initial state",
    "b_s": "initial state",
    "embedding": "target embedding",
    "decoder": "decoder",
    "readout.W_o": "softmax",
    "readout.b_softmax": "softmax",
    "readout": "deep output",
}
"""Block of the model by the beginning of a parameter's name. The first beginning that fits counts."""


class Bahdanau2014(Paper):
    """RNNsearch and RNNencdec."""

    name = "bahdanau2014"
    title = "Neural Machine Translation by Jointly Learning to Align and Translate"
    citation = "D. Bahdanau, K. Cho and Y. Bengio, ICLR 2015, arXiv:1409.0473"
    model_config = UnitsConfig
    optimizer_config = OptimizerConfig
    hardware = {
        "2 CPU cores": {"rnnsearch-50": 7.7e10},
        "1x NVIDIA Quadro K6000, by Table 2": {"rnnsearch-50": 3.6e11, "rnnencdec-50": 5.7e11},
        "1x NVIDIA RTX 5090": {"rnnsearch-50": 7.6e12},
        "1x NVIDIA H200, uncompiled": {"rnnsearch-50": 6.4e12, "rnnencdec-50": 6.7e12},
    }
    """Sustained FLOP/s. A GPU idles most of the time, because each word waits for the one before it. CPU: 48% of the
    160 GFLOP/s of an earlier machine's two cores, measured with a plain PyTorch loop of these sizes. K6000: the counted
    FLOPs divided by the hours of Table 2, which are 1.39 and 0.65 s per update. At RNNsearch-50's rate RNNencdec-50
    would take 171 hours there, 1.58 times the 108 of Table 2. RTX 5090: a public rebuild of 2026, 8 epochs of 12M pairs
    in 22 h with 240 sentences per update. H200: measured, without padding (benchmarks/results/gpu.json), with an
    earlier version that computed operation by operation. A fast training now compiles and records them, and its rate is
    not measured yet. The TITAN BLACK of Table 2, on which the -30 models were trained, is left out: at the K6000's
    rates they would take 106 and 128 hours there, and Table 2 has 109 and 113."""

    def build_model(self, recipe: Recipe) -> RNNsearch:
        """Build the model of model.py or of fast.py, as the recipe says. Torch's units have no fast program."""
        fast, paper = recipe.run.path == "fast", recipe.model.units == "paper"
        require(paper or not fast, "run.path", "be readable with model.units=torch, which has no fast program")
        kind = FastRNNsearch if fast else RNNsearch if paper else TorchUnitsRNNsearch
        return kind(recipe.model, recipe.text.vocabulary_size)

    def build_optimization(self, model: nn.Module, recipe: Recipe) -> Optimization:
        """Build Adadelta with the paper's rule for gradients."""
        return build_optimization(model, recipe)

    def accelerate(self, model: nn.Module) -> None:
        """Have the functions of one word compiled. On a processor that gains nothing, and nothing is done."""
        if isinstance(model, FastRNNsearch) and model.W_s.is_cuda:
            model.steps = compiled_steps()

    def rated_as(self, recipe: Recipe) -> str:
        """Return the system of `hardware` that has the recipe's architecture."""
        return "rnnencdec-50" if recipe.model.architecture == "encdec" else "rnnsearch-50"

    def reported_training(self, system: str) -> ReportedTraining | None:
        """Return the hours and the card in a row of Table 2."""
        row = read_yaml(self.root / "reported.yaml")["tables"]["table2"]["rows"].get(system)
        return ReportedTraining(row["hours"], f"1x NVIDIA {row['gpu']}", "Table 2") if row else None

    def block(self, parameter: str) -> str:
        """Return the block by the beginning of the parameter's name."""
        return next(title for beginning, title in BLOCKS.items() if parameter.startswith(beginning))

    def attention(self, model: nn.Module, batch: Batch) -> list[dict[str, Tensor]]:
        """Return `source` for each sentence: alpha_ij, (T, S).

        The list is empty for RNNencdec, which has no attention.
        """
        if not isinstance(model, RNNsearch) or model.config.architecture == "encdec":
            return []
        rows = zip(model.alignment(batch), batch.target_mask, batch.source_mask, strict=True)
        return [{"source": alpha[target][:, source]} for alpha, target, source in rows]


PAPER = Bahdanau2014(Path(__file__).parent)
"""The paper with its folder."""
