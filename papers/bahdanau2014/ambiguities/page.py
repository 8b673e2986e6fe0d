"""The page on the paper's ambiguities: for each choice the mean scores, the difference that it makes, and a verdict."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure as Drawing

from common.markdown import table
from common.paper import Paper
from common.recipe import changes_no_number, differences
from common.report import page
from common.report import tables as report
from common.report.claims import within
from common.report.page import COLOURS, Figure, Section
from common.report.results import Result, read_results
from common.score.seeds import Spread, bleu_difference, mean_difference, pooled
from common.score.significance import Difference
from papers.bahdanau2014.ambiguities import BASE, SCALE

Runs = Mapping[str, Sequence[Result]]
"""The trainings of each variant, by seed. The base comes first."""
TITLE = "Which of the paper's ambiguities matter"
"""Title of the page."""


@dataclass(frozen=True)
class Measure:
    """A score that the variants are compared by."""

    name: str
    digits: int
    margin: float
    """A difference that is smaller counts as none. Ours: the paper gives no number."""
    up: bool
    """Whether more is better."""
    of: Callable[[Result], float]
    compare: Callable[[Sequence[Result], Sequence[Result], Spread], Difference]
    """Return the first variant's mean minus the second's, with its interval."""

    def show(self, value: float, sign: str = "") -> str:
        """Return a value as text. sign: `+` for a difference."""
        return format(value, f"{sign}.{self.digits}f")

    def interval(self, difference: Difference) -> str:
        """Return a difference with its interval as text."""
        value, low, high = (self.show(end, "+") for end in (difference.value, difference.low, difference.high))
        return f"{value} ({low} to {high})"

    def verdict(self, difference: Difference) -> str:
        """Return whether the difference matters."""
        seen = difference.low > 0 or difference.high < 0
        if within(difference, self.margin) == "holds":
            return f"seen, but smaller than ±{self.margin:g}" if seen else "no difference seen"
        if seen:
            return f"matters: {'better' if (difference.low > 0) == self.up else 'worse'}"
        return f"undecided within ±{self.show(max(-difference.low, difference.high))}"


BLEU = Measure(
    "BLEU",
    2,
    1.0,
    True,
    lambda run: run.all.bleu,
    lambda a, b, spread: bleu_difference([run.all.counts for run in a], [run.all.counts for run in b], spread),
)
"""BLEU of all sentences of the test set."""
NLL = Measure(
    "dev NLL",
    3,
    0.05,
    False,
    lambda run: run.dev.nll_per_token,
    lambda a, b, spread: mean_difference(
        [run.dev.nll_per_token for run in a], [run.dev.nll_per_token for run in b], spread
    ),
)
"""Negative log-likelihood of the development set, in nats per token."""


def build_page(paper: Paper, results: Path, out: Path) -> Section:
    """Build the page from the folder `results`, and write it to the folder `out`."""
    runs = by_variant(paper, read_results(results))
    every = {run.system: run for group in runs.values() for run in group}
    drawings = [drawing] if (drawing := figure(runs)) else []
    # Without the note that intervals do not cover the seeds: here they do.
    remarks = [*notes(paper, runs), *report.standard_notes(every)[1:]]
    parts = [
        f"# {TITLE}\n\n{paper.citation}",
        f"## BLEU on the test set{report.text_label(every)}\n\n{variants_table(runs, BLEU)}",
        *map(page.figure_block, drawings),
        f"## Likelihood of the development set{report.text_label(every)}\n\n{variants_table(runs, NLL)}",
        "## Notes\n\n" + "\n".join(f"- {note}" for note in remarks),
        f"## The runs\n\n{report.provenance(every)}",
        f"## What the base changes against the paper\n\n{report.changes({BASE: _base_and_paper(paper, runs)})}",
    ]
    section = Section(TITLE, "\n\n".join(parts), drawings, [], remarks)
    page.write_section(section, out)
    return section


def by_variant(paper: Paper, results: Mapping[str, Result]) -> Runs:
    """Group the results by recipe, each group in the order of its seeds. A recipe without a result is left out."""
    names = [name for name in paper.systems(SCALE) if name != f"{SCALE}/{BASE}"]
    groups = {
        name.rpartition("/")[2]: sorted(
            (run for run in results.values() if run.name == name), key=lambda run: int(run.recipe["train"]["seed"])
        )
        for name in (f"{SCALE}/{BASE}", *names)
    }
    return {variant: group for variant, group in groups.items() if group}


def variants_table(runs: Runs, measure: Measure) -> str:
    """Return a row for each variant: what it changes, mean and single scores, the difference and the verdict."""
    if not runs:
        return "No run stands behind this table yet."
    header = ["variant", "changes", f"{measure.name}, mean", "by seed", "difference (95%)", "verdict"]
    outcomes = compared(runs, measure)
    rows = []
    for variant, group in runs.items():
        scores = [measure.of(run) for run in group]
        difference = outcomes.get(variant)
        rows.append(
            [
                group[0].title,
                changed(group[0], runs),
                measure.show(float(np.mean(scores))),
                ", ".join(map(measure.show, scores)),
                measure.interval(difference) if difference else "",
                f"**{measure.verdict(difference)}**" if difference else "",
            ]
        )
    return table(header, rows, right=(2, 4))


def compared(runs: Runs, measure: Measure) -> dict[str, Difference]:
    """Return the difference of each variant from the base. Nothing if the base or a second seed is missing."""
    spread = pooled([[measure.of(run) for run in group] for group in runs.values()])
    if spread is None or BASE not in runs:
        return {}
    return {name: measure.compare(group, runs[BASE], spread) for name, group in runs.items() if name != BASE}


def changed(run: Result, runs: Runs) -> str:
    """Return the fields in which a run's recipe differs from the base's, with their values, as its own recipe says."""
    if BASE not in runs:
        return ""
    fields = differences(run.recipe, runs[BASE][0].recipe)
    shown = {key: here for key, (here, _) in fields.items() if not changes_no_number(key) and key != "train.seed"}
    return ", ".join(f"`{key}: {value}`" for key, value in shown.items())


def figure(runs: Runs) -> Figure | None:
    """Draw every variant's differences from the base: a dot for each seed, a bar for the interval."""
    if not compared(runs, BLEU):
        return None
    drawing = Drawing(figsize=(9.0, 0.42 * len(runs) + 1.3), layout="constrained")
    panels = drawing.subplots(1, 2, sharey=True)
    for axes, measure in zip(panels, (BLEU, NLL), strict=True):
        centre = float(np.mean([measure.of(run) for run in runs[BASE]]))
        outcomes = compared(runs, measure)
        axes.axvspan(-measure.margin, measure.margin, color="#eeeeee", linewidth=0)
        axes.axvline(0, color="#777777", linewidth=1)
        for row, (variant, group) in enumerate(runs.items()):
            if difference := outcomes.get(variant):
                axes.plot([difference.low, difference.high], [row - 0.14] * 2, color=COLOURS[0], linewidth=2)
                axes.plot(difference.value, row - 0.14, "|", color=COLOURS[0], markersize=10, markeredgewidth=2)
            scores = [measure.of(run) - centre for run in group]
            axes.plot(scores, [row + 0.14] * len(scores), "o", color=COLOURS[1], markersize=4, alpha=0.8)
        axes.set_yticks(range(len(runs)), [group[0].title for group in runs.values()])
        axes.set_xlabel(f"{measure.name} minus the base's mean")
        axes.tick_params(axis="y", length=0)
        axes.spines[["top", "right", "left"]].set_visible(False)
    panels[0].invert_yaxis()
    caption = (
        "Dots: single trainings minus the mean of the base's. Blue: difference of the means with its 95% interval. "
        "Grey: what counts as no difference. BLEU: more is better; NLL: less."
    )
    return Figure("differences", "Differences from the base", caption, page.png(drawing))


