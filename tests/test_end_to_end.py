"""From the command line, as a newcomer: whole small runs, killed runs, wrong input."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from itertools import count, islice
from pathlib import Path

import psutil
import pytest
from sacrebleu.metrics.bleu import BLEU

from common.run.evaluate import translate
from common.run.folder import load_run
from papers.vaswani2017.paper import PAPER as VASWANI
from tests.conftest import ROOT, TINY

SYSTEMS = {"bahdanau2014": "demo/rnnsearch-50", "vaswani2017": "demo/base"}
both_papers = pytest.mark.parametrize("paper", SYSTEMS)


@pytest.fixture(scope="session")
def runs(tmp_path_factory) -> Path:
    """Shared by the tests of this file, so that each corpus is prepared once."""
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="session")
def trained(runs, command):
    """Tiny finished runs of both papers."""
    folders = {}
    for paper, recipe in SYSTEMS.items():
        folders[paper] = runs / "whole" / paper
        command(f"papers.{paper}", "train", recipe, *TINY, "--out", folders[paper], "--runs", runs)
    return folders


@both_papers
def test_plan_prints_and_touches_nothing(paper, command, tmp_path):
    before = set(ROOT.iterdir())
    printed = command(f"papers.{paper}", "plan", SYSTEMS[paper].removeprefix("demo/")).stdout
    assert "Trainable parameters" in printed and "1x NVIDIA H200" in printed
    values = json.loads(command(f"papers.{paper}", "plan", SYSTEMS[paper], "--json").stdout)
    assert sum(values["parameters"]["blocks"].values()) == values["parameters"]["total"]
    assert set(ROOT.iterdir()) == before


@both_papers
def test_translate_keeps_lines_in_order(paper, trained, command):
    lines = ["The old man sees the house.", "", "   ", "A dog!", "unheard-of wörds 日本"] * 2
    whole = command(f"papers.{paper}", "translate", trained[paper], stdin="\n".join(lines) + "\n").stdout.split("\n")[
        :-1
    ]
    assert len(whole) == len(lines) and whole[1] == whole[2] == "" and whole[:5] == whole[5:]
    alone = command(f"papers.{paper}", "translate", trained[paper], stdin=lines[3] + "\n").stdout
    assert alone == whole[3] + "\n"


def test_translate_does_not_wait_for_the_last_line(trained):
    run = load_run(VASWANI, trained["vaswani2017"])
    endless = (f"A dog sees {number} men." for number in count())
    assert len(list(islice(translate(run, endless, together=2), 3))) == 3
    assert next(endless) == "A dog sees 4 men.", "two blocks read, no more"


def test_translate_passes_over_a_byte_order_mark(trained, command):
    words = ["papers.vaswani2017", "translate", trained["vaswani2017"]]
    assert command(*words, stdin="\ufeffA dog!\n").stdout == command(*words, stdin="A dog!\n").stdout
    done = command(*words, stdin="\ufeffA dog!\n".encode("utf-16-le"), check=2)
    assert "standard input is UTF-16" in done.stderr and done.stderr.count("\n") == 1


@both_papers
def test_translate_warns_of_tokenised_lines(paper, trained, command):
    for line, warnings in (("It &apos;s a dog .", 1), ("It's a dog.", 0)):
        done = command(f"papers.{paper}", "translate", trained[paper], stdin=f"{line}\n")
        assert done.stderr.count(f"warning: standard input, line 1: `{line}`") == warnings
        assert done.stdout.count("\n") == 1


@both_papers
def test_average_score_and_tables(paper, runs, trained, command):
    run = trained[paper]
    assert "updates 8, 12" in command(f"papers.{paper}", "average", run).stderr
    printed = command(f"papers.{paper}", "score", run, "--runs", runs).stdout
    assert "generated" in printed and "BLEU" in printed
    result = json.loads((run / "result.json").read_text())
    assert result["weights"] == {"averaged_steps": [8, 12]} and result["generated"] is True
    assert result["training"]["progress"]["step"] == 12 and re.fullmatch(r"[0-9a-f]{64}", result["recipe_sha256"])
    for key in ("environment", "commit", "resolved_recipe", "data"):
        assert key in result
    assert result["resolved_recipe"]["run"]["path"] in ("readable", "fast")


@both_papers
def test_score_of_files(paper, tmp_path, command):
    text = "Le chat voit la maison.\nElle dort.\nNous lisons un livre rouge ce soir.\n"
    for name in ("hypothesis", "reference", "source"):
        (tmp_path / name).write_text(text)
    words = [
        "--hypothesis",
        tmp_path / "hypothesis",
        "--reference",
        tmp_path / "reference",
        "--source",
        tmp_path / "source",
    ]
    scores = json.loads(command(f"papers.{paper}", "score", *words, "--json").stdout)
    assert scores["tokenised"]["bleu"] == pytest.approx(100) and scores["sacrebleu"]["bleu"] == pytest.approx(100)
    assert "version:" in scores["sacrebleu"]["signature"]


@both_papers
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["plan", "nosuch"], "no recipe `nosuch`"),
        (["plan", "nosuch.yaml"], "no recipe"),
        (["plan", "RECIPE", "bteas=1"], "bteas"),
        (["plan", "RECIPE", "train.steps=1e5"], "whole number"),
        (["train", "RECIPE", "train.steps=0", "--out", "OUT"], "train.steps"),
        (["train", "RECIPE", "data.corpus=nowhere", "--out", "OUT"], "nowhere"),
        (["train", "RECIPE", "--out", "/dev/null/run"], "/dev/null/run"),
        (["train", "RECIPE", "run.device=cuda", *TINY, "--out", "OUT"], "CUDA"),
        (["average", "OUT"], "not a run folder"),
        (["translate", "OUT"], "not a run folder"),
        (["score"], "--hypothesis"),
        (["score", "--hypothesis", "/nowhere", "--reference", "/nowhere"], "/nowhere"),
        (["frobnicate"], "frobnicate"),
    ],
)
def test_bad_input_is_one_line_and_status_two(paper, words, message, command, tmp_path, runs):
    if message == "CUDA":
        torch = pytest.importorskip("torch")
        if torch.cuda.is_available():
            pytest.skip("this machine has CUDA")
    names = {"RECIPE": SYSTEMS[paper], "OUT": tmp_path / "out"}
    words = [names.get(word, word) for word in words]
    if words[0] == "train":
        words += ["--runs", runs]
    done = command(f"papers.{paper}", *words, check=2)
    assert message in done.stderr and done.stderr.count("\n") == 1, done.stderr
    assert "Traceback" not in done.stderr


@both_papers
def test_bad_files_are_one_line(paper, trained, command, tmp_path, runs):
    latin = tmp_path / "latin"
    latin.write_bytes("caf\xe9\n".encode("latin-1"))
    short = tmp_path / "short"
    short.write_text("one\ntwo\n")
    empty = tmp_path / "empty"
    empty.write_text("")
    for hypothesis, reference, message in ((latin, short, "UTF-8"), (short, latin, "UTF-8"), (empty, empty, "empty")):
        done = command(f"papers.{paper}", "score", "--hypothesis", hypothesis, "--reference", reference, check=2)
        assert message in done.stderr and done.stderr.count("\n") == 1
    (tmp_path / "one").write_text("one\n")
    done = command(f"papers.{paper}", "score", "--hypothesis", short, "--reference", tmp_path / "one", check=2)
    assert "2" in done.stderr and "1" in done.stderr and done.stderr.count("\n") == 1
    done = command(f"papers.{paper}", "translate", trained[paper], stdin="caf\xe9\n".encode("latin-1"), check=2)
    assert "UTF-8" in done.stderr and done.stderr.count("\n") == 1


def test_own_corpus_as_the_readme_has_it(tmp_path, command, runs):
    """Declaration and recipe are in one folder. The run is trained from one directory and scored from another."""
    own = tmp_path / "own"
    own.mkdir()
    files = re.findall(r"```yaml\n# (own/\S+)\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert [name for name, _ in files] == ["own/corpus.yaml", "own/mine.yaml"]
    for name, text in files:
        (tmp_path / name).write_text(text)
    for split in ("train", "valid"):
        (own / f"{split}.en").write_text("the cat sees the cat\nthe dog sees the dog\n" * 20)
        (own / f"{split}.fr").write_text("le chat voit le chat\nle chien voit le chien\n" * 20)
    small = ["text.bpe_merges=10", "text.vocabulary_size=40", "evaluate.average=1", *TINY[2:-1]]
    run = tmp_path / "run"
    words = ["train", own / "mine.yaml", *small, "--out", run, "--runs", tmp_path / "runs"]
    command("papers.vaswani2017", *words)
    scored = subprocess.run(
        [sys.executable, "-m", "papers.vaswani2017", "score", run, "--runs", tmp_path / "runs"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert scored.returncode == 0 and "valid all: BLEU" in scored.stdout, scored.stderr
    assert len(list((tmp_path / "runs" / "data").glob("corpus-en-fr-*/manifest.json"))) == 1


def test_another_recipe_in_the_same_folder_is_refused(trained, command, runs):
    words = ["train", SYSTEMS["vaswani2017"], *TINY, "train.seed=77", "--out", trained["vaswani2017"], "--runs", runs]
    done = command("papers.vaswani2017", *words, check=2)
    assert "train.seed" in done.stderr and done.stderr.count("\n") == 1


def test_foreign_and_damaged_checkpoints(trained, command, tmp_path, runs):
    damaged = tmp_path / "damaged"
    subprocess.run(["cp", "-r", str(trained["vaswani2017"]), str(damaged)], check=True)
    weights = damaged / "model.safetensors"
    weights.write_bytes(b"not a checkpoint")
    assert "model.safetensors" in command("papers.vaswani2017", "translate", damaged, stdin="A man.\n", check=2).stderr
    other = sorted((trained["bahdanau2014"] / "checkpoints").iterdir())[-1]
    weights.write_bytes(other.read_bytes())
    done = command("papers.vaswani2017", "translate", damaged, stdin="A man.\n", check=2)
    assert "another model" in done.stderr and done.stderr.count("\n") == 1


def test_loss_that_is_not_a_number_stops_and_keeps_the_state(command, tmp_path, runs):
    out = tmp_path / "diverged"
    words = [*TINY, "optimizer.factor=1.0e+30", "run.state_every=1"]
    done = command("papers.vaswani2017", "train", "demo/base", *words, "--out", out, "--runs", runs, check=2)
    assert re.search(r"loss is (nan|inf)", done.stderr) and "Traceback" not in done.stderr
    assert any(out.glob("state/*.safetensors"))


def test_reproduce_script_end_to_end(tmp_path):
    """The README's first command at a very small size: every system of both papers, tables and report."""
    environment = {**os.environ, "VIRTUAL_ENV": sys.prefix}
    stamp = Path(sys.prefix) / ".attention-requirements"
    if not stamp.is_file() or stamp.read_text() != (ROOT / "requirements.txt").read_text():
        pytest.skip("these tests do not run in an environment that reproduce.sh made")
    words = ["./reproduce.sh", "demo", "--runs", str(tmp_path), *TINY, "evaluate.average=1"]
    first = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)
    assert first.returncode == 0, first.stderr[-2000:]
    assert "generated" in first.stdout and len(first.stdout.splitlines()) <= 24
    report = Path(re.search(r"(?m)^report  (\S+)$", first.stdout)[1])
    html = report.read_text(encoding="utf-8")
    assert "Table 1" in html and "Table 2" in html and html.count("data:image/png;base64,") >= 3
    results = {path: path.stat().st_mtime_ns for path in tmp_path.glob("demo/*/*/result.json")}
    assert len(results) >= 10
    again = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert again.returncode == 0 and {path: path.stat().st_mtime_ns for path in results} == results
    # Results of fewer updates are not taken for those of more: every system is trained on and scored anew.
    longer = [*words, "train.steps=14", "bahdanau2014"]
    assert subprocess.run(longer, cwd=ROOT, env=environment, capture_output=True, timeout=600).returncode == 0
    for path in results:
        steps = json.loads(path.read_text())["training"]["progress"]["step"]
        assert (steps >= 14) == ("bahdanau2014" in path.parts) and (path.stat().st_mtime_ns > results[path]) == (
            steps >= 14
        )


