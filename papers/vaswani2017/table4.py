"""Table 4, and what §6.3 "English Constituency Parsing" concludes, from parsers that were trained and scored.

`parsing.py` has the parser itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure as Drawing
from matplotlib.patches import Rectangle

from common.markdown import table
from common.paper import Paper
from common.report import claims as claim
from common.report import page
from common.report import tables as report
from common.report.claims import Claim, Finding, Results
from common.report.page import COLOURS, Figure, Section, png
from common.report.results import Result
from common.result import Example
from common.score.brackets import f1, f1_of_sums
from common.score.parses import Parses
from common.score.significance import bootstrap_interval, interval_difference, resample
from common.trees.linear import bracket_labels, restore
from common.trees.tree import Tree

SCALE = "parsing"
"""Folder of the parsers' recipes."""
ROWS = {"wsj": "transformer-wsj", "semi": "transformer"}
"""The paper's own rows of Table 4, by the recipe that stands for each."""
GRAMMARS = ("dyer-wsj", "dyer")
"""The rows of the one earlier parser that §6.3 places above its own."""


def build_page(paper: Paper, printed: Mapping[str, Any], runs: Mapping[str, Result], out: Path) -> Section:
    """Build the page of the scale `parsing` and write it to the folder `out`. printed: Table 4 of reported.yaml."""
    parsers = {system: result for system, result in runs.items() if any(parses_of(result).values())}
    remarks = notes(parsers)
    outcomes = claim.evaluate(parser_claims(printed["rows"]), parsers)
    drawing = next((drawn for result in parsers.values() if (drawn := reading_figure(result))), None)
    parts = [
        f"# {paper.title}\n\n{paper.citation}",
        f"## {printed['title']}, and our parsers on other text\n\n{table4(printed, parsers)}",
        provenance(parsers),
        *(written(parsers) if parsers else []),
        *([page.figure_block(drawing)] if drawing else []),
        f"## Claims\n\n{report.claims_table(outcomes, parsers)}",
        report.changes_part(paper, SCALE, runs),
        "## Notes\n\n" + "\n".join(f"- {note}" for note in remarks),
    ]
    section = Section(paper.title, "\n\n".join(parts), [drawing] if drawing else [], outcomes, remarks)
    page.write_section(section, out)
    return section


def parses_of(result: Result) -> dict[str, Parses]:
    """Return the parses of each of a run's test sets that was scored as trees."""
    return {name: scored.parses for name, scored in result.file.sets.items() if scored.parses}


def counts_of(result: Result, kind: str, labelled: bool = True) -> npt.NDArray[np.int64]:
    """Return matched, gold and test brackets by sentence, (sentences, 3), of all test sets. kind: a field of Parses."""
    found = [getattr(parses, kind) for parses in parses_of(result).values()]
    return np.concatenate([one.counts if labelled else one.unlabelled_counts for one in found])


def table4(printed: Mapping[str, Any], runs: Mapping[str, Result]) -> str:
    """Return Table 4: the paper's rows with its numbers, and a row for each of our texts and parsers with ours."""
    header = ["parser", "trained on", "F1: paper, WSJ section 23", "F1: ours (95%)", "tested on", "the run behind it"]
    cells = []
    for key, row in printed["rows"].items():
        result = next((runs[system] for system, own in ROWS.items() if own == key and system in runs), None)
        cells.append([row["label"], row["training"], f"{row['F1']:.1f}", *_ours(result, "parser")])
    for system, result in runs.items():
        if system not in ROWS:
            cells.append([result.title, result.corpus, "", *_ours(result, "parser")])
    for text, result in {result.corpus: result for result in runs.values()}.items():
        cells.append(["right-branching trees", "nothing", "", *_ours(result, "right_branching")[:1], text, ""])
    return table(header, cells, right=(2, 3))


def _ours(result: Result | None, kind: str) -> list[str]:
    """Return our F1, the text that was tested on, and the run."""
    if result is None:
        return ["", "", ""]
    counts = counts_of(result, kind)
    return [report.score(f1(counts), bootstrap_interval(counts, f1_of_sums)), result.corpus, report.run_cell(result)]


def written(runs: Mapping[str, Result]) -> list[str]:
    """Return the parts on what the parsers wrote, over all test sets and by test set."""
    return [f"## What the parsers wrote\n\n{outputs(runs)}", f"## F1 by test set\n\n{by_set(runs)}"]


