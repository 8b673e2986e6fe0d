"""The notebooks are what is built from their sources, show the real code, and say whether an answer is right.

A stale notebook is built again, in the repository's root, by
python -m common.run.notebooks papers/*/notebook.py
"""

from __future__ import annotations

import ast
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import nbformat
import pytest
import torch

from common.errors import UserError
from common.report.notebook import check, committed, equations, exercise, shapes, show
from common.report.page import Figure, Section
from common.report.results import export
from common.run.notebooks import build, drop_progress, execute, read
from papers.bahdanau2014.model import AlignmentModel
from papers.bahdanau2014.paper import PAPER as BAHDANAU
from tests import made_results as made

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted(ROOT.glob("papers/*/notebook.py"))
OF_EACH = pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.parent.name)


def committed_notebook(source: Path) -> Any:
    return nbformat.read(source.with_suffix(".ipynb"), as_version=4)


def code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def shown(cell: Any) -> list[tuple[str, str]]:
    """Kind and text of all that a cell prints and draws; of a picture, that it is there."""
    seen: list[tuple[str, str]] = []
    for output in cell.outputs:
        if output.output_type == "stream":
            seen.append((output.name, output.text))
        else:
            data = output.get("data", {})
            text = data.get("text/markdown", data.get("text/plain", ""))
            seen.append(("picture", "") if "image/png" in data else ("text", text))
    return seen


def test_every_paper_has_a_notebook():
    assert {"bahdanau2014", "vaswani2017"} <= {source.parent.name for source in SOURCES}


@OF_EACH
def test_the_cells_are_those_of_the_source(source):
    def cells(notebook: Any) -> list[tuple[str, str]]:
        return [(cell.cell_type, cell.source) for cell in notebook.cells]

    assert cells(read(source)) == cells(committed_notebook(source)), "stale; build it as this file's first lines say"


@OF_EACH
def test_runs_and_shows_what_was_committed(source):
    """A cell that fails raises."""
    fresh = read(source)
    execute(fresh, source.parent)
    for before, after in zip(code_cells(committed_notebook(source)), code_cells(fresh), strict=True):
        assert shown(before) == shown(after), f"{source}: stale; build it as this file's first lines say"


@OF_EACH
def test_outputs_are_clean(source):
    notebook = committed_notebook(source)
    assert notebook.metadata.kernelspec.name == "python3"
    seen = [output for cell in code_cells(notebook) for output in shown(cell)]
    kinds, printed = {kind for kind, _ in seen}, "\n".join(text for _, text in seen)
    assert "stderr" not in kinds and "picture" in kinds
    assert str(Path.home()) + "/" not in printed and str(ROOT) not in printed and "Traceback" not in printed
    assert not re.search(r"<[\w.]+ (object )?at 0x", printed), "an object without a text of its own was shown"


