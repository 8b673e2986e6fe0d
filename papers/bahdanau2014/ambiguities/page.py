"""The page on the paper's ambiguities: for each choice the mean scores, the difference that it makes, and a verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from common.paper import Paper
from common.recipe import unlike
from common.report import page
from common.report import tables as report
from common.report.claims import Results, spread_of
from common.report.page import Section
from common.report.results import Result, read_results
from common.report.variants import (
    Measure,
    bleu_measure,
    check_variants,
    compared,
    corrected,
    curves_figure,
    curves_table,
    dev_measure,
    differences_figure,
    lasting,
    lately,
    spreads,
    variants_table,
)
from common.score.seeds import mean_difference
from common.score.significance import Difference, chance
from papers.bahdanau2014.ambiguities import BASE, SCALE

TITLE = "Which of the paper's ambiguities matter"
"""Title of the page."""
BLEU, NLL = bleu_measure(margin=1.0), dev_measure("dev NLL", 3, margin=0.05, of=lambda run: run.dev.nll_per_token)
"""What the variants are compared by: BLEU on the test set, and nats per token. The margins are ours."""
BEST = dev_measure(
    "lowest dev NLL",
    3,
    margin=0.05,
    of=lambda run: min(point.dev_nll_per_token for point in run.file.training.dev_curve),
)
"""The same nats at each training's best checkpoint. It was added after the results were seen."""
LATER = "at each training's best checkpoint, added after the results were seen"
MEAN_LOSS = "mean-loss"
"""The variant that also changes what clip and step do."""


def build_page(paper: Paper, results: Path, out: Path) -> Section:
    """Build the page from the folder `results`, and write it to the folder `out`.

    Raise UserError that names a result which differs from the base's in more than its recipe says.
    """
    runs = base_first(paper, read_results(results))
    check_variants(runs, BASE, {name: paper.recipe(f"{SCALE}/{name}").to_dict() for name in runs})
    best = {BEST: None} if measured(runs) else {}
    dots, curves = differences_figure(runs, BASE, {BLEU: None, NLL: None, **best}), curves_figure(runs, BASE)
    if dots and best:
        dots = replace(dots, caption=f"{dots.caption} The right panel was added after the results were seen.")
    # Without the note that intervals do not cover the seeds: here they do.
    remarks = [*notes(paper, runs), *report.standard_notes(runs)[1:], *report.time_notes(runs)]
    here = f"verdict here, after {runs[BASE].step:,} updates" if BASE in runs else "verdict"
    bleu, nll, lower = (
        variants_table(runs, BASE, measure, lambda run: changed(run, runs), verdict=verdict, correct=True)
        if measure is not BEST or best
        else ""
        for measure, verdict in ((BLEU, here), (NLL, here), (BEST, "verdict here, at the best checkpoint"))
    )
    parts = [
        f"# {TITLE}\n\n{paper.citation}",
        *outcome(runs),
        f"## BLEU on the test set{report.text_label(runs)}\n\n{bleu}",
        *([page.figure_block(dots)] if dots else []),
        f"## Likelihood of the development set{report.text_label(runs)}\n\n{nll}",
        *([f"## Likelihood {LATER}\n\n{lower}"] if lower else []),
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


def measured(runs: Results) -> bool:
    """Return whether every training has a curve of its development set, in which a best checkpoint can be found."""
    return bool(runs) and all(run.file.training.dev_curve for result in runs.values() for run in result.trainings)


def outcome(runs: Results) -> list[str]:
    """Return which differences from the base the tables show, by each measure. Nothing without intervals."""
    after = f"after {runs[BASE].step:,} updates" if BASE in runs else ""
    lines = []
    for measure, when in ((BLEU, after), (NLL, after), *(((BEST, LATER),) if measured(runs) else ())):
        seen = compared(runs, BASE, measure)
        matter = {name: found for name, found in seen.items() if measure.verdict(found).startswith("matters")}
        last = [name for name, found in matter.items() if lasting(found, len(seen))]
        shown = {name: _told(runs, name, measure, found, len(seen)) for name, found in matter.items()}
        text = "; ".join(shown[name] for name in last) or "no difference that matters is left after correction"
        if fades := [shown[name] for name in matter if name not in last]:
            text += f". Only before correction, {'; '.join(fades)}"
        if seen:
            lines.append(f"- {measure.name}, {when}: {text}.")
    told = (
        f"What differs from the base by more than chance, with 95% intervals and after Bonferroni's correction for the "
        f"{len(runs) - 1} comparisons of a table. A choice that is not named is undecided, or makes no difference:"
    )
    return [f"## What it comes to\n\n{told}\n\n" + "\n".join(lines)] if lines else []


def _told(runs: Results, name: str, measure: Measure, found: Difference, comparisons: int) -> str:
    """Return a difference in words, with what is left of it without the training that it leans on most."""
    word = "better" if (found.value > 0) == measure.up else "worse"
    ps = f"p {chance(corrected(found))}, corrected {chance(corrected(found, comparisons))}"
    text = f"{runs[name].title}: {word}, {measure.interval(found)}, {ps}"
    trainings = runs[name].trainings
    if len(trainings) < 3:
        return text
    # The one that pulls farthest the way of the difference.
    most = max(trainings, key=lambda run: measure.of(run) * np.sign(found.value))
    first, *others = (run for run in trainings if run is not most)
    rest = measure.compare({**runs, name: replace(first, others=tuple(others))}, name, BASE)
    return f"{text}, without its seed {most.seed} {measure.interval(rest)}" if rest else text


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
        "difference, one interval would be expected to exclude 0. So p (two-sided, of the draws behind the interval) "
        "is also shown times the number of comparisons in the table, and the verdict says where nothing is left then.",
    ]
    if measured(runs):
        remarks.append(
            "The comparison at each training's best checkpoint was added after the results were seen, because most "
            "trainings end past their best (the curves). The development set both chooses the checkpoint and scores "
            "it, for all alike. BLEU was decoded by the last checkpoint only."
        )
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
    for measure in (BLEU, NLL, *((BEST,) if measured(runs) else ())) if BASE in runs else ():
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
    remark = (
        f"{run.title} divides the gradient by the words of a minibatch, {tokens / run.step:,.0f} here. Nothing else is "
        f"tuned to that: a norm of {optimizer['clip_norm']:g} then hardly ever clips, and Adadelta, with its step x "
        f"{optimizer['step_size']:g} and its epsilon, makes other steps. The row shows the three together."
    )
    if BASE in runs and measured(runs):
        end, best = (measure.mean(run) - measure.mean(runs[BASE]) for measure in (NLL, BEST))
        if end < 0 < best:
            remark += (
                f" At the end its mean NLL is lower than the base's ({end:+.3f}), at the best checkpoints it is not "
                f"({best:+.3f}): the base had got worse since."
            )
    return [remark]


def _base_and_paper(paper: Paper, runs: Results) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Return the base's recipe, as it was trained if it was, and that of the system that it reproduces."""
    recipe = paper.recipe(f"{SCALE}/{BASE}")
    base = runs[BASE].recipe if BASE in runs else recipe.to_dict()
    return base, paper.recipe(recipe.reproduces).to_dict()
