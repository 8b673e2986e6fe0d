"""The parameters of Table 3's rows by the paper's equations and by the authors' code, beside the printed millions.

    python -m papers.vaswani2017.parameters    # writes results/parameters.md

The totals are counted on models that are built without memory. A search over ways of counting then asks which of them
gives all printed totals. It counts by formula, so that it can try thousands; a test compares the formula with models.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from common.files import write_whole
from common.markdown import table
from common.recipe import Recipe, changes_no_number, difference
from common.run.cli import Parser, guarded, utf8_output
from common.run.plan import parameter_counts
from common.yaml_files import read_yaml
from papers.vaswani2017.model import ModelConfig
from papers.vaswani2017.paper import PAPER

PAGE = PAPER.root / "results" / "parameters.md"
AUTHORS = "variants/authors-v1"
BIG = "table3-big"
VOCABULARIES = range(30_000, 45_001)
"""Numbers of rows that the search tries. §5.1 has "about 37000", v1.0 has 40,960."""
Rows = Mapping[str, Mapping[str, Any]]
"""Rows of Table 3 in reported.yaml, by system."""


def main(arguments: list[str] | None = None) -> int:
    """Write the page and print it. Return the exit status as common.run.cli does."""
    utf8_output()
    parser = Parser(prog="python -m papers.vaswani2017.parameters", description="Parameters of every row of Table 3.")
    parser.parse_args(arguments)

    def work() -> None:
        write_whole(PAGE, text := page())
        print(text, end="")
        print(f"written: {PAGE}", file=sys.stderr)

    return guarded(work, parser.prog)


def page() -> str:
    """Return the page as Markdown."""
    rows: Rows = read_yaml(PAPER.root / "reported.yaml")["tables"]["table3"]["rows"]
    printed = {system: row["params"] for system, row in rows.items() if "params" in row}
    parts = [
        "# Parameters of Table 3",
        "Made by `python -m papers.vaswani2017.parameters`, which trains nothing. In millions beside the printed ones.",
        f"## By the equations and by the code\n\n{totals(rows)}",
        f"## What was tried\n\n{tried(printed)}",
        f"## What would make the big model {printed[BIG]} million\n\n{big_alone(printed[BIG])}",
    ]
    return "\n\n".join(parts) + "\n"


# ----------------------------------------------------------------------------------------------------------------
# Counted on the models


def authors_fields() -> list[str]:
    """Return what the authors' code changes in the base model, as `key=value` words."""
    changed = difference(PAPER.recipe(AUTHORS), PAPER.recipe("base"))
    return [f"{key}={json.dumps(value)}" for key, (value, _) in changed.items() if not changes_no_number(key)]


def total(recipe: Recipe) -> int:
    """Return the number of trainable parameters of a recipe's model."""
    return sum(parameter_counts(PAPER, recipe).values())


def by_the_code(system: str) -> Recipe | None:
    """Return the recipe of a row as the authors' code has it, or None for learned positions, which it lacks."""
    learned = PAPER.recipe(system).model.positions == "learned"
    return None if learned else PAPER.recipe(system, authors_fields())


def totals(rows: Rows) -> str:
    """Return the table of all rows of Table 3, and below it the models of Table 2 that Table 3 does not have."""
    cells, made, agreeing, right = [], 0, 0, 0
    for system, row in rows.items():
        equations, code = total(PAPER.recipe(system)), by_the_code(system)
        counts = [equations, None if code is None else total(code)]
        cells.append([row["label"], f"{row['params']} M" if "params" in row else "", *map(_count, counts)])
        if "params" in row:
            made += 1
            agreeing += counts[1] is not None and round(counts[1] / 1e6) == row["params"]
            right += round(equations / 1e6) == row["params"]
    pairs = {"base-enfr": "variants/authors-v1-enfr", "big-enfr": "variants/authors-v1-big-enfr"}
    for name, variant in pairs.items():
        ours, theirs = PAPER.recipe(name), PAPER.recipe(variant)
        cells.append([f"{ours.title}, EN-FR", "", _count(total(ours)), _count(total(theirs))])
    types = PAPER.recipe("base").text.vocabulary_size
    fields = ", ".join(f"`{word}`" for word in authors_fields())
    return (
        f"{table(['row', 'printed', 'the equations', 'the code, v1.0'], cells, right=(1, 2, 3))}\n\n"
        f"The equations, with the paper's {types:,} types, give {right} of the {made} printed totals. The code gives "
        f"{agreeing}; it is the recipe `{AUTHORS}`: {fields}. Learned positions (row E) are not in v1.0. The last two "
        "rows are v1.0's models of word pieces, which have two and three matrices for the words, of the 32,768 rows "
        "that it aims at: how many it found is not known. The paper prints no totals of these."
    )


