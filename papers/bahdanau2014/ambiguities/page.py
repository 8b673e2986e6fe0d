"""The page on the paper's ambiguities: for each choice the mean scores, the difference that it makes, and a verdict."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.paper import Paper
from common.recipe import changes_no_number, differences
from common.report import page
from common.report import tables as report
from common.report.claims import Results
from common.report.page import Section
from common.report.results import Result, read_results
from common.report.variants import bleu_measure, dev_measure, differences_figure, spreads, variants_table
from papers.bahdanau2014.ambiguities import BASE, SCALE

TITLE = "Which of the paper's ambiguities matter"
"""Title of the page."""
BLEU, NLL = bleu_measure(margin=1.0), dev_measure("dev NLL", 3, margin=0.05, score=lambda dev: dev.nll_per_token)
"""What the variants are compared by: BLEU on the test set, and nats per token. The margins are ours."""


def build_page(paper: Paper, results: Path, out: Path) -> Section:
    """Build the page from the folder `results`, and write it to the folder `out`."""
    runs = base_first(paper, read_results(results))
    drawing = differences_figure(runs, BASE, {BLEU: None, NLL: None})
    # Without the note that intervals do not cover the seeds: here they do.
    remarks = [*notes(paper, runs), *report.standard_notes(runs)[1:]]
    bleu, nll = (variants_table(runs, BASE, measure, lambda run: changed(run, runs)) for measure in (BLEU, NLL))
    parts = [
        f"# {TITLE}\n\n{paper.citation}",
        f"## BLEU on the test set{report.text_label(runs)}\n\n{bleu}",
        *([page.figure_block(drawing)] if drawing else []),
        f"## Likelihood of the development set{report.text_label(runs)}\n\n{nll}",
        "## Notes\n\n" + "\n".join(f"- {note}" for note in remarks),
        f"## The runs\n\n{report.provenance(runs)}",
        f"## What the base changes against the paper\n\n{report.changes({BASE: _base_and_paper(paper, runs)})}",
    ]
    section = Section(TITLE, "\n\n".join(parts), [drawing] if drawing else [], [], remarks)
    page.write_section(section, out)
    return section


def base_first(paper: Paper, results: Results) -> Results:
    """Return the results of the scale's recipes, the base's first. A recipe without a result is left out."""
    names = [BASE, *(name.rpartition("/")[2] for name in paper.systems(SCALE))]
    return {name: results[name] for name in names if name in results}


def changed(run: Result, runs: Results) -> str:
    """Return the fields in which a run's recipe differs from the base's, with their values, as its own recipe says."""
    if BASE not in runs:
        return ""
    fields = differences(run.recipe, runs[BASE].recipe)
    shown = {key: here for key, (here, _) in fields.items() if not changes_no_number(key) and key != "train.seed"}
    return ", ".join(f"`{key}: {value}`" for key, value in shown.items())


def notes(paper: Paper, runs: Results) -> list[str]:
    """Return what a reader must know to read the tables."""
    remarks = [
        "All variants train on the same text for the same number of updates, and each differs from the base in the one "
        "field shown. Base: the answers that this reproduction assumes (README, open questions).",
        "Intervals of BLEU cover seeds and sentences: 1,000 test sets are drawn, the same for all trainings, and each "
        "difference gets 100 errors of the seeds, drawn from Student's t with the seeds' standard deviation, pooled "
        f"over all variants{spreads(runs, BASE, BLEU)}. Those of NLL cover the seeds alone.",
        f"Verdicts: a difference whose interval lies within ±{BLEU.margin:g} BLEU or ±{NLL.margin:g} nats is too small "
        "to matter, and is `seen` if the interval excludes 0. Any other `matters` if its interval excludes 0, and else "
        "is undecided. The two margins are ours. Each comparison has its own 95%: of twenty choices that make no "
        "difference, one interval would be expected to exclude 0.",
    ]
    every = [run for result in runs.values() for run in result.trainings]
    remarks += [f"Unfinished: {run.label}, {run.updates}." for run in every if not run.complete]
    known = [name.rpartition("/")[2] for name in paper.systems(SCALE)]
    if missing := [name for name in known if name not in runs]:
        remarks.append(f"No run yet of {', '.join(missing)}.")
    return remarks


def _base_and_paper(paper: Paper, runs: Results) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Return the base's recipe, as it was trained if it was, and that of the system that it reproduces."""
    recipe = paper.recipe(f"{SCALE}/{BASE}")
    base = runs[BASE].recipe if BASE in runs else recipe.to_dict()
    return base, paper.recipe(recipe.reproduces).to_dict()
