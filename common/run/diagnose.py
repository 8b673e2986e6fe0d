"""`diagnose`: where a run parts from another one of the same recipe, and what that usually means.

The other run is the paper's committed result of the recipe, another result, or another run's folder.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.markdown import table
from common.paper import Paper
from common.recipe import Recipe, current, difference, recipe_from_dict
from common.result import Environment, Start, Training, read_result, read_starts, read_training
from common.run.folder import read_recipe
from common.train.loop import read_log

EARLY = 20
"""Updates after which rounding alone has not grown yet."""
ROUNDING = 1e-3
"""Nats per token. Trainings that differ in rounding alone are nearer to each other in the first EARLY updates, and
those of two seeds are not (both demos: 0.00001 at most between one thread and two, 0.01 and more between two seeds).
After 60 updates rounding makes 0.02 in RNNsearch, and after 200 it makes 0.04 in the Transformer."""
TOKENS = 0.02
"""Share by which the target tokens of an update may differ: a run that has not ended has seen other sentences."""
_CURVES = {"dev_nll_per_token": "development set", "loss": "training loss"}
"""What is compared update by update: key in the log, and its name here."""
_SHOWN = 8
"""Points of a curve that are printed."""
_VOCABULARIES = ("source.vocab", "target.vocab")


@dataclass(frozen=True)
class Side:
    """What is known of one of the two runs. None where nothing recorded it."""

    path: Path
    recipe: Recipe
    updates: int
    tokens: float | None
    """Target tokens of an update, EOS included, on average."""
    data: str | None
    """Hash of the training ids, vocabularies and segmentation."""
    vocabularies: Mapping[str, str]
    """SHA-256 by file name."""
    environment: Environment | None
    commit: str | None
    """With `+` if tracked files differed from it."""
    curves: Mapping[str, Mapping[int, float]]
    """Values by update, by key of the log."""


def diagnose(paper: Paper, run: Path, other: Path | None = None) -> str:
    """Compare the run with the committed result of its recipe, or with `other`: a result.json or a run's folder.

    Raise UserError if there is nothing to compare with.
    """
    here = _of_run(paper, run)
    there = _of(paper, other if other is not None else _committed(paper, here))
    shared = {key: _common(here.curves.get(key, {}), there.curves.get(key, {})) for key in _CURVES}
    lines = [f"here:  {_named(here)}", f"there: {_named(there)}", ""]
    lines.append(table(["", "here", "there", ""], _facts(here, there)))
    for key, points in shared.items():
        if points:
            some = f", {_SHOWN} of {len(points):,} points" if len(points) > _SHOWN else ""
            lines += ["", f"{_CURVES[key]}, nats per target token{some}:", "", _shown(points)]
    return "\n".join([*lines, "", *_findings(here, there, shared)])


def _committed(paper: Paper, here: Side) -> Path:
    """Return the committed result of the run's recipe."""
    path = paper.root / "results" / here.recipe.scale / f"{here.recipe.system}.json"
    if not path.is_file():
        raise UserError(
            f"{here.path}: no result of recipe {here.recipe.name} is committed ({path}); "
            "name another one: --with RESULT.json or --with RUN"
        )
    return path


def _of(paper: Paper, path: Path) -> Side:
    """Read the other side."""
    if path.is_dir():
        return _of_run(paper, path)
    if not path.is_file():
        raise UserError(f"{path}: no such file or folder; --with wants a RESULT.json or a RUN folder")
    return _of_result(paper, path)


def _of_run(paper: Paper, run: Path) -> Side:
    """Read a run's folder. The training need not have ended."""
    recipe, log = read_recipe(paper, run), read_log(run)
    if not log:
        raise UserError(f"{run}: log.jsonl has no line yet; train the run first")
    starts, training = read_starts(run), read_training(run)
    known: Start | Training | None = starts[-1] if starts else training
    files = {name: run / "text" / name for name in _VOCABULARIES}
    return Side(
        path=run,
        recipe=recipe,
        updates=log[-1]["step"],
        tokens=_tokens(log),
        data=known.data_sha256 if known else None,
        vocabularies={
            name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items() if path.is_file()
        },
        environment=known.environment if known else None,
        commit=_commit(known.commit, known.dirty) if known else None,
        curves={key: {entry["step"]: entry[key] for entry in log if key in entry} for key in _CURVES},
    )


