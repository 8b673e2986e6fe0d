"""The tables, figures and claims of Bahdanau et al. 2014, made from finished runs beside what the paper prints.

Printed numbers come from reported.yaml and have columns of their own. Ours come from result.json files only.
"""

from __future__ import annotations

import re
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
from common.score.by_length import FEWEST, Sides, bleu_by_bins, difference_of, sides_of
from common.score.significance import Difference
from common.text.vocabulary import UNK_TEXT
from common.yaml_files import read_yaml
from papers.bahdanau2014 import ambiguities, analysis, figures
from papers.bahdanau2014.ambiguities.page import build_page

Reported = Mapping[str, Any]
"""The tables of reported.yaml."""
Results = Mapping[str, Result]
"""Runs by system."""

COLUMNS = {"All": "all", "No UNK": "no_unk"}
"""Columns of Table 1 and their names in a result."""
STAR = "rnnsearch-50-star"
"""RNNsearch-50*: RNNsearch-50 with its training carried on."""
SHARE = 1 / 3
"""RNNsearch-50 is to lose less with length than this share of what RNNencdec-50 loses."""
TENTH = 0.1
"""A system is steady if its long sentences lose less than this share of BLEU of the others."""
LONG, LEAST = (50, 40), 10
"""Words from which on a sentence counts as long, the second number where too few have the first; and those from which
on the others count."""
ENOUGH = 50
"""Fewest long sentences on which anything is decided."""
FLOOR = 2.0
"""BLEU below which systems differ in little but the words that any sentence has and have nothing to fall from. Ours."""


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
    remarks = [*notes(reported, runs), *report.other_text_notes(paper, runs)]
    remarks += [*floor_notes(outcomes, runs), *why_claims_fail(outcomes, runs)]
    parts = [
        f"# {paper.title}\n\n{paper.citation}",
        f"## Table 1: BLEU on the test set{report.text_label(runs)}",
        *sizes(paper, runs),
        table1(reported, runs, scale),
        report.provenance(runs),
        f"## Table 2: learning statistics{report.text_label(runs)}",
        *sizes(paper, runs),
        table2(reported, runs),
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


def sizes(paper: Paper, runs: Results) -> list[str]:
    """Return the sizes of our models and of the paper's in a line. Nothing without runs."""

    def of(recipe: Mapping[str, Any]) -> str:
        units, text = recipe["model"]["hidden"], recipe["text"]
        kept = f"shortlists of {text['vocabulary_size']:,} words"
        if text["segmentation"] != "words":
            kept = f"{text['vocabulary_size']:,} sub-words"
        return f"{units:,} hidden units and {kept}"

    ours = " or ".join(sorted({of(result.recipe) for result in runs.values()}))
    return [f"Ours: {ours}. The paper's: {of(paper.recipe('rnnsearch-50').to_dict())}."] if runs else []


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
                *_table1_cells(row, runs.get(system), runs, scale),
                report.run_cell(runs.get(system)),
            ]
        )
    return table([*header, "the run behind it"], rows, right=range(1, len(header)))


def _unprinted(result: Result) -> str:
    """Return the label of a run for which the paper's tables have no row."""
    return result.title if result.pair in result.title else f"{result.title}, {result.pair}"


