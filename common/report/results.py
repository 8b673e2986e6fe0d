"""What finished runs left behind, read back for tables, figures and claims.

A folder of results holds, for each system, either a run folder `<system>/` with its result.json, or a committed
copy `<system>.json`; attention maps lie beside as attention.json or `<system>.attention.json`.
"""

from __future__ import annotations

import datetime
import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from common.errors import UserError
from common.files import write_json
from common.recipe import current
from common.score.bleu import Statistics
from common.text.moses import Tokeniser

_REQUIRED = ("recipe", "title", "resolved_recipe", "recipe_sha256", "generated", "training", "environment", "sets")
_OTHERS = ("claims.json",)
"""JSON files that `write_section` puts into the same folder."""
_ATTENTION = ".attention.json"


@dataclass(frozen=True)
class Column:
    """One scored selection of a test set's sentences: all of them, or those without unknown words."""

    values: Mapping[str, Any]
    recipe: Mapping[str, Any]

    @property
    def bleu(self) -> float:
        """The paper's BLEU x 100."""
        return float(self.values["bleu"])

    @property
    def interval(self) -> tuple[float, float]:
        """Its 95% bootstrap interval."""
        low, high = self.values["interval"]
        return float(low), float(high)

    @property
    def signature(self) -> str:
        """What BLEU this is. Signatures that did not yet tell casing, language and year are told them by the recipe."""
        written, data, text = str(self.values["signature"]), self.recipe["data"], self.recipe["text"]
        if "|tok:moses-escaped|" not in written:
            return written
        known = Tokeniser(data["target"], text["lowercase"], text["tokeniser"]).signature
        return re.sub(r"case:[^|]*\|tok:moses-escaped", known, written)

    @cached_property
    def statistics(self) -> Statistics:
        """N-gram statistics by sentence, (sentences, 10)."""
        return np.array([row.split() for row in self.values["statistics"]], dtype=np.int64).reshape(-1, 10)

    @cached_property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Source words by sentence, (sentences,)."""
        return np.array(self.values["source_lengths"].split(), dtype=np.int64)


@dataclass(frozen=True)
class Result:
    """One system's result.json."""

    system: str
    path: Path
    values: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The recipe: `demo/rnnsearch-50`."""
        return str(self.values["recipe"])

    @property
    def title(self) -> str:
        return str(self.values["title"])

    @property
    def generated(self) -> bool:
        """Whether its text was made by a program."""
        return bool(self.values["generated"])

    @property
    def recipe(self) -> Mapping[str, Any]:
        """The resolved recipe, as plain values in the names of today."""
        return _mapping(current(self.values["resolved_recipe"]))

    @property
    def pair(self) -> str:
        """Its languages, as the papers write them: `EN-FR`."""
        return f"{self.recipe['data']['source']}-{self.recipe['data']['target']}".upper()

    @property
    def test_set(self) -> str:
        """The set that tables print: the first one its recipe names."""
        return str(next(iter(self.values["sets"])))

    @property
    def corpus(self) -> str:
        """The corpus in words."""
        return str(self.values.get("data", {}).get("title", self.recipe["data"]["corpus"]))

    def column(self, name: str = "all", test_set: str | None = None) -> Column | None:
        """The column `all` or `no_unk` of a set (default: the first), or None where it was not scored."""
        values = self.values["sets"].get(test_set or self.test_set, {}).get("columns", {}).get(name)
        return None if values is None else Column(values, self.recipe)

    @property
    def all(self) -> Column:
        """Every sentence of the first set."""
        return Column(self.values["sets"][self.test_set]["columns"]["all"], self.recipe)

    @property
    def step(self) -> int:
        """Updates made."""
        return int(self._trained["progress"]["step"])

    @property
    def planned(self) -> int:
        """Updates the recipe asks for."""
        return int(self.recipe["train"]["steps"])

    @property
    def complete(self) -> bool:
        return bool(self._trained["complete"]) and self.step >= self.planned

    @property
    def updates(self) -> str:
        """`3,000 updates`, or of an unfinished run `1,200 of 3,000 updates`."""
        return f"{self.step:,} updates" if self.complete else f"{self.step:,} of {self.planned:,} updates"

    @property
    def seconds(self) -> float:
        """Wall time spent training, over all restarts."""
        return float(self._trained["progress"]["seconds"])

    @property
    def epochs(self) -> float | None:
        """Passes over the training pairs, by sentences seen; None where the log did not say."""
        seen = self._trained["progress"].get("sentences")
        used = self.values.get("data", {}).get("train_used", {}).get("pairs")
        return seen / used if seen is not None and used else None

    @property
    def parameters(self) -> int | None:
        """Trainable parameters; None of a run that has not ended."""
        count = self._trained.get("parameters")
        return None if count is None else int(count)

    @property
    def hardware(self) -> str:
        """Where it was trained, or of an unfinished run scored."""
        return str(self._trained.get("environment", self.values["environment"])["hardware"])

    def likelihood(self, part: str, unit: str) -> float | None:
        """`nll_per_token`, `nll_per_sentence` (nats) or `perplexity` of `train` or `dev`."""
        value = self._trained.get(part, {}).get(unit)
        return None if value is None else float(value)

    @property
    def flops_counted(self) -> float:
        """FLOPs of the training's matrix products, counted from the model."""
        return float(self.values["flops_counted"])

    @property
    def rate_is_of_training(self) -> bool:
        """Whether the machine that trained it measured its rate; of older runs the one that scored them did."""
        return "matmul_flops_per_second" in self._trained

    @property
    def flops_by_time(self) -> float | None:
        """Training time x devices (one) x sustained rate: the method under Vaswani2017 Table 2. None without a rate."""
        rate = (self._trained if self.rate_is_of_training else self.values).get("matmul_flops_per_second")
        return None if rate is None else self.seconds * float(rate)

    @property
    def commit(self) -> str:
        """The commit it was trained on, short; `+` where tracked files differed from it."""
        source = self._trained if "commit" in self._trained else self.values
        if source.get("commit") is None:
            return "no commit"
        return f"{source['commit'][:7]}{'+' if source.get('dirty') else ''}"

    @property
    def provenance(self) -> str:
        """Everything needed to find or repeat the run, in one line."""
        weights = self.values.get("weights", {})
        steps = weights.get("averaged_steps", [])
        averaged = (
            f"mean of the checkpoints at {', '.join(f'{step:,}' for step in steps)}"
            if len(steps) > 1
            else "the last checkpoint"
        )
        environment = self._trained.get("environment", self.values["environment"])
        time = datetime.timedelta(seconds=round(self.seconds))
        return (
            f"recipe `{self.name}` ({self.values['recipe_sha256'][:10]}), seed {self.recipe['train']['seed']}, "
            f"commit {self.commit}, {self.updates} in {time} (h:m:s) on {self.hardware}, "
            f"{self.recipe['run']['threads']} thread{'s' if self.recipe['run']['threads'] > 1 else ''}, "
            f"PyTorch {environment['torch']}; decoded: {averaged}"
        )

    @property
    def attention(self) -> list[dict[str, Any]]:
        """The example sentences with their attention; empty where none was kept."""
        beside = self.path.parent / "attention.json"
        path = beside if self.path.name == "result.json" else self.path.with_name(self.system + _ATTENTION)
        return _read_json(path, list) if path.is_file() else []

    @property
    def _trained(self) -> Mapping[str, Any]:
        return _mapping(self.values["training"])