@OF_EACH
def test_imports_the_model_and_defines_none(source):
    nodes = list(ast.walk(ast.parse(source.read_text(encoding="utf-8"))))
    modules = {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    paper = source.parent.name
    assert any(re.fullmatch(r"papers\.\w+\.model", name) for name in modules)
    assert paper == "lineage" or f"papers.{paper}.model" in modules
    assert not [node.name for node in nodes if isinstance(node, ast.ClassDef)]


def anchor(heading: str) -> str:
    """Return the name by which Jupyter links to a heading."""
    return heading.lstrip("# ").replace(" ", "-")


@OF_EACH
def test_links_lead_somewhere(source):
    prose = "\n".join(cell.source for cell in committed_notebook(source).cells if cell.cell_type == "markdown")
    headings = {anchor(line) for line in prose.splitlines() if line.startswith("#")}
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        if target.startswith("#"):
            assert target[1:] in headings, target
        elif "://" not in target:
            assert (source.parent / target.partition("#")[0]).exists(), target


PAGE = '''# %% [markdown]
r"""
# Title

$$ \\alpha $$
"""

# %%
import sys

import common

print(3)
sys.stdout.flush()
print(common.__name__)

# %%
2 + 2
'''


def test_a_percent_file_becomes_an_executed_notebook(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    (tmp_path / "notebook.py").write_text(PAGE, encoding="utf-8")
    out = build(tmp_path / "notebook.py")
    first = out.read_bytes()
    made = nbformat.read(out, as_version=4)
    assert made.cells[0].source == "# Title\n\n$$ \\alpha $$"
    assert [shown(cell) for cell in code_cells(made)] == [[("stdout", "3\ncommon\n")], [("text", "4")]]
    build(tmp_path / "notebook.py")
    assert out.read_bytes() == first


def test_a_cell_that_takes_too_long_leaves_the_notebook_as_it_was(tmp_path, monkeypatch):
    monkeypatch.setattr("common.run.notebooks.SECONDS", 1)
    (tmp_path / "notebook.py").write_text("# %%\nimport time\n\ntime.sleep(60)\n", encoding="utf-8")
    (tmp_path / "notebook.ipynb").write_text("before")
    with pytest.raises(UserError, match=r"notebook\.py: a cell took more than 1 seconds; build it while"):
        build(tmp_path / "notebook.py")
    assert (tmp_path / "notebook.ipynb").read_text() == "before"


def test_progress_is_left_out_and_a_warning_is_not():
    """Whether progress is printed depends on the machine."""
    lines = ["demo: 100%|####| 40.0k/40.0k [00:12<00:00, 3.14kpair/s]\n", "demo:   5%|#   | 2.0k/40.0k\n"]
    streams = ["".join(lines), lines[0] + "a warning: 5% of it\n", "nothing\n"]
    outputs = [nbformat.v4.new_output("stream", name="stderr", text=text) for text in streams]
    outputs.append(nbformat.v4.new_output("stream", name="stdout", text=lines[0]))
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1", outputs=outputs)])
    drop_progress(notebook)
    assert shown(notebook.cells[0]) == [
        ("stderr", "a warning: 5% of it\n"),
        ("stderr", "nothing\n"),
        ("stdout", lines[0]),
    ]


def test_only_percent_files_are_built(tmp_path):
    with pytest.raises(UserError, match=r"gone\.py: no such percent file; name a notebook\.py"):
        read(tmp_path / "gone.py")


def test_an_equation_stands_beside_the_statement_that_computes_it():
    text = equations(AlignmentModel, {"c =": "c_i", "alpha =": r"\alpha_{ij}"}).data
    c, alpha = text.split("$$ \\alpha_{ij} $$")
    assert c.startswith("$$ c_i $$\n\n```python\nc = torch.bmm(") and "alpha = torch.softmax(" in alpha
    with pytest.raises(ValueError, match="AlignmentModel has 0 statements that begin with 'beta ='"):
        equations(AlignmentModel, {"beta =": r"\beta"})


def test_shapes_are_told_by_name():
    assert "| `h`    | 2 × 3 |" in shapes(h=torch.zeros(2, 3)).data


def test_a_check_says_what_holds(monkeypatch):
    said: list[Any] = []
    monkeypatch.setattr("common.report.notebook.display", said.append)
    check(torch.tensor(True), "Two is even.")
    assert [line.data for line in said] == ["✓ Two is even."]
    with pytest.raises(AssertionError, match="This does not hold: Three is even"):
        check(False, "Three is even.")


@pytest.mark.parametrize(
    ("yours", "verdict"),
    [
        (None, "○"),
        (torch.tensor([0.25, 0.75]), "✓ Right."),
        (torch.tensor([0.25, 0.75], dtype=torch.float64), "✓ Right."),
        (torch.tensor([[0.25, 0.75]]), r"✗ Not yet: your shape is \(1, 2\), and \(2,\) is wanted"),
        (torch.tensor([0.5, 0.5]), "✗ Not yet: the largest difference is 0.25"),
    ],
)
def test_an_exercise_is_marked(yours, verdict, monkeypatch):
    said: list[Any] = []
    monkeypatch.setattr("common.report.notebook.display", said.append)
    exercise(yours, torch.tensor([0.25, 0.75]))
    assert re.match(verdict, said[0].data)


@pytest.mark.parametrize(
    ("yours", "wanted", "right"),
    [
        (4_194_304, 4_194_304, True),
        (4_194_304.0, 4_194_304, True),
        (214_000_001.0, 214_000_000, False),
        (4_194_305, 4_194_304, False),  # a whole number is met or missed
        ([3, 1], torch.tensor([3, 1]), True),
        ([3, 2], torch.tensor([3, 1]), False),
        ([[True, False]], torch.tensor([[True, False]]), True),
        (torch.tensor([[1.0, 1.0]]), torch.tensor([[True, False]]), False),
        (6.9877e-4, 512**-0.5 * 4000**-0.5, True),
        (7.0e-4, 512**-0.5 * 4000**-0.5, False),  # a small number is told from its neighbours
        (54.545, 1.8e20 / 3.3e18, True),
        (54.5, 1.8e20 / 3.3e18, False),
        (1e-9, 0.0, True),
        (1e-3, 0.0, False),
        (torch.tensor([1000.0, 0.001]), torch.tensor([1000.0, 0.0]), True),
        (torch.tensor([1000.0, 0.1]), torch.tensor([1000.0, 0.0]), False),
        (float("nan"), 1.0, False),
        (torch.ones(2, requires_grad=True), torch.ones(2), True),
    ],
)
def test_whole_numbers_are_exact_and_others_to_five_digits(yours, wanted, right, monkeypatch):
    said: list[Any] = []
    monkeypatch.setattr("common.report.notebook.display", said.append)
    exercise(yours, wanted)
    assert said[0].data.startswith("✓" if right else "✗")


def test_without_results_a_notebook_says_so_in_one_line(tmp_path, capsys):
    show(committed(replace(BAHDANAU, root=tmp_path), "demo"), "Table 1", "Claims")
    printed = capsys.readouterr().out
    assert printed.startswith("No results of this scale are committed yet") and printed.count("\n") == 1


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
