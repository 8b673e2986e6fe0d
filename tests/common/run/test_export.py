"""An exported folder translates without its run, and its card says what the result says."""

from __future__ import annotations

import contextlib
import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from common.errors import UserError
from common.files import checksum
from common.paper import Paper
from common.result import Weights
from common.run.cli import main
from common.run.export import export_run
from common.train.checkpoint import load_weights, save_weights
from papers.bahdanau2014.paper import PAPER as BAHDANAU
from papers.vaswani2017.paper import PAPER as VASWANI
from tests import made_results as made
from tests.made_runs import LINES, STEPS, drawn, write_run

SIZES = {
    "pieces": "base N=1 d_model=16 d_ff=16 h=2 d_k=8 d_v=8 vocabulary_size=100 bpe_merges=null segmentation=wordpieces",
    "bahdanau2014": "rnnsearch-50 hidden=8 embedding=6 alignment=7 maxout=5 vocabulary_size=60",
    "vaswani2017": "base N=1 d_model=16 d_ff=16 h=2 d_k=8 d_v=8 vocabulary_size=60 bpe_merges=12",
}


def made_run(paper: Paper, folder: Path, size: str = "") -> Path:
    system, *words = SIZES[size or paper.name].split()
    recipe = paper.recipe(f"demo/{system}", [*words, "train.keep_checkpoints=2", "evaluate.average=2", "decode.beam=3"])
    write_run(paper, recipe, folder / "run", drawn(paper, recipe))
    return folder / "run"


