"""A training that is stopped at twenty random moments ends with the bits of one that never was.

Both papers, both paths. The stops are SIGKILL, SIGTERM and Ctrl-C, often while a state is saved, since one is saved at
every second update. On the way the run takes over other fields of its recipe.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.train.checkpoint import load_weights
from common.train.loop import read_log
from tests.conftest import REPEATED, ROOT

SYSTEMS = {"bahdanau2014": "demo/rnnsearch-50", "vaswani2017": "demo/base-enfr"}
SIZES = {
    "bahdanau2014": ["hidden=12", "embedding=8", "alignment=10", "maxout=6"],
    "vaswani2017": ["N=1", "d_model=16", "d_ff=24", "h=2", "d_k=8", "d_v=8", "batch.tokens=150"],
}
SETTINGS = [
    "data.first=400",
    "text.vocabulary_size=150",
    "train.steps=160",
    "checkpoint_every=40",
    "keep_checkpoints=4",
    "evaluate.average=1",
    "log_every=5",
    "validate_every=40",
    "state_every=2",
]
TAKEN_OVER = ["state_every=1", "state_every=3", "decode.beam=2", "title=other words", "keep_checkpoints=5"]
STOPS = 20
STATUS = {signal.SIGKILL: -9, signal.SIGTERM: 143, signal.SIGINT: 130}


class Programs:
    """Runs command lines one after the other, each in a process of its own."""

    def __init__(self, server: subprocess.Popen[str]) -> None:
        self._server = server

    def start(self, *words: str) -> int:
        """Start a program and return its process number."""
        assert self._server.stdin and self._server.stdout
        self._server.stdin.write(json.dumps(words) + "\n")
        self._server.stdin.flush()
        return int(self._server.stdout.readline())

    def status(self) -> int:
        """Wait for the program's end and return its exit status, negative for a signal."""
        assert self._server.stdout
        return int(self._server.stdout.readline())


@pytest.fixture(scope="module")
def programs() -> Iterator[Programs]:
    words = [sys.executable, "-m", "tests.forking"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(words, cwd=ROOT, text=True, **pipes) as server:
        yield Programs(server)
        server.stdin.close()


def last_state(run: Path) -> int:
    return max((int(path.stem) for path in run.glob("state/*.safetensors")), default=0)


@pytest.mark.parametrize("path", ["readable", "fast"])
@pytest.mark.parametrize("paper", SYSTEMS)
def test_twenty_stops_change_no_bit(paper: str, path: str, programs: Programs, tmp_path: Path) -> None:
    program = [f"papers.{paper}", "train", SYSTEMS[paper], *SIZES[paper], *SETTINGS, f"run.path={path}"]
    program += ["--runs", str(tmp_path), "--out"]
    programs.start(*program, str(tmp_path / "whole"))
    assert programs.status() == 0
    run, draw = tmp_path / "run", random.Random(f"{paper} {path}")
    for stop in range(STOPS):
        before, blow = last_state(run), draw.choice([*STATUS])
        process = programs.start(*program, str(run), *([TAKEN_OVER[stop // 4]] if stop % 4 else []))
        while last_state(run) == before:
            time.sleep(0.0005)
        time.sleep(draw.random() * 0.02)
        os.kill(process, blow)
        assert programs.status() == STATUS[blow]
        assert not (run / "training.json").exists(), f"ended after {stop} stops: give it more updates"
    programs.start(*program, str(run), "keep_checkpoints=4")
    assert programs.status() == 0
    names = [f"{step:09d}.safetensors" for step in (40, 80, 120, 160)]
    for name in names:
        ours, theirs = (load_weights(folder / "checkpoints" / name)[0] for folder in (run, tmp_path / "whole"))
        assert ours.keys() == theirs.keys() and all(ours[key].equal(theirs[key]) for key in ours), name
    logs = [
        [{key: entry.get(key) for key in REPEATED} for entry in read_log(folder)]
        for folder in (run, tmp_path / "whole")
    ]
    assert logs[0] == logs[1] and len(logs[0]) == 36
    changed = [start["changed"] for start in json.loads((run / "starts.json").read_text())]
    assert {key for fields in changed for key in fields} >= {"run.state_every", "decode.beam"}
