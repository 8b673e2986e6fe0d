"""Both papers' systems on the same test sentences: a table for each language pair, and a claim on the two together.

Every number comes from a result.json.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from common import markdown
from common.errors import UserError
from common.report import claims as claim
from common.report import page
from common.report import tables as report
from common.report.claims import Claim, Finding
from common.report.page import Section
from common.report.results import Result, read_results
from common.report.tables import number
from papers.lineage import PAPERS

Results = Mapping[str, Result]
"""Runs of both papers by `paper/system`."""
TITLE = "Both papers on the same text"
"""Title of the page."""
COMPARED = {
    "EN-DE": ("vaswani2017/base", "bahdanau2014/rnnsearch-50-ende"),
    "EN-FR": ("vaswani2017/base-enfr", "bahdanau2014/rnnsearch-50"),
}
"""The Transformer and the RNNsearch-50 that the claim compares, by language pair."""
RECURRENT = "The paper compares with GNMT, ConvS2S and others; here it is the recurrent model at hand."
"""What the claim on a recurrent model is not."""
NOTES = (
    "Each system is scored as its own paper scores. Where the signatures differ, that BLEU compares within a paper and "
    "sacreBLEU, which tokenises for itself, between the two.",
    "Hours and time x rate compare between runs on the same hardware only; the lines under the tables name it.",
)
"""What a reader must know to compare the two papers' scores and times."""


def folders(scale: str, runs: Path | None) -> dict[str, Path]:
    """Return each paper's folder of results at a scale: in the folder `runs`, or the committed ones for None."""
    return {name: runs / scale / name if runs else paper.root / "results" / scale for name, paper in PAPERS.items()}


def build_tables(results: Mapping[str, Path], out: Path) -> Section:
    """Build the page of one scale from each paper's folder of results, and write it to the folder `out`.

    Raise UserError if one of the papers has no result.
    """
    groups = shared_sets(read_runs(results))
    shared = {key: result for group in groups for key, result in group.items()}
    outcomes = claim.evaluate(claims(shared), shared)
    remarks = [*report.standard_notes(shared), *NOTES]
    parts = [
        f"# {TITLE}\n\n{'; '.join(paper.citation for paper in PAPERS.values())}",
        *(f"## {heading(group)}\n\n{table(group)}" for group in groups),
        *([report.cost_note(shared)] if groups else []),
        report.provenance(shared),
        f"## Claims\n\n{report.claims_table(outcomes, shared)}",
        "## Notes\n\n" + "\n".join(f"- {note}" for note in remarks),
    ]
    section = Section(TITLE, "\n\n".join(parts), [], outcomes, remarks)
    page.write_section(section, out)
    return section


def read_runs(results: Mapping[str, Path]) -> Results:
    """Read each paper's folder of results. Raise UserError if one of them has none."""
    runs: dict[str, Result] = {}
    for name, folder in results.items():
        found = read_results(folder)
        if not found:
            raise UserError(f"{folder}: no results of {name}; train its systems first")
        runs |= {f"{name}/{system}": result for system, result in found.items()}
    return runs


def shared_sets(runs: Results) -> list[Results]:
    """Group the runs by language pair and test sentences. Return the groups that have runs of both papers."""
    groups: dict[tuple[str, str, str, str], dict[str, Result]] = {}
    for key, result in runs.items():
        text = (result.pair, result.test_set, result.corpus, sentences(result))
        groups.setdefault(text, {})[key] = result
    return [groups[text] for text in sorted(groups) if {key.split("/")[0] for key in groups[text]} == set(PAPERS)]


def sentences(result: Result) -> str:
    """Return what tells the sentences of the first test set from others that two recipes may have drawn by its name.

    This is the hash of the untokenised source text, or for a result without it the lengths in words.
    """
    files: Mapping[str, Mapping[str, str]] = result.file.data.get("outputs", {})
    return files.get(f"{result.test_set}.source", {}).get("sha256") or str(result.all.lengths.tolist())


def heading(group: Results) -> str:
    """Return the heading of a group: `EN-FR on test_2016_flickr (Multi30k ...)`."""
    result = next(iter(group.values()))
    return f"{result.pair} on {result.test_set}{report.text_label(group)}"


def table(group: Results) -> str:
    """Return scores, of several seeds their means, size and training cost of each system on one test set."""
    header = ["paper", "model", "BLEU by the paper's metric (95%)", "sacreBLEU", "parameters"]
    header += [*report.COST, "the run behind it"]
    rows = [
        [
            key.split("/")[0],
            result.title,
            report.score_cell(claim.mean_bleu(group, result)),
            number(float(np.mean([run.all.sacrebleu for run in result.trainings]))),
            number(result.parameters, ","),
            *report.cost(result),
            report.run_cell(result),
        ]
        for key, result in group.items()
    ]
    return markdown.table(header, rows, right=range(2, len(header) - 1))


def claims(runs: Results) -> list[Claim]:
    """Return the main claim of Vaswani et al. 2017 for each language pair with an RNNsearch-50.

    EN-FR is always among them.
    """
    rule = (
        "the interval of the BLEU difference lies above 0 and the FLOPs counted from the model over the whole training "
        f"are fewer. {RECURRENT}"
    )
    return [
        Claim(
            f"beats-recurrent-{pair.lower()}",
            f"The Transformer beats the recurrent RNNsearch-50 on {pair} at less training cost",
            "Vaswani et al. 2017, §6.1, Table 2",
            (ours, theirs),
            beats_at_less_cost(ours, theirs),
            rule,
        )
        for pair, (ours, theirs) in COMPARED.items()
        if pair == "EN-FR" or theirs in runs
    ]


def beats_at_less_cost(a: str, b: str) -> Callable[[Results], Finding]:
    """Make the rule that decides "a scores higher BLEU than b on the same sentences, with fewer FLOPs of training"."""

    def decide(runs: Results) -> Finding:
        """Compare BLEU and counted FLOPs."""
        difference = claim.compare(runs, a, b)
        flops, seconds = ([runs[key].flops_counted for key in (a, b)], [runs[key].seconds for key in (a, b)])
        verdict = claim.all_of(claim.beyond(difference, 0.0), "holds" if flops[0] < flops[1] else "fails")
        cost = f"{' against '.join(map(report.flops, flops))} FLOPs counted"
        time = f"{' against '.join(f'{value:,.0f}' for value in seconds)} s"
        return verdict, f"{claim.show(difference)} BLEU; {cost}, {time}", difference

    return decide
