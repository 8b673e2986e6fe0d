"""The report of a scale: one HTML page of both papers' results, and the screenful that reproduce.sh ends with."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from common.errors import UserError
from common.markdown import table
from common.paper import Paper
from common.recipe import OWN_SCALE
from common.report.results import Result, read_results
from common.report.tables import verdicts
from common.report.web import Chapter, write_report
from common.yaml_files import read_yaml
from papers.lineage import front
from papers.lineage.pages import build_page
from papers.lineage.same_data import folders, read_runs

TITLES = {
    "demo": "Both papers in miniature, on generated text",
    "multi30k": "Both papers' systems on Multi30k",
    "europarl": "Both papers' systems on Europarl v7",
    "europarl-same": "Both papers on Europarl v7 at equal cost",
    OWN_SCALE: "Both papers on WMT14",
}
"""Title of the report, by the scales of reproduce.sh."""
_COLUMNS = (0, 1, 3, 5, 6, 2, 4)
"""The order of the columns of `front.HEADER` here. On a phone the first four are seen without scrolling."""
SMALL = "-small"
"""End of the folder with a scale's recipes in a size for CPU cores."""


def build(papers: Sequence[Paper], scale: str, runs: Path | None) -> list[Chapter]:
    """Build a chapter for each of the papers that has results. Once both papers have some, add the page of both.

    runs: the folder of finished runs, in which tables and figures are written too, or None for the committed results,
    which stay as they are.
    Raise UserError if there is no result.
    """
    sources = folders(scale, runs)
    with tempfile.TemporaryDirectory() as elsewhere:
        out = runs / scale if runs else Path(elsewhere)
        results = {paper.name: read_results(sources[paper.name]) for paper in papers}
        if not any(results.values()):
            raise UserError(
                f"{', '.join(map(str, sources.values()))}: no result of this scale; train its systems first"
            )
        chapters = [
            _chapter(paper, scale, sources[paper.name], out / paper.name, results[paper.name])
            for paper in papers
            if results[paper.name]
        ]
        if all(read_results(folder) for folder in sources.values()):
            section = build_page(scale, runs, out / "lineage")
            chapters.append(Chapter("lineage", section, read_runs(sources), {}, learning=False))
    return chapters


def _chapter(paper: Paper, scale: str, folder: Path, out: Path, results: Mapping[str, Result]) -> Chapter:
    """Build a paper's chapter from its results and the folder that holds them."""
    printed = read_yaml(paper.root / "reported.yaml")["tables"].values()
    rows = {system: row for one in printed for system, row in one.get("rows", {}).items() if "label" in row}
    labels = {row["label"]: system for system, row in rows.items()}
    return Chapter(paper.name, paper.build_tables(scale, folder, out), results, labels)


def write(papers: Sequence[Paper], scale: str, runs: Path | None, path: Path) -> str:
    """Write the page of a scale to `path`. Return its gist, in a screenful."""
    chapters = build(papers, scale, runs)
    title = TITLES.get(scale.removesuffix(SMALL), scale) + ", small" * scale.endswith(SMALL)
    rows = [
        front.row(chapter.name, chapter.results, result)
        for chapter in chapters
        if chapter.learning
        for result in chapter.results.values()
        if any(front.printed(chapter.name, result))
    ]
    shown = [[cells[column] for column in _COLUMNS] for cells in (front.HEADER, *rows)]
    beginning = ["# Scores beside printed ones", table(shown[0], shown[1:], right=(2, 3))] if rows else []
    if rows and scale != OWN_SCALE:
        beginning.append(front.THERE)
    write_report(title, "\n\n".join(beginning), chapters, path)
    return "\n".join([title, *_gist(rows), *map(_claims, chapters), f"report  {path.resolve()}"])


def _gist(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return scores of runs beside printed ones as text: a line for a model, which says who printed them.

    rows: as `front.row` returns them.
    """
    pairs = list(dict.fromkeys(row[1] for row in rows))
    lines: list[tuple[str, str, dict[str, tuple[str, str]]]] = []
    for title, pair, _, ours, _, printed, whose in rows:
        whose = whose.partition(" (")[0]
        found = next((scores for *names, scores in lines if names == [title, whose] and pair not in scores), None)
        if found is None:
            lines.append((title, whose, found := {}))
        found[pair] = (ours.partition(" ")[0], printed)
    heading = ["BLEU here", *(word for pair in pairs for word in (pair, "printed")), "printed by"]
    cells = [
        [title, *(word for pair in pairs for word in scores.get(pair, ("", ""))), whose]
        for title, whose, scores in lines
    ]
    widths = [max(map(len, column)) for column in zip(heading, *cells, strict=True)]
    return [
        "  ".join([first.ljust(widths[0]), *map(str.rjust, numbers, widths[1:-1]), last])
        for first, *numbers, last in [heading, *cells] * bool(cells)
    ]


def _claims(chapter: Chapter) -> str:
    """Return the verdicts on a chapter's claims, as text."""
    return f"claims  {chapter.name}: {verdicts(chapter.section.claims)}"
