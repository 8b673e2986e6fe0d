"""The tables, figures and claims of Vaswani et al. 2017, rebuilt from finished runs beside what the paper prints.

Printed numbers come from reported.yaml and stand in columns of their own; ours come from result.json files alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from common.eval import claims as claim
from common.eval import report
from common.eval.claims import Claim, Finding
from common.eval.report import Section, number, versus
from common.eval.results import Result, read_results
from common.paper import Paper
from common.recipe import read_yaml
from papers.vaswani2017.figures import attention_figures

Reported = Mapping[str, Any]
Results = Mapping[str, Result]

PAIRS = ("EN-DE", "EN-FR")
MODELS = {"base": {"EN-DE": "base", "EN-FR": "base-enfr"}, "big": {"EN-DE": "big", "EN-FR": "big-enfr"}}
"""Table 2's own rows and the systems behind their cells."""
RECURRENT = "bahdanau2014"
"""The paper whose recurrent model is scored on the same data; its results are read as files."""
RECURRENT_SYSTEMS = {"EN-DE": "rnnsearch-50-ende", "EN-FR": "rnnsearch-50"}
MARGIN = 1.0
"""BLEU within which learned and fixed positions count as alike; the paper's "nearly identical" names no number."""


def build_tables(paper: Paper, scale: str, results: Path, out: Path) -> Section:
    """Everything of one scale, from the results in the folder `results`; also written to the folder `out`."""
    printed = read_yaml(paper.root / "reported.yaml")
    reported = printed["tables"]
    runs = read_results(results)
    recurrent = recurrent_results(paper, results)
    base = "table3-base" if "table3-base" in {*runs, *systems_of(paper, scale)} else "base"
    everyone = runs | {f"{RECURRENT}/{system}": result for system, result in recurrent.items()}
    outcomes = claim.evaluate(claims(reported, everyone, base), everyone)
    drawings = next(
        (drawn for system in ("base", *runs) if system in runs and (drawn := attention_figures(runs[system]))), []
    )
    remarks = notes(reported, runs, base, scale)
    parts = [
        f"# {paper.title}\n\n{paper.citation}",
        *table2_parts(reported, runs, recurrent),
        *table3_parts(reported, runs, base, every_row=scale == "wmt14"),
        *elsewhere_parts(printed["elsewhere"].get(scale, {}), runs),
        *(report.figure_block(figure) for figure in drawings),
        f"## Claims\n\n{report.claims_table(outcomes)}",
        *report.closing_parts(paper, scale, runs),
        "## Notes\n\n" + "\n".join(f"- {note}" for note in remarks),
    ]
    section = Section(paper.title, "\n\n".join(parts), drawings, outcomes, remarks)
    report.write_section(section, out)
    return section


def systems_of(paper: Paper, scale: str) -> list[str]:
    """Names of the systems that have a recipe at this scale."""
    return [name.rpartition("/")[2] for name in paper.systems(scale)]


def recurrent_results(paper: Paper, results: Path) -> dict[str, Result]:
    """The other paper's RNNsearch-50 runs at the same scale, from the folder that mirrors `results`; or none."""
    folder = Path(*(RECURRENT if part == paper.name else part for part in results.resolve().parts))
    if folder == results.resolve():
        return {}
    found = read_results(folder)
    return {system: found[system] for system in RECURRENT_SYSTEMS.values() if system in found}


def table2_parts(reported: Reported, runs: Results, recurrent: Results) -> list[str]:
    """Table 2 in its two halves, and the runs behind it."""
    own = {system: runs[system] for systems in MODELS.values() for system in systems.values() if system in runs}
    label = report.text_label(own)
    rows = table2_rows(reported, runs, recurrent)
    return [
        f"## Table 2: BLEU on the test set{label}\n\n{table2_bleu(rows)}",
        f"## Table 2: training cost{label}\n\n{table2_cost(rows)}",
        report.provenance({**recurrent, **own}),
    ]


def table2_rows(reported: Reported, runs: Results, recurrent: Results) -> list[tuple[str, Reported, Results]]:
    """Label, printed cells and our runs by pair: earlier systems, the recurrent model, then the paper's own."""
    rows: list[tuple[str, Reported, Results]] = [
        (row["label"], row, {pair: runs[system] for pair, system in MODELS.get(model, {}).items() if system in runs})
        for model, row in reported["table2"]["rows"].items()
    ]
    ours = {pair: recurrent[system] for pair, system in RECURRENT_SYSTEMS.items() if system in recurrent}
    others = len(rows) - len(MODELS)
    if ours:
        rows.insert(others, ("RNNsearch-50 (ours, same data)", {}, ours))
    return rows


