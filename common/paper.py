"""What a paper gives to the shared engine. Each papers/<paper>/paper.py has one subclass of `Paper`."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

from common.contract import Batch
from common.recipe import Recipe, load_recipe

if TYPE_CHECKING:
    from common.report.page import Section
    from common.run.export import Format, Translator


@dataclass(frozen=True)
class Optimization:
    """An optimizer, and the two rules that a paper adds to it."""

    optimizer: torch.optim.Optimizer
    learning_rate: Callable[[int], float] | None = None
    """Learning rate at update 1, 2, ... With None the optimizer keeps its own."""
    condition_gradients: Callable[[list[nn.Parameter]], None] | None = None
    """Changes the gradients in place before the update (Bahdanau 2014 App. B.2: norm at most 1)."""


@dataclass(frozen=True)
class ReportedTraining:
    """What a paper reports about one of its own trainings."""

    hours: float
    hardware: str
    source: str
    """Where the paper reports it: `Table 2`."""


@dataclass(frozen=True)
class Paper(ABC):
    """One paper: its recipes, its model, its optimizer, its tables."""

    root: Path
    """The paper's folder: recipes/, reported.yaml, results/."""
    name: ClassVar[str]
    """Folder and module name: `bahdanau2014`."""
    title: ClassVar[str]
    citation: ClassVar[str]
    model_config: ClassVar[type]
    """Dataclass of the recipe section `model`."""
    optimizer_config: ClassVar[type]
    """Dataclass of the recipe section `optimizer`."""
    hardware: ClassVar[Mapping[str, Mapping[str, float]]]
    """FLOP/s that named hardware sustained, by the system that it was measured on. The first system is taken for those
    that were not measured."""
    formats: ClassVar[Sequence[str]] = ()
    """Formats of other programs to which `export` can convert the model."""

    @abstractmethod
    def build_model(self, recipe: Recipe) -> nn.Module:
        """Build the recipe's model with its initial weights, on the current default device.

        The weights are drawn from torch's global generator.
        """

    @abstractmethod
    def build_optimization(self, model: nn.Module, recipe: Recipe) -> Optimization:
        """Build the recipe's optimizer for the model's parameters, with its schedule and its rule for gradients."""

    @abstractmethod
    def rated_as(self, recipe: Recipe) -> str:
        """Return the system of `hardware` that is nearest to the recipe's model in size and kind."""

    @abstractmethod
    def reported_training(self, system: str) -> ReportedTraining | None:
        """Return what reported.yaml says of the training of the paper's own system of that name."""

    @abstractmethod
    def block(self, parameter: str) -> str:
        """Return the block under which `plan` counts a parameter, given by name."""

    @abstractmethod
    def attention(self, model: nn.Module, batch: Batch) -> list[dict[str, Tensor]]:
        """Return the attention weights of each sentence of a teacher-forced batch, by name, for the figures.

        Weights are (..., words that look, words looked at), with EOS and without padding. `source` is the decoder's
        attention to the source, (..., T, S). The list is empty for a model without attention.
        """

    def accelerate(self, model: nn.Module) -> None:  # noqa: B027 (most papers need nothing)
        """Prepare a fast model for training on its GPU. It computes the same functions."""

    @property
    def sections(self) -> dict[str, type]:
        """The recipe sections that belong to the paper."""
        return {"model": self.model_config, "optimizer": self.optimizer_config}

    @property
    def others(self) -> list[Paper]:
        """The other papers, one for each paper.py. They are imported only here, to say whose run a folder is."""
        folders = sorted(path.parent.relative_to(self.root.parent) for path in self.root.parent.glob("**/paper.py"))
        names = [".".join(folder.parts) for folder in folders]
        return [importlib.import_module(f"papers.{name}.paper").PAPER for name in names if name != self.name]

    def recipe(self, reference: str, overrides: Sequence[str] = ()) -> Recipe:
        """Load the recipe of that name or path, with `key=value` overrides."""
        return load_recipe(self.root / "recipes", reference, self.sections, overrides)

    def build_tables(self, scale: str, results: Path, out: Path) -> Section:
        """Build tables, figures and claims of one scale from the folder `results`, and write them to `out`.

        papers/<paper>/tables.py does this. It is imported only here, because it imports Matplotlib to draw figures.
        """
        section: Section = importlib.import_module(f"papers.{self.name}.tables").build_tables(self, scale, results, out)
        return section

    def load(self, folder: str | Path) -> Translator:
        """Open a run's folder, or one that `export` made, to translate with it.

        common/run/export.py does this. It is imported only here, because it imports all that a run needs.
        """
        translator: Translator = importlib.import_module("common.run.export").load(self, Path(folder))
        return translator

    def format(self, name: str) -> Format:
        """Return one of `formats`, as papers/<paper>/formats.py defines it."""
        found: Format = importlib.import_module(f"papers.{self.name}.formats").FORMATS[name]
        return found

    @property
    def scales(self) -> list[str]:
        """The names of all folders of recipes."""
        return sorted(folder.name for folder in (self.root / "recipes").glob("*/"))

    def systems(self, scale: str) -> list[str]:
        """Return the names of all recipes of a scale, in the order of their files."""
        folder = self.root / "recipes" / scale
        return sorted(
            path.relative_to(self.root / "recipes").with_suffix("").as_posix() for path in folder.glob("*.yaml")
        )