def outputs(runs: Mapping[str, Result]) -> str:
    """Return what each parser wrote: how much had to be repaired, its brackets without labels, and its tags.

    The perplexity is of the development set, on which dropout is chosen (§6.3).
    """
    header = ["parser", "dev perplexity", "sentences", "repaired", "places", "recall", "precision", "F1"]
    header += ["F1 without labels", "right-branching without labels", "tags right", "left out by EVALB with own tags"]
    cells = []
    for result in runs.values():
        parses, counts = [*parses_of(result).values()], counts_of(result, "parser")
        faults: dict[str, int] = {}
        for one in parses:
            faults |= {fault: faults.get(fault, 0) + places for fault, places in one.faults.items()}
        matched, gold, test = counts.sum(axis=0).tolist()
        repaired = sum(one.ill_formed for one in parses)
        cells.append(
            [
                result.title,
                f"{result.dev.perplexity:.2f}",
                f"{len(counts):,}",
                f"{repaired:,} ({repaired / len(counts):.1%})",
                ", ".join(f"{fault} {places:,}" for fault, places in sorted(faults.items())) or "none",
                f"{100 * matched / max(1, gold):.2f}",
                f"{100 * matched / max(1, test):.2f}",
                f"{f1(counts):.2f}",
                f"{f1(counts_of(result, 'parser', labelled=False)):.2f}",
                f"{f1(counts_of(result, 'right_branching', labelled=False)):.2f}",
                f"{sum(one.tags_right for one in parses) / max(1, sum(one.words for one in parses)):.1%}",
                f"{sum(one.refused for one in parses):,}",
            ]
        )
    return table(header, cells, right=(1, 2, 3, *range(5, 12)))


def by_set(runs: Mapping[str, Result]) -> str:
    """Return F1 of each test set of each parser."""
    cells = [
        [result.title, name, f"{len(parses.parser.labelled):,}", f"{f1(parses.parser.counts):.2f}"]
        for result in runs.values()
        for name, parses in parses_of(result).items()
    ]
    return table(["parser", "set", "sentences", "F1"], cells, right=(2, 3))


def parser_claims(rows: Mapping[str, Any]) -> list[Claim]:
    """Return what §6.3 concludes, of parsers trained and tested on the Wall Street Journal. rows: Table 4's."""

    def beats(name: str, statement: str, system: str, others: Sequence[str]) -> Claim:
        """Make the claim that a parser of ours scores above all printed scores of others."""
        best = max((rows[other] for other in others), key=lambda row: float(row["F1"]))

        def decide(runs: Results) -> Finding:
            """Compare the run's interval with what is printed."""
            if runs[system].recipe["data"]["corpus"] != "wsj":
                return "not run", "needs the Wall Street Journal", None
            counts = counts_of(runs[system], "parser")
            drawn = resample(counts, of_sums=f1_of_sums)[0]
            difference = interval_difference(f1(counts) - best["F1"], drawn - best["F1"])
            return claim.beyond(difference, 0.0), f"{claim.show(difference)} F1 beside {best['label']}", difference

        figures = f"{rows[ROWS[system]]['F1']} and {best['F1']} ({best['label']})"
        rule = "the interval of our F1 lies above the printed one."
        if rows[ROWS[system]]["F1"] < best["F1"]:
            rule += f" By Table 4 the paper's own parser lies below {best['label']}, {best['training']}."
        return Claim(name, statement, "§6.3, Table 4", (system,), decide, rule, figures)

    earlier = [row for row in rows if row not in (*ROWS.values(), *GRAMMARS)]
    return [
        beats(
            "parser-beats-berkeley",
            "Trained on the Wall Street Journal alone, the parser beats the BerkeleyParser (Petrov et al.)",
            "wsj",
            ["petrov"],
        ),
        beats(
            "parser-beats-earlier",
            "With more data the parser beats every earlier one but the Recurrent Neural Network Grammar (Dyer et al.)",
            "semi",
            earlier,
        ),
    ]


def provenance(runs: Mapping[str, Result]) -> str:
    """Return the lines under Table 4: how F1 is counted, then one line per run."""
    if not runs:
        return "No run stands behind this table yet."
    signatures = sorted({parses.signature for result in runs.values() for parses in parses_of(result).values()})
    lines = [f"- F1: `{one}`, intervals by bootstrap over sentences (95%, 1,000 draws)" for one in signatures]
    return "\n".join(lines + [f"- {result.title}: {result.provenance}" for result in runs.values()])