def table2_bleu(rows: Sequence[tuple[str, Reported, Results]]) -> str:
    """Table 2's BLEU on both language pairs."""
    header = ["model"]
    for pair in PAIRS:
        header += [f"{pair}: ours (95%)", "paper", "difference"]
    cells = []
    for label, printed, ours in rows:
        cells.append([label])
        for pair in PAIRS:
            column, theirs = ours[pair].all if pair in ours else None, printed.get(pair)
            score = report.score(column.bleu, column.interval) if column else ""
            cells[-1] += [score, number(theirs, "g"), versus(column.bleu if column else None, theirs)]
        cells[-1].append("; ".join(report.run_cell(result) for result in ours.values()))
    return report.table([*header, "the runs behind it"], cells, right=range(1, 7))


def table2_cost(rows: Sequence[tuple[str, Reported, Results]]) -> str:
    """Table 2's training cost, a line for each model and language pair that has one."""
    header = ["model", "languages", "updates", "hours", "FLOPs: time x rate", "FLOPs: counted", "FLOPs: paper"]
    cells = [
        [label, pair, *_cost(ours.get(pair)), _flops(printed.get(f"FLOPs {pair}"))]
        for label, printed, ours in rows
        for pair in PAIRS
        if pair in ours or f"FLOPs {pair}" in printed
    ]
    explained = (
        "Time x rate is the paper's method: training time x devices (here one) x the device's sustained "
        "single-precision rate, here measured by square matrix products on the machine that scored the run. Counted "
        "are the matrix products of forward and backward passes, from the model and the mean sentence lengths of the "
        "recipe. The paper prints one figure for each of its own models across both pairs."
    )
    return report.table(header, cells, right=range(2, 7)) + f"\n\n{explained}"


def _cost(result: Result | None) -> list[str]:
    """Updates, hours and both FLOP figures of a run."""
    if result is None:
        return [""] * 4
    updates = f"{result.step:,}" if result.complete else f"{result.step:,} of {result.planned:,}"
    return [updates, number(result.seconds / 3600, ".3g"), _flops(result.flops_by_time), _flops(result.flops_counted)]


def _flops(value: float | None) -> str:
    return "" if value is None else re.sub(r"e\+?(-?)0*(?=\d)", r"e\1", f"{float(value):.1e}")


def table3_parts(reported: Reported, runs: Results, base: str, every_row: bool) -> list[str]:
    """Table 3 and the runs behind it; `base` is the run of its first row."""
    rows = reported["table3"]["rows"]
    known = {**runs, **({"table3-base": runs[base]} if base in runs else {})}
    shown = {system: known[system] for system in rows if system in known}
    return [
        f"## Table 3: variations of the Transformer{report.text_label(shown)}\n\n{table3(rows, shown, every_row)}",
        report.provenance(shown),
    ]


def table3(rows: Reported, runs: Results, every_row: bool) -> str:
    """Perplexity, BLEU and parameters of each variation that was run, or of all."""
    header = [
        "row",
        "here",
        "PPL: ours",
        "PPL: paper",
        "BLEU: ours (95%)",
        "BLEU: paper",
        "difference",
        "parameters: ours",
        "parameters: paper",
        "the run behind it",
    ]
    cells = [
        [
            row["label"],
            sizes(row["changes"], runs.get(system)),
            *_table3_cells(row, runs.get(system)),
            report.run_cell(runs.get(system)),
        ]
        for system, row in rows.items()
        if every_row or system in runs
    ]
    return report.table(header, cells, right=range(2, 9))


def sizes(changes: Mapping[str, Any], result: Result | None) -> str:
    """What the run has for the values that the row changes, in the paper's letters."""
    if result is None:
        return ""
    flat = result.recipe["model"] | {key: result.recipe["train"][key] for key in ("label_smoothing", "steps")}
    return ", ".join(f"{key} = {flat[key]}" for key in changes)


