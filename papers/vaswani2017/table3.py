"""Table 3 on Multi30k: every row in the proportions of the paper's, with several seeds.

`python -m papers.vaswani2017 seeds --scale multi30k-table3` trains them all. `claims.py` has the claims.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from common.markdown import table
from common.paper import Paper
from common.report import claims as claim
from common.report import page
from common.report import tables as report
from common.report.claims import Claim, Results
from common.report.page import Section
from common.report.results import Result, read_results
from common.report.variants import Measure, bleu_measure, dev_measure, differences_figure, spreads, variants_table

SCALE = "multi30k-table3"
"""Folder of the recipes, the runs and the results."""
BASE = "table3-base"
"""The row that the others differ from, at every scale."""
TITLE = "Table 3 on Multi30k, with seeds"
"""Title of the page."""
BLEU = bleu_measure(margin=1.0)
PPL = dev_measure("PPL", 2, margin=0.2, of=lambda run: run.dev.perplexity)
"""What the rows are compared by. The margins are ours: the paper gives no number."""


def build_page(
    paper: Paper, printed: Mapping[str, Mapping[str, Any]], claims: Sequence[Claim], results: Path, out: Path
) -> Section:
    """Build the page from the folder `results`, and write it to the folder `out`.

    printed: the paper's rows by system. claims: on these rows.
    """
    found = read_results(results)
    runs = {system: found[system] for system in printed if system in found}
    outcomes = claim.evaluate(claims, runs)
    theirs = {measure: {system: row[measure.name] for system, row in printed.items()} for measure in (BLEU, PPL)}
    drawing = differences_figure(runs, BASE, {BLEU: _from_base(theirs[BLEU]), PPL: None})
    remarks = notes(paper, runs)

    def changed(run: Result) -> str:
        return sizes(printed[run.system]["changes"], run)

    def part(title: str, measure: Measure) -> str:
        shown = variants_table(runs, BASE, measure, changed, theirs[measure])
        return f"## Table 3: {title}{report.text_label(runs)}\n\n{shown}"

    parts = [
        f"# {TITLE}\n\n{paper.citation}",
        part("BLEU on the development set", BLEU),
        *([page.figure_block(drawing)] if drawing else []),
        part("perplexity per sub-word of the development set", PPL),
        f"## Size and cost\n\n{_costs(runs)}\n\n{report.cost_note(runs)}",
        f"## Claims\n\n{report.claims_table(outcomes, runs)}",
        "## Notes\n\n" + "\n".join(f"- {note}" for note in remarks),
        f"## The runs\n\n{report.provenance(runs)}",
        *report.closing_parts(paper, SCALE, runs)[-1:],
    ]
    section = Section(TITLE, "\n\n".join(parts), [drawing] if drawing else [], outcomes, remarks)
    page.write_section(section, out)
    return section


def values(result: Result) -> dict[str, Any]:
    """Return the run's values for the columns of Table 3, by the paper's letters."""
    return {**result.recipe["model"], **{key: result.recipe["train"][key] for key in ("label_smoothing", "steps")}}


def sizes(changes: Iterable[str], result: Result | None) -> str:
    """Return the run's values for what the row changes, in the paper's letters."""
    return ", ".join(f"{key} = {values(result)[key]}" for key in changes) if result else ""


def _from_base(printed: Mapping[str, float]) -> dict[str, float]:
    """Return each printed score minus that of the base."""
    return {system: score - printed[BASE] for system, score in printed.items()}


def _costs(runs: Results) -> str:
    """Return parameters and training cost of each row, of the training with its first seed."""
    rows = [[run.title, f"{run.parameters or 0:,}", *report.cost(run)] for run in runs.values()]
    return table(["row", "parameters", *report.COST], rows, right=range(1, 6))


def notes(paper: Paper, runs: Results) -> list[str]:
    """Return what a reader must know to read the tables."""
    trainings = [run for result in runs.values() for run in result.trainings]
    remarks = [
        "Every size is the paper's in one proportion: an eighth of each width, half of each number of layers. Heads, "
        "dropout and label smoothing are the paper's own. Rows have the paper's names, "
        "and `changes` has their values here.",
        "The trainings are far shorter than the paper's 100,000 updates of 25,000 tokens (below), so a row may win "
        "here because it learns faster. What shows only after many passes over the text may not be seen.",
        f"Intervals of BLEU cover seeds and sentences{spreads(runs, BASE, BLEU)}, those of PPL the seeds alone"
        f"{spreads(runs, BASE, PPL)}: test sets are drawn with replacement, the same for all trainings, and errors of "
        "the seeds from Student's t with their standard deviation, pooled over all rows that make as many updates. Big "
        "makes three times as many and has its own: a rule that was made when one of its trainings had been seen to "
        "stay far behind. Where three trainings lie so far apart, Student's t gives intervals beyond what is possible, "
        "below 0 BLEU and a perplexity of 1: they say that nothing is decided. Each comparison has its own "
        "95%: of twenty that make no difference, one interval would be expected to exclude 0.",
        f"Verdicts in the tables: a difference whose interval lies within ±{BLEU.margin:g} BLEU or ±{PPL.margin:g} PPL "
        "is too small to matter, and is `seen` if the interval excludes 0. Any other `matters` if its interval "
        "excludes 0, and else is undecided. The margins are ours.",
        "`difference there` is the paper's row minus the paper's base: printed scores of one training each, on other "
        "text.",
        # Without the note that intervals of single scores do not cover the seeds: with several seeds all do.
        *report.standard_notes(runs)[1 if any(result.others for result in runs.values()) else 0 :],
    ]
    remarks += [f"Unfinished: {run.label}, {run.updates}." for run in trainings if not run.complete]
    fewer = max((len(run.trainings) for run in runs.values()), default=0)
    for system in (name.rpartition("/")[2] for name in paper.systems(SCALE)):
        there = len(runs[system].trainings) if system in runs else 0
        if there < max(fewer, 1):
            remarks.append(f"Of {system} there {'is one seed' if there == 1 else f'are {there} seeds'} yet.")
    return remarks
