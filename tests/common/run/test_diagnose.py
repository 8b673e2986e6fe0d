"""`diagnose` on real runs that differ in one thing each: it must name that thing, and nothing else."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from common.errors import UserError
from common.files import write_json
from common.result import Measured, ScoredTraining, read_starts, read_training
from common.run.cli import main
from common.run.diagnose import diagnose
from common.run.folder import read_recipe, train_run
from common.train.loop import read_log
from common.typed import plain
from papers.bahdanau2014.paper import PAPER
from papers.lineage import PAPERS
from papers.vaswani2017.paper import PAPER as VASWANI
from tests import made_results as made
from tests.conftest import TINY

RECIPE = "demo/rnnsearch-30"
FINE = [*TINY, "log_every=2", "run.path=readable"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Train once for each set of overrides, and return the run's folder."""
    folder = tmp_path_factory.mktemp("runs")

    def trained(name: str, *words: str) -> Path:
        if not (folder / name).exists():
            train_run(PAPER, PAPER.recipe(RECIPE, [*FINE, *words]), folder / name, folder, lambda line: None)
        return folder / name

    return trained


def differing(text: str) -> set[str]:
    """Return the facts that the table marks."""
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    return {row[0] for row in rows if row[-1] == "differs"}


def result_of(run: Path, folder: Path) -> Path:
    """Write the committed form of a run: what a result keeps of it, beside scores that do not matter here."""
    training = read_training(run)
    assert training is not None
    curve = [entry for entry in read_log(run) if "dev_nll_per_token" in entry]
    recipe = read_recipe(PAPER, run)
    sets = {"all": made.column(made.statistics([0.5]), [3])}
    file = made.result(recipe, sets)
    scored = ScoredTraining(
        **vars(training) | {"starts": read_starts(run)},
        complete=True,
        train=file.training.train,
        dev=file.training.dev,
        dev_curve=tuple(Measured(step=e["step"], dev_nll_per_token=e["dev_nll_per_token"]) for e in curve),
    )
    write_json(folder / "result.json", plain(made.result(recipe, sets, training=scored, paper=PAPER.name)))
    return folder / "result.json"


def test_the_same_training_twice(run: Callable[..., Path]) -> None:
    text = diagnose(PAPER, run("one"), run("again"))
    assert differing(text) == set()
    assert "development set: equal to the last bit at all 2 common updates, up to 12" in text
    assert "training loss: equal to the last bit at all 6 common updates, up to 12" in text
    assert text.endswith("\nSo far the two make the same updates.")


def test_another_path_is_rounding(run: Callable[..., Path]) -> None:
    text = diagnose(PAPER, run("one"), run("fast", "run.path=fast"))
    assert differing(text) == {"run.path"}
    assert "training loss: parts at or before update" in text or "equal up to update" in text
    assert "It grows, and is no fault." in text.splitlines()[-1]


def test_another_seed(run: Callable[..., Path]) -> None:
    text = diagnose(PAPER, run("one"), run("seed", "train.seed=99"))
    assert differing(text) == {"train.seed"} and "no fault" not in text
    assert "The recipes differ: train.seed 1234 here and 99 there." in text and "Another seed means" in text
    assert "training loss: parts at or before update 2," in text


def test_other_text_and_smaller_minibatches(run: Callable[..., Path]) -> None:
    text = diagnose(PAPER, run("fewer", "data.first=200", "batch.sentences=40"), run("one"))
    assert {"data", "data.first", "batch.sentences", "tokens an update"} <= differing(text)
    assert "data.first 200 here and 400 there" in text


def test_other_weights_by_other_code(run: Callable[..., Path], tmp_path: Path) -> None:
    """A run of another seed that claims the same one, as a change of the code's first weights would make it."""
    shutil.copytree(run("seed", "train.seed=99"), tmp_path / "run")
    recipe = tmp_path / "run" / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("seed: 99", "seed: 1234"))
    last = diagnose(PAPER, tmp_path / "run", run("one")).splitlines()[-1]
    assert "far apart at once" in last and "See what changed between the two commits." in last


def test_a_training_that_changed_on_the_way(run: Callable[..., Path], tmp_path: Path) -> None:
    """The curves are equal and then not, later than rounding shows first."""
    shutil.copytree(run("one"), tmp_path / "run")
    shutil.copytree(run("one"), tmp_path / "other")
    for name, last in (("run", 4.25), ("other", 4.5)):
        log = "".join(json.dumps({**entry, "step": 100 * entry["step"]}) + "\n" for entry in read_log(run("one")))
        (tmp_path / name / "log.jsonl").write_text(log + json.dumps({"step": 1300, "loss": last}) + "\n")
    text = diagnose(PAPER, tmp_path / "run", tmp_path / "other")
    assert "training loss: equal up to update 1,200; parts at or before update 1,300, by 0.25" in text
    assert "equal up to update 1,200 and not at 1,300: usually one of the two was stopped" in text.splitlines()[-1]