def notes(runs: Mapping[str, Result]) -> list[str]:
    """Return what a reader must know to read the page."""
    remarks = [
        "The paper's figures are for newspaper text, section 23 of the Wall Street Journal. Ours on other text do not "
        "compare with them, and no difference is shown.",
        "Rows of earlier parsers show the paper's figures; none of them is reproduced here.",
        "F1 is over the gold tags: EVALB finds punctuation by its tag and leaves out sentences in which the tags "
        "differ on it, which would favour a parser that tags badly. The parser's own tags are counted by themselves.",
        "Dropout and warm-up of the paper's recipe are v1.0's, and the learning rate is v1.0.4's: §6.3 chose dropout "
        "and rate on section 22 and does not print them (README).",
        "An output that is no tree over its sentence is repaired, never left out (common/trees/linear.py says how).",
        "Right-branching trees have `S` over the sentence and `VP` over every rest of it.",
    ]
    for corpus in dict.fromkeys(result.corpus for result in runs.values()):
        tried = [result for result in runs.values() if result.corpus == corpus]
        if len(tried) > 1:
            best = min(tried, key=lambda result: result.dev.nll_per_token)
            remarks.append(
                f"§6.3 chose the dropout on the development set. By perplexity there, of {len(tried)} parsers of "
                f"{corpus}, one training each, it is {best.recipe['model']['P_drop']:g} (`{best.label}`)."
            )
    if missing := [f"`{SCALE}/{system}`" for system in ROWS if system not in runs]:
        remarks.append(f"There is no run yet of {', '.join(missing)} (a licensed treebank): their cells stay empty.")
    return remarks


# ----------------------------------------------------------------------------------------------------------------
# What a parser reads while it writes


def reading_figure(result: Result) -> Figure | None:
    """Draw the attention of one head of a parser between the tree that it writes and the sentence.

    The sentence is the first of those kept whose output is a tree over it, and the head is the one that gives most to a
    word while its tag is written. Return None if no such sentence was kept.
    """
    for example in result.attention:
        words, symbols = example.source[:-1], example.target[:-1]
        tree, faults = restore(symbols, words, bracket_labels(symbols))
        if not faults:
            return _draw_reading(result, example, tree)
    return None


def _draw_reading(result: Result, example: Example, tree: Tree) -> Figure:
    """Draw an example whose output is `tree`. T symbols are written and S words read, the end counted in both."""
    weights = example.weights("source")  # (N, h, T, S)
    tags = np.array([i for i, (node, _) in enumerate(tree.visits()) if not node.children])
    own = weights[:, :, tags, np.arange(len(tags))]  # (N, h, words): what the word gets while its tag is written
    layer, head = np.unravel_index(own.mean(axis=2).argmax(), own.shape[:2])
    rows, depth = [], 0
    for symbol, (node, opens) in zip(example.target, tree.visits(), strict=False):
        depth -= not opens
        rows.append("  " * depth + symbol)
        depth += opens and bool(node.children)
    T, S = weights.shape[2:]
    drawing = Drawing(figsize=(0.22 * S + 1.8, 0.17 * T + 1.2), layout="constrained")
    axes = drawing.subplots()
    axes.imshow(weights[layer, head], cmap="Blues", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
    for word, tag in enumerate(tags):
        axes.add_patch(Rectangle((word - 0.5, tag - 0.5), 1, 1, fill=False, edgecolor=COLOURS[1]))
    axes.xaxis.tick_top()
    axes.set_xticks(range(S), example.source, rotation=90, parse_math=False)
    axes.set_yticks(range(T), [*rows, example.target[-1]], ha="left", family="monospace", parse_math=False)
    axes.tick_params(length=0, labelsize=8)
    axes.tick_params(axis="y", pad=0.68 * 8 * max(map(len, rows)))  # points: the widest row, left of the picture
    caption = (
        f"A test sentence, the tree that {result.title} wrote for it, and the attention between them in layer "
        f"{layer + 1} of {weights.shape[0]}, head {head + 1}: of all heads the one that gives most to a word while its "
        f"tag is written (framed), {own[layer, head].mean():.2f} on average. An even spread would give "
        f"{1 / S:.2f}.\n\n```\n{tree}\n```"
    )
    return Figure("parser-attention", "What the parser reads while it writes", caption, png(drawing))