def _of_result(paper: Paper, path: Path) -> Side:
    """Read a result. It keeps the development curve, and no training loss."""
    result = read_result(path)
    if result.paper != paper.name:
        raise UserError(f"{path}: is of {result.paper}; run `python -m papers.{result.paper} diagnose`")
    training, made = result.training, result.training.progress
    outputs = result.data.get("outputs", {})
    return Side(
        path=path,
        recipe=recipe_from_dict(current(result.resolved_recipe), paper.sections, str(path)),
        updates=made.step,
        tokens=made.target_tokens / made.step if made.target_tokens else None,
        data=training.data_sha256,
        vocabularies={name: outputs[name]["sha256"] for name in _VOCABULARIES if name in outputs},
        environment=training.environment,
        commit=_commit(training.commit, training.dirty),
        curves={"dev_nll_per_token": {point.step: point.dev_nll_per_token for point in training.dev_curve}},
    )


def _commit(commit: str | None, dirty: bool | None) -> str | None:
    """Return a commit, shortened."""
    return f"{commit[:7]}{'+' if dirty else ''}" if commit else None


def _tokens(log: Sequence[Mapping[str, Any]]) -> float | None:
    """Return the mean target tokens of an update. A line's two rates are of the same updates and the same time."""
    entries = [entry for entry in log if "target_tokens_per_second" in entry]
    steps = [0, *(entry["step"] for entry in entries)]
    sums = [
        (after - before) * entry["target_tokens_per_second"] / entry["updates_per_second"]
        for entry, before, after in zip(entries, steps, steps[1:], strict=False)
    ]
    return sum(sums) / steps[-1] if entries else None


Point = tuple[int, float, float]
"""Update, value here, value there."""


def _common(here: Mapping[int, float], there: Mapping[int, float]) -> list[Point]:
    """Return the updates at which both have a value."""
    return [(step, here[step], there[step]) for step in sorted(here.keys() & there.keys())]


def _parting(points: Sequence[Point]) -> int | None:
    """Return the index of the first point where the two differ, be it in the last bit."""
    return next((index for index, (_, here, there) in enumerate(points) if here != there), None)


def _named(side: Side) -> str:
    return f"{side.path}, recipe {side.recipe.name}, {side.updates:,} updates"


def _facts(here: Side, there: Side) -> list[tuple[str, str, str, str]]:
    """Return the rows of the table of facts: name, here, there, and whether they differ."""
    both, rows = (here, there), [_row("data", here.data, there.data)]
    rows += [_row(name, *(side.vocabularies.get(name) for side in both)) for name in _VOCABULARIES]
    # As text, for a field may be null, which is not the same as unknown.
    fields = {key: (str(mine), str(other)) for key, (mine, other) in _model_fields(here, there).items()}
    fields |= {key: (_field(here, key), _field(there, key)) for key in _ALWAYS}
    rows += [_row(key, mine, other) for key, (mine, other) in fields.items()]
    tokens = [None if side.tokens is None else f"{side.tokens:,.1f}" for side in both]
    rows.append((*_row("tokens an update", *tokens)[:3], "differs" if _other_tokens(here, there) else ""))
    rows += [_row(name, *(getattr(side.environment, name, None) for side in both)) for name in _PLACES]
    return [*rows, _row("commit", here.commit, there.commit)]


def _row(name: str, here: str | None, there: str | None) -> tuple[str, str, str, str]:
    """Return a row of the table of facts. Hashes are shortened."""
    mine, other = (
        "not recorded" if value is None else value[:12] if len(value) == 64 else value for value in (here, there)
    )
    return name, mine, other, "" if here == there or None in (here, there) else "differs"


def _other_tokens(here: Side, there: Side) -> bool:
    """Return whether an update has another number of target tokens, as far as that is known."""
    if here.tokens is None or there.tokens is None:
        return False
    return abs(here.tokens / there.tokens - 1) > TOKENS


_ALWAYS = ("data.corpus", "train.seed", "train.precision", "run.device", "run.threads", "run.path")
"""Recipe fields that are shown even if they are equal."""
_PLACES = ("hardware", "torch", "python")
"""Fields of the environment that are shown."""


def _field(side: Side, key: str) -> str:
    section, name = key.split(".")
    return str(getattr(getattr(side.recipe, section), name))


def _model_fields(here: Side, there: Side) -> dict[str, tuple[Any, Any]]:
    """Return the recipe fields that differ and make another model: key -> (here, there)."""
    changed = difference(here.recipe, there.recipe)
    return {key: values for key, values in changed.items() if here.recipe.may_change(key) is None}


def _shown(points: Sequence[Point]) -> str:
    """Return a table of some points: the first and the last, the one where the two part, and some between."""
    last, parted = len(points) - 1, _parting(points)
    chosen = {round(index * last / (_SHOWN - 1)) for index in range(_SHOWN)} | (
        {parted} if parted is not None else set()
    )
    rows = [
        (f"{step:,}", f"{here:.4f}", f"{there:.4f}", "0" if here == there else f"{here - there:+.2g}")
        for step, here, there in (points[index] for index in sorted(chosen))
    ]
    return table(["update", "here", "there", "here - there"], rows, right=(0, 1, 2, 3))


