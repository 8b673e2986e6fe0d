"""What the tables of both papers must always do."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from common.paper import Paper
from common.recipe import changes_no_number, difference
from papers.lineage import PAPERS
from tests import made_results as made

both_papers = pytest.mark.parametrize("paper", PAPERS.values(), ids=PAPERS)
LENGTHS = [4, 6, 14, 16] * 10
PRINTED = ("paper", "printed", "difference", "row")
"""What the headings of columns say that hold printed numbers, a difference from them, or a label with one in it."""


def run_all(paper: Paper, scale: str, folder: Path) -> Path:
    """Make an invented result of every system of the scale, each with a score of its own."""
    for index, name in enumerate(paper.systems(scale)):
        counts = made.statistics([0.3 + 0.02 * index + 0.01 * (k % 3) for k in range(len(LENGTHS))])
        columns = {column: made.column(counts, LENGTHS, 60.06 + index) for column in ("all", "no_unk")}
        made.write(folder, name.rpartition("/")[2], made.result(paper.recipe(name), columns))
    return folder


def ours(markdown: str) -> list[list[dict[str, str]]]:
    """Return all tables without the columns and rows of printed numbers, and the claims that our score beats them."""
    return [
        [
            {name: cell for name, cell in row.items() if not any(word in name for word in PRINTED)}
            for row in rows
            if row.get("") != "paper" and " beats every earlier " not in row.get("claim", "")
        ]
        for rows in made.tables(markdown)
    ]


@both_papers
def test_without_results_no_number_of_ours_is_shown(paper, tmp_path):
    section = paper.build_tables("wmt14", tmp_path / "nothing", tmp_path)
    assert {outcome.verdict for outcome in section.claims} == {"not run"} and not section.figures
    tables = made.tables(section.markdown)
    cells = [cell for rows in tables for row in rows for name, cell in row.items() if re.search(r"\bours\b", name)]
    lines = ["".join(list(row.values())[2:]) for rows in tables for row in rows if row.get("") == "ours"]
    assert cells and not any(cells) and not any(lines)


@both_papers
@pytest.mark.parametrize("scale", ["demo", "wmt14"])
def test_no_printed_number_leaks_into_our_columns(paper, scale, tmp_path):
    """Every printed number is changed, and nothing of ours may change."""
    root = tmp_path / "paper"
    root.mkdir()
    (root / "recipes").symlink_to(paper.root / "recipes")
    for path in paper.root.glob("reported*.yaml"):
        changed = re.sub(r"\b\d+\.\d+\b", "3.21", path.read_text(encoding="utf-8"))
        (root / path.name).write_text(changed, encoding="utf-8")
    folder = run_all(paper, scale, tmp_path / "results")
    before, after = (
        one.build_tables(scale, folder, tmp_path / "out").markdown for one in (paper, replace(paper, root=root))
    )
    assert before != after and after.count(" 3.21 |") > before.count(" 3.21 |")
    assert ours(before) == ours(after)


@both_papers
@pytest.mark.parametrize("scale", ["demo", "multi30k", "wmt14"])
def test_differences_from_the_paper_are_shown_at_its_own_scale_only(paper, scale, tmp_path):
    folder = run_all(paper, scale, tmp_path / "results")
    text = paper.build_tables(scale, folder, tmp_path / "out").markdown.split("## Beside others")[0]
    columns = {name for rows in made.tables(text) for name in rows[0]}
    assert any(name.startswith("difference") for name in columns) == (scale == "wmt14")
    assert {name for name in columns if "paper" in name}, "the printed numbers stand there at every scale"


@both_papers
@pytest.mark.parametrize("scale", ["demo", "multi30k"])
def test_everything_a_scale_changes_is_printed(paper, scale, tmp_path):
    text = paper.build_tables(scale, tmp_path / "nothing", tmp_path).markdown
    shown = {row["recipe field"].strip("`") for row in made.cells(text, "## What these recipes change")}
    for name in paper.systems(scale):
        recipe = paper.recipe(name)
        changed = {key for key in difference(recipe, paper.recipe(recipe.reproduces)) if not changes_no_number(key)}
        assert changed - {f"data.{name}" for name in ("parts", "shares", "in_domain", "select_words", "valid")} <= shown