def _table1_cells(printed: Mapping[str, Any], result: Result | None, runs: Results, scale: str) -> list[str]:
    """Return the cells of a row of Table 1."""
    cells = []
    for name, key in COLUMNS.items():
        cells += report.beside(claim.mean_bleu(runs, result, key), printed.get(name), ".2f", scale)
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
    return "\n\n".join([table(header, rows, right=(2, 3, 4, 6, 7)), unit, *report.time_notes(runs)])


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
    """Return BLEU by source length, in bins as wide as the window of Figure 2 and with as many sentences at least."""
    shown = [rows[system] for system in (*figures.CURVES, STAR) if system in rows]
    lengths = shown[0].all.lengths
    width = figures.window(lengths)
    edges = list(range(1, int(lengths.max()) + width + 1, width))
    binned = [
        {part.low: part for part in bleu_by_bins(result.all.counts, result.all.lengths, edges)} for result in shown
    ]
    lows = [low for low, part in binned[0].items() if part.sentences >= FEWEST]
    header = ["source words", *(f"{low} to {low + width - 1}" for low in lows)]
    counts = ["sentences", *(f"{binned[0][low].sentences:,}" for low in lows)]
    scores = [
        [result.title, *(report.score(parts[low].bleu, parts[low].interval) for low in lows)]
        for result, parts in zip(shown, binned, strict=True)
    ]
    told = (
        "BLEU with its 95% interval; it is 0 where no four words in a row are right. Bins of fewer than "
        f"{FEWEST} sentences are left out."
    )
    return table(header, [counts, *scores], right=range(1, len(header))) + f"\n\n{told}"


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
    half = (
        "BLEU of the sentences longer than the test set's median minus BLEU of the others, with its 95% interval, and "
        "the same in percent of BLEU of the others."
    )
    floor = f"is below {FLOOR:g} BLEU on all sentences: nothing to fall from. The {FLOOR:g} is ours."
    return [
        Claim(
            "encdec-falls-with-length",
            "RNNencdec-50 falls as sentences grow longer",
            "§5.1, Figure 2",
            ("rnnencdec-50",),
            lambda runs: falls_with_length(runs["rnnencdec-50"]),
            f"{half} Holds when the first lies below 0, fails when it lies above. Undecided where the model {floor}",
        ),
        Claim(
            "search-keeps-with-length",
            "RNNsearch-50 falls by less than a third of what RNNencdec-50 falls by as sentences grow longer",
            "§5.1, Figure 2",
            ("rnnsearch-50", "rnnencdec-50"),
            _keeps,
            f"{half} The margin, RNNsearch-50's change minus a third of RNNencdec-50's with the same sentences drawn "
            "for both, lies above 0; the claim fails when it lies below. RNNsearch-50 itself may fall. The third is "
            "ours: the paper gives no number. Undecided unless RNNencdec-50 falls by its rule, and where RNNsearch-50 "
            f"{floor}",
        ),
        Claim(
            "search-steady-with-length",
            "RNNsearch-50 does not deteriorate on sentences of 50 words or more",
            "§5.1, Figure 2",
            ("rnnsearch-50",),
            lambda runs: _steady(runs["rnnsearch-50"]),
            f"BLEU of the sentences of {LONG[0]} words or more against BLEU of those of {LEAST} to {LONG[0] - 1}. "
            "Holds if the fall is by its 95% interval less than a tenth of the latter, fails if it is more, and is "
            f"undecided in between. The tenth is ours: the paper gives no number. Where fewer than {ENOUGH} sentences "
            f"have {LONG[0]} words, the bound is {LONG[1]}; where fewer than {ENOUGH} have {LONG[1]}, it is undecided. "
            f"{LONG[1]}, {LEAST} and the {ENOUGH} are ours too. Undecided where the model {floor}",
        ),
    ]


def falls_with_length(result: Result) -> Finding:
    """Decide whether a system falls with length."""
    (sides,) = claim.halves(result)
    change = sides.change
    verdict: Verdict = "holds" if change.high < 0 else "fails" if change.low > 0 else "undecided"
    return _above_floor(result, verdict, claim.show_change(sides), change)


def _above_floor(result: Result, verdict: Verdict, evidence: str, change: Difference) -> Finding:
    """Return the finding on how a system changes with length. It is undecided if its BLEU is below FLOOR."""
    if result.all.bleu >= FLOOR:
        return verdict, evidence, change
    return "undecided", f"{evidence}; {result.title} has {result.all.bleu:.2f} BLEU: nothing to fall from", change


def _keeps(runs: Results) -> Finding:
    """Decide whether RNNsearch-50 falls by less than SHARE of RNNencdec-50's fall."""
    search, encdec = claim.halves(runs["rnnsearch-50"], runs["rnnencdec-50"])
    margin = claim.change_beyond_share(search, encdec, SHARE)
    falls, theirs, _ = falls_with_length(runs["rnnencdec-50"])
    verdict: Verdict = claim.beyond(margin, 0.0) if falls == "holds" else "undecided"
    evidence = f"{claim.show_change(search)}; RNNencdec-50 {theirs}; margin {claim.show(margin)}"
    return _above_floor(runs["rnnsearch-50"], verdict, evidence, margin)