def _findings(here: Side, there: Side, curves: Mapping[str, Sequence[Point]]) -> Iterator[str]:
    """Yield where the two part, curve by curve, and then what that usually means."""
    for key, points in curves.items():
        yield f"{_CURVES[key]}: {_parted(points) if points else _nothing(key, here, there)}"
    yield ""
    yield from _causes(here, there, [points for points in curves.values() if points])


def _nothing(key: str, here: Side, there: Side) -> str:
    """Say why a curve cannot be compared."""
    if key not in there.curves:
        return "a result does not keep it; compare it with a run's folder: --with RUN"
    steps = [min(side.curves[key], default=0) for side in (here, there)]
    return f"no common update yet; the first values are of update {steps[0]:,} here and {steps[1]:,} there"


def _parted(points: Sequence[Point]) -> str:
    """Say where a curve parts."""
    first, last = _parting(points), points[-1]
    if first is None:
        return f"equal to the last bit at all {len(points):,} common updates, up to {last[0]:,}"
    since = f"equal up to update {points[first - 1][0]:,}; parts" if first else "parts"
    at, gap = points[first][0], abs(points[first][1] - points[first][2])
    return (
        f"{since} at or before update {at:,}, by {gap:.2g} there and {abs(last[1] - last[2]):.2g} at update {last[0]:,}"
    )


def _causes(here: Side, there: Side, curves: Sequence[Sequence[Point]]) -> Iterator[str]:
    """Yield what usually makes two runs differ as these do. Rounding explains only what nothing recorded does."""
    known = list(_recorded(here, there))
    yield from known
    points = sorted(point for curve in curves for point in curve)
    parted = _parting(points)
    if parted is not None and not known:
        yield _unexplained(points, parted)
    elif parted is None and points:
        yield "So far the two make the same updates."
    elif not known:
        yield "Nothing differs that an update depends on. The curves will tell once both have a value at one update."


def _recorded(here: Side, there: Side) -> Iterator[str]:
    """Yield the recorded differences that change what a training computes: recipe, data, minibatches."""
    if fields := _model_fields(here, there):
        named = ", ".join(f"{key} {mine} here and {other} there" for key, (mine, other) in fields.items())
        yield f"The recipes differ: {named}. The curves part from the first update on."
        if list(fields) == ["train.seed"]:
            yield "Another seed means other first weights and another order of the pairs. The ends should be close."
    mine, other = here.recipe.data.corpus, there.recipe.data.corpus
    if mine != other and here.data != there.data:
        yield f"The corpora differ: data.corpus {mine} here and {other} there."
    if here.recipe.text.vocabulary_size != there.recipe.text.vocabulary_size:
        yield "A loss per token cannot be compared with one of another vocabulary."
    if any(key.startswith(("data.", "text.", "batch.")) for key in fields):
        return  # which may explain all below
    if None not in (here.data, there.data) and here.data != there.data:
        same = "the vocabularies are equal" if here.vocabularies == there.vocabularies else "so do the vocabularies"
        yield (
            f"The training data differ, {same}: usually another download, or another version of the preparation or its "
            "packages. manifest.json of prepared data, kept as `data` in a result, has both: `inputs` and `tools`."
        )
    if _other_tokens(here, there):
        yield (
            "An update has another number of target tokens: usually other text, or minibatches made by other code. "
            "Before the end of an epoch the order of the pairs can do it too."
        )


def _unexplained(points: Sequence[Point], parted: int) -> str:
    """Say what parts two runs of the same recipe and data. points: of all curves, apart from index `parted` on."""
    first, early = points[parted], [point for point in points[parted:] if point[0] <= EARLY]
    gap = max(abs(here - there) for _, here, there in early or [first])
    if gap < ROUNDING:
        return (
            "Same recipe and data, and a small difference at first: usually the rounding of another machine or another "
            "PyTorch, of run.device, run.threads or run.path. It grows, and is no fault."
        )
    if early:
        return (
            "Same recipe and data, and far apart at once: usually other first weights or another precision, by other "
            "code. See what changed between the two commits. Dropout, if the model has it, does it too: it draws other "
            "numbers on another kind of device, with another run.path on a GPU, and with another number of processes."
        )
    if parted:
        return (
            f"Same recipe and data, equal up to update {points[parted - 1][0]:,} and not at {first[0]:,}: usually one "
            "of the two was stopped and went on elsewhere or with other fields. starts.json says where and with which."
        )
    return (
        f"Same recipe and data, and nothing in common before update {first[0]:,}, when rounding alone may have grown "
        "this large. To tell it from other code, train both commits on one machine with run.log_every=10, and compare."
    )
