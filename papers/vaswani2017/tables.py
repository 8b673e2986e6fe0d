"""The tables, figures and claims of Vaswani et al. 2017, made from finished runs beside what the paper prints.

Printed numbers come from reported.yaml and have columns of their own. Ours come from result.json files only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from common.markdown import table
from common.paper import Paper
from common.recipe import OWN_SCALE
from common.report import claims as claim
from common.report import page
from common.report import tables as report
from common.report.page import Section
from common.report.results import Result, read_results
from common.report.tables import number, versus
from common.run.plan import training_flops
from common.yaml_files import read_yaml
from papers.vaswani2017 import table4
from papers.vaswani2017.claims import MODELS, PAIRS, claims, variation_claims
from papers.vaswani2017.figures import attention_figures
from papers.vaswani2017.table3 import SCALE as SEEDS_SCALE
from papers.vaswani2017.table3 import build_page as build_table3
from papers.vaswani2017.table3 import sizes, values

Reported = Mapping[str, Any]
"""A part of reported.yaml or of reported-wu2021.yaml."""
Results = Mapping[str, Result]
"""Runs by system."""


@dataclass(frozen=True)
class Row:
    """A row of Table 2: one that the paper prints, or one of our own."""

    printed: Mapping[str, Any]
    """What the paper prints, by column. Empty in a row of our own."""
    runs: dict[str, Result]
    """Our runs, by language pair."""
    systems: Mapping[str, str]
    """The paper's own systems that it stands for, by language pair."""


Line = tuple[str, Reported, Result | None]
"""A row of Table 3: its label, what the paper prints, and our run. A row of our own has only `changes` for the
second."""


def build_tables(paper: Paper, scale: str, results: Path, out: Path) -> Section:
    """Build all that is shown of one scale from the folder `results`, and write it to the folder `out`."""
    reported = read_yaml(paper.root / "reported.yaml")["tables"]
    if scale == SEEDS_SCALE:
        return build_table3(paper, reported["table3"]["rows"], variation_claims(reported), results, out)
    wu = read_yaml(paper.root / "reported-wu2021.yaml")
    runs = read_results(results)
    if scale == table4.SCALE:
        return table4.build_page(paper, reported["table4"], runs, out)
    rows = table2_rows(reported, runs)
    outcomes = claim.evaluate(claims(reported), runs)
    drawings = next(
        (drawn for system in ("base", *runs) if system in runs and (drawn := attention_figures(runs[system]))), []
    )
    remarks = [*notes(reported, runs, rows, scale), *report.other_text_notes(paper, runs)]
    parts = [
        f"# {paper.title}\n\n{paper.citation}",
        *table2_parts(paper, rows, wu, scale),
        *table3_parts(reported, runs, rows, scale),
        *(beside_others(wu, runs) if scale == wu["scale"] else []),
        *(page.figure_block(figure) for figure in drawings),
        f"## Claims\n\n{report.claims_table(outcomes, runs)}",
        *report.closing_parts(paper, scale, runs),
        "## Notes\n\n" + "\n".join(f"- {note}" for note in remarks),
    ]
    section = Section(paper.title, "\n\n".join(parts), drawings, outcomes, remarks)
    page.write_section(section, out)
    return section


def table2_rows(reported: Reported, runs: Results) -> dict[str, Row]:
    """Return the rows of Table 2 by label: the paper's rows in its order, then rows for our runs of other models.

    A run stands in a row of the paper if it is the row's system and its recipe has the row's label as title.
    """
    printed = reported["table2"]["rows"]
    rows = {row["label"]: Row(row, {}, MODELS.get(model, {})) for model, row in printed.items()}
    for system, result in runs.items():
        if system in reported["table3"]["rows"] or result.pair not in PAIRS:
            continue
        row = rows.setdefault(result.title, Row({}, {}, {}))
        if (row.printed and row.systems.get(result.pair) != system) or result.pair in row.runs:
            row = rows.setdefault(f"{result.title}, `{system}`", Row({}, {}, {}))
        row.runs[result.pair] = result
    return rows


