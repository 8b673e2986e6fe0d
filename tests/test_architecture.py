"""The rules of the layout: who may import whom, how long a function may be, what must be cited."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAPERS = ("bahdanau2014", "vaswani2017")
SOURCES = sorted(path for folder in ("common", "papers") for path in (ROOT / folder).rglob("*.py"))
NOTEBOOKS = set(ROOT.glob("papers/*/notebook.py"))
"""Sources of notebooks. test_notebooks.py executes them, and the prose between cells explains their functions."""
CEILING = 60
TOP_LEVEL = {
    "papers",
    "common",
    "tests",
    "benchmarks",
    "reproduce.sh",
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "pyproject.toml",
    "requirements.txt",
    "LICENSE",
    "CITATION.cff",
    ".gitignore",
    ".ci",
}


def imports(path: Path) -> set[str]:
    """Return the modules that a file imports, and what it imports from them."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module or "")
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


@pytest.mark.parametrize("path", [path for path in SOURCES if "common" in path.parts], ids=lambda path: path.name)
def test_common_imports_no_paper(path):
    assert not {name for name in imports(path) if name.split(".")[0] == "papers"}


@pytest.mark.parametrize("paper", PAPERS)
def test_a_paper_imports_nothing_of_papers_but_its_own(paper):
    for path in (ROOT / "papers" / paper).rglob("*.py"):
        foreign = {name for name in imports(path) if f"{name}.".startswith("papers.")}
        assert not {name for name in foreign if not f"{name}.".startswith(f"papers.{paper}.")}, path


def test_only_the_lineage_imports_both_papers():
    for path in SOURCES:
        named = {paper for paper in PAPERS for name in imports(path) if f"{name}.".startswith(f"papers.{paper}.")}
        assert len(named) <= 1 or path.is_relative_to(ROOT / "papers" / "lineage"), path


MODELS = {"bahdanau2014": r"bahdanau|rnnsearch|rnnenc", "vaswani2017": r"vaswani|transformer"}
"""Words that would show in the code of one paper that it knows the other."""


