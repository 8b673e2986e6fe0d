"""The slots of the suite: one training on a GPU at a time, each sees only its own GPU, a free GPU is used at once."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch

from common.errors import UserError
from common.run.suite import Job, check_slots, read_slots, run_jobs, slots_of
from papers.bahdanau2014.paper import PAPER
from tests import made_results as made

PROGRAM = """
import json, os, pathlib, shutil, sys, time
run, marks = map(pathlib.Path, sys.argv[1:])
began = time.monotonic()
time.sleep(0.5)
seen = {"devices": os.environ["CUDA_VISIBLE_DEVICES"], "began": began, "ended": time.monotonic()}
rank = os.environ.get("RANK", "")
(run / f"seen{rank}.json").write_text(json.dumps(seen | {"place": os.environ.get("LOCAL_RANK")}))
if rank not in ("", "0"):
    sys.exit()
shutil.copytree(marks, run, dirs_exist_ok=True)
"""


class Sleeper(Job):
    """A job whose program trains nothing. It notes what it sees and leaves the files of a finished run."""

    def command(self, runs: Path) -> list[str]:
        marks = self.run.with_name(f"{self.run.name} finished")
        made.write(
            marks.parent, marks.name, made.result(self.recipe, {"all": made.column(made.statistics([0.5]), [3])})
        )
        made.write_training(marks, self.recipe)
        return [str(runs / "program.py"), str(self.run), str(marks)]


def sleepers(folder: Path, count: int) -> list[Job]:
    (folder / "program.py").write_text(PROGRAM)
    return [Sleeper(PAPER, PAPER.recipe("rnnsearch-50"), (), folder / str(number)) for number in range(count)]


def seen(jobs: list[Job]) -> list[dict]:
    return [json.loads((job.run / "seen.json").read_text()) for job in jobs]


def test_two_devices_have_one_training_each_at_a_time(tmp_path: Path) -> None:
    jobs = sleepers(tmp_path, 5)
    run_jobs(jobs, tmp_path, ["cuda:0", "cuda:1"])
    marks = seen(jobs)
    assert {mark["devices"] for mark in marks} == {"0", "1"}
    for device in ("0", "1"):
        here = sorted((mark["began"], mark["ended"]) for mark in marks if mark["devices"] == device)
        assert len(here) >= 2
        assert all(ended <= began for (_, ended), (began, _) in zip(here, here[1:], strict=False))
    assert min(mark["ended"] for mark in marks) > sorted(mark["began"] for mark in marks)[1], "both devices at once"


def test_a_slot_of_two_devices_has_a_process_on_each(tmp_path: Path) -> None:
    (job,) = jobs = sleepers(tmp_path, 1)
    run_jobs(jobs, tmp_path, ["cuda:2+5"])
    marks = [json.loads((job.run / f"seen{rank}.json").read_text()) for rank in (0, 1)]
    assert [mark["devices"] for mark in marks] == ["2,5", "2,5"] and [mark["place"] for mark in marks] == ["0", "1"]


def test_a_core_sees_no_device(tmp_path: Path) -> None:
    jobs = sleepers(tmp_path, 2)
    run_jobs(jobs, tmp_path, ["cpu"])
    assert {mark["devices"] for mark in seen(jobs)} == {""}


def test_a_finished_job_is_not_started_again(tmp_path: Path) -> None:
    run_jobs(sleepers(tmp_path, 1), tmp_path, ["cpu"])
    before = (tmp_path / "0" / "seen.json").read_text()
    run_jobs(sleepers(tmp_path, 1), tmp_path, ["cpu"])
    assert (tmp_path / "0" / "seen.json").read_text() == before
    shorter = PAPER.recipe("rnnsearch-50", ["train.steps=20000"])
    run_jobs([Sleeper(PAPER, shorter, (), tmp_path / "0")], tmp_path, ["cpu"])
    assert (tmp_path / "0" / "seen.json").read_text() != before


def test_a_job_that_fails_is_named(tmp_path: Path) -> None:
    class Failing(Job):
        def command(self, runs: Path) -> list[str]:
            return ["-c", "import sys; sys.exit('no such thing')"]

    with pytest.raises(UserError, match="rnnsearch-50 failed: no such thing"):
        run_jobs([Failing(PAPER, PAPER.recipe("rnnsearch-50"), (), tmp_path / "0")], tmp_path, ["cpu"])


def test_the_last_state_of_a_progress_bar_is_reported(tmp_path: Path) -> None:
    """In a file a bar is one long line, whose parts a carriage return ends."""

    class Failing(Job):
        def command(self, runs: Path) -> list[str]:
            bars = "\\r".join(f"learning: {share}%|###| {'x' * 80}" for share in (10, 20, 90))
            return ["-c", f"import sys; sys.exit('{bars}')"]

    with pytest.raises(UserError, match="rnnsearch-50 failed: learning: 90%"):
        run_jobs([Failing(PAPER, PAPER.recipe("rnnsearch-50"), (), tmp_path / "0")], tmp_path, ["cpu"])


def test_the_demo_wants_cores(tmp_path: Path) -> None:
    for name in PAPER.systems("demo"):
        assert PAPER.recipe(name).run.device == "cpu"
    jobs = [Job(PAPER, PAPER.recipe(name), (), tmp_path) for name in PAPER.systems("demo")]
    assert set(slots_of(jobs)) == {"cpu"}


def test_slots_that_are_not_there() -> None:
    cores = os.cpu_count() or 1
    check_slots(["cpu"] * cores)
    for asked in (["cpu"] * (cores + 1), [f"cpu:{cores}", "cpu"]):
        with pytest.raises(UserError, match=f"asks for {cores + 1} CPU cores and this machine has {cores};"):
            check_slots(asked)
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match="no CUDA device is here"):
            check_slots(["cuda:9"])


def test_slots_as_words() -> None:
    assert read_slots("3") == ["cpu"] * 3 and read_slots("cuda:0,cuda:3") == ["cuda:0", "cuda:3"]
    assert read_slots("cuda:0+1,cuda:2+3") == ["cuda:0+1", "cuda:2+3"] and read_slots("cpu:2,cpu") == ["cpu:2", "cpu"]
    for text in ("0", "cpu:0", "cuda:1+", "gpu 1", "cuda:", "none", ""):
        with pytest.raises(Exception, match="neither a number"):
            read_slots(text)
