"""A training by two processes makes the same updates as one process, and continues where it was stopped."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from common.train.checkpoint import load_weights
from common.train.loop import read_log
from common.train.parallel import World
from tests.conftest import ROOT, TINY

SYSTEMS = {"bahdanau2014": "demo/rnnsearch-50", "vaswani2017": "demo/base-enfr"}


def train(paper: str, out: Path, *words: str, processes: int) -> Path:
    """Train the paper's system in `out`, by torchrun where there are several processes; weights of the last update."""
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    command = ["-m", f"papers.{paper}", "train", SYSTEMS[paper], *TINY, *words, "--out", str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *(torchrun if processes > 1 else []), *command, "--runs", str(out.parent)],
        cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("trained: ") == 1, "only the first process speaks"
    return sorted((out / "checkpoints").glob("*.safetensors"))[-1]


def furthest(one: Path, other: Path) -> float:
    """Return the largest difference between the weights of two checkpoints."""
    ours, theirs = load_weights(one)[0], load_weights(other)[0]
    return max(float((ours[name] - theirs[name]).abs().max()) for name in ours)


@pytest.mark.parametrize("paper", SYSTEMS)
def test_two_processes_make_the_updates_of_one(paper: str, tmp_path: Path) -> None:
    """Without dropout, and up to float32 rounding, also for the last minibatch of an epoch and for validation.

    With an epsilon of 1 the updates of both optimizers grow with the gradient, so half of a sum would show.
    """
    words = ["optimizer.epsilon=1.0", *(["model.P_drop=0.0"] if paper == "vaswani2017" else [])]
    one = train(paper, tmp_path / "one", *words, processes=1)
    two = train(paper, tmp_path / "two", *words, processes=2)
    first = sorted((tmp_path / "one" / "checkpoints").glob("*"))[0]
    assert furthest(one, two) < 1e-3 * furthest(first, one)
    for here, there in zip(read_log(tmp_path / "one"), read_log(tmp_path / "two"), strict=True):
        for key in here.keys() - {"seconds", "target_tokens_per_second", "updates_per_second", "peak_memory_gib"}:
            assert here[key] == pytest.approx(there[key], rel=1e-4)
    told = [json.loads((tmp_path / name / "training.json").read_text()) for name in ("one", "two")]
    assert {key: value for key, value in told[0]["progress"].items() if key != "seconds"} == {
        key: value for key, value in told[1]["progress"].items() if key != "seconds"
    }
    assert told[1]["environment"]["hardware"].endswith(", 2 processes") and len(told[1]["starts"]) == 1


def test_a_training_of_two_processes_goes_on_exactly(tmp_path: Path) -> None:
    """With dropout, for which each process has a random stream of its own."""
    whole = train("vaswani2017", tmp_path / "whole", "train.steps=8", processes=2)
    train("vaswani2017", tmp_path / "halves", "train.steps=4", "evaluate.average=1", processes=2)
    halves = train("vaswani2017", tmp_path / "halves", "train.steps=8", processes=2)
    assert furthest(whole, halves) == 0.0


@pytest.mark.parametrize("pairs", [0, 1, 2, 7])
@pytest.mark.parametrize("size", [1, 2, 3])
def test_the_parts_of_a_minibatch_are_the_minibatch(pairs: int, size: int) -> None:
    rows = np.arange(10, 10 + pairs)
    parts = [World(rank, size).part(rows) for rank in range(size)]
    assert sorted(np.concatenate(parts).tolist()) == rows.tolist()
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_one_process_alone_exchanges_nothing() -> None:
    alone, parameter = World(), torch.nn.Parameter(torch.ones(2))
    alone.sum_gradients([parameter])
    assert parameter.grad is None and alone.first
    assert alone.sum([0.1, 2.0], torch.device("cpu")) == [0.1, 2.0]
