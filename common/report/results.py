"""The results of finished runs, read back for tables, figures and claims.

A folder of results holds one of two things for each system: a run folder `<system>/` with its result.json, or a
committed copy `<system>.json`. Beside it are the attention maps, as attention.json or `<system>.attention.json`, and
what `analyse` found, as analysis.json or `<system>.analysis.json`. The trainings of a system with several seeds are
called `<system>-seed<N>`. One of them may be called `<system>` alone.
"""

from __future__ import annotations

import datetime
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from common.align.record import Analysis, read_analysis
from common.errors import UserError
from common.files import write_json
from common.recipe import current, unlike
from common.result import (
    Column,
    Environment,
    Example,
    Likelihood,
    LongSentence,
    ResultFile,
    read_attention,
    read_result,
)
from common.text.moses import Tokeniser
from common.typed import plain

RATES_DIFFER = 1.25
"""Times do not compare if one start of a training found the machine this many times as fast as another. Ours: on an
idle machine the rates of the demos' runs lie within 8%."""
_OTHERS = ("claims.json",)
"""JSON files that `write_section` writes into the same folder."""
_SEED = re.compile(r"-seed\d+$")
"""End of a run's name that says its seed."""
_BESIDE = ("attention", "analysis")
"""Files beside a result: `attention.json` in a run folder, `<system>.attention.json` where it is committed."""