def _count(count: int | None) -> str:
    return "" if count is None else f"{count:,} ({count / 1e6:.1f} M)"


# ----------------------------------------------------------------------------------------------------------------
# The search, by formula


@dataclass(frozen=True)
class Counting:
    """A way to count: what a model has, or what is counted of it, beside the weights of its layers."""

    attention_biases: bool = True
    feed_forward_biases: bool = True
    norms: float = 1.0
    """Share of the norms' gains and biases: 1 all, 0.5 gains only, 0 none."""
    top_norms: bool = False
    """A norm after each stack, as later versions of the code have it."""
    matrices: int = 1
    """Matrices with a row for each word."""
    softmax_bias: bool = False
    target_spaces: int = 32
    position_rows: int = 0
    """Rows of a position table in each stack that is counted, though sinusoids need none."""
    down: bool = False
    """Whether millions are cut off instead of rounded."""

    def body(self, model: ModelConfig) -> int:
        """Count all that does not depend on the number of words."""
        d, keys, values = model.d_model, model.h * model.d_k, model.h * model.d_v
        attention = 2 * d * (keys + values) + self.attention_biases * (2 * keys + values + d)
        feed_forward = 2 * d * model.d_ff + self.feed_forward_biases * (model.d_ff + d)
        norms = self.norms * 2 * d * (5 * model.N + 2 * self.top_norms)
        layers = model.N * (3 * attention + 2 * feed_forward)
        return layers + round(norms) + d * (self.target_spaces + 2 * self.position_rows)

    def per_word(self, model: ModelConfig) -> int:
        """Count what each word adds."""
        return model.d_model * self.matrices + self.softmax_bias

    def vocabularies(self, model: ModelConfig, millions: int) -> range:
        """Return the numbers of words by which the model has so many million parameters."""
        low = 1_000_000 * millions - (0 if self.down else 500_000) - self.body(model)
        each = self.per_word(model)
        return range(-(-low // each), -(-(low + 1_000_000) // each))

    def best(self, models: Mapping[str, ModelConfig], printed: Mapping[str, int]) -> tuple[list[str], range]:
        """Return the rows that agree at the best number of words, and the numbers at which just these do.

        models, printed: by row. Of equally good numbers those with the big model right come first.
        """
        windows = {row: self.vocabularies(models[row], millions) for row, millions in printed.items()}
        # Between two of these numbers nothing changes.
        ends = {VOCABULARIES.start, *(end for window in windows.values() for end in (window.start, window.stop))}
        starts = sorted(end for end in ends if end in VOCABULARIES)
        agreeing = {start: [row for row, window in windows.items() if start in window] for start in starts}
        start = max(starts, key=lambda start: (len(agreeing[start]), BIG in agreeing[start]))
        return agreeing[start], range(start, min([end for end in starts if end > start] + [VOCABULARIES.stop]))


V1 = Counting()
"""v1.0 as it is."""
SINGLE_CHANGES: dict[str, dict[str, Any]] = {
    "v1.0": {},
    "the paper's equations": {"attention_biases": False, "target_spaces": 0},
    "v1.0 without biases in attention": {"attention_biases": False},
    "without biases in feed-forward": {"feed_forward_biases": False},
    "norms: only gains": {"norms": 0.5},
    "without norms": {"norms": 0.0},
    "a norm after each stack": {"top_norms": True},
    "without target spaces": {"target_spaces": 0},
    "a bias for each word in the softmax": {"softmax_bias": True},
    "two matrices for the words": {"matrices": 2},
    "three matrices for the words": {"matrices": 3},
    "position tables of 256 rows counted": {"position_rows": 256},
    "position tables of 1,024 rows counted": {"position_rows": 1024},
    "millions cut off, not rounded": {"down": True},
}
"""Ways to count that the page shows one by one, as changes of v1.0's. The search combines all of them."""


def all_countings() -> list[Counting]:
    """Return every combination of what SINGLE_CHANGES names."""
    values: dict[str, list[Any]] = {}
    for changes in SINGLE_CHANGES.values():
        for key, value in changes.items():
            values.setdefault(key, [getattr(V1, key)]).append(value)
    return [
        Counting(**dict(zip(values, combination, strict=True)))
        for combination in product(*({*choices} for choices in values.values()))
    ]


def tried(printed: Mapping[str, int]) -> str:
    """Return which printed totals each way of counting gives at its best number of words."""
    models = {row: PAPER.recipe(row).model for row in printed}
    cells = []
    for name, changes in SINGLE_CHANGES.items():
        agreeing, words = replace(V1, **changes).best(models, printed)
        cells.append([name, f"{len(agreeing)} of {len(printed)}", _window(words), "yes" if BIG in agreeing else "no"])
    countings = all_countings()
    found = [counting.best(models, printed)[0] for counting in countings]
    most = max(map(len, found))
    with_big = max(_most_with_big(counting, models, printed) for counting in countings)
    reaching = [agreeing for agreeing in found if len(agreeing) == most]
    header = ["counted", "totals as printed", "at so many rows", "big among them"]
    return (
        f"A way to count is right if one number of embedding rows gives all {len(printed)} printed totals. The table "
        f"has the best from {VOCABULARIES[0]:,} to {VOCABULARIES[-1]:,}, for v1.0 and for one change of it at a time."
        f"\n\n{table(header, cells, right=(1, 2))}\n\n"
        f"All {len(countings):,} combinations of these changes were tried. The best give {most} of {len(printed)}; "
        f"{len(reaching):,} combinations do, {sum(BIG in agreeing for agreeing in reaching)} of them with the big "
        f"model's. Where the big model's total is as printed, at most {with_big} of the {len(printed)} are."
    )


def _most_with_big(counting: Counting, models: Mapping[str, ModelConfig], printed: Mapping[str, int]) -> int:
    """Return how many totals can agree together if the big model's does, 0 if it never does."""
    window = counting.vocabularies(models[BIG], printed[BIG])
    words = range(max(window.start, VOCABULARIES.start), min(window.stop, VOCABULARIES.stop))
    others = [counting.vocabularies(models[row], millions) for row, millions in printed.items() if row != BIG]
    starts = [words.start, *(other.start for other in others)]
    return max((1 + sum(start in other for other in others) for start in starts if start in words), default=0)


def _window(words: Sequence[int]) -> str:
    return f"{words[0]:,} to {words[-1]:,}" if len(words) > 1 else f"{words[0]:,}"


def big_alone(millions: int) -> str:
    """Return the values of single sizes with which the big model alone would have so many million parameters."""
    cells = []
    equations = replace(V1, **SINGLE_CHANGES["the paper's equations"])
    code = PAPER.recipe(BIG, authors_fields())
    for name, counting, recipe in (("the equations", equations, PAPER.recipe(BIG)), ("v1.0", V1, code)):
        model, words = recipe.model, recipe.text.vocabulary_size
        fits: Sequence[int] = counting.vocabularies(model, millions)
        cells.append([name, "embedding rows", f"{words:,}", _window(fits)])
        for key in ("N", "d_model", "d_ff", "h", "d_k", "d_v"):
            own, step = getattr(model, key), 2 if key == "d_model" else 1
            values = range(own // 2, 2 * own + 1, step)
            sizes = [(value, replace(model, **{key: value})) for value in values]
            fits = [value for value, size in sizes if words in counting.vocabularies(size, millions)]
            cells.append([name, key, f"{own:,}", _window(fits) if fits else "none"])
    header = ["counted by", "size", "is", f"would have to be for {millions} M"]
    return (
        f"{table(header, cells, right=(2, 3))}\n\nOne size is changed at a time, from half to twice its value. None of "
        "these values is in the paper or in v1.0. What the printed total counts stays open."
    )


if __name__ == "__main__":
    sys.exit(main())
