"""The tables, figures and claims of Vaswani et al. 2017, made from finished runs beside what the paper prints.

Printed numbers come from reported.yaml and have columns of their own. Ours come from result.json files only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.markdown import table
from common.paper import Paper
from common.recipe import OWN_SCALE
from common.report import claims as claim
from common.report import page
from common.report import tables as report
from common.report.claims import Claim, Finding
from common.report.page import Section
from common.report.results import Result, read_results
from common.report.tables import number, versus
from common.yaml_files import read_yaml
from papers.vaswani2017 import parsing
from papers.vaswani2017.figures import attention_figures

Reported = Mapping[str, Any]
"""A part of reported.yaml or of reported-wu2021.yaml."""
Results = Mapping[str, Result]
"""Runs by system."""

PAIRS = ("EN-DE", "EN-FR")
"""The language pairs of Table 2."""
MODELS = {"base": {"EN-DE": "base", "EN-FR": "base-enfr"}, "big": {"EN-DE": "big", "EN-FR": "big-enfr"}}
"""The paper's own rows of Table 2, and the systems behind their cells."""
BASE = "table3-base"
"""The run whose variations Table 3 shows."""
MARGIN = 1.0
"""BLEU within which learned and fixed positions count as equal. The paper says "nearly identical" and gives no
number."""


@dataclass(frozen=True)
class Row:
    """A row of Table 2: one that the paper prints, or one of our own."""

    printed: Mapping[str, Any]
    """What the paper prints, by column. Empty in a row of our own."""
    runs: dict[str, Result]
    """Our runs, by language pair."""


Line = tuple[str, Reported, Result | None]
"""A row of Table 3: its label, what the paper prints, and our run. A row of our own has only `changes` for the
second."""


