"""The page on the paper's ambiguities: for each choice the mean scores, the difference that it makes, and a verdict."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.paper import Paper
from common.recipe import unlike
from common.report import page
from common.report import tables as report
from common.report.claims import Results, spread_of
from common.report.page import Section
from common.report.results import Result, read_results
from common.report.variants import (
    bleu_measure,
    check_variants,
    curves_figure,
    curves_table,
    dev_measure,
    differences_figure,
    lately,
    spreads,
    variants_table,
)
from common.score.seeds import mean_difference
from papers.bahdanau2014.ambiguities import BASE, SCALE

TITLE = "Which of the paper's ambiguities matter"
"""Title of the page."""
BLEU, NLL = bleu_measure(margin=1.0), dev_measure("dev NLL", 3, margin=0.05, score=lambda dev: dev.nll_per_token)
"""What the variants are compared by: BLEU on the test set, and nats per token. The margins are ours."""
MEAN_LOSS = "mean-loss"
"""The variant that also changes what clip and step do."""


def build_page(paper: Paper, results: Path, out: Path) -> Section:
    """Build the page from the folder `results`, and write it to the folder `out`.

    Raise UserError that names a result which differs from the base's in more than its recipe says.
    """
    runs = base_first(paper, read_results(results))
    check_variants(runs, BASE, {name: paper.recipe(f"{SCALE}/{name}").to_dict() for name in runs})
    dots, curves = differences_figure(runs, BASE, {BLEU: None, NLL: None}), curves_figure(runs, BASE)
    # Without the note that intervals do not cover the seeds: here they do.
    remarks = [*notes(paper, runs), *report.standard_notes(runs)[1:]]
    here = f"verdict here, after {runs[BASE].step:,} updates" if BASE in runs else "verdict"
    bleu, nll = (
        variants_table(runs, BASE, measure, lambda run: changed(run, runs), verdict=here) for measure in (BLEU, NLL)
    )
    parts = [
        f"# {TITLE}\n\n{paper.citation}",
        f"## BLEU on the test set{report.text_label(runs)}\n\n{bleu}",
        *([page.figure_block(dots)] if dots else []),
        f"## Likelihood of the development set{report.text_label(runs)}\n\n{nll}",
        *([page.figure_block(curves), curves_table(runs, BASE)] if curves else []),
        "## Notes\n\n" + "\n".join(f"- {note}" for note in remarks),
        f"## The runs\n\n{report.provenance(runs)}",
        f"## What the base changes against the paper\n\n{report.changes({BASE: _base_and_paper(paper, runs)})}",
    ]
    section = Section(TITLE, "\n\n".join(parts), [figure for figure in (dots, curves) if figure], [], remarks)
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
    return ", ".join(f"`{key}: {here}`" for key, (here, _) in unlike(run.recipe, runs[BASE].recipe).items())


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
    remarks += [*power(runs), *scope(runs), *coupled(runs)]
    every = [run for result in runs.values() for run in result.trainings]
    remarks += [f"Unfinished: {run.label}, {run.updates}." for run in every if not run.complete]
    known = [name.rpartition("/")[2] for name in paper.systems(SCALE)]
    if missing := [name for name in known if name not in runs]:
        remarks.append(f"No run yet of {', '.join(missing)}.")
    return remarks


def power(runs: Results) -> list[str]:
    """Return how small a difference these seeds could show. Nothing without the base or a second seed."""
    widths = []
    for measure in (BLEU, NLL) if BASE in runs else ():
        if spread := spread_of(runs, BASE, measure.of):
            scores = [measure.of(run) for run in runs[BASE].trainings]
            none = mean_difference(scores, scores, spread)
            possible = "can" if none.high < measure.margin else "cannot"
            widths.append(f"±{measure.show(none.high)} {measure.name} (`no difference seen` {possible} come out)")
    if not widths:
        return []
    return [
        f"Where there is no difference, the seeds alone leave an interval of {' and of '.join(widths)}. The spread "
        "over seeds is taken to be the same for every variant. All are compared with the same trainings of the base: "
        "if these came out well or badly, every row moves with them."
    ]


def scope(runs: Results) -> list[str]:
    """Return what the verdicts hold for, and how far the trainings had got. Nothing without the base."""
    if BASE not in runs:
        return []
    base, changes = runs[BASE], [change for result in runs.values() if (change := lately(result)) is not None]
    recipe, epochs = base.recipe, "" if base.epochs is None else f" ({base.epochs:.1f} epochs)"
    remark = (
        f"Verdicts hold for these models: {recipe['model']['hidden']} units, sentences of up to "
        f"{recipe['batch']['max_length']} words, Adadelta's step x {recipe['optimizer']['step_size']:g}, after "
        f"{base.updates}{epochs}."
    )
    if changes:
        remark += (
            f" In the last tenth of them NLL changed by {min(changes):+.2f} to {max(changes):+.2f}; where it rose, a "
            "model no longer learnt what helps on other text. A variant that only learns later or sooner "
            "differs as much as one that ends elsewhere; the curves tell them apart."
        )
    return [remark]


def coupled(runs: Results) -> list[str]:
    """Return what else the mean loss changes. Nothing without it."""
    if MEAN_LOSS not in runs or (tokens := runs[MEAN_LOSS].file.training.progress.target_tokens) is None:
        return []
    run = runs[MEAN_LOSS]
    optimizer = run.recipe["optimizer"]
    return [
        f"{run.title} divides the gradient by the words of a minibatch, {tokens / run.step:,.0f} here. Nothing else is "
        f"tuned to that: a norm of {optimizer['clip_norm']:g} then hardly ever clips, and Adadelta, with its step x "
        f"{optimizer['step_size']:g} and its epsilon, makes other steps. The row shows the three together."
    ]


def _base_and_paper(paper: Paper, runs: Results) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Return the base's recipe, as it was trained if it was, and that of the system that it reproduces."""
    recipe = paper.recipe(f"{SCALE}/{BASE}")
    base = runs[BASE].recipe if BASE in runs else recipe.to_dict()
    return base, paper.recipe(recipe.reproduces).to_dict()