def spoken(path: Path) -> list[tuple[int, str]]:
    """Return line and text of each name and string in a file's code. Comments and docstrings are not code."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
            found.append((node.lineno, node.value))
        for field in ("id", "attr", "name", "asname", "arg", "module"):
            if isinstance(text := getattr(node, field, None), str):
                found.append((getattr(node, "lineno", 0), text))
    return found


@pytest.mark.parametrize("paper", PAPERS)
def test_the_code_of_a_paper_has_no_word_of_another(paper):
    """No import, name or string. Docstrings, comments, YAML and README are prose and may cite the other paper."""
    words = re.compile("|".join(MODELS[other] for other in PAPERS if other != paper), re.IGNORECASE)
    for path in (ROOT / "papers" / paper).rglob("*.py"):
        assert [f"{path}:{line} {text}" for line, text in spoken(path) if words.search(text)] == []


@pytest.mark.parametrize("paper", PAPERS)
def test_the_readable_model_stands_alone_and_one_place_chooses_the_fast_one(paper):
    folder = ROOT / "papers" / paper
    assert not {name for name in imports(folder / "model.py") if name.startswith("papers.")}
    assert [path.name for path in folder.glob("*.py") if f"papers.{paper}.fast" in imports(path)] == ["paper.py"]


FAST = ("fast.py", "recurrence.py", "beam_state.py")
"""Where the fast models are."""


@pytest.mark.parametrize("paper", PAPERS)
def test_the_fast_model_makes_no_parameter(paper):
    """It computes with the parameters of model.py, so that a checkpoint fits both."""
    files = [path for path in (ROOT / "papers" / paper).glob("*.py") if path.name in FAST]
    nodes = [node for path in files for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))]
    calls = [ast.unparse(node.func) for node in nodes if isinstance(node, ast.Call)]
    maker = re.compile(r"(^|\.)(Parameter|register_parameter|Linear|Embedding|LayerNorm|gaussian|orthogonal|bias)$")
    assert calls and not [call for call in calls if maker.search(call)]


def test_engines_do_not_ask_which_model_they_have():
    words = re.compile("|".join(MODELS.values()), re.IGNORECASE)
    for path in (ROOT / "common").rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, (ast.Name, ast.Attribute)):
                name = node.id if isinstance(node, ast.Name) else node.attr
                assert not words.search(name), f"{path}:{node.lineno} {name}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_functions_stay_short(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            length = (node.end_lineno or 0) - node.lineno + 1
            assert length <= CEILING, f"{path}:{node.lineno} {node.name} has {length} lines"


@pytest.mark.parametrize(
    "path", [path for path in SOURCES if path not in NOTEBOOKS], ids=lambda path: str(path.relative_to(ROOT))
)
def test_public_names_are_documented(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), f"{path} has no module docstring"
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{path}:{node.lineno} {node.name} has no docstring"


def test_tensors_are_never_unpickled():
    for path in SOURCES:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"^\s*(import|from) pickle|allow_pickle=True|weights_only=False", text, re.MULTILINE), path


def test_both_papers_have_the_same_files():
    """Except for other people's scores: each source has a `reported-SOURCE.yaml` beside reported.yaml.

    And except for the loops over words, which one of the models does not have, and what one of the papers has: the
    check of the data selection, and what is said of alpha; what the authors' code has otherwise than the paper, its
    parameters, the drawing of Figures 1 and 2; its claims apart from its tables, Table 3 with seeds, the parser and
    Table 4, and the formats of other programs.
    """
    first, second = (
        {path.name for path in (ROOT / "papers" / paper).glob("*.*") if not path.match("reported-*.yaml")}
        for paper in PAPERS
    )
    own = {
        "authors.py",
        "parameters.py",
        "drawing.py",
        "claims.py",
        "table3.py",
        "table4.py",
        "parsing.py",
        "formats.py",
    }
    assert first - {"recurrence.py", "selection.py", "analysis.py"} == second - own


def test_top_level_holds_what_it_should():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    assert {line.split("/")[0] for line in listed.stdout.splitlines()} <= TOP_LEVEL


EQUATIONS = {
    "bahdanau2014": [
        r"Eq\. \(4\)",
        r"Eq\. \(5\)",
        r"Eq\. \(6\)",
        r"Eq\. \(7\)",
        r"A\.1\.1",
        r"A\.1\.2",
        r"A\.2\.1",
        r"A\.2\.2",
    ],
    "vaswani2017": [
        r"Eq\. \(1\)",
        r"Eq\. \(2\)",
        r"§3\.1",
        r"§3\.2\.1",
        r"§3\.2\.2",
        r"§3\.3",
        r"§3\.4",
        r"§3\.5",
        r"§5\.4",
    ],
}


@pytest.mark.parametrize("paper", PAPERS)
def test_equations_are_cited_where_they_are_computed(paper):
    text = (ROOT / "papers" / paper / "model.py").read_text(encoding="utf-8")
    assert [equation for equation in EQUATIONS[paper] if not re.search(equation, text)] == []


@pytest.mark.parametrize("paper", PAPERS)
def test_deviations_are_numbered_once_and_cited(paper):
    """Code or a recipe cites each `D1` of a paper's README, and cites none that the README does not have."""
    folder = ROOT / "papers" / paper
    declared = set(re.findall(r"^\W*\*?\*?(D\d+)\b", (folder / "README.md").read_text(encoding="utf-8"), re.MULTILINE))
    cited: set[str] = set()
    for path in [*folder.glob("*.py"), *folder.rglob("*.yaml")]:
        cited |= set(re.findall(r"\b(D\d+)\b", path.read_text(encoding="utf-8")))
    assert declared and cited == declared


def test_every_module_can_be_imported():
    """Those too that no test runs, such as the GPU's benchmark."""
    paths = [*(path for path in SOURCES if path not in NOTEBOOKS), *(ROOT / "benchmarks").glob("*.py")]
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in paths]
    for name in names:
        if name != "common.no_package":  # it refuses
            importlib.import_module(name)
