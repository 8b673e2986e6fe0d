"""A run after its first training: stopped, lengthened, moved, corrected, averaged too early, scored too late."""

from __future__ import annotations

import json
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

from common.files import HALF, locked
from common.train.checkpoint import load_weights
from common.train.state import load_state
from papers.vaswani2017.paper import PAPER
from tests.conftest import REPEATED, ROOT, Command

WORDS = ["house", "dog", "tree", "man", "boat", "river", "stone", "bread", "king", "horse"]
SIZES = [
    "N=1",
    "d_model=32",
    "d_ff=64",
    "h=2",
    "d_k=16",
    "d_v=16",
    "vocabulary_size=60",
    "bpe_merges=30",
    "batch.tokens=300",
    "train.steps=6",
    "log_every=4",
    "validate_every=3",
    "checkpoint_every=2",
    "state_every=2",
    "keep_checkpoints=3",
    "evaluate.average=2",
    "evaluate.sets=[test]",
    "decode.beam=2",
    "run.threads=1",
]
Train = Callable[..., "subprocess.CompletedProcess[str]"]


def sentences(count: int, offset: int) -> list[str]:
    return [" ".join(WORDS[(i * (k + 2) + offset + k) % 10] for k in range(3 + i % 6)) for i in range(count)]


def declare(folder: Path) -> Path:
    """Write a corpus and its declaration. The French side is the English side in capitals."""
    folder.mkdir()
    for split, count, offset in (("train", 200, 0), ("valid", 20, 3), ("test", 20, 7)):
        lines = sentences(count, offset)
        (folder / f"{split}.en").write_text("".join(f"{line}\n" for line in lines))
        (folder / f"{split}.fr").write_text("".join(f"{line.upper()}\n" for line in lines))
    declared = {"title": "toy"} | {
        split: {language: f"{split}.{language}" for language in ("en", "fr")} for split in ("train", "valid", "test")
    }
    (folder / "toy.yaml").write_text(yaml.safe_dump(declared))
    return folder / "toy.yaml"


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return declare(tmp_path / "corpus")


@pytest.fixture
def train(tmp_path: Path, corpus: Path, command: Command) -> Train:
    """Call `train` into tmp_path/run with every field given. Later words override earlier ones."""

    def call(*words: str, check: int | None = 0, out: Path | None = None) -> subprocess.CompletedProcess[str]:
        given = [*SIZES, f"data.corpus={corpus}", *words]
        folders = ["--out", out or tmp_path / "run", "--runs", tmp_path]
        return command("papers.vaswani2017", "train", "demo/base-enfr", *given, *folders, check=check)

    return call


def one_line(done: subprocess.CompletedProcess[str], *parts: str) -> None:
    last = done.stderr.strip().split("\n")[-1]
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    assert all(part in last for part in parts), last


