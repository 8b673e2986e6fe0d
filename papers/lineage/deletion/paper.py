"""What the shared engine needs to know about the steps from RNNsearch to the Transformer."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from common.contract import Batch
from common.paper import Optimization, Paper, ReportedTraining
from common.recipe import Recipe, require
from papers.bahdanau2014.model import RNNsearch
from papers.lineage.deletion import SCALE
from papers.lineage.deletion.model import Between, ModelConfig, build_model
from papers.vaswani2017.model import Transformer
from papers.vaswani2017.optim import OptimizerConfig, build_optimization


class Deletion(Paper):
    """The steps. No paper has them, so nothing is reported of them."""

    name = "lineage.deletion"
    title = "From RNNsearch to the Transformer in steps"
    citation = "Models between those of Bahdanau et al. 2014 and Vaswani et al. 2017, of our own"
    model_config = ModelConfig
    optimizer_config = OptimizerConfig
    hardware = {}

    def build_model(self, recipe: Recipe) -> nn.Module:
        """Build the model of the recipe's step. All are the equations as they stand, so that their speeds compare."""
        require(recipe.run.path == "readable", "run.path", "be readable: the steps have no fast program")
        return build_model(recipe.model, recipe.text.vocabulary_size)

    def build_optimization(self, model: nn.Module, recipe: Recipe) -> Optimization:
        """Build the Transformer's Adam for every step."""
        return build_optimization(model, recipe)

    def rated_as(self, recipe: Recipe) -> str:
        """Return the recipe's own system: no rate is known of any."""
        return recipe.name

    def reported_training(self, system: str) -> ReportedTraining | None:
        """Return nothing: nobody reports such a training."""
        return None

    def block(self, parameter: str) -> str:
        """Return the module at the beginning of the parameter's name."""
        return parameter.partition(".")[0]

    def attention(self, model: nn.Module, batch: Batch) -> list[dict[str, Tensor]]:
        """Return `source` for each sentence, (T, S): of several heads the mean, of several layers the last."""
        if isinstance(model, Transformer):
            weights = model.attention_maps(batch).source[-1].mean(1)  # (B, T, S)
        else:
            assert isinstance(model, (RNNsearch, Between))
            weights = model.alignment(batch)
        rows = zip(weights, batch.target_mask, batch.source_mask, strict=True)
        return [{"source": alpha[target][:, source]} for alpha, target, source in rows]

    def systems(self, scale: str) -> list[str]:
        """Return the names of the steps' recipes, whatever the scale: there is one."""
        return super().systems(SCALE)


PAPER = Deletion(Path(__file__).parents[1])
"""The steps, with the folder that holds their recipes and results."""
