"""Processes that share out tasks: all done, errors handed on, a killed one told in a line."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from common.errors import UserError
from common.prepare.workers import Crew, memory_of_all


def touch(folder: Path, number: int) -> None:
    (folder / str(number)).write_text(str(os.getpid()))


def fail(number: int) -> None:
    raise UserError(f"file {number}: bad; mend it")


def die(number: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def hold(megabytes: int) -> None:
    held = bytearray(os.urandom(1 << 20) * megabytes)
    time.sleep(1.5)
    del held


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_every_task_is_done_once(tmp_path: Path, workers: int) -> None:
    done = []
    Crew(workers).run(touch, ((tmp_path, number) for number in range(25)), lambda task: done.append(task[1]))
    assert sorted(done) == list(range(25)) == sorted(int(path.name) for path in tmp_path.iterdir())
    processes = {path.read_text() for path in tmp_path.iterdir()}
    assert len(processes) <= workers and (str(os.getpid()) in processes) == (workers == 1)


def test_no_more_tasks_at_once_than_asked_for(tmp_path: Path) -> None:
    """By the processes that did them, each of which does one at a time."""
    Crew(4).run(touch, ((tmp_path, number) for number in range(25)), most=2)
    assert len(list(tmp_path.iterdir())) == 25 and len({path.read_text() for path in tmp_path.iterdir()}) <= 2


def test_few_tasks_are_taken_ahead(tmp_path: Path) -> None:
    """A task may be megabytes of text: no more are in memory than twice the workers and one to come."""
    taken = 0
    finished = 0
    ahead = []

    def tasks():
        nonlocal taken
        for number in range(40):
            taken += 1
            ahead.append(taken - finished)
            yield tmp_path, number

    def done(task: tuple) -> None:
        nonlocal finished
        finished += 1

    Crew(2).run(touch, tasks(), done)
    assert max(ahead) <= 5


@pytest.mark.parametrize("workers", [1, 2])
def test_errors_come_through_as_they_are(workers: int) -> None:
    with pytest.raises(UserError, match="^file [0-9]: bad; mend it$"):
        Crew(workers).run(fail, ((number,) for number in range(4)))


def test_a_killed_process_is_one_line() -> None:
    with pytest.raises(UserError, match="a process was killed.*run the same command again"):
        Crew(2).run(die, ((number,) for number in range(4)))


def test_apart_means_another_process(tmp_path: Path) -> None:
    Crew(1).run_apart(touch, tmp_path, 0)
    assert (tmp_path / "0").read_text() != str(os.getpid())


def test_memory_of_children_counts() -> None:
    """Two processes that hold 60 MB each are seen together."""
    before = memory_of_all()
    crew = Crew(2)
    crew.run(hold, ((60,) for _ in range(2)))
    assert crew.peak - before > 110 << 20