def table2_parts(paper: Paper, rows: Mapping[str, Row], wu: Reported, scale: str) -> list[str]:
    """Return Table 2 in two parts, BLEU and training cost, and the runs behind it."""
    runs = {result.system: result for row in rows.values() for result in row.runs.values()}
    label = report.text_label(runs)
    return [
        f"## Table 2: BLEU on the test set{label}\n\n{table2_bleu(rows, runs, wu, scale)}",
        f"## Table 2: training cost{label}\n\n{table2_cost(paper, rows)}\n\n{report.cost_note(runs)} "
        "The paper prints one figure for each of its own models across both pairs. The last column counts its "
        "trainings as ours are counted, from its own recipes.",
        report.provenance(runs),
    ]


def table2_bleu(rows: Mapping[str, Row], runs: Results, wu: Reported, scale: str) -> str:
    """Return the BLEU of Table 2 on both language pairs: of several seeds the mean."""
    printed = "paper, else as named" if scale == wu["scale"] else "paper"
    header = ["model", *(heading for pair in PAIRS for heading in report.headings(pair, scale, printed))]
    cells = []
    for label, row in rows.items():
        cells.append([label])
        for pair in PAIRS:
            result = row.runs.get(pair)
            scored = claim.mean_bleu(runs, result)
            ours, theirs, *difference = report.beside(scored, row.printed.get(pair), "g", scale)
            cells[-1] += [ours, theirs or _theirs(wu, result), *difference]
        cells[-1].append("; ".join(report.run_cell(row.runs[pair]) for pair in PAIRS if pair in row.runs))
    return table([*header, "the runs behind it"], cells, right=range(1, len(header)))


def _theirs(wu: Reported, result: Result | None) -> str:
    """Return `41.02 (Wu et al. 2021, published log)` for a run that trained as they did, else an empty cell."""
    if result is None or result.system not in wu["systems"]:
        return ""
    score = wu["scores"][result.pair].get(result.test_set)
    return f"{score['BLEU']:.2f} ({wu['label']}, {score['source']})" if score else ""


def table2_cost(paper: Paper, rows: Mapping[str, Row]) -> str:
    """Return the training cost of Table 2, with a row for each model and language pair that has one."""
    cells = [
        [
            label,
            pair,
            *report.cost(row.runs.get(pair)),
            report.flops(row.printed.get(f"FLOPs {pair}")),
            report.flops(counted_flops(paper, row.systems[pair]) if pair in row.systems else None),
        ]
        for label, row in rows.items()
        for pair in PAIRS
        if pair in row.runs or f"FLOPs {pair}" in row.printed
    ]
    header = ["model", "languages", *report.COST, "FLOPs: paper", "the paper's, counted"]
    return table(header, cells, right=range(2, 8))


@cache
def counted_flops(paper: Paper, system: str) -> int:
    """Count the FLOPs of the paper's own training of a system, from the model and the mean lengths of its recipe."""
    recipe = paper.recipe(system)
    return training_flops(paper, recipe) * recipe.train.steps


def table3_parts(reported: Reported, runs: Results, rows: Mapping[str, Row], scale: str) -> list[str]:
    """Return Table 3 with the runs behind it. At the paper's own scale it has all rows, otherwise those that were run.

    Our English-German runs of other models have rows of their own here, as they have in Table 2.
    """
    printed = reported["table3"]["rows"]
    base = reported["table3"]["base"]
    lines: list[Line] = [(row["label"], row, runs.get(system)) for system, row in printed.items()]
    for label, row in rows.items():
        if not row.printed and (result := row.runs.get("EN-DE")):
            lines.append((label, {"changes": [key for key in base if values(result)[key] != base[key]]}, result))
    if scale != OWN_SCALE:
        lines = [line for line in lines if line[2]]
    if not lines:
        return []
    shown = {result.system: result for _, _, result in lines if result}
    title = f"## Table 3: variations of the Transformer{report.text_label(shown)}"
    return [f"{title}\n\n{table3(lines, runs, scale)}", report.provenance(shown)]