@dataclass(frozen=True)
class Result:
    """The result of one system, and what tables show of it."""

    system: str
    path: Path
    """Path of the result.json, or of its committed copy."""
    file: ResultFile
    others: tuple[Result, ...] = ()
    """The system's trainings with other seeds, if this is the one of the smallest seed."""

    @property
    def trainings(self) -> tuple[Result, ...]:
        """This training and those of the same system with other seeds, in the order of their seeds."""
        return (self, *self.others)

    @property
    def seed(self) -> int:
        return int(self.recipe["train"]["seed"])

    @property
    def label(self) -> str:
        """The training's own name: `base`, or `base-seed2`."""
        return (self.path.parent.name if self._in_run else self.path.stem) or self.system

    @property
    def _in_run(self) -> bool:
        return self.path.name == "result.json"

    @property
    def name(self) -> str:
        """Name of the recipe: `demo/rnnsearch-50`."""
        return self.file.recipe

    @property
    def title(self) -> str:
        return self.file.title

    @property
    def generated(self) -> bool:
        """Whether the text was made by a program."""
        return self.file.generated

    @cached_property
    def recipe(self) -> Mapping[str, Any]:
        """The resolved recipe as plain values, with today's names of its fields."""
        values: Mapping[str, Any] = current(self.file.resolved_recipe)
        return values

    @property
    def pair(self) -> str:
        """The languages as the papers write them: `EN-FR`."""
        return f"{self.recipe['data']['source']}-{self.recipe['data']['target']}".upper()

    @property
    def test_set(self) -> str:
        """The test set that tables show: the first one that the recipe names."""
        return next(iter(self.file.sets))

    @property
    def corpus(self) -> str:
        """The corpus in words."""
        return str(self.file.data["title"])

    def column(self, name: str = "all", test_set: str | None = None) -> Column | None:
        """Return the column `all` or `no_unk` of a test set, or None if it was not scored.

        test_set: the default is the first one.
        """
        scored = self.file.sets.get(test_set or self.test_set)
        column = scored.columns.get(name) if scored else None
        return None if column is None else replace(column, signature=self._told(column.signature))

    def _told(self, signature: str) -> str:
        """Complete an old signature, which does not name casing, language and year, from the recipe."""
        if "|tok:moses-escaped|" not in signature:
            return signature
        target, text = self.recipe["data"]["target"], self.recipe["text"]
        known = Tokeniser(target, text["lowercase"], text["tokeniser"]).signature
        return re.sub(r"case:[^|]*\|tok:moses-escaped", known, signature)

    @cached_property
    def all(self) -> Column:
        """The column with every sentence of the first test set."""
        column = self.column()
        assert column is not None, "every set has it (common.result.ScoredSet)"
        return column

    @property
    def longest(self) -> tuple[LongSentence, ...]:
        """The sentences of the first test set that are kept in full: those that the recipe names, or the longest."""
        return self.file.sets[self.test_set].longest

    @property
    def step(self) -> int:
        """Updates made."""
        return self.file.training.progress.step

    @property
    def planned(self) -> int:
        """Updates that the recipe asks for."""
        return int(self.recipe["train"]["steps"])

    @property
    def complete(self) -> bool:
        """Whether the training came to its end, and the decoded weights are from there."""
        return self.file.training.complete and self.step >= self.planned

    @property
    def updates(self) -> str:
        """`3,000 updates`, or for an unfinished run `1,200 of 3,000 updates`."""
        return f"{self.step:,} updates" if self.complete else f"{self.step:,} of {self.planned:,} updates"

    @property
    def seconds(self) -> float:
        """Wall time of training, summed over all restarts."""
        return self.file.training.progress.seconds

    @property
    def epochs(self) -> float | None:
        """Passes over the training pairs, counted in sentences. None if the log does not say."""
        seen, used = self.file.training.progress.sentences, int(self.file.data["train_used"]["pairs"])
        return None if seen is None else seen / used

    @property
    def parameters(self) -> int | None:
        """Number of trainable parameters. None for a run that has not ended."""
        return self.file.training.parameters

    @property
    def environment(self) -> Environment:
        """Machine and versions of the training or, if they are not known, of the scoring."""
        return self.file.training.environment or self.file.environment

    @property
    def hardware(self) -> str:
        return self.environment.hardware

    @property
    def train(self) -> Likelihood:
        """Likelihood of training pairs by the decoded weights."""
        return self.file.training.train

    @property
    def dev(self) -> Likelihood:
        """Likelihood of the development set by the decoded weights."""
        return self.file.training.dev

    @property
    def flops_counted(self) -> int:
        """FLOPs of the training's matrix products, counted from the model."""
        return self.file.flops_counted

    @property
    def flops_by_time(self) -> float | None:
        """Training time x sustained rate of its devices: the method under Vaswani2017 Table 2.

        None for an older run, whose rate was not measured where it was trained, and for one that was trained at several
        rates: by several machines or numbers of threads, or by a machine that had become faster when it was resumed.
        """
        training, starts = self.file.training, self.file.training.starts or ()
        machines = {(start.environment.hardware, start.environment.threads) for start in starts}
        rates = [rate for start in starts if (rate := start.matmul_flops_per_second)]
        rate = training.matmul_flops_per_second
        if rate is None or len(machines) > 1 or (rates and max(rates) >= RATES_DIFFER * min(rates)):
            return None
        return self.seconds * rate

    @property
    def threads(self) -> str:
        """`1 thread`, `2 threads`, or of a training whose starts had several, in their order: `1, then 2 threads`."""
        starts = self.file.training.starts or ()
        counts = [*dict.fromkeys(start.environment.threads for start in starts)] or [self.recipe["run"]["threads"]]
        return f"{', then '.join(map(str, counts))} thread{'s' if counts != [1] else ''}"

    @property
    def commit(self) -> str:
        """The commit of the training, shortened. A `+` says that tracked files differed from it."""
        source = self.file if self.file.training.commit == "" else self.file.training
        return "no commit" if source.commit is None else f"{source.commit[:7]}{'+' if source.dirty else ''}"

    @property
    def provenance(self) -> str:
        """One line with everything that is needed to find or repeat the run."""
        steps = self.file.weights.steps
        averaged = (
            f"mean of the checkpoints at {', '.join(f'{step:,}' for step in steps)}"
            if len(steps) > 1
            else "the last checkpoint"
        )
        time = datetime.timedelta(seconds=round(self.seconds))
        return (
            f"recipe `{self.name}` ({self.file.recipe_sha256[:10]}), seed {self.seed}, "
            f"commit {self.commit}, {self.updates} in {time} (h:m:s) on {self.hardware}, "
            f"{self.threads}, PyTorch {self.environment.torch}; decoded: {averaged}"
        )

    @property
    def attention(self) -> tuple[Example, ...]:
        """The example sentences with their attention. Empty if none was kept."""
        return read_attention(self.beside("attention"))

    @property
    def analysis(self) -> Analysis | None:
        """What `analyse` found, or None. Raise UserError if the file is damaged."""
        return None if self.stale else self._analysed

    @cached_property
    def _analysed(self) -> Analysis | None:
        """The analysis beside the result, whatever it is of."""
        return read_analysis(self.beside("analysis"))

    @property
    def stale(self) -> str:
        """What the analysis beside the result is of, if not of the result: `other weights`. Empty if it is, or none."""
        if (found := self._analysed) is None:
            return ""
        training, sets = self.file.training.data_sha256, self.file.data.get("outputs", {})
        others = {
            "other weights": found.weights != self.file.weights,
            "other training text": training not in (None, found.data_sha256),
            "other test or development text": any(
                sets.get(name, {}).get("sha256") != sha256 for name, sha256 in found.sets_sha256.items()
            ),
            "another recipe": found.recipe_sha256 != self.file.recipe_sha256,
        }
        return next((name for name, differs in others.items() if differs), "")

    def beside(self, kind: str) -> Path:
        """Return the path of one of the `_BESIDE`, whether it exists or not."""
        return self.path.with_name(f"{kind}.json" if self._in_run else f"{self.path.stem}.{kind}.json")


