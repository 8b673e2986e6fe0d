"""Committed tables are what the program makes from the committed results, and every result says where it is from."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from papers.lineage import PAPERS, front
from papers.lineage.pages import build_page
from tests.conftest import ROOT

FOLDERS = sorted((ROOT / "papers").glob("*/results/*/"))
RESULTS = sorted(path for folder in FOLDERS for path in folder.glob("*.json") if "." not in path.stem)


def test_each_scale_with_results_of_both_papers_has_a_page_of_the_two():
    assert {folder.name for folder in FOLDERS if folder.parts[-3] == "lineage"} == set.intersection(
        *({path.parent.name for path in RUNS if paper.root in path.parents} for paper in PAPERS.values())
    )


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: f"{folder.parts[-3]}-{folder.name}")
def test_tables_are_current(folder, tmp_path):
    name, scale = folder.parts[-3], folder.name
    if name == "lineage":
        command = f"python -m papers.lineage tables --scale {scale}"
        build_page(scale, None, tmp_path)
    else:
        command = f"python -m papers.{name} tables --scale {scale} --results {folder.relative_to(ROOT)}"
        PAPERS[name].build_tables(scale, folder, tmp_path)
    for file in ("tables.md", "claims.json"):
        made, kept = ((place / file).read_text(encoding="utf-8") for place in (tmp_path, folder))
        assert made == kept, f"run: {command}"
    assert {path.name for path in tmp_path.glob("figures/*")} == {path.name for path in folder.glob("figures/*")}


@pytest.mark.parametrize(("page", "block"), front.blocks().items(), ids=lambda value: getattr(value, "name", ""))
def test_what_is_drawn_from_all_scales_shows_the_committed_results(page, block):
    text = page.read_text(encoding="utf-8")
    start, end = front.BLOCK.search(text).span()
    assert f"\n{block()}\n" in text[start:end], "run: python -m papers.lineage readme"
    rest = text[:start] + text[end:]
    assert not re.findall(r"\b\d\d\.\d\d?\b", rest), "a score typed by hand; the block shows scores"


RUNS = [path for path in RESULTS if path.name != "claims.json"]
ANALYSES = sorted(path for folder in FOLDERS for path in folder.glob("*.analysis.json"))
MEASURED = [
    *RUNS,
    *ANALYSES,
    *sorted(ROOT.glob("benchmarks/results/*.json")),
    *sorted(ROOT.glob("papers/*/results/*.json")),
]
each_measured = pytest.mark.parametrize("path", MEASURED, ids=lambda path: str(path.relative_to(ROOT).with_suffix("")))


def origins(result: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield all parts of a result that name a commit: what scored or measured, what trained, each start."""
    yield "result", result
    if "training" in result:
        yield "training", result["training"]
        yield from ((f"start {index}", start) for index, start in enumerate(result["training"].get("starts", [])))


@each_measured
def test_results_are_made_by_committed_code(path: Path):
    """Each names its commit, and no tracked file differed from it: whoever checks out that commit has the code."""
    for place, origin in origins(json.loads(path.read_text(encoding="utf-8"))):
        assert re.fullmatch(r"[0-9a-f]{40}", str(origin.get("commit"))), f"{place} names no commit"
        assert origin["dirty"] is False, f"{place}: made by {origin['commit'][:7]} with changes that nobody committed"


@pytest.fixture(scope="module")
def history() -> frozenset[str]:
    """All commits before the one that is checked out. Skipped if not all of them are there."""

    def git(*words: str) -> str:
        done = subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True)
        if done.returncode != 0:
            pytest.skip(f"no history to look in: {done.stderr.strip()}")
        return done.stdout.strip()

    if Path(git("rev-parse", "--show-toplevel")) != ROOT:
        pytest.skip("no history to look in: an export inside another repository")
    if git("rev-parse", "--is-shallow-repository") == "true":
        pytest.skip("a shallow clone lacks the older commits; `git fetch --unshallow` brings them")
    return frozenset(git("rev-list", "HEAD").split())


@each_measured
def test_the_code_of_a_result_is_in_the_history(path: Path, history: frozenset[str]):
    commits = {origin["commit"] for _, origin in origins(json.loads(path.read_text(encoding="utf-8")))}
    assert commits <= history, "made by code that no clone of this repository holds; make it again"


@pytest.mark.parametrize("path", RUNS, ids=lambda path: f"{path.parts[-4]}-{path.parent.name}-{path.stem}")
def test_mean_lengths_of_the_recipes_are_those_of_the_trainings(path: Path):
    """`plan` and the counted FLOPs depend on them: target tokens per sentence pair, EOS included."""
    result = json.loads(path.read_text(encoding="utf-8"))
    seen = result["training"]["progress"]
    mean = PAPERS[result["paper"]].recipe(result["recipe"]).estimate.target_tokens
    assert mean == pytest.approx(seen["target_tokens"] / seen["sentences"], rel=0.02)


@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.stem)
def test_results_say_where_they_are_from(path: Path):
    result = json.loads(path.read_text(encoding="utf-8"))
    assert result["environment"]["hardware"] and result["environment"]["torch"]
    assert result["training"]["progress"]["seconds"] > 0
    assert re.fullmatch(r"[0-9a-f]{64}", result["recipe_sha256"])
    assert result["data"]["inputs"] and "seed" in result["resolved_recipe"]["train"]
    for values in result["sets"].values():
        for column in values["columns"].values():
            assert "version:" in column["signature"] and "version:" in column["sacrebleu_signature"]
            assert len(column["statistics"]) == column["sentences"] == len(column["hypotheses"])
