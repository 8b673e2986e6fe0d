"""Results with numbers that no run and no paper has, for the tests of tables and claims.

They are made from the classes with which runs are written, so they have the same layout.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from common.files import write_json
from common.recipe import Recipe
from common.result import (
    Column,
    Environment,
    Example,
    Likelihood,
    LongSentence,
    Reached,
    ResultFile,
    ScoredSet,
    ScoredTraining,
    Training,
    Weights,
    rows,
)
from common.score.bleu import bleu
from common.typed import plain


def statistics(qualities: Sequence[float], words: int = 11) -> np.ndarray:
    """Make ten counts per sentence, (sentences, 10): `words` words, and a share of the n-grams in them is right."""
    totals = [words - n for n in range(4)]
    return np.array([[*(round(quality * total) for total in totals), *totals, words, words] for quality in qualities])


def column(counts: np.ndarray, lengths: Sequence[int], value: float | None = None) -> Column:
    """Make a scored column. `value` replaces the BLEU, so that it can be found again in a table."""
    score = bleu(counts) if value is None else value
    return Column(
        bleu=score,
        interval=(score - 0.125, score + 0.125),
        signature="made|by:hand",
        detail="",
        sacrebleu=score + 0.0625,
        sacrebleu_signature="sacre|by:hand",
        sentences=len(counts),
        seconds=1.0,
        statistics=rows(counts),
        source_lengths=" ".join(map(str, lengths)),
        hypotheses=("mot",) * len(counts),
    )


MACHINE = Environment(
    hardware="a machine", threads=1, python="3.99", torch="9.9", sacrebleu="2.99", platform="a platform"
)
LONG = LongSentence(source="a *long* | one", reference="une longue", hypothesis="une <b> longue")


def scored(columns: dict[str, Column], longest: LongSentence = LONG) -> ScoredSet:
    """A test set with one sentence kept."""
    return ScoredSet(columns=columns, longest=(longest,))


def training(
    recipe: Recipe,
    step: int | None = None,
    seconds: float = 7200.0,
    perplexity: float = 3.625,
    rate: float | None = 1e6,
) -> ScoredTraining:
    """Make the training of a recipe, up to its end unless `step` says otherwise. rate: FLOP/s where it trained."""
    step = recipe.train.steps if step is None else step
    return ScoredTraining(
        progress=Reached(step=step, epoch=1, seconds=seconds, sentences=4500),
        parameters=123_400_000,
        environment=MACHINE,
        matmul_flops_per_second=rate,
        commit="abcdef0123",
        dirty=False,
        complete=step == recipe.train.steps,
        train=Likelihood(nll_per_token=2.5, nll_per_sentence=66.6, perplexity=12.25),
        dev=Likelihood(nll_per_token=float(np.log(perplexity)), nll_per_sentence=77.7, perplexity=perplexity),
        dev_curve=(),
    )


def result(recipe: Recipe, sets: dict[str, Column] | dict[str, ScoredSet], **changed: Any) -> ResultFile:
    """Make a whole result. sets: by name, or the columns of one set.

    changed: other values for fields of the result, or for `step`, `seconds`, `perplexity` and `rate` of its training.
    """
    own = {key: changed.pop(key) for key in ("step", "seconds", "perplexity", "rate") if key in changed}
    columns = {name: value for name, value in sets.items() if isinstance(value, Column)}
    values: dict[str, Any] = {
        "paper": "made",
        "recipe": recipe.name,
        "title": recipe.title,
        "resolved_recipe": recipe.to_dict(),
        "recipe_sha256": recipe.sha256,
        "generated": True,
        "data": {"title": "made text", "train_used": {"pairs": 1000}},
        "training": training(recipe, **own),
        "weights": Weights(averaged_steps=(1, 2)),
        "environment": MACHINE,
        "flops_counted": 7_770_000_000,
        "commit": "abcdef0123",
        "dirty": False,
        "sets": {"made": scored(columns)} if columns else sets,
    }
    return ResultFile(**(values | changed))


def write(folder: Path, system: str, file: ResultFile, attention: Sequence[Example] = ()) -> None:
    """Write a run folder with a result and, if there are any, attention maps, as `common.run.evaluate` does."""
    write_json(folder / system / "result.json", plain(file))
    if attention:
        write_json(folder / system / "attention.json", plain(attention), indent=None)


def write_training(run: Path, recipe: Recipe) -> None:
    """Write the training.json of a finished training of the recipe."""
    ended = Training(progress=Reached(step=recipe.train.steps, epoch=1, seconds=7200.0))
    write_json(run / "training.json", plain(ended))


def cells(markdown: str, heading: str) -> list[dict[str, str]]:
    """Return the rows of the first table after `heading`, in the form of `tables`."""
    return tables(markdown[markdown.index(heading) :])[0]


def tables(markdown: str) -> list[list[dict[str, str]]]:
    """Return the rows of every table, by column. Columns of the same name are numbered: `paper`, `paper 2`."""
    blocks: list[list[list[str]]] = [[]]
    for line in markdown.split("\n"):
        if line.startswith("|"):
            blocks[-1].append([cell.strip() for cell in line.replace("\\|", "\0").strip("|").split("|")])
        elif blocks[-1]:
            blocks.append([])
    return [
        [dict(zip(_numbered(header), row, strict=True)) for row in rows] for header, _, *rows in filter(None, blocks)
    ]


def _numbered(header: Sequence[str]) -> list[str]:
    names: list[str] = []
    for name in header:
        known = sum(other.split(" 2")[0] == name for other in names)
        names.append(f"{name} {known + 1}" if known else name)
    return names
