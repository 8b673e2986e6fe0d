"""The tables, figures and claims of Bahdanau et al. 2014, made from finished runs beside what the paper prints.

Printed numbers come from reported.yaml and have columns of their own. Ours come from result.json files only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common.markdown import table
from common.paper import Paper
from common.report import claims as claim
from common.report import page
from common.report import tables as report
from common.report.claims import Claim, Finding, Outcome, Verdict
from common.report.page import Figure, Section
from common.report.results import Result, read_results
from common.report.tables import number
from common.score.by_length import bleu_by_bins, change_above
from common.yaml_files import read_yaml
from papers.bahdanau2014 import ambiguities, analysis, figures
from papers.bahdanau2014.ambiguities.page import build_page

Reported = Mapping[str, Any]
"""The tables of reported.yaml."""
Results = Mapping[str, Result]
"""Runs by system."""

COLUMNS = {"All": "all", "No UNK": "no_unk"}
"""Columns of Table 1 and their names in a result."""
SHARE = 1 / 3
"""RNNsearch-50 is to lose less with length than this share of what RNNencdec-50 loses."""
LONG, LEAST = (50, 40), 10
"""Words above which a sentence counts as long, the second number where too few are longer than the first; and the words
from which on the others count."""
ENOUGH = 50
"""Fewest long sentences on which anything is decided."""
FLOOR = 2.0
"""BLEU below which two systems differ in little but the words that any sentence has. Ours."""


def build_tables(paper: Paper, scale: str, results: Path, out: Path) -> Section:
    """Build all that is shown of one scale from the folder `results`, and write it to the folder `out`."""
    if scale == ambiguities.SCALE:
        return build_page(paper, results, out)
    reported = read_yaml(paper.root / "reported.yaml")["tables"]
    runs = read_results(results)
    rows = {system: runs[system] for system in reported["table1"]["rows"] if system in runs}
    drawings = [figure for figure in (figures.bleu_by_length(rows), _alignments(rows)) if figure]
    analysed, more = analysis.build(reported, runs)
    outcomes = claim.evaluate(claims(reported), runs)
    remarks = [*notes(reported, runs), *report.other_text_notes(paper, runs), *why_claims_fail(outcomes, runs)]
    parts = [
        f"# {paper.title}\n\n{paper.citation}",
        f"## Table 1: BLEU on the test set{report.text_label(runs)}\n\n{table1(reported, runs, scale)}",
        report.provenance(runs),
        f"## Table 2: learning statistics{report.text_label(runs)}\n\n{table2(reported, runs)}",
        *length_part(rows, drawings),
        *(page.figure_block(figure) for figure in drawings if figure.name == "alignments"),
        *table3_part(rows),
        *analysed,
        f"## Claims\n\n{report.claims_table(outcomes, runs)}",
        *report.closing_parts(paper, scale, runs),
        "## Notes\n\n" + "\n".join(f"- {note}" for note in remarks),
    ]
    section = Section(paper.title, "\n\n".join(parts), [*drawings, *more], outcomes, remarks)
    page.write_section(section, out)
    return section


def table1(reported: Reported, runs: Results, scale: str) -> str:
    """Return Table 1: in both columns our score with its interval beside the paper's, and the run."""
    header = ["model", *(heading for name in COLUMNS for heading in report.headings(name, scale))]
    printed = reported["table1"]["rows"]
    rows = []
    for system in [*printed, *(system for system in runs if system not in printed)]:
        row = printed.get(system, {})
        rows.append(
            [
                row.get("label") or _unprinted(runs[system]),
                *_table1_cells(row, runs.get(system), scale),
                report.run_cell(runs.get(system)),
            ]
        )
    return table([*header, "the run behind it"], rows, right=range(1, len(header)))


def _unprinted(result: Result) -> str:
    """Return the label of a run for which the paper's tables have no row."""
    return result.title if result.pair in result.title else f"{result.title}, {result.pair}"


def _table1_cells(printed: Mapping[str, Any], result: Result | None, scale: str) -> list[str]:
    """Return the cells of a row of Table 1."""
    cells = []
    for name, key in COLUMNS.items():
        cells += report.beside(result.column(key) if result else None, printed.get(name), ".2f", scale)
    return cells


def table2(reported: Reported, runs: Results) -> str:
    """Return Table 2 with two rows per model: our run, then the paper's."""
    header = ["model", "", "updates", "epochs", "hours", "hardware", "train NLL", "dev NLL"]
    rows = []
    printed = reported["table2"]["rows"]
    for system in [*printed, *(system for system in runs if system not in printed)]:
        row, result = printed.get(system), runs.get(system)
        label = row["label"] if row else _unprinted(runs[system])
        rows.append([label, "ours", *(_statistics(result) if result else [""] * 6)])
        if row:
            updates = f"{row['updates'] * 100_000:,.0f}"
            values = [updates, *map(str, (row["epochs"], row["hours"], row["gpu"], row["train_nll"], row["dev_nll"]))]
            rows.append(["", "paper", *values])
    unit = (
        "NLL: negative log-likelihood of a sentence, ours in nats; the paper states neither its unit nor its sentences."
    )
    return table(header, rows, right=(2, 3, 4, 6, 7)) + f"\n\n{unit}"