def _table3_cells(printed: Mapping[str, Any], result: Result | None) -> list[str]:
    """PPL, BLEU and parameters: ours, the paper's, and the difference in BLEU."""
    perplexity = result.likelihood("dev", "perplexity") if result else None
    column = result.all if result else None
    parameters = result.parameters if result else None
    return [
        number(perplexity, ".2f" if (perplexity or 0) < 1000 else ".2e"),
        number(printed.get("PPL")),
        report.score(column.bleu, column.interval) if column else "",
        number(printed.get("BLEU"), ".1f"),
        versus(column.bleu if column else None, printed.get("BLEU")),
        "" if parameters is None else f"{parameters / 1e6:.3g} M",
        f"{printed['params']} M" if "params" in printed else "",
    ]


def elsewhere_parts(printed: Mapping[str, Any], runs: Results) -> list[str]:
    """Our runs beside what other people report for the same configuration on the same text; none without any."""
    rows = [
        [
            f"`{system}`",
            result.pair,
            test_set,
            report.score(column.bleu, column.interval),
            number(theirs),
            versus(column.bleu, theirs),
            report.run_cell(result),
        ]
        for system, result in runs.items()
        for test_set, theirs in printed.get(result.pair, {}).items()
        if (column := result.column("all", test_set)) is not None
    ]
    if not rows:
        return []
    header = ["system", "languages", "set", "BLEU: ours (95%)", "theirs", "difference", "the run behind it"]
    table = report.table(header, rows, right=(3, 4, 5))
    return [f"## Beside others on the same text{report.text_label(runs)}\n\n{table}\n\n{printed['source'].strip()}"]


def claims(reported: Reported, runs: Results, base: str) -> list[Claim]:
    """What the paper concludes: §6.1 on Table 2, then §6.2 on Table 3. `base` is the run that Table 3 varies."""
    return [*recurrent_claims(runs), *size_claims(reported), *variation_claims(reported, base)]


def recurrent_claims(runs: Results) -> list[Claim]:
    """The headline, on each language pair that has a recurrent run; on EN-FR, as in both papers, always."""
    rule = (
        "the interval of the BLEU difference lies above 0 and the FLOPs counted from the model over the whole training "
        "are fewer. The paper compares with GNMT, ConvS2S and others; here it is the recurrent model at hand."
    )
    compared = [
        (pair, MODELS["base"][pair], f"{RECURRENT}/{system}")
        for pair, system in RECURRENT_SYSTEMS.items()
        if pair == "EN-FR" or f"{RECURRENT}/{system}" in runs
    ]
    return [
        Claim(
            f"beats-recurrent-{pair.lower()}",
            f"The Transformer beats the recurrent RNNsearch-50 on {pair} at less training cost",
            "§6.1, Table 2",
            (ours, theirs),
            beats_at_less_cost(ours, theirs),
            rule,
        )
        for pair, ours, theirs in compared
    ]


def beats_at_less_cost(ours: str, theirs: str) -> Callable[[Results], Finding]:
    """Decides "ours scores higher BLEU on the same sentences, for fewer FLOPs of training"."""

    def decide(runs: Results) -> Finding:
        difference = claim.compare(runs, ours, theirs)
        a, b = runs[ours], runs[theirs]
        verdict = claim.all_of(claim.beyond(difference, 0.0), "holds" if a.flops_counted < b.flops_counted else "fails")
        flops = f"{_flops(a.flops_counted)} against {_flops(b.flops_counted)} FLOPs counted"
        cost = f"{flops}, {a.seconds:,.0f} against {b.seconds:,.0f} s"
        return verdict, f"{claim.show(difference)} BLEU; {cost}", difference

    return decide


def size_claims(reported: Reported) -> list[Claim]:
    """Table 2: the big model above the base model."""
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