def read_results(folder: Path) -> dict[str, Result]:
    """Every system's result in `folder`, by system; empty when there is no such folder.

    A run folder comes before a committed file of the same name. Raises UserError naming a damaged file.
    """
    committed = [
        path for path in folder.glob("*.json") if path.name not in _OTHERS and not path.name.endswith(_ATTENTION)
    ]
    paths = {path.stem: path for path in committed} | {path.parent.name: path for path in folder.glob("*/result.json")}
    return {system: _read_result(system, path) for system, path in sorted(paths.items())}


def export(results: Path, out: Path) -> list[Path]:
    """Copy each run's result and attention from the folder `results` to `out`, named by system, to be committed."""
    written = []
    for system, result in read_results(results).items():
        write_json(out / f"{system}.json", result.values)
        written.append(out / f"{system}.json")
        attention = result.path.parent / "attention.json"
        if result.path.name == "result.json" and attention.is_file():
            written.append(Path(shutil.copyfile(attention, out / (system + _ATTENTION))))
    return written


def _mapping(value: Any) -> Mapping[str, Any]:
    assert isinstance(value, Mapping)
    return value


def _read_result(system: str, path: Path) -> Result:
    values = _read_json(path, dict)
    missing = [key for key in _REQUIRED if key not in values]
    if missing or not values["sets"]:
        raise UserError(
            f"{path}: not a result (no `{(missing or ['sets'])[0]}`); run `score` on the run again, or delete the file"
        )
    return Result(system, path, values)


def _read_json(path: Path, kind: type) -> Any:
    """The JSON value in `path`; UserError when it is damaged or not a `kind`."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        values = None
    if not isinstance(values, kind):
        raise UserError(f"{path}: damaged or not a result; run `score` on the run again, or delete the file")
    return values