@pytest.mark.parametrize("blow", [signal.SIGTERM, signal.SIGKILL])
def test_killed_suite_takes_its_trainings_along(blow, tmp_path):
    """A training that went on alone would write into the folders that the same command continues in.

    SIGTERM reaches the trainings too, and one that has made updates saves the last.
    """
    words = ["papers", "demo", "bahdanau2014", "--runs", str(tmp_path), "data.first=400", "text.vocabulary_size=150"]
    suite = subprocess.Popen(
        [sys.executable, "-m", *words], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    logs: list[Path] = []
    deadline = time.monotonic() + 120
    while not any("update" in path.read_text(encoding="utf-8") for path in logs):
        assert suite.poll() is None and time.monotonic() < deadline, "no training began"
        time.sleep(0.1)
        logs = list(tmp_path.glob("demo/*/*/output.txt"))
    trainings = psutil.Process(suite.pid).children()
    suite.send_signal(blow)
    assert suite.wait() == (143 if blow == signal.SIGTERM else -signal.SIGKILL)
    stopped = [re.search(r"stopped after update (\d+)", path.read_text(encoding="utf-8")) for path in logs]
    assert any(stopped) == (blow == signal.SIGTERM)
    for path, update in zip(logs, stopped, strict=True):
        assert not update or (path.parent / "state" / f"{int(update[1]):09d}.safetensors").is_file()
    gone, left = psutil.wait_procs(trainings, timeout=60)
    for process in left:
        process.kill()
    assert gone and not left


def test_a_run_that_has_not_ended_is_scored_as_unfinished(trained, command, tmp_path, runs):
    """Scored before its end, a run says how many updates the decoded weights have seen."""
    unfinished = tmp_path / "unfinished"
    subprocess.run(["cp", "-r", str(trained["vaswani2017"]), str(unfinished)], check=True)
    for name in ("training.json", "result.json", "model.safetensors", "checkpoints/000000012.safetensors"):
        (unfinished / name).unlink(missing_ok=True)
    command("papers.vaswani2017", "average", unfinished, "--last", 1)
    command("papers.vaswani2017", "score", unfinished, "--runs", runs)
    training = json.loads((unfinished / "result.json").read_text())["training"]
    assert training["complete"] is False and training["progress"]["step"] == 8


def test_a_run_is_scored_by_the_tokeniser_of_its_language(command, tmp_path):
    """Chinese as sacreBLEU splits it, and a note that the papers' BLEU takes whole clauses for words."""
    for part in ("train", "valid"):
        for language, ending in (
            ("en", "times it rained that year."),
            ("zh-TW", "次那年在山里下了大雨,我们都记得很清楚。"),
        ):
            lines = "".join(f"{number} {ending}\n" for number in range(40))
            (tmp_path / f"{part}.{language}").write_text(lines, encoding="utf-8")
    corpus = tmp_path / "corpus.yaml"
    sides = {part: f"{{en: {part}.en, zh-TW: {part}.zh-TW}}" for part in ("train", "valid")}
    corpus.write_text(f"title: t\ntrain: {sides['train']}\nvalid: {sides['valid']}\n", encoding="utf-8")
    words = [*TINY, f"data.corpus={corpus}", "data.target=zh-TW", "data.valid=[]", "evaluate.sets=[valid]"]
    run = tmp_path / "run"
    command("papers.bahdanau2014", "train", "demo/rnnsearch-50", *words, "--out", run, "--runs", tmp_path)
    printed = command("papers.bahdanau2014", "score", run, "--runs", tmp_path).stdout
    column = json.loads((run / "result.json").read_text(encoding="utf-8"))["sets"]["valid"]["columns"]["all"]
    references = (tmp_path / "valid.zh-TW").read_text(encoding="utf-8").splitlines()
    theirs = BLEU(trg_lang="zh").corpus_score(column["hypotheses"], [references]).score
    assert column["sacrebleu"] == theirs and "|tok:zh|" in column["sacrebleu_signature"]
    assert "|tok:moses-2014-zh-escaped|" in column["signature"] and column["signature"] in printed
    assert "note: Moses does not split this text" in printed