def _statistics(result: Result) -> list[str]:
    """Return our cells of Table 2."""
    return [
        report.updates(result),
        number(result.epochs, ".1f"),
        number(result.seconds / 3600, ".3g"),
        result.hardware,
        number(result.train.nll_per_sentence, ".1f"),
        number(result.dev.nll_per_sentence, ".1f"),
    ]


def length_part(rows: Results, drawings: list[Figure]) -> list[str]:
    """Return Figure 2, and the same scores in bins for readers who cannot see the figure."""
    blocks = [page.figure_block(figure) for figure in drawings if figure.name == "bleu-by-length"]
    return [*blocks, bins_table(rows)] if blocks else []


def bins_table(rows: Results) -> str:
    """Return BLEU on all sentences by source length, in bins as wide as the window of Figure 2."""
    shown = [rows[system] for system in figures.CURVES if system in rows]
    lengths = shown[0].all.lengths
    width = figures.window(lengths)
    edges = list(range(1, int(lengths.max()) + width + 1, width))
    binned = [
        {part.low: part for part in bleu_by_bins(result.all.counts, result.all.lengths, edges)} for result in shown
    ]
    lows = [low for low in edges[:-1] if low in binned[0]]
    header = ["source words", *(f"{low} to {low + width - 1}" for low in lows)]
    counts = ["sentences", *(f"{binned[0][low].sentences:,}" for low in lows)]
    scores = [
        [result.title, *(number(parts[low].bleu if low in parts else None) for low in lows)]
        for result, parts in zip(shown, binned, strict=True)
    ]
    return table(header, [counts, *scores], right=range(1, len(header)))


def _alignments(rows: Results) -> Figure | None:
    """Return Figure 3 for RNNsearch-50, as in the paper."""
    return figures.alignments(rows["rnnsearch-50"]) if "rnnsearch-50" in rows else None


def table3_part(rows: Results) -> list[str]:
    """Return Table 3: the sentences that the recipe names, or the longest, as both -50 models translate them."""
    systems = [system for system in ("rnnencdec-50", "rnnsearch-50") if system in rows]
    if not systems:
        return []
    sides = {rows[system].title: {one.source: one for one in rows[system].longest} for system in systems}
    blocks = [f"## Table 3: long sentences{report.text_label(rows)}"]
    for source, example in {source: one for kept in sides.values() for source, one in kept.items()}.items():
        lines = [("Source", source), ("Reference", example.reference)]
        lines += [(title, kept[source].hypothesis) for title, kept in sides.items() if source in kept]
        blocks.append(table([f"{len(source.split())} words", ""], [[name, report.plain(text)] for name, text in lines]))
    return blocks


def claims(reported: Reported) -> list[Claim]:
    """Return the paper's conclusions in the order of its argument (§5.1, §5.2.2)."""
    printed = reported["table1"]["rows"]

    def beats(identifier: str, statement: str, source: str, a: str, b: str) -> Claim:
        """Make the claim that one system has the higher BLEU."""
        figures_printed = f"{printed[a]['All']:.2f} and {printed[b]['All']:.2f}"
        return Claim(identifier, statement, source, (a, b), claim.better(a, b), printed=figures_printed)

    return [
        beats(
            "search-beats-encdec-30", "RNNsearch-30 beats RNNencdec-30", "§5.1, Table 1", "rnnsearch-30", "rnnencdec-30"
        ),
        beats(
            "search-beats-encdec-50", "RNNsearch-50 beats RNNencdec-50", "§5.1, Table 1", "rnnsearch-50", "rnnencdec-50"
        ),
        beats(
            "search-30-beats-encdec-50",
            "RNNsearch-30 beats RNNencdec-50, trained on longer sentences",
            "§5.1, Table 1",
            "rnnsearch-30",
            "rnnencdec-50",
        ),
        *length_claims(),
        beats(
            "longer-training",
            "RNNsearch-50* beats RNNsearch-50: training longer helps",
            "§5.1, Table 1",
            "rnnsearch-50-star",
            "rnnsearch-50",
        ),
        beats(
            "longer-sentences-encdec",
            "RNNencdec-50 beats RNNencdec-30: longer training sentences help",
            "Table 1",
            "rnnencdec-50",
            "rnnencdec-30",
        ),
        beats(
            "longer-sentences-search",
            "RNNsearch-50 beats RNNsearch-30: longer training sentences help",
            "Table 1",
            "rnnsearch-50",
            "rnnsearch-30",
        ),
        Claim(
            "search-beats-moses",
            "Without unknown words, RNNsearch-50* beats the phrase-based Moses",
            "§5.1, Table 1",
            (),
            lambda runs: ("not run", "", None),
            printed=f"{printed['rnnsearch-50-star']['No UNK']:.2f} and {printed['moses']['No UNK']:.2f}",
        ),
    ]


