"""The page on the steps from RNNsearch to the Transformer: score, speed and attention of each.

`python -m papers.lineage tables --scale deletion` builds it from the committed results.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure as Drawing

from common.markdown import table
from common.paper import Paper
from common.report import page
from common.report import tables as report
from common.report.claims import Results, compare
from common.report.page import COLOURS, Figure, Section, png
from common.report.results import Result, read_results
from common.report.variants import bleu_measure, dev_curve, dev_measure
from common.score.seeds import bleu_difference, welch
from common.score.significance import Difference
from papers.bahdanau2014.figures import draw_weights

SPEED = Path(__file__).parents[3] / "benchmarks" / "results" / "deletion.json"
"""CPU time of an update of each step (benchmarks/deletion.py)."""
BLEU, NLL = bleu_measure(margin=1.0), dev_measure("dev NLL", 3, margin=0.05, of=lambda run: run.dev.nll_per_token)
CHANGES = {
    "rnnsearch": "Bahdanau et al. 2014 as it stands: gated units, additive score, deep output",
    "dot-product": "the score is a scaled dot product in place of v_a' tanh(W_a s + U_a h)",
    "no-recurrence": "an annotation is the vector of its word alone, a state that of the last word written; with it, "
    "attention as in 2017: matrices for values and output, vectors of size d and not 2d, embeddings times sqrt(d), and "
    "first weights as there",
    "self-attention": "attention among the source words, and of each target word to those before it",
    "positions": "sinusoids added to the vectors of the words",
    "heads": "four heads in each attention",
    "residuals": "each attention's output is added to its input, and the sum is normalised",
    "transformer": "feed-forward layers; two layers each side; one matrix for embeddings and softmax in place of deep "
    "output: Vaswani et al. 2017 as it stands",
}
"""What each step changes, by `model.step`."""


def build_tables(paper: Paper, scale: str, results: Path, out: Path) -> Section:
    """Build the page from the folder `results`, and write it to the folder `out`."""
    found = read_results(results)
    runs = {name: found[name] for name in map(_system, paper.systems(scale)) if name in found}
    speeds = read_speeds()
    drawings = [figure for figure in (ladder(runs, speeds), alignments(runs), curves(runs)) if figure]
    remarks = notes(paper, scale, runs)
    parts = [
        f"# {paper.title}\n\nModels of our own. The first is that of Bahdanau et al. 2014, the last that of Vaswani et "
        "al. 2017. Each step keeps what those before it have changed.",
        f"## Steps{report.text_label(runs)}\n\n{steps_table(runs, speeds)}",
        *(page.figure_block(drawing) for drawing in drawings),
        "## Notes\n\n" + "\n".join(f"- {note}" for note in remarks),
        f"## The runs\n\n{report.provenance(runs)}",
    ]
    section = Section(paper.title, "\n\n".join(parts), drawings, [], remarks)
    page.write_section(section, out)
    return section


def _system(recipe: str) -> str:
    return recipe.rpartition("/")[2]


def read_speeds() -> dict[str, dict[str, Any]]:
    """Return the measured rows by system. Nothing without a measurement."""
    if not SPEED.is_file():
        return {}
    return {row["system"]: row for row in json.loads(SPEED.read_text(encoding="utf-8"))["rows"]}


def steps_table(runs: Results, speeds: Mapping[str, Mapping[str, Any]]) -> str:
    """Return a row for each step: what it changes, score, difference from the step before, size and speed."""
    header = ["step", "changes", BLEU.name, "by seed", "from the step before (95%)", "verdict here", NLL.name]
    header += ["parameters", "CPU ms an update", "target tokens a CPU second"]
    rows: list[list[str]] = []
    before: str | None = None
    for name, run in runs.items():
        speed = speeds.get(name)
        change = from_before(runs, name, before) if before else None
        rows.append(
            [
                run.title,
                CHANGES[run.recipe["model"]["step"]],
                BLEU.show(BLEU.mean(run)),
                ", ".join(BLEU.show(training.all.bleu) for training in run.trainings),
                BLEU.interval(change) if change else "",
                f"**{BLEU.verdict(change)}**" if change else "",
                NLL.show(NLL.mean(run)),
                f"{run.parameters or 0:,}",
                f"{1000 * speed['cpu_seconds_per_update']:.1f}" if speed else "",
                f"{speed['target_tokens_per_cpu_second']:,}" if speed else "",
            ]
        )
        before = name
    right = [column for column in range(2, len(header)) if column != header.index("verdict here")]
    return table(header, rows, right=right) if rows else "No run stands behind this table yet."


def from_before(runs: Results, name: str, before: str) -> Difference:
    """Return BLEU of a step minus BLEU of the step before. Each has its own spread over seeds, if both have several."""
    ours, theirs = runs[name].trainings, runs[before].trainings
    spread = welch(*([BLEU.of(run) for run in trainings] for trainings in (ours, theirs)))
    if spread is None:
        return compare(runs, name, before)
    return bleu_difference([run.all.counts for run in ours], [run.all.counts for run in theirs], spread)


def notes(paper: Paper, scale: str, runs: Results) -> list[str]:
    """Return what a reader must know to read the page."""
    remarks = [
        "All steps read the same text in the same minibatches, by sub-words, for the same number of updates. All have "
        "the Transformer's optimizer at half its rate, with gradients of norm 1 at most. Nothing is tuned for any "
        "step. There is no dropout and no label smoothing.",
        "What a step gives depends on the order of the steps, and on how far so many updates go. A step can score "
        "below the one before although its model can do more. With one head and no residual sum, a single average must "
        "carry a word and what is around it, and that is learned slowly (the curves). Of several heads one may keep to "
        "the word.",
        "The second step keeps the matrices of the alignment model: W_a s is the query, and U_a h_j are the keys. What "
        "the third brings beside the loss of recurrence has no step of its own, nor have the parts of the last one. So "
        "the page does not say what each of them is worth.",
        "Up to the step before the last the next word is predicted by the deep output of RNNsearch, from state, last "
        "word and context vector. So the last word can always be seen, and the residual sum is not needed for it.",
        "Speed is the CPU time of a training update on one thread, measured by turns "
        "(`python -m benchmarks.deletion`). All steps run as the equations stand, without fast.py. A recurrent model "
        "makes its loop over the words in Python: with matrices this small, much of its time is that of calls.",
    ]
    several = any(run.others for run in runs.values())
    # The first standard note is on intervals of single scores. With several seeds there are none here.
    remarks += report.standard_notes(runs)[1 if several else 0 :]
    if several:
        remarks.append(
            "Intervals cover seeds and sentences. The steps differ in how far their seeds lie apart (`by seed`), so "
            "each has a spread of its own, and a difference has the interval of Welch. With so few seeds it is wide "
            f"where one of them went another way. A difference whose interval lies within ±{BLEU.margin:g} BLEU counts "
            "as none; any other `matters` if its interval excludes 0, and else is undecided. Each comparison has its "
            "own 95%."
        )
    remarks += report.time_notes(runs)
    remarks += [
        f"Unfinished: {run.label}, {run.updates}."
        for result in runs.values()
        for run in result.trainings
        if not run.complete
    ]
    if missing := [name for name in map(_system, paper.systems(scale)) if name not in runs]:
        remarks.append(f"No run yet of {', '.join(missing)}.")
    return remarks


def _colour(run: Result) -> str:
    """Return blue while there is recurrence, and green after."""
    return COLOURS[0] if run.recipe["model"]["step"] in ("rnnsearch", "dot-product") else COLOURS[2]


def ladder(runs: Results, speeds: Mapping[str, Mapping[str, Any]]) -> Figure | None:
    """Draw BLEU and speed of each step. Return None without runs."""
    if not runs:
        return None
    drawing = Drawing(figsize=(9.0, 0.42 * len(runs) + 1.0), layout="constrained")
    left, right = drawing.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    for row, (name, run) in enumerate(runs.items()):
        scores = [training.all.bleu for training in run.trainings]
        left.barh(row, np.mean(scores), color=_colour(run), height=0.62)
        if run.others:
            left.plot(scores, [row] * len(scores), "o", color="#222222", markersize=3)
        else:
            left.plot(run.all.interval, [row, row], color="#222222", linewidth=1.5)
        left.text(102, row, f"{np.mean(scores):.1f}", va="center", ha="right")
        if name in speeds:
            rate = speeds[name]["target_tokens_per_cpu_second"]
            right.barh(row, rate / 1000, color=_colour(run), height=0.62)
            right.text(rate / 1000, row, f" {rate / 1000:.0f}", va="center")
    left.set_yticks(range(len(runs)), [run.title for run in runs.values()])
    left.invert_yaxis()
    left.set(xlabel="BLEU", xlim=(0, 100))
    right.set(xlabel="training: thousand target tokens\na CPU second")
    right.margins(x=0.12)
    for axes in (left, right):
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(axis="y", length=0)
    several = any(run.others for run in runs.values())
    within = (
        "Dots: single trainings." if several else "Black lines: 95% intervals over test sentences, of one training."
    )
    caption = f"Each step keeps the changes above it. Blue: with recurrence; green: without. {within}"
    return Figure("ladder", "Score and speed of each step", caption, png(drawing))


def alignments(runs: Results) -> Figure | None:
    """Draw each step's attention to the source of the same sentence. Return None if no run kept it."""
    shown = [(run, run.attention[0]) for run in runs.values() if run.attention]
    if not shown:
        return None
    columns = 4
    rows = -(-len(shown) // columns)
    drawing = Drawing(figsize=(11.0, 3.1 * rows), layout="constrained")
    panels = drawing.subplots(rows, columns, squeeze=False)
    for axes, (run, example) in zip(panels.flat, shown, strict=False):
        draw_weights(axes, example.weights("source"), example.source, example.target, labels=6)
        axes.set_title(run.title, fontsize=9)
        axes.set_anchor("N")
    for axes in panels.flat[len(shown) :]:
        axes.set_axis_off()
    caption = (
        "Attention to the source (columns) of each step's own translation (rows) of one test sentence, with the first "
        "seed. White is 1. Of several heads the mean, of two layers the second."
    )
    return Figure("alignments", "What each step looks at", caption, png(drawing))


def curves(runs: Results) -> Figure | None:
    """Draw the likelihood of the development set against updates. Return None without a curve."""
    found = {run.title: curve for run in runs.values() if (curve := dev_curve(run))}
    if not found:
        return None
    drawing = Drawing(figsize=(7.6, 3.8), layout="constrained")
    axes = drawing.subplots()
    for (title, (steps, nats)), colour in zip(found.items(), COLOURS, strict=False):
        axes.plot(steps, nats, color=colour, linewidth=1.6, label=title)
    axes.set(xlabel="updates", ylabel="nats per target token", ylim=(0, None), xlim=(0, None))
    axes.spines[["top", "right"]].set_visible(False)
    drawing.legend(*axes.get_legend_handles_labels(), loc="outside right upper", frameon=False, fontsize=9)
    several = any(run.others for run in runs.values())
    caption = "Negative log-likelihood of the development set" + (", mean over the seeds." if several else ".")
    return Figure("curves", "Learning curves", caption, png(drawing))
