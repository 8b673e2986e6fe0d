"""The plug: what a paper hands to the shared engine. Filled once, in papers/<paper>/paper.py."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from common.recipe import Recipe, load_recipe

if TYPE_CHECKING:
    from common.report.tables import Section


@dataclass(frozen=True)
class Optimization:
    """An optimizer with the two rules a paper wraps around it."""

    optimizer: torch.optim.Optimizer
    learning_rate: Callable[[int], float] | None = None
    """Learning rate at update 1, 2, ...; None leaves the optimizer's own."""
    condition_gradients: Callable[[list[nn.Parameter]], None] | None = None
    """Changes the gradients in place before the update (Bahdanau 2014 App. B.2: norm at most 1)."""


@dataclass(frozen=True)
class ReportedTraining:
    """What a paper says that a training of its own took."""

    hours: float
    hardware: str
    source: str
    """Where the paper says so: `Table 2`."""


@dataclass(frozen=True)
class Paper:
    """One paper: its recipes, its model, its optimizer, its tables."""

    name: str
    """Folder and module name: `bahdanau2014`."""
    title: str
    citation: str
    root: Path
    """The paper's folder: recipes/, reported.yaml, results/."""
    model_config: type
    """Dataclass of the recipe section `model`."""
    optimizer_config: type
    """Dataclass of the recipe section `optimizer`."""
    build_model: Callable[[Recipe], nn.Module]
    """A freshly initialised model on the current default device, drawing from torch's global generator."""
    build_optimization: Callable[[nn.Module, Recipe], Optimization]
    hardware: Mapping[str, Mapping[str, float]]
    """FLOP/s that named hardware sustained, by the system it was measured on; the first stands in for the others."""
    rated_as: Callable[[Recipe], str]
    """The system of `hardware` whose size and kind a recipe's model is nearest to."""
    reported_training: Callable[[str], ReportedTraining | None]
    """What reported.yaml has of the training of the paper's own system of that name."""
    blocks: Callable[[str], str]
    """The block that a parameter, given by name, is counted under by `plan`."""
    attention: Callable[[nn.Module, Any], list[Any]]
    """Attention of one teacher-forced batch, for the figures; the paper says which."""

    @property
    def sections(self) -> dict[str, type]:
        """The recipe sections that belong to the paper."""
        return {"model": self.model_config, "optimizer": self.optimizer_config}

    def recipe(self, reference: str, overrides: Sequence[str] = ()) -> Recipe:
        """The recipe of that name or path, with `key=value` overrides."""
        return load_recipe(self.root / "recipes", reference, self.sections, overrides)

    def build_tables(self, scale: str, results: Path, out: Path) -> Section:
        """Build tables, figures and claims of one scale from the folder `results`, and write them to `out`.

        papers/<paper>/tables.py does it. It is imported here and not before, because it draws figures.
        """
        section: Section = importlib.import_module(f"papers.{self.name}.tables").build_tables(self, scale, results, out)
        return section

    def systems(self, scale: str) -> list[str]:
        """Names of all recipes of a scale, in file order."""
        folder = self.root / "recipes" / scale
        return sorted(
            path.relative_to(self.root / "recipes").with_suffix("").as_posix() for path in folder.glob("*.yaml")
        )