def build_tables(paper: Paper, scale: str, results: Path, out: Path) -> Section:
    """Build all that is shown of one scale from the folder `results`, and write it to the folder `out`."""
    reported = read_yaml(paper.root / "reported.yaml")["tables"]
    wu = read_yaml(paper.root / "reported-wu2021.yaml")
    runs = read_results(results)
    if scale == parsing.SCALE:
        return parsing.build_tables(paper, reported["table4"], runs, out)
    rows = table2_rows(reported, runs)
    outcomes = claim.evaluate(claims(reported), runs)
    drawings = next(
        (drawn for system in ("base", *runs) if system in runs and (drawn := attention_figures(runs[system]))), []
    )
    remarks = notes(reported, runs, rows, scale)
    parts = [
        f"# {paper.title}\n\n{paper.citation}",
        *table2_parts(rows, wu, scale),
        *table3_parts(reported, runs, rows, scale),
        *(beside_others(wu, runs) if scale == wu["scale"] else []),
        *(page.figure_block(figure) for figure in drawings),
        f"## Claims\n\n{report.claims_table(outcomes)}",
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
    rows = {row["label"]: Row(row, {}) for row in printed.values()}
    systems = {printed[model]["label"]: MODELS[model] for model in MODELS}
    for system, result in runs.items():
        if system in reported["table3"]["rows"] or result.pair not in PAIRS:
            continue
        row = rows.setdefault(result.title, Row({}, {}))
        if (row.printed and systems.get(result.title, {}).get(result.pair) != system) or result.pair in row.runs:
            row = rows.setdefault(f"{result.title}, `{system}`", Row({}, {}))
        row.runs[result.pair] = result
    return rows


def table2_parts(rows: Mapping[str, Row], wu: Reported, scale: str) -> list[str]:
    """Return Table 2 in two parts, BLEU and training cost, and the runs behind it."""
    runs = {result.system: result for row in rows.values() for result in row.runs.values()}
    label = report.text_label(runs)
    return [
        f"## Table 2: BLEU on the test set{label}\n\n{table2_bleu(rows, wu, scale)}",
        f"## Table 2: training cost{label}\n\n{table2_cost(rows)}\n\n{report.cost_note(runs)} "
        "The paper prints one figure for each of its own models across both pairs.",
        report.provenance(runs),
    ]


def table2_bleu(rows: Mapping[str, Row], wu: Reported, scale: str) -> str:
    """Return the BLEU of Table 2 on both language pairs."""
    header = ["model", *(heading for pair in PAIRS for heading in report.headings(pair, scale))]
    cells = []
    for label, row in rows.items():
        cells.append([label])
        for pair in PAIRS:
            result = row.runs.get(pair)
            ours, theirs, *difference = report.beside(result.all if result else None, row.printed.get(pair), "g", scale)
            cells[-1] += [ours, theirs or _theirs(wu, result), *difference]
        cells[-1].append("; ".join(report.run_cell(row.runs[pair]) for pair in PAIRS if pair in row.runs))
    return table([*header, "the runs behind it"], cells, right=range(1, len(header)))


def _theirs(wu: Reported, result: Result | None) -> str:
    """Return `41.02 (Wu et al. 2021, published log)` for a run that trained as they did, else an empty cell."""
    if result is None or result.system not in wu["systems"]:
        return ""
    score = wu["scores"][result.pair].get(result.test_set)
    return f"{score['BLEU']:.2f} ({wu['label']}, {score['source']})" if score else ""


def table2_cost(rows: Mapping[str, Row]) -> str:
    """Return the training cost of Table 2, with a row for each model and language pair that has one."""
    cells = [
        [label, pair, *report.cost(row.runs.get(pair)), report.flops(row.printed.get(f"FLOPs {pair}"))]
        for label, row in rows.items()
        for pair in PAIRS
        if pair in row.runs or f"FLOPs {pair}" in row.printed
    ]
    return table(["model", "languages", *report.COST, "FLOPs: paper"], cells, right=range(2, 7))


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
    return [f"{title}\n\n{table3(lines, scale)}", report.provenance(shown)]


def table3(lines: Iterable[Line], scale: str) -> str:
    """Return perplexity, BLEU and parameters of each variation."""
    bleu = report.headings("BLEU", scale, paper="BLEU: paper")
    parameters = ["parameters: ours", "parameters: paper"]
    header = ["row", "here", "PPL: ours", "PPL: paper", *bleu, *parameters]
    cells = [
        [label, sizes(row["changes"], result), *_table3_cells(row, result, scale), report.run_cell(result)]
        for label, row, result in lines
    ]
    return table([*header, "the run behind it"], cells, right=range(2, len(header)))


def values(result: Result) -> dict[str, Any]:
    """Return the run's values for the columns of Table 3, by the paper's letters."""
    return {**result.recipe["model"], **{key: result.recipe["train"][key] for key in ("label_smoothing", "steps")}}


def sizes(changes: Iterable[str], result: Result | None) -> str:
    """Return the run's values for what the row changes, in the paper's letters."""
    return ", ".join(f"{key} = {values(result)[key]}" for key in changes) if result else ""


def _table3_cells(printed: Reported, result: Result | None, scale: str) -> list[str]:
    """Return PPL, BLEU and parameters, ours beside the paper's."""
    perplexity = result.dev.perplexity if result else None
    parameters = result.parameters if result else None
    return [
        number(perplexity, ".2f" if (perplexity or 0) < 1000 else ".2e"),
        number(printed.get("PPL")),
        *report.beside(result.all if result else None, printed.get("BLEU"), ".1f", scale),
        "" if parameters is None else f"{parameters / 1e6:.3g} M",
        f"{printed['params']} M" if "params" in printed else "",
    ]


def beside_others(wu: Reported, runs: Results) -> list[str]:
    """Return our runs beside what Wu et al. report for the same configuration on the same text.

    Return nothing if there is no such run.
    """
    rows = [
        [
            f"`{system}`",
            result.pair,
            test_set,
            report.score(column.bleu, column.interval),
            number(theirs["BLEU"]),
            theirs["source"],
            versus(column.bleu, theirs["BLEU"]),
            report.run_cell(result),
        ]
        for system, result in runs.items()
        for test_set, theirs in wu["scores"].get(result.pair, {}).items()
        if (column := result.column("all", test_set)) is not None
    ]
    if not rows:
        return []
    header = ["system", "languages", "set", "BLEU: ours (95%)", "theirs", "known from", "difference"]
    compared = table([*header, "the run behind it"], rows, right=(3, 4, 6))
    return [f"## Beside others on the same text{report.text_label(runs)}\n\n{compared}\n\n{wu['source'].strip()}"]


def claims(reported: Reported) -> list[Claim]:
    """Return the paper's conclusions on its own models: §6.1 on Table 2, then §6.2 on Table 3."""
    return [*size_claims(reported), *variation_claims(reported)]


def size_claims(reported: Reported) -> list[Claim]:
    """Return the claims on Table 2: the big model has the higher BLEU."""
    printed = reported["table2"]["rows"]
    return [
        Claim(
            f"big-beats-base-{pair.lower()}",
            f"The big model beats the base model on {pair}",
            "§6.1, Table 2",
            (MODELS["big"][pair], MODELS["base"][pair]),
            claim.better(MODELS["big"][pair], MODELS["base"][pair]),
            printed=f"{printed['big'][pair]} and {printed['base'][pair]}",
        )
        for pair in PAIRS
    ]


def variation_claims(reported: Reported) -> list[Claim]:
    """Return the claims on Table 3, in the order of its rows."""
    printed = reported["table3"]["rows"]

    def hurts(identifier: str, statement: str, change: str) -> Claim:
        """Make the claim that a change of the base model lowers BLEU."""
        figures = f"{printed[BASE]['BLEU']} and {printed[change]['BLEU']}"
        better = claim.better(BASE, change)
        return Claim(identifier, statement, "§6.2, Table 3", (BASE, change), better, printed=figures)

    return [
        hurts(
            "heads-help",
            "Several heads beat a single one: the base model beats row (A) h = 1",
            "table3-A-h1",
        ),
        hurts("too-many-heads-hurt", "Too many heads hurt: the base model beats row (A) h = 32", "table3-A-h32"),
        hurts("small-keys-hurt", "Smaller keys hurt: the base model beats row (B) d_k = 16", "table3-B-dk16"),
        hurts("depth-helps", "More layers help: the base model beats row (C) N = 2", "table3-C-N2"),
        hurts("width-helps", "A wider model helps: the base model beats row (C) d_model = 256", "table3-C-d256"),
        hurts(
            "feed-forward-helps",
            "A wider feed-forward layer helps: the base model beats row (C) d_ff = 1024",
            "table3-C-ff1024",
        ),
        hurts("dropout-helps", "Dropout helps: the base model beats row (D) P_drop = 0", "table3-D-drop0"),
        smoothing_claim(printed),
        positions_claim(printed),
    ]


def smoothing_claim(printed: Reported) -> Claim:
    """Return the claim of §5.4: label smoothing raises perplexity and BLEU."""
    plain = "table3-D-ls0"

    def decide(runs: Results) -> Finding:
        """Compare BLEU and development perplexity with and without smoothing."""
        difference = claim.compare(runs, BASE, plain)
        smoothed, sharp = (runs[system].dev.perplexity for system in (BASE, plain))
        verdict = claim.all_of(claim.beyond(difference, 0.0), "holds" if smoothed > sharp else "fails")
        return (
            verdict,
            f"perplexity {number(smoothed)} against {number(sharp)}; {claim.show(difference)} BLEU",
            difference,
        )

    figures = "; ".join(f"{printed[row]['PPL']} PPL, {printed[row]['BLEU']} BLEU" for row in (BASE, plain))
    rule = "the smoothed model has the higher dev perplexity (one value, no interval) and reliably the higher BLEU."
    statement = "Label smoothing hurts perplexity but helps BLEU"
    return Claim("smoothing", statement, "§5.4, Table 3", (BASE, plain), decide, rule, figures)


def positions_claim(printed: Reported) -> Claim:
    """Return the claim of §3.5 and §6.2: learned position vectors do as well as sinusoids."""
    learned = "table3-E-learned"

    def decide(runs: Results) -> Finding:
        """Decide whether the two differ by less than MARGIN."""
        difference = claim.compare(runs, learned, BASE)
        return claim.within(difference, MARGIN), f"{claim.show(difference)} BLEU", difference

    rule = (
        f"the interval of the difference lies within {MARGIN:g} BLEU either side of 0; fails when it lies outside. "
        "The margin is ours."
    )
    figures = f"{printed[learned]['BLEU']} and {printed[BASE]['BLEU']}"
    statement = "Learned positions do nearly the same as sinusoids"
    return Claim("learned-positions", statement, "§3.5, §6.2, Table 3", (learned, BASE), decide, rule, figures)


def notes(reported: Reported, runs: Results, rows: Mapping[str, Row], scale: str) -> list[str]:
    """Return what a reader must know to read the tables."""
    big = reported["table2"]["rows"]["big"]
    remarks = [
        *report.standard_notes(runs),
        *report.other_text_notes(runs),
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
