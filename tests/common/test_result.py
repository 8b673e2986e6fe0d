"""What is written about a run: committed and new files pass through the classes unchanged, and damage is named."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from common.align.record import read_analysis
from common.errors import UserError
from common.files import write_json
from common.result import Example, Start, Training, Weights, read_attention, read_result, read_starts, read_training
from common.run.evaluate import evaluate_run
from common.run.folder import average_run, train_run
from common.typed import plain
from papers.lineage import PAPERS
from tests import made_results as made
from tests.conftest import ROOT, TINY

COMMITTED = sorted(path for path in ROOT.glob("papers/*/results/*/*.json") if path.name != "claims.json")
RESULTS = [path for path in COMMITTED if "." not in path.stem]
RECIPE = PAPERS["bahdanau2014"].recipe("rnnsearch-50")
FILE = made.result(RECIPE, {"all": made.column(made.statistics([0.5]), [3])})


def named(path: Path) -> str:
    return "-".join((path.parts[-4], path.parent.name, path.stem))


@pytest.mark.parametrize("path", RESULTS, ids=named)
def test_a_committed_result_is_what_its_classes_write(path: Path, tmp_path: Path) -> None:
    write_json(tmp_path / path.name, plain(read_result(path)))
    assert (tmp_path / path.name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize("path", [path for path in COMMITTED if path not in RESULTS], ids=named)
def test_what_is_committed_beside_a_result_is_what_its_classes_write(path: Path) -> None:
    read = {"attention": read_attention, "analysis": read_analysis}[path.stem.rpartition(".")[2]]
    assert plain(read(path)) == json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("paper", "recipe"),
    [("bahdanau2014", "demo/rnnsearch-50"), ("bahdanau2014", "demo/rnnencdec-50"), ("vaswani2017", "demo/base")],
)
def test_what_a_run_writes_is_read_as_it_was(paper: str, recipe: str, tmp_path: Path) -> None:
    plug, run = PAPERS[paper], tmp_path / "run"
    small = plug.recipe(recipe, TINY)
    assert train_run(plug, small, run, tmp_path, print) == 12
    unfinished = evaluate_run(plug, run, tmp_path, print)
    average_run(run, 2)
    result = evaluate_run(plug, run, tmp_path, print)
    for name, read in (("starts", read_starts), ("training", read_training)):
        assert plain(read(run)) == json.loads((run / f"{name}.json").read_text(encoding="utf-8"))
    assert read_result(run / "result.json") == result
    assert plain(result) == json.loads((run / "result.json").read_text(encoding="utf-8"))
    if recipe == "demo/rnnencdec-50":
        assert not (run / "attention.json").exists() and read_attention(run / "attention.json") == ()
    else:
        assert plain(read_attention(run / "attention.json")) == json.loads((run / "attention.json").read_text("utf-8"))
    assert (result.weights.steps, unfinished.weights.steps) == ((8, 12), (12,))
    assert result.training.complete and result.training.starts == read_starts(run)


def test_the_layout_is_that_of_the_committed_results(tmp_path: Path) -> None:
    """A result of today has the keys of a committed one, except for those that older programs did not have."""
    older, made_today = (set(keys(plain(file))) for file in (read_result(RESULTS[0]), FILE))
    assert {key for key in made_today if not key.startswith((".data", ".resolved_recipe", ".sets"))} <= older


def keys(values: object, path: str = "") -> list[str]:
    if not isinstance(values, dict):
        return [path]
    return [path, *(key for name, value in values.items() for key in keys(value, f"{path}.{name}"))]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda values: values.pop("paper"), "missing key `result.paper`"),
        (lambda values: values.update(more=1), "unknown key `result.more`"),
        (lambda values: values["training"]["progress"].update(step="many"), "`result.training.progress.step`"),
        (lambda values: values["sets"]["made"]["columns"]["all"].update(interval=[1.0]), "has 1 values, not 2"),
        (lambda values: values["sets"]["made"]["columns"]["all"].update(hypotheses=[None]), r"hypotheses\[0\]"),
        (lambda values: values["sets"]["made"]["columns"].pop("all"), "no column `all`"),
        (lambda values: values["sets"].clear(), "no test set"),
        (lambda values: values.update(sets=[]), "`result.sets` must be a mapping"),
    ],
)
def test_a_damaged_result_names_the_key_and_the_cure(change, told: str, tmp_path: Path) -> None:
    values = plain(FILE)
    change(values)
    write_json(tmp_path / "result.json", values)
    with pytest.raises(UserError, match=rf"result\.json: .*{told}.*run `score` on the run again, or delete the file$"):
        read_result(tmp_path / "result.json")


def test_other_damaged_files_have_cures_of_their_own(tmp_path: Path) -> None:
    assert read_starts(tmp_path) == () and read_training(tmp_path) is None
    (tmp_path / "starts.json").write_text('[{"step": 0}]')
    (tmp_path / "training.json").write_text('{"progress"')
    with pytest.raises(UserError, match="starts.json: missing key .* move it away, and the run goes on"):
        read_starts(tmp_path)
    with pytest.raises(UserError, match="training.json: missing or damaged; delete it"):
        read_training(tmp_path)


def test_attention_is_read_by_name_from_older_files_too() -> None:
    """Bahdanau2014's committed files have the matrix alone: it is the attention to the source."""
    old, new = (
        Example(line="A", source=("a", "b"), target=("c",), attention=weights)
        for weights in ([[0.25, 0.75]], {"source": [[0.25, 0.75]]})
    )
    assert old.weights("source").tolist() == new.weights("source").tolist() == [[0.25, 0.75]]


def test_only_what_is_not_known_is_left_out() -> None:
    """A training without git has a commit of null. One whose start is unknown has no commit at all."""
    known = Training(progress=FILE.training.progress, commit=None, dirty=True)
    assert plain(known)["commit"] is None and "environment" not in plain(known)
    assert "commit" not in plain(replace(known, commit="", dirty=None))
    where = {"data_sha256": "", "environment": made.MACHINE, "commit": None, "dirty": True}
    start = Start(step=0, time="now", changed={"a.b": (None, [1])}, **where)
    assert plain(start)["commit"] is None and plain(start)["changed"] == {"a.b": [None, [1]]}
    assert plain(Weights(step=3)) == {"step": 3}


def test_the_schema_stands_alone() -> None:
    """Reading the files of a run imports no PyTorch, no paper, and neither common/run nor common/report."""
    program = "import sys, common.result; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert not [name for name in loaded if name.startswith(("torch", "papers", "common.run", "common.report"))]
