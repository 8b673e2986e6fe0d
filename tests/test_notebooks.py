"""The notebooks run, show what they showed when they were committed, and show the real code.

A stale notebook is refreshed, in the repository's root, by
jupyter nbconvert --to notebook --execute --inplace --ExecutePreprocessor.record_timing=False papers/*/notebook.ipynb
"""

from __future__ import annotations

import ast
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import nbformat
import pytest
from ipykernel.kernelspec import write_kernel_spec
from nbclient import NotebookClient

from common.report.notebook import committed, show
from common.report.page import Figure, Section
from common.report.results import export
from papers.bahdanau2014.paper import PAPER as BAHDANAU
from tests import made_results as made

ROOT = Path(__file__).resolve().parent.parent
PAPERS = ("bahdanau2014", "vaswani2017")


def notebook(paper: str) -> Any:
    return nbformat.read(ROOT / "papers" / paper / "notebook.ipynb", as_version=4)


def code_cells(paper: str) -> list[Any]:
    return [cell for cell in notebook(paper).cells if cell.cell_type == "code"]


def shown(cell: Any) -> list[tuple[str, str]]:
    """Kind and text of all that a cell prints and draws; of a picture, that it is there."""
    seen: list[tuple[str, str]] = []
    for output in cell.outputs:
        if output.output_type == "stream":  # which may come in pieces
            before = seen.pop()[1] if seen and seen[-1][0] == output.name else ""
            seen.append((output.name, before + output.text))
        else:
            data = output.get("data", {})
            text = data.get("text/markdown", data.get("text/plain", ""))
            seen.append(("picture", "") if "image/png" in data else ("text", text))
    return seen


@pytest.mark.parametrize("paper", PAPERS)
def test_runs_and_shows_what_was_committed(paper, tmp_path, monkeypatch):
    """The kernel is this very Python, without the user's own settings. A cell that fails raises."""
    write_kernel_spec(tmp_path / "kernels" / "python3")
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    fresh = notebook(paper)
    NotebookClient(fresh, timeout=120, resources={"metadata": {"path": str(ROOT / "papers" / paper)}}).execute()
    again = [cell for cell in fresh.cells if cell.cell_type == "code"]
    for before, after in zip(code_cells(paper), again, strict=True):
        assert shown(before) == shown(after), f"{paper}: stale; execute it again as this file's first lines say"


@pytest.mark.parametrize("paper", PAPERS)
def test_outputs_are_clean(paper):
    cells = code_cells(paper)
    assert notebook(paper).metadata.kernelspec.name == "python3"
    assert all(cell.outputs for cell in cells), "every cell shows something"
    kinds = [kind for cell in cells for kind, _ in shown(cell)]
    assert "stderr" not in kinds and "picture" in kinds
    printed = "\n".join(text for cell in cells for _, text in shown(cell))
    assert str(Path.home()) + "/" not in printed and str(ROOT) not in printed and "Traceback" not in printed


@pytest.mark.parametrize("paper", PAPERS)
def test_imports_the_model_and_defines_none(paper):
    trees = [ast.parse(cell.source) for cell in code_cells(paper)]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    assert any(isinstance(node, ast.ImportFrom) and node.module == f"papers.{paper}.model" for node in nodes)
    assert not [node.name for node in nodes if isinstance(node, ast.ClassDef)]


def test_without_results_a_notebook_says_so_in_one_line(tmp_path, capsys):
    show(committed(replace(BAHDANAU, root=tmp_path), "demo"), "Table 1", "Claims")
    printed = capsys.readouterr().out
    assert printed.startswith("No demo results are committed yet") and printed.count("\n") == 1


def test_committed_results_become_tables(tmp_path):
    for name in ("recipes", "reported.yaml"):
        copy = shutil.copytree if (BAHDANAU.root / name).is_dir() else shutil.copyfile
        copy(BAHDANAU.root / name, tmp_path / name)
    columns = {"all": made.column(made.statistics([0.9, 0.5] * 20), [4, 9] * 20, 61.25)}
    made.write(tmp_path / "runs", "rnnsearch-50", made.result(BAHDANAU.recipe("rnnsearch-50"), columns))
    export(tmp_path / "runs", tmp_path / "results" / "demo")
    section = committed(replace(BAHDANAU, root=tmp_path), "demo")
    assert section is not None and "61.25 (" in section.markdown


def test_show_keeps_the_chosen_parts_in_order_with_their_pictures(monkeypatch, capsys):
    figure = "## Figure 2: b\n\n![b](figures/curve.png)\n\ncaption"
    markdown = f"# Title\n\n## Table 1: a\n\nrows\n\n## Notes\n\nnone\n\n{figure}"
    section = Section("Title", markdown, [Figure("curve", "b", "caption", b"PNG bytes")], [], [])
    displayed: list[Any] = []
    monkeypatch.setattr("common.report.notebook.display", displayed.append)
    monkeypatch.setattr("common.report.notebook.Image", lambda data, **options: (data, options["alt"]))
    show(section, "Figure 2", "Table 1")
    assert [getattr(item, "data", item) for item in displayed] == [
        "### Table 1: a\n\nrows",
        "### Figure 2: b",
        (b"PNG bytes", "b"),
        "caption",
    ]
    show(section, "Figure 9")
    assert capsys.readouterr().out == "The committed results have no Figure 9.\n"