def read_results(folder: Path) -> dict[str, Result]:
    """Read the result of every system in `folder`. Return them by system; nothing if the folder does not exist.

    The trainings of a system with several seeds are `Result.trainings` of the one with the smallest seed. A run folder
    takes precedence over a committed file of the same name, and a name without a seed over one with it.
    Raise UserError that names a damaged file, one whose recipe differs from that of the system's other seeds in more
    than the seed, or two that name their seed and have the same.
    """
    systems: dict[str, dict[int, Result]] = {}
    for name, path in reversed(_paths(folder).items()):
        result = Result(_SEED.sub("", name), path, read_result(path))
        seeds = systems.setdefault(result.system, {})
        if other := next(iter(seeds.values()), None):
            _check_seed(result, seeds.get(result.seed), other)
        seeds[result.seed] = result
    grouped = {system: [seeds[seed] for seed in sorted(seeds)] for system, seeds in sorted(systems.items())}
    return {system: replace(first, others=tuple(others)) for system, (first, *others) in grouped.items()}


def _check_seed(result: Result, same: Result | None, other: Result) -> None:
    """Raise UserError if a result cannot be another seed of the system of `other`. same: the one that has its seed."""
    if other.name != result.name:
        raise UserError(f"{result.path}: of recipe {result.name}, and {other.path} of {other.name}; rename one of them")
    if same and _SEED.search(same.label) and _SEED.search(result.label):
        raise UserError(f"{result.path}: of seed {result.seed}, as {same.path}; move one of them away")
    for key, (here, there) in unlike(result.recipe, other.recipe).items():
        raise UserError(
            f"{result.path}: {key} is {here}, and {there} in {other.path}; train one of them again, or move it away"
        )


def _paths(folder: Path) -> dict[str, Path]:
    """Return the file of each training's result by its name, in alphabetical order.

    Raise UserError for the folder of one run, whose other files are no results.
    """
    if (folder / "recipe.yaml").is_file():
        raise UserError(f"{folder}: one run or exported model; name a folder of finished runs or of committed results")
    beside = tuple(f".{kind}.json" for kind in _BESIDE)
    committed = [path for path in folder.glob("*.json") if path.name not in _OTHERS and not path.name.endswith(beside)]
    paths = {path.stem: path for path in committed} | {path.parent.name: path for path in folder.glob("*/result.json")}
    return dict(sorted(paths.items()))


def export(results: Path, out: Path) -> list[Path]:
    """Copy each run's result, attention and analysis from the folder `results` to `out`, named by run, to be
    committed.
    """
    written = []
    for name, path in _paths(results).items():
        result = Result(name, path, read_result(path))
        write_json(out / f"{name}.json", plain(result.file))
        written.append(out / f"{name}.json")
        if not result._in_run:
            continue
        for kind in _BESIDE:
            copy = out / f"{name}.{kind}.json"
            if result.beside(kind).is_file():
                written.append(Path(shutil.copyfile(result.beside(kind), copy)))
            else:
                copy.unlink(missing_ok=True)  # of an earlier run
    return written
