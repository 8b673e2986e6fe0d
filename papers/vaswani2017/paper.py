"""What the shared engine needs to know about Vaswani et al. 2017."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from common.contract import Batch
from common.paper import Optimization, Paper, ReportedTraining
from common.recipe import Recipe, require
from common.yaml_files import read_yaml
from papers.vaswani2017.authors import AuthorsConfig, AuthorsTransformer
from papers.vaswani2017.fast import FastTransformer
from papers.vaswani2017.model import Transformer
from papers.vaswani2017.optim import OptimizerConfig, build_optimization

BLOCKS = {
    "self_attention": "self-attention",
    "source_attention": "attention to the source",
    "feed_forward": "feed-forward",
    "self_attention_norm": "layer norms",
    "source_attention_norm": "layer norms",
    "feed_forward_norm": "layer norms",
}
"""Block of the model by the part of a layer, as parameter names have it."""
MATRICES = {
    "E": "embedding, shared by source, target and softmax",
    "E_source": "source embedding",
    "E_decoder": "embedding, shared by target and softmax",
    "E_target": "target embedding",
    "E_softmax": "softmax matrix",
}
"""Block of the model by the name of a matrix with a row for each word."""


DEEPEST = 512
"""Most layers of a stack. Time and memory for building grow with the layers, and a slip of the pen would take hours."""


class Vaswani2017(Paper):
    """The Transformer."""

    name = "vaswani2017"
    title = "Attention Is All You Need"
    citation = (
        "A. Vaswani, N. Shazeer, N. Parmar, J. Uszkoreit, L. Jones, A. N. Gomez, Ł. Kaiser and I. Polosukhin, "
        "NIPS 2017, arXiv:1706.03762 (v5 where the tables of the two differ)"
    )
    model_config = AuthorsConfig
    optimizer_config = OptimizerConfig
    hardware = {
        "2 CPU cores": {"base": 1.0e11},
        "8x NVIDIA P100, by section 5.2": {"base": 2.2e13, "big": 3.2e13},
        "1x NVIDIA H200, float32, uncompiled": {"base": 3.3e13, "big": 3.9e13},
        "1x NVIDIA H200, bfloat16, uncompiled": {"base": 1.05e14, "big": 2.0e14},
    }
    """Sustained FLOP/s. CPU: 63% of the 160 GFLOP/s of an earlier machine's two cores. P100: the counted FLOPs divided
    by the 12 hours and 3.5 days of §5.2. That is 29% (base) and 42% (big) of the 9.5 TFLOP/s per GPU that Table 2
    assumes. At base's rate big would take 122 hours there, 1.45 times the 84 that are reported. H200: measured, without
    padding (benchmarks/results/gpu.json), with an earlier version that computed operation by operation. A fast training
    now compiles and records them, and its rate is not measured yet."""
    formats = ("ctranslate2", "marian")

    def build_model(self, recipe: Recipe) -> Transformer:
        """Build the model of model.py, authors.py or fast.py, as the recipe says."""
        require(recipe.model.N <= DEEPEST, "model.N", f"be at most {DEEPEST:,}")
        readable = AuthorsTransformer if recipe.model.departs else Transformer
        kind = FastTransformer if recipe.run.path == "fast" else readable
        return kind(recipe.model, recipe.text.vocabulary_size)

    def build_optimization(self, model: nn.Module, recipe: Recipe) -> Optimization:
        """Build Adam with the paper's schedule."""
        return build_optimization(model, recipe)

    def accelerate(self, model: nn.Module) -> None:
        """Compile the layers of a fast model."""
        if isinstance(model, FastTransformer):
            model.accelerate()

    def rated_as(self, recipe: Recipe) -> str:
        """Return the system of `hardware` that is nearest in width. The width decides how well a device is used."""
        return "big" if recipe.model.d_model >= 1024 else "base"

    def reported_training(self, system: str) -> ReportedTraining | None:
        """Return the hours and the machine of §5.2 for the base and the big models, in both languages."""
        training = read_yaml(self.root / "reported.yaml")["training"]
        hours = next((row["hours"] for row in training["rows"].values() if system in row["systems"]), None)
        return None if hours is None else ReportedTraining(hours, training["hardware"], training["source"])

    def block(self, parameter: str) -> str:
        """Return the block of a parameter: an embedding, what is added to it, or a part of a stack."""
        if parameter in MATRICES:
            return MATRICES[parameter]
        if parameter.startswith(("source_positions", "target_positions")):
            return "target-space vectors" if parameter.endswith("spaces") else "learned positions"
        stack, _, part = parameter.split(".")[:3]
        return f"{stack} {BLOCKS[part]}"

    def attention(self, model: nn.Module, batch: Batch) -> list[dict[str, Tensor]]:
        """Return for each sentence what Vaswani2017 Figures 3 to 5 show: weights by layer, head, query and key.

        `encoder` (N, h, S, S) and `decoder` (N, h, T, T) are the stacks' self-attention, `source` is (N, h, T, S).
        """
        assert isinstance(model, Transformer)
        maps = model.attention_maps(batch)
        sentences = []
        for row in range(len(batch.source)):
            S, T = int(batch.source_mask[row].sum()), int(batch.target_mask[row].sum())
            sentences.append(
                {
                    "encoder": maps.encoder[:, row, :, :S, :S],
                    "decoder": maps.decoder[:, row, :, :T, :T],
                    "source": maps.source[:, row, :, :T, :S],
                }
            )
        return sentences


PAPER = Vaswani2017(Path(__file__).parent)
"""The paper with its folder."""