def _steady(result: Result) -> Finding:
    """Decide whether a system loses less than a TENTH of its BLEU on long sentences."""
    lengths, counts = result.all.lengths, result.all.counts
    bound = next((bound for bound in LONG if (lengths >= bound).sum() >= ENOUGH), None)
    if bound is None:
        return "undecided", f"{(lengths >= LONG[-1]).sum()} sentences of {LONG[-1]} words or more", None
    sides = sides_of(bound, LEAST, lengths, counts)
    left = difference_of(sides.long - (1 - TENTH) * sides.others)
    evidence = f"{claim.show_change(sides)}; {(lengths >= bound).sum():,} sentences of {bound} words or more"
    return _above_floor(result, claim.beyond(left, 0.0), evidence, left)


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


def floor_notes(outcomes: Sequence[Outcome], runs: Results) -> list[str]:
    """Return a note on the systems whose BLEU is below FLOOR, and on the claims that rest on them."""
    low = {system: result for system, result in runs.items() if result.all.bleu < FLOOR}
    resting = [outcome.claim for outcome in outcomes if low.keys() & set(outcome.claim.systems)]
    if not resting:
        return []
    named = [f"{result.title} ({result.all.bleu:.2f} BLEU{_unknown(result)})" for result in low.values()]
    return [
        f"Below {FLOOR:g} BLEU, so hardly translating yet: {', '.join(named)}. Such a score comes from the words that "
        "any sentence has. What is decided on it says little, and to be above it is little: "
        f"{'; '.join(claim.statement for claim in resting)}."
    ]


def unk_share(result: Result) -> float:
    """Return the share of UNK in the words of a system's translations."""
    found = sum(len(re.findall(rf"\b{UNK_TEXT}\b", text)) for text in result.all.hypotheses)
    return found / float(result.all.counts[:, 8].sum())


def _unknown(result: Result) -> str:
    """Return the share of UNK in a system's translations, in words. It is empty if it wrote none."""
    share = unk_share(result)
    return f", {share:.0%} of its words {UNK_TEXT}" if share else ""


def why_claims_fail(outcomes: Sequence[Outcome], runs: Results) -> list[str]:
    """Return what other runs of the scale tell about the claims that fail here."""
    failed = {outcome.claim.id for outcome in outcomes if outcome.verdict == "fails"}
    reasons = []
    if failed & {"search-keeps-with-length", "search-steady-with-length"} and STAR in runs:
        reasons.append(_why_it_falls(runs["rnnsearch-50"], runs[STAR]))
    if "longer-sentences-encdec" in failed:
        short, long = runs["rnnencdec-30"], runs["rnnencdec-50"]
        better = long.dev.nll_per_sentence < short.dev.nll_per_sentence
        reasons.append(
            f"RNNencdec-50 is below RNNencdec-30 in BLEU and {'ahead' if better else 'behind too'} in likelihood: "
            f"{long.dev.nll_per_sentence:.1f} against {short.dev.nll_per_sentence:.1f} nats for a development sentence."
        )
    return reasons


def _why_it_falls(search: Result, star: Result) -> str:
    """Return whether more updates mend the fall of RNNsearch-50 with length."""
    before, after = claim.halves(search, star)
    less = claim.change_beyond_share(after, before, 1.0)
    cause = {
        "holds": "Too few updates are the likely reason",
        "fails": "More updates do not mend it",
        "undecided": "So it is open whether more updates mend it",
    }[claim.beyond(less, 0.0)]

    def told(sides: Sides) -> str:
        up_to, above = sides.brevity
        return f"{claim.show_change(sides)}, brevity penalty {above:.2f} against {up_to:.2f}"

    return (
        f"RNNsearch-50 falls with length here. Above the median length against up to it: {told(before)}. "
        f"RNNsearch-50*, its training carried on to {report.updates(star)} updates: {told(after)}. RNNsearch-50*'s "
        f"change minus RNNsearch-50's, with the same sentences drawn for both: {claim.show(less)} BLEU. {cause}."
    )