def length_claims() -> list[Claim]:
    """Return the conclusions from Figure 2."""
    half = "BLEU of the sentences longer than the test set's median minus BLEU of the others, 95% interval"
    return [
        Claim(
            "encdec-falls-with-length",
            "RNNencdec-50 falls as sentences grow longer",
            "§5.1, Figure 2",
            ("rnnencdec-50",),
            lambda runs: falls_with_length(runs["rnnencdec-50"]),
            f"{half} below 0.",
        ),
        Claim(
            "search-keeps-with-length",
            "RNNsearch-50 falls by less than a third of what RNNencdec-50 falls by as sentences grow longer",
            "§5.1, Figure 2",
            ("rnnsearch-50", "rnnencdec-50"),
            _keeps,
            f"{half}. Undecided unless RNNencdec-50 falls. The margin, RNNsearch-50's change minus a third of "
            "RNNencdec-50's with the same sentences drawn for both, lies above 0; the claim fails when it lies below. "
            "RNNsearch-50 itself may fall. The third is ours: the paper gives no number.",
        ),
        Claim(
            "search-steady-with-length",
            "RNNsearch-50 does not deteriorate on sentences of 50 words or more",
            "§5.1, Figure 2",
            ("rnnsearch-50",),
            lambda runs: _steady(runs["rnnsearch-50"]),
            f"BLEU of the sentences of more than {LONG[0]} words minus BLEU of those of {LEAST} to {LONG[0]}, 95% "
            f"interval. Where fewer than {ENOUGH} are longer than that, the bound is {LONG[1]} words; where fewer than "
            f"{ENOUGH} are longer than that too, it is undecided. {LONG[1]}, {LEAST} and the {ENOUGH} are ours.",
        ),
    ]


def falls_with_length(result: Result) -> Finding:
    """Decide whether a system falls with length."""
    change = claim.fall(result)
    verdict: Verdict = "holds" if change.high < 0 else "fails" if change.low > 0 else "undecided"
    return verdict, f"{claim.show(change)} BLEU", change


def _keeps(runs: Results) -> Finding:
    """Decide whether RNNsearch-50 falls by less than SHARE of RNNencdec-50's fall."""
    search, encdec = runs["rnnsearch-50"], runs["rnnencdec-50"]
    change, margin = claim.fall(search), claim.change_beyond_share(search, encdec, SHARE)
    verdict: Verdict = claim.beyond(margin, 0.0) if falls_with_length(encdec)[0] == "holds" else "undecided"
    evidence = f"{claim.show(change)} BLEU; RNNencdec-50 {claim.show(claim.fall(encdec))}; margin {claim.show(margin)}"
    return verdict, evidence, margin


def _steady(result: Result) -> Finding:
    """Decide whether a system scores no lower on long sentences than on the others."""
    lengths, counts = result.all.lengths, result.all.counts
    bound = next((bound for bound in LONG if (lengths > bound).sum() >= ENOUGH), None)
    if bound is None:
        return "undecided", f"{(lengths > LONG[-1]).sum()} sentences of more than {LONG[-1]} words", None
    change = change_above(lengths, counts, bound, LEAST)
    long = f"{(lengths > bound).sum():,} sentences of more than {bound} words"
    return claim.beyond(change, 0.0), f"{claim.show(change)} BLEU; {long}", change


def notes(reported: Reported, runs: Results) -> list[str]:
    """Return what a reader must know to read the tables."""
    moses = reported["table1"]["rows"]["moses"]["label"]
    remarks = report.standard_notes(runs)
    remarks.append(f"{moses} is not reproduced: its row shows the paper's figures only.")
    missing = [
        row["label"] for system, row in reported["table1"]["rows"].items() if system not in runs and system != "moses"
    ]
    if missing:
        remarks.append(f"No run yet of {', '.join(missing)}: their cells stay empty.")
    return remarks


def why_claims_fail(outcomes: Sequence[Outcome], runs: Results) -> list[str]:
    """Return what other runs of the scale tell about the claims that fail here."""
    failed = {outcome.claim.id for outcome in outcomes if outcome.verdict == "fails"}
    reasons = []
    if failed & {"search-keeps-with-length", "search-steady-with-length"} and "rnnsearch-50-star" in runs:
        star = runs["rnnsearch-50-star"]
        verdict, evidence, change = _steady(star)
        mended = "More updates do not mend it" if verdict == "fails" else "Too few updates are the likely reason"
        reasons.append(
            f"RNNsearch-50 falls with length here. RNNsearch-50*, its training carried on to {report.updates(star)} "
            f"updates: {claim.show(claim.fall(star))} BLEU above the median length"
            + (f"; long against others: {evidence}. {mended}." if change else ".")
        )
    if "longer-sentences-encdec" in failed:
        short, long = runs["rnnencdec-30"], runs["rnnencdec-50"]
        better = long.dev.nll_per_sentence < short.dev.nll_per_sentence
        floor = better and max(short.all.bleu, long.all.bleu) < FLOOR
        reasons.append(
            f"RNNencdec-50 is below RNNencdec-30 in BLEU and {'ahead' if better else 'behind too'} in likelihood: "
            f"{long.dev.nll_per_sentence:.1f} against {short.dev.nll_per_sentence:.1f} nats for a development sentence."
            + (" A BLEU this low says little: likely neither translates yet." if floor else "")
        )
    return reasons