def log(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def test_an_average_that_training_has_left_behind_is_refused(train: Train, command: Command, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train("train.steps=4")
    command("papers.vaswani2017", "average", run)
    train("train.steps=6")
    for verb in ("score", "translate"):
        words = ["--runs", tmp_path] if verb == "score" else []
        done = command("papers.vaswani2017", verb, run, *words, stdin="the house\n", check=2)
        one_line(done, "model.safetensors", "update 2, 4", "gone on to 6", f"average {run}")
    command("papers.vaswani2017", "average", run)
    done = command("papers.vaswani2017", "score", run, "--runs", tmp_path)
    assert "the mean of updates 4, 6" in done.stderr
    (run / "model.safetensors").unlink()
    done = command("papers.vaswani2017", "translate", run, stdin="house\n")
    assert "the weights of update 6" in done.stderr


def test_older_weights_are_never_called_complete(train: Train, command: Command, tmp_path: Path) -> None:
    """The decoded weights are of update 4 and the training reached 6. The result must say 4 of 6, unfinished."""
    run = tmp_path / "run"
    train()
    (run / "checkpoints" / "000000006.safetensors").unlink()
    command("papers.vaswani2017", "score", run, "--runs", tmp_path)
    training = json.loads((run / "result.json").read_text())["training"]
    assert (training["progress"]["step"], training["complete"]) == (4, False)
    assert training["environment"]["hardware"] and training["commit"]


def test_text_that_changed_after_the_training_is_refused(
    train: Train, command: Command, corpus: Path, tmp_path: Path
) -> None:
    run, text = tmp_path / "run", corpus.parent / "train.en"
    train()
    command("papers.vaswani2017", "score", run, "--runs", tmp_path)
    scored = (run / "result.json").read_bytes()
    lines = text.read_text().split("\n")
    text.write_text("\n".join(["quite another sentence here", *lines[1:]]))
    one_line(command("papers.vaswani2017", "score", run, "--runs", tmp_path, check=2), "other text", str(corpus))
    one_line(train("train.steps=8", check=2), ".safetensors", "other data", str(corpus))
    assert (run / "result.json").read_bytes() == scored and yaml.safe_load((run / "recipe.yaml").read_text())
    text.write_text("\n".join(lines))
    command("papers.vaswani2017", "score", run, "--runs", tmp_path)


def test_another_test_set_is_no_other_text(train: Train, command: Command, corpus: Path, tmp_path: Path) -> None:
    """A field that no update depends on may change: the test set, and the development set."""
    train()
    for split in ("valid", "test"):
        for language in ("en", "fr"):
            path = corpus.parent / f"{split}.{language}"
            path.write_text(path.read_text().split("\n", 1)[1])
    command("papers.vaswani2017", "score", tmp_path / "run", "--runs", tmp_path)
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["sets"]["test"]["columns"]["all"]["sentences"] == 19
    train("train.steps=8")
    assert "dev_nll_per_token" in log(tmp_path / "run")[-1]


def test_the_sentences_that_a_recipe_names_are_kept_in_full(train: Train, command: Command, tmp_path: Path) -> None:
    """They are found by their beginnings, in the order of the recipe. A set without one keeps its three longest."""
    train()
    lines = sentences(20, 7)
    starts = [" ".join(lines[5].split()[:6]), "nothing begins so", lines[0]]
    named = [line for start in starts for line in lines if line.startswith(start)]
    longest = sorted(lines, key=lambda line: -len(line.split()))[:3]
    assert named[0] == lines[5] and lines[0] in named and named != longest
    for shown, kept in ((starts, named), (starts[1:2], longest)):
        words = f"run.shown=[{', '.join(shown)}]"
        command("papers.vaswani2017", "score", tmp_path / "run", "--runs", tmp_path, words)
        result = json.loads((tmp_path / "run" / "result.json").read_text())["sets"]["test"]
        assert [item["source"] for item in result["longest"]] == kept
        for item in result["longest"]:
            assert item["reference"] == item["source"].upper()
            assert item["hypothesis"] == result["columns"]["all"]["hypotheses"][lines.index(item["source"])]


def test_no_fewer_checkpoints_are_averaged_than_asked(train: Train, command: Command, tmp_path: Path) -> None:
    train()
    done = command("papers.vaswani2017", "average", tmp_path / "run", "--last", 20, check=2)
    one_line(done, "20 checkpoints", "3 kept", "--last 3")
    assert not (tmp_path / "run" / "model.safetensors").exists()
    one_line(train("evaluate.average=4", check=2), "evaluate.average", "at most 3", "4")
    one_line(train("keep_checkpoints=9", "evaluate.average=4", check=2), "evaluate.average", "at most 3", "not 4")


@pytest.mark.parametrize("paper", ["bahdanau2014", "vaswani2017"])
def test_every_recipe_keeps_what_it_averages(paper: str) -> None:
    from papers.bahdanau2014.paper import PAPER as BAHDANAU

    plug = {"bahdanau2014": BAHDANAU, "vaswani2017": PAPER}[paper]
    names = [name for folder in ("wmt14", "multi30k", "demo") for name in plug.systems(folder)]
    assert len(names) >= 15 and all(plug.recipe(name).evaluate.average >= 1 for name in names)


def test_a_run_is_lengthened_and_logged_otherwise(train: Train, tmp_path: Path) -> None:
    """Four updates, then eight with another log and another number of threads, give the weights of eight at once."""
    run, whole = tmp_path / "run", tmp_path / "whole"
    train("train.steps=4")
    train("train.steps=8", "log_every=2", "keep_checkpoints=9", "run.decode_positions=70", "title=longer")
    train("train.steps=8", "keep_checkpoints=9", out=whole)
    for name in ("000000006.safetensors", "000000008.safetensors"):
        ours, theirs = (load_weights(folder / "checkpoints" / name)[0] for folder in (run, whole))
        assert all(ours[key].equal(theirs[key]) for key in theirs)
    starts = json.loads((run / "starts.json").read_text())
    assert [start["step"] for start in starts] == [0, 4]
    assert starts[1]["changed"] == {
        "train.steps": [4, 8],
        "run.log_every": [4, 2],
        "train.keep_checkpoints": [3, 9],
        "run.decode_positions": [None, 70],
    }
    assert json.loads((run / "training.json").read_text())["starts"] == starts
    assert yaml.safe_load((run / "recipe.yaml").read_text())["train"]["steps"] == 8
    one_line(train("train.steps=6", check=2), "8 updates", "6")
    assert yaml.safe_load((run / "recipe.yaml").read_text())["train"]["steps"] == 8


def test_a_run_of_an_earlier_version_goes_on(train: Train, tmp_path: Path) -> None:
    """Its recipe had other sections, its state one random stream: of the eight updates, the last four are the same."""
    run, whole = tmp_path / "run", tmp_path / "whole"
    train("train.steps=4")
    now = yaml.safe_load((run / "recipe.yaml").read_text())
    text, speed, estimate = now.pop("text"), now.pop("run"), now.pop("estimate")
    now["data"] |= {
        **text, "max_length": now["batch"].pop("max_length"), "pairs": estimate["pairs"],
        "mean_source_tokens": estimate["source_tokens"], "mean_target_tokens": estimate["target_tokens"],
    }  # fmt: skip
    now["decode"]["batch"], now["evaluate"]["examples"] = 64, speed.pop("examples")
    del speed["decode_positions"]
    now["train"] |= speed
    del now["reproduces"]
    (run / "recipe.yaml").write_text(yaml.safe_dump(now))
    _, state = load_state(run)
    (state["rng"],) = state["rng"]
    shutil.rmtree(run / "state")
    torch.save(state, run / "state.pt")
    train("train.steps=8")
    train("train.steps=8", out=whole)
    ours, theirs = (load_weights(folder / "checkpoints" / "000000008.safetensors")[0] for folder in (run, whole))
    assert all(ours[key].equal(theirs[key]) for key in theirs)
    assert yaml.safe_load((run / "recipe.yaml").read_text())["text"] == text


@pytest.mark.parametrize("word", ["train.seed=9", "model.d_ff=32", "label_smoothing=0.3", "text.lowercase=true"])
def test_what_makes_another_model_is_refused(train: Train, tmp_path: Path, word: str) -> None:
    train()
    before = (tmp_path / "run" / "recipe.yaml").read_bytes()
    key, value = word.split("=")
    one_line(train(word, "train.steps=9", check=2), key, value.capitalize() if value == "true" else value, "was")
    assert (tmp_path / "run" / "recipe.yaml").read_bytes() == before


def test_a_folder_without_an_update_belongs_to_nobody(train: Train, tmp_path: Path) -> None:
    import torch

    train("data.corpus=/nowhere/toy.yaml", check=2)
    if not torch.cuda.is_available():
        one_line(train("run.device=cuda", check=2), "CUDA")
    train("optimizer.factor=1.0e+30", "run.state_every=100", "checkpoint_every=100", "evaluate.average=1", check=2)
    train("train.seed=5")
    assert yaml.safe_load((tmp_path / "run" / "recipe.yaml").read_text())["train"]["seed"] == 5


def test_two_trainings_never_share_a_run(train: Train, tmp_path: Path) -> None:
    """While one trains (here: holds the folder), a second is refused and deletes nothing that the first is writing."""
    half = tmp_path / "run" / "state" / ".000000007.safetensors.part99999"
    half.parent.mkdir(parents=True)
    half.write_bytes(b"half")
    with locked(tmp_path / "run" / "training"):
        one_line(train(check=2), "another process trains this run", str(tmp_path / "run"))
        assert half.read_bytes() == b"half" and not (tmp_path / "run" / "recipe.yaml").exists()
    train()
    assert not half.exists() and (tmp_path / "run" / "training.json").exists()


def test_a_finished_run_keeps_its_recipe(train: Train, command: Command, tmp_path: Path) -> None:
    """Without its state, or with other text, a run must not take over a recipe by which it was not trained."""
    run = tmp_path / "run"
    train()
    command("papers.vaswani2017", "average", run)
    before = (run / "recipe.yaml").read_bytes()
    one_line(train("data.corpus=/nowhere/toy.yaml", "log_every=2", check=2), "/nowhere/toy.yaml")
    other = declare(tmp_path / "other")
    (other.parent / "train.en").write_text((other.parent / "train.en").read_text().replace("king", "queen"))
    one_line(train(f"data.corpus={other}", check=2), "other text", str(other))
    shutil.rmtree(run / "checkpoints")
    shutil.rmtree(run / "state")
    one_line(train("train.seed=9", check=2), "train.seed", "9")
    one_line(train("train.steps=4", "train.seed=9", check=2), "train.seed")
    one_line(train("train.steps=8", check=2), "state: missing")
    assert (run / "recipe.yaml").read_bytes() == before
    train("log_every=3")
    starts = json.loads((run / "starts.json").read_text())
    assert starts[-1]["step"] == 6 and starts[-1]["changed"] == {"run.log_every": [4, 3]}
    command("papers.vaswani2017", "score", run, "--runs", tmp_path)
    assert json.loads((run / "result.json").read_text())["training"]["starts"] == starts


def test_a_moved_run_is_decoded_elsewhere(train: Train, command: Command, corpus: Path, tmp_path: Path) -> None:
    """Run and corpus are in another place, and another machine needs other threads and another beam."""
    train()
    run, text = tmp_path / "there" / "run", tmp_path / "there" / "corpus"
    text.parent.mkdir()
    shutil.move(tmp_path / "run", run)
    shutil.move(corpus.parent, text)
    words = ["run.device=cpu", "run.threads=2", "decode.beam=1", "run.decode_positions=30"]
    assert command("papers.vaswani2017", "translate", run, *words, stdin="house\n").stdout.count("\n") == 1
    words.append(f"data.corpus={text / 'toy.yaml'}")
    told = command("papers.vaswani2017", "score", run, "--runs", tmp_path, *words).stderr
    assert f"result.json: is now the score with decode.beam=1; `score {run}` makes that of its recipe again" in told
    assert json.loads((run / "result.json").read_text())["resolved_recipe"]["decode"]["beam"] == 1
    for word in ("train.steps=3", "model.d_ff=3", "text.lowercase=true"):
        one_line(command("papers.vaswani2017", "translate", run, word, check=2), word.split("=")[0])


def test_overrides_may_follow_options(command: Command, tmp_path: Path) -> None:
    plan = command("papers.vaswani2017", "plan", "base", "--json", "vocabulary_size=1000", "N=1").stdout
    assert json.loads(plan)["data"]["vocabulary_size"] == 1000
    before = command("papers.vaswani2017", "plan", "N=1", "--json", "base", "vocabulary_size=1000").stdout
    assert json.loads(before)["parameters"] == json.loads(plan)["parameters"]
    (tmp_path / "text").write_text("a b &apos;s c d\n")
    words = ["--hypothesis", tmp_path / "text", "text.tokeniser=none", "--reference", tmp_path / "text", "--json"]
    assert "tok:none" in json.loads(command("papers.vaswani2017", "score", *words).stdout)["tokeniser"]
    for words in (["demo", "bahdanau2015"], ["demo", "--slots", "none"], ["dmo", "train.steps=5"]):
        done = command("papers", *words, check=2)
        assert words[-1 if words[0] == "demo" else 0] in done.stderr and done.stderr.count("\n") == 1
    done = command("papers.vaswani2017", "plan", "N=1", check=2)
    assert "required: RECIPE" in done.stderr and done.stderr.count("\n") == 1
    for words in (["plan", "base", "--jsn", "N=1"], ["average", tmp_path, "N=1"], ["plan", "base", "--json", "more"]):
        done = command("papers.vaswani2017", *words, check=2)
        assert "unrecognized arguments" in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize(("blow", "status"), [(signal.SIGKILL, -9), (signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_stopped_training_leaves_an_exact_log_and_nothing_half(
    train: Train, corpus: Path, tmp_path: Path, blow: signal.Signals, status: int
) -> None:
    """Stopped between two lines of its log. The final weights and losses are those of a training never stopped."""
    settings = ["train.steps=120", "log_every=40", "validate_every=60", "checkpoint_every=60", "state_every=7"]
    train(*settings, out=tmp_path / "whole")
    run = tmp_path / "run"
    words = [sys.executable, "-m", "papers.vaswani2017", "train", "demo/base-enfr", *SIZES, f"data.corpus={corpus}"]
    words += [*settings, "--out", str(run), "--runs", str(tmp_path)]
    process = subprocess.Popen(words, cwd=ROOT, stderr=subprocess.DEVNULL)
    while process.poll() is None and not any(run.glob("state/*.safetensors")):
        time.sleep(0.002)
    process.send_signal(blow)
    assert process.wait() == status
    assert not (run / "training.json").exists(), "it ended before it could be killed: give it more updates"
    for name in ("state/.000000007.safetensors.part99999", "checkpoints/.000000060.safetensors.part99999"):
        (run / name).parent.mkdir(exist_ok=True)
        (run / name).write_bytes(b"half")
    train(*settings)
    assert not list(run.rglob(HALF))
    ours, theirs = (
        [{key: entry.get(key) for key in REPEATED} for entry in log(folder)] for folder in (run, tmp_path / "whole")
    )
    assert ours == theirs
    starts = json.loads((run / "starts.json").read_text())
    assert [start["changed"] for start in starts] == [{}, {}] and starts[0]["step"] == 0 < starts[1]["step"]
    assert blow == signal.SIGTERM or starts[1]["step"] % 7 == 0, "SIGTERM saves at the update where it comes"
    for name in ("000000060.safetensors", "000000120.safetensors"):
        one, other = (load_weights(folder / "checkpoints" / name)[0] for folder in (run, tmp_path / "whole"))
        assert all(one[key].equal(other[key]) for key in other)


def test_the_state_is_saved_before_the_dev_set_is_measured(train: Train, corpus: Path, tmp_path: Path) -> None:
    """A development set that is too large for the memory stops the training in one line.

    With one that fits, the same run continues.
    """
    for language in ("en", "fr"):
        path = corpus.parent / f"valid.{language}"
        shutil.copy(path, path.with_suffix(".whole"))
        path.write_text(path.read_text() + "house " * 60_000 + "\n")
    settings = ["checkpoint_every=4", "state_every=4", "validate_every=4", "evaluate.average=1"]
    one_line(train(*settings, check=2), "60,", "memory", "dev set")
    assert load_state(tmp_path / "run") is not None and not (tmp_path / "run" / "training.json").exists()
    for language in ("en", "fr"):
        path = corpus.parent / f"valid.{language}"
        shutil.copy(path.with_suffix(".whole"), path)
    train(*settings)
    assert [entry["step"] for entry in log(tmp_path / "run") if "dev_nll_per_token" in entry] == [4, 6]


def test_one_long_line_among_many_does_not_take_the_memory(train: Train, corpus: Path, tmp_path: Path) -> None:
    """One line of 2,000 words among 60. Padded to its length, the others would take gigabytes in attention alone."""
    train()
    lines = [*sentences(60, 1), " ".join(WORDS * 200)]
    for split in ("valid", "test"):
        for language in ("en", "fr"):
            (corpus.parent / f"{split}.{language}").write_text("".join(f"{line}\n" for line in lines))
    limit = 5 << 30

    def limited(*words: object) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [sys.executable, "-m", "papers.vaswani2017", *map(str, words)],
            cwd=ROOT,
            input="".join(f"{line}\n" for line in lines).encode(),
            capture_output=True,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
        )

    short = ["decode.max_factor=0.01", "decode.max_extra=5"]
    for words in (["translate", tmp_path / "run", *short], ["score", tmp_path / "run", "--runs", tmp_path, *short]):
        done = limited(*words)
        assert done.returncode == 0, done.stderr.decode()[-500:]
    done = limited(
        "train", "demo/base-enfr", *SIZES, f"data.corpus={corpus}", "--out", tmp_path / "new", "--runs", tmp_path
    )
    assert done.returncode == 0, done.stderr.decode()[-500:]