def test_a_first_value_after_rounding_has_grown_decides_nothing(run: Callable[..., Path], tmp_path: Path) -> None:
    for name, value in (("run", 4.25), ("other", 4.5)):
        shutil.copytree(run("one"), tmp_path / name)
        (tmp_path / name / "log.jsonl").write_text(json.dumps({"step": 500, "dev_nll_per_token": value}) + "\n")
    last = diagnose(PAPER, tmp_path / "run", tmp_path / "other").splitlines()[-1]
    assert "nothing in common before update 500, when rounding alone may have grown this large" in last


def test_data_that_the_recipe_does_not_explain(run: Callable[..., Path], tmp_path: Path) -> None:
    """A run whose text a later download or preparation has changed: only its hash says so."""
    shutil.copytree(run("one"), tmp_path / "run")
    starts = json.loads((tmp_path / "run" / "starts.json").read_text())
    starts[-1]["data_sha256"] = "0" * 64
    (tmp_path / "run" / "starts.json").write_text(json.dumps(starts))
    text = diagnose(PAPER, tmp_path / "run", run("one"))
    assert differing(text) == {"data"}
    assert "The training data differ, the vocabularies are equal: usually another download" in text


def test_a_result_has_the_development_curve(run: Callable[..., Path], tmp_path: Path) -> None:
    text = diagnose(PAPER, run("one"), result_of(run("one"), tmp_path))
    assert differing(text) == set() and "| source.vocab     |" in text
    assert "development set: equal to the last bit at all 2 common updates" in text
    assert "training loss: a result does not keep it; compare it with a run's folder: --with RUN" in text
    foreign = VASWANI.root / "results" / "demo" / "base.json"
    with pytest.raises(UserError, match="is of vaswani2017; run `python -m papers.vaswani2017 diagnose`"):
        diagnose(PAPER, run("one"), foreign)


def test_a_log_of_an_earlier_version(run: Callable[..., Path], tmp_path: Path) -> None:
    """Its lines have the loss and two rates. Nothing else is needed."""
    shutil.copytree(run("one"), tmp_path / "run")
    new = {"learning_rate", "gradient_norm", "padding_share", "peak_memory_gib"}
    log = [{key: value for key, value in entry.items() if key not in new} for entry in read_log(run("one"))]
    (tmp_path / "run" / "log.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in log))
    assert diagnose(PAPER, tmp_path / "run", run("one")).endswith("So far the two make the same updates.")


def test_the_command_finds_the_committed_result(
    run: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(PAPER, ["diagnose", str(run("one"))]) == 0
    told = capsys.readouterr().out
    assert f"{PAPER.root / 'results' / RECIPE}.json" in told and "no common update yet" in told
    shutil.copytree(run("one"), tmp_path / "run")
    recipe = tmp_path / "run" / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace(f"name: {RECIPE}", "name: mine"))
    assert main(PAPER, ["diagnose", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert "no result of recipe mine is committed" in error and "--with RUN" in error and error.count("\n") == 1
    for other in ("nowhere", "nowhere.json"):
        assert main(PAPER, ["diagnose", str(run("one")), "--with", str(tmp_path / other)]) == 2
        assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    ("paper", "path"),
    [(name, path) for name, paper in PAPERS.items() for path in sorted((paper.root / "results").glob("*/*.json"))
     if path.name != "claims.json" and "." not in path.stem],
    ids=lambda value: f"{value.parent.name}-{value.stem}" if isinstance(value, Path) else value,
)  # fmt: skip
def test_every_committed_result_can_be_compared(paper: str, path: Path) -> None:
    """By the reader that the command has, with its own curve moved by 0.5 from the second point on."""
    from common.run.diagnose import _findings, _of

    side = _of(PAPERS[paper], path)
    assert side.tokens and side.data and set(side.vocabularies) == {"source.vocab", "target.vocab"}
    (first, value), *others = side.curves["dev_nll_per_token"].items()
    points = [(first, value, value), *((step, value, value + 0.5) for step, value in others)]
    assert next(_findings(side, side, {"dev_nll_per_token": points})) == (
        f"development set: equal up to update {first:,}; parts at or before update {others[0][0]:,}, "
        f"by 0.5 there and 0.5 at update {others[-1][0]:,}"
    )