def notes(paper: Paper, runs: Runs) -> list[str]:
    """Return what a reader must know to read the tables."""
    remarks = [
        "All variants train on the same text for the same number of updates, and each differs from the base in the one "
        "field shown. Base: the answers that this reproduction assumes (README, open questions).",
        "Intervals of BLEU cover seeds and sentences: 1,000 test sets are drawn, the same for all trainings, and each "
        "difference gets 100 errors of the seeds, drawn from Student's t with the seeds' standard deviation, pooled "
        f"over all variants{_spreads(runs)}. Those of NLL cover the seeds alone.",
        f"Verdicts: a difference whose interval lies within ±{BLEU.margin:g} BLEU or ±{NLL.margin:g} nats is too small "
        "to matter, and is `seen` if the interval excludes 0. Any other `matters` if its interval excludes 0, and else "
        "is undecided. The two margins are ours. Each comparison has its own 95%: of twenty choices that make no "
        "difference, one interval would be expected to exclude 0.",
    ]
    for group in runs.values():
        remarks += [f"Unfinished: {run.system}, {run.updates}." for run in group if not run.complete]
    known = [name.rpartition("/")[2] for name in paper.systems(SCALE)]
    if missing := [name for name in known if name not in runs]:
        remarks.append(f"No run yet of {', '.join(missing)}.")
    return remarks


def _spreads(runs: Runs) -> str:
    """Return the pooled standard deviations in words."""
    spread = pooled([[BLEU.of(run) for run in group] for group in runs.values()])
    return f" ({BLEU.show(spread.deviation)} BLEU, {spread.degrees} degrees of freedom)" if spread else ""


def _base_and_paper(paper: Paper, runs: Runs) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Return the base's recipe, as it was trained if it was, and that of the system that it reproduces."""
    recipe = paper.recipe(f"{SCALE}/{BASE}")
    base = runs[BASE][0].recipe if BASE in runs else recipe.to_dict()
    return base, paper.recipe(recipe.reproduces).to_dict()