def table3(lines: Iterable[Line], runs: Results, scale: str) -> str:
    """Return perplexity, BLEU and parameters of each variation: of several seeds the means."""
    bleu = report.headings("BLEU", scale, paper="BLEU: paper")
    parameters = ["parameters: ours", "parameters: paper"]
    header = ["row", "here", "PPL: ours", "PPL: paper", *bleu, *parameters]
    cells = [
        [label, sizes(row["changes"], result), *_table3_cells(row, result, runs, scale), report.run_cell(result)]
        for label, row, result in lines
    ]
    return table([*header, "the run behind it"], cells, right=range(2, len(header)))


def _table3_cells(printed: Reported, result: Result | None, runs: Results, scale: str) -> list[str]:
    """Return PPL, BLEU and parameters, ours beside the paper's."""
    perplexity = float(np.mean([run.dev.perplexity for run in result.trainings])) if result else None
    parameters = result.parameters if result else None
    return [
        number(perplexity, ".2f" if (perplexity or 0) < 1000 else ".2e"),
        number(printed.get("PPL")),
        *report.beside(claim.mean_bleu(runs, result), printed.get("BLEU"), ".1f", scale),
        "" if parameters is None else f"{parameters / 1e6:.3g} M",
        f"{printed['params']} M" if "params" in printed else "",
    ]


def beside_others(wu: Reported, runs: Results) -> list[str]:
    """Return our runs beside what Wu et al. report for the same model on the same text.

    Return nothing if there is no such run.
    """
    rows = []
    for result in runs.values():
        for test_set, theirs in wu["scores"].get(result.pair, {}).items():
            if scored := claim.mean_bleu(runs, result, test_set=test_set):
                columns = (run.column("all", test_set) for run in result.trainings if result.others)
                by_seed = ", ".join(number(column.bleu) for column in columns if column)
                ours = [report.score(*scored), by_seed]
                printed = [number(theirs["BLEU"]), theirs["source"], versus(scored[0], theirs["BLEU"])]
                rows.append([result.title, result.pair, test_set, *ours, *printed, report.run_cell(result)])
    if not rows:
        return []
    header = ["model", "languages", "set", "BLEU: ours (95%)", "by seed", "theirs", "known from", "difference"]
    compared = table([*header, "the run behind it"], rows, right=(3, 4, 5, 7))
    source = wu["source"].strip()
    if others := [f"`{system}`" for system in runs if system not in wu["systems"]]:
        source += f" {' and '.join(others)} made fewer and smaller updates at another rate than theirs (D6)."
    return [f"## Beside others on the same text{report.text_label(runs)}\n\n{compared}\n\n{source}"]


def notes(reported: Reported, runs: Results, rows: Mapping[str, Row], scale: str) -> list[str]:
    """Return what a reader must know to read the tables."""
    big = reported["table2"]["rows"]["big"]
    remarks = [
        *report.standard_notes(runs),
        "PPL is per sub-word on the development set, unsmoothed and teacher-forced; the number of sub-words depends on "
        "the vocabulary, so perplexities compare within one corpus only.",
        "Rows of earlier systems show the paper's figures; none of them is reproduced here.",
        f"{big['label']}, EN-FR: the paper prints {big['EN-FR']} in arXiv v5 and {big['EN-FR proceedings']} in the "
        "proceedings.",
    ]
    missing = [
        f"{label} {pair}"
        for label in (reported["table2"]["rows"][model]["label"] for model in MODELS)
        for pair in PAIRS
        if pair not in rows[label].runs
    ]
    if missing:
        remarks.append(f"Table 2 has no run yet of {', '.join(missing)}: their cells stay empty.")
    left = [f"`{system}`" for system in reported["table3"]["rows"] if system not in runs]
    if left:
        shown = "their cells stay empty" if scale == OWN_SCALE else "they are left out"
        remarks.append(f"Table 3 has no run of {', '.join(left)} at this scale: {shown}.")
    return remarks