@pytest.mark.parametrize("paper", [BAHDANAU, VASWANI], ids=lambda paper: paper.name)
def test_three_lines_of_python_translate_without_the_run(
    paper: Paper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = made_run(paper, tmp_path)
    expected = paper.load(run).translate(LINES[:9])
    folder = tmp_path / "elsewhere" / "model"
    export_run(paper, run, folder)
    weights, about = load_weights(folder / "model.safetensors")
    assert tuple(about["averaged_steps"]) == STEPS
    assert weights.keys() == load_weights(run / "model.safetensors")[0].keys()
    config = yaml.safe_load((folder / "recipe.yaml").read_text())
    assert config["model"] == paper.load(run).run.recipe.to_dict()["model"] and config["decode"]["beam"] == 3
    run.rename(tmp_path / "gone")
    folder = folder.rename(tmp_path / "model")
    assert paper.load(folder).translate(LINES[:9]) == expected and paper.load(folder).translate([""]) == [""]
    with pytest.raises(UserError, match="takes a list of sentences; put 'house' into brackets"):
        paper.load(folder).translate("house")
    (code,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    assert len(code.splitlines()) == 3
    printed = io.StringIO()
    monkeypatch.chdir(tmp_path)
    with contextlib.redirect_stdout(printed):
        exec(code.replace(repr(made.LONG.source), repr(LINES[3])), {})
    assert printed.getvalue() == f"{[expected[3]]}\n"


def test_the_card_says_what_the_result_says(tmp_path: Path) -> None:
    run = made_run(VASWANI, tmp_path)
    export_run(VASWANI, run, tmp_path / "model")
    card = (tmp_path / "model" / "README.md").read_text()
    (row,) = made.cells(card, "## Scores")
    score = made.column(made.statistics([0.5, 0.75, 1.0]), [4, 5, 6])
    low, high = score.interval
    assert row["BLEU by the paper's metric (95%)"] == f"{score.bleu:.2f} ({low:.2f} to {high:.2f})"
    assert row["sacreBLEU"] == f"{score.sacrebleu:.2f}"
    for fact in ("made|by:hand", "sacre|by:hand", "made licence", "made citation", "1,234 sentence pairs", "a machine",
                 "123,400,000 parameters", "beam 3", "alpha 0.6", "commit abcdef0", "mean of the checkpoints at 6, 8",
                 "made by a program", "segmentation bpe"):  # fmt: skip
        assert fact in card, fact


def refused(run: Path, out: Path, *parts: str) -> None:
    with pytest.raises(UserError) as error:
        export_run(VASWANI, run, out)
    assert all(part in str(error.value) for part in parts), error.value
    assert not [path for path in out.parent.iterdir() if path.name.startswith(".")]


def test_what_cannot_be_exported_leaves_nothing(tmp_path: Path) -> None:
    run, out = made_run(VASWANI, tmp_path), tmp_path / "out" / "model"
    out.mkdir(parents=True)
    (out / "mine").touch()
    refused(run, out, str(out), "is there already", "--out")
    (out / "mine").unlink()
    weights, _ = load_weights(run / "model.safetensors")
    save_weights(run / "model.safetensors", weights, {"averaged_steps": [8, 10]})
    refused(run, out, "result.json", "the mean of updates 8, 10", "run `score")
    save_weights(run / "model.safetensors", weights, {"averaged_steps": STEPS})
    result, path = json.loads((run / "result.json").read_text()), run / "text" / "bpe.codes"
    result["data"]["outputs"] = {"bpe.codes": {"bytes": path.stat().st_size, "sha256": checksum(path)}}
    (run / "result.json").write_text(json.dumps(result))
    result["resolved_recipe"]["decode"]["beam"] = 1
    (run / "result.json").write_text(json.dumps(result))
    refused(run, out, "result.json", "is the score with decode.beam=1", "run `score")
    result["resolved_recipe"]["decode"]["beam"] = 3
    (run / "result.json").write_text(json.dumps(result))
    path.write_bytes(less(path.read_bytes()))
    refused(run, out, str(path), "not as it was prepared", "call the same `train` again")
    (run / "result.json").unlink()
    refused(run, out, "no result.json", "run `score")
    assert not any(out.iterdir())


@pytest.fixture(scope="module", params=[*SIZES])
def sent(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Paper, Path]:
    """An exported folder, of whole words, of BPE or of word pieces."""
    paper = BAHDANAU if request.param == "bahdanau2014" else VASWANI
    root = tmp_path_factory.mktemp(request.param)
    export_run(paper, made_run(paper, root, request.param), root / "model")
    return paper, root / "model"


def less(content: bytes) -> bytes:
    """Leave a line out in the middle."""
    lines = content.splitlines(keepends=True)
    del lines[len(lines) // 2]
    return b"".join(lines)


DAMAGE: dict[str, Callable[[bytes], bytes | None]] = {
    "a line less": less,
    "half": lambda content: content[: len(content) // 2],
    "another last byte": lambda content: content[:-1] + bytes([content[-1] ^ 1]),
    "gone": lambda content: None,
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_refused(damage: str, sent: tuple[Paper, Path]) -> None:
    """Most of these folders would be read all the same without their checksums."""
    paper, folder = sent
    names = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file() and path.name != "README.md"]
    assert {name.name for name in names} >= {"model.safetensors", "source.vocab", "recipe.yaml"}
    assert sum(name.name in ("bpe.codes", "wordpieces.txt") for name in names) == (paper is VASWANI)
    for name in names:
        whole = (folder / name).read_bytes()
        now = DAMAGE[damage](whole)
        (folder / name).unlink()
        if now is not None:
            (folder / name).write_bytes(now)
        with pytest.raises(UserError, match="export the run again$") as error:
            paper.load(folder)
        assert name.name in str(error.value)
        (folder / name).write_bytes(whole)
    card = (folder / "README.md").read_text()
    (folder / "README.md").write_text(f"{card}\nAnyone may add to the card.\n")
    assert len(paper.load(folder).translate(LINES[:2])) == 2


def test_the_command_line_exports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = made_run(BAHDANAU, tmp_path)
    out = tmp_path / "model"
    assert main(BAHDANAU, ["export", str(run), "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"{out}\n" and (out / "README.md").is_file()
    with pytest.raises(SystemExit):
        main(BAHDANAU, ["export", str(run), "--out", str(out), "--format", "marian"])
    assert "invalid choice: 'marian'" in capsys.readouterr().err
    assert Weights(averaged_steps=STEPS) == BAHDANAU.load(out).run.weights