def variation_claims(reported: Reported, base: str) -> list[Claim]:
    """Table 3, in the order of its rows."""
    printed = reported["table3"]["rows"]

    def helps(identifier: str, statement: str, a: str, b: str) -> Claim:
        ours, theirs = (base if system == "table3-base" else system for system in (a, b))
        figures = f"{printed[a]['BLEU']} and {printed[b]['BLEU']}"
        return Claim(
            identifier, statement, "§6.2, Table 3", (ours, theirs), claim.better(ours, theirs), printed=figures
        )

    return [
        helps(
            "heads-help",
            "Several heads beat a single one: the base model beats row (A) h = 1",
            "table3-base",
            "table3-A-h1",
        ),
        helps(
            "too-many-heads-hurt",
            "Too many heads hurt: the base model beats row (A) h = 32",
            "table3-base",
            "table3-A-h32",
        ),
        helps(
            "small-keys-hurt",
            "Smaller keys hurt: the base model beats row (B) d_k = 16",
            "table3-base",
            "table3-B-dk16",
        ),
        helps("depth-helps", "More layers help: the base model beats row (C) N = 2", "table3-base", "table3-C-N2"),
        helps(
            "width-helps",
            "A wider model helps: the base model beats row (C) d_model = 256",
            "table3-base",
            "table3-C-d256",
        ),
        helps(
            "feed-forward-helps",
            "A wider feed-forward layer helps: the base model beats row (C) d_ff = 1024",
            "table3-base",
            "table3-C-ff1024",
        ),
        helps(
            "dropout-helps", "Dropout helps: the base model beats row (D) P_drop = 0", "table3-base", "table3-D-drop0"
        ),
        smoothing_claim(printed, base),
        positions_claim(printed, base),
    ]


def smoothing_claim(printed: Mapping[str, Any], base: str) -> Claim:
    """§5.4: label smoothing makes the model less sure, and better."""
    plain = "table3-D-ls0"

    def decide(runs: Results) -> Finding:
        difference = claim.compare(runs, base, plain)
        smoothed, sharp = (runs[system].likelihood("dev", "perplexity") for system in (base, plain))
        worse = smoothed is not None and sharp is not None and smoothed > sharp
        verdict = claim.all_of(claim.beyond(difference, 0.0), "holds" if worse else "fails")
        return (
            verdict,
            f"perplexity {number(smoothed)} against {number(sharp)}; {claim.show(difference)} BLEU",
            difference,
        )

    figures = "; ".join(f"{printed[row]['PPL']} PPL, {printed[row]['BLEU']} BLEU" for row in ("table3-base", plain))
    rule = "the smoothed model has the higher dev perplexity (one value, no interval) and reliably the higher BLEU."
    statement = "Label smoothing hurts perplexity but helps BLEU"
    return Claim("smoothing", statement, "§5.4, Table 3", (base, plain), decide, rule, figures)


def positions_claim(printed: Mapping[str, Any], base: str) -> Claim:
    """§3.5, §6.2: learned position vectors do as well as sinusoids."""
    learned = "table3-E-learned"

    def decide(runs: Results) -> Finding:
        difference = claim.compare(runs, learned, base)
        return claim.within(difference, MARGIN), f"{claim.show(difference)} BLEU", difference

    rule = (
        f"the interval of the difference lies within {MARGIN:g} BLEU either side of 0; fails when it lies outside. "
        "The margin is ours."
    )
    figures = f"{printed[learned]['BLEU']} and {printed['table3-base']['BLEU']}"
    statement = "Learned positions do nearly the same as sinusoids"
    return Claim("learned-positions", statement, "§3.5, §6.2, Table 3", (learned, base), decide, rule, figures)


def notes(reported: Reported, runs: Results, base: str, scale: str) -> list[str]:
    """What a reader must know to read the tables."""
    big = reported["table2"]["rows"]["big"]
    remarks = [
        *report.standard_notes(runs),
        "PPL is per sub-word on the development set, unsmoothed and teacher-forced; the number of sub-words depends on "
        "the vocabulary, so perplexities compare within one corpus only.",
        "Rows of earlier systems show the paper's figures; none of them is reproduced here.",
        f"{big['label']}, EN-FR: the paper prints {big['EN-FR']} in arXiv v5 and {big['EN-FR proceedings']} in the "
        "proceedings.",
    ]
    if base in runs and base != "table3-base":
        count = runs[base].recipe["evaluate"]["average"]
        remarks.append(
            f"Table 3's first row is the run `{base}` of Table 2, decoded from {count} averaged checkpoints; how many "
            "the other rows average is in the lines under the table. The paper averages none there."
        )
    missing = [f"`{system}`" for systems in MODELS.values() for system in systems.values() if system not in runs]
    if missing:
        remarks.append(f"Table 2 has no run yet of {', '.join(missing)}: their cells stay empty.")
    left = [
        f"`{system}`"
        for system in reported["table3"]["rows"]
        if system not in runs and (system, base) != ("table3-base", "base")
    ]
    if left:
        shown = "their cells stay empty" if scale == "wmt14" else "they are left out"
        remarks.append(f"Table 3 has no run of {', '.join(left)} at this scale: {shown}.")
    return remarks
