"""Several processes make the updates and translations of one, and end together.

Eight processes are forked from a server that has imported torch once. The other tests start two by torchrun.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import distributed
from torch.multiprocessing import start_processes

from common.ids import UNK
from common.paper import Paper
from common.prepare.encoded import ParallelIds, write_side
from common.train.checkpoint import load_weights
from common.train.loop import Trainer, TrainingText, read_log
from common.train.parallel import ALONE, World
from common.train.update import RecordedUpdate
from papers.bahdanau2014.paper import PAPER as BAHDANAU
from papers.vaswani2017.paper import PAPER as VASWANI
from tests.conftest import ROOT, TINY

UPDATES, EIGHT, WORDS = 50, 8, 23
SYSTEMS: dict[str, tuple[Paper, str, list[str]]] = {
    "rnnsearch": (BAHDANAU, "rnnsearch-50", ["hidden=6", "embedding=4", "alignment=5", "maxout=3"]),
    "transformer": (
        VASWANI,
        "base",
        ["N=1", "d_model=8", "d_ff=12", "h=2", "d_k=3", "d_v=4", "P_drop=0", "warmup_steps=10"],
    ),
}
# The same 32 pairs make an update: eight minibatches of four, or one of 32.
EIGHT_MINIBATCHES = ["batch.sentences=4", "batch.accumulate=8", "batch.pool=8"]
ONE_MINIBATCH = ["batch.sentences=32", "batch.accumulate=1", "batch.pool=1"]

MEASURED = {"seconds", "target_tokens_per_second", "updates_per_second", "peak_memory_gib"}
"""What a log has that differs from start to start."""


def trained(system: str, text: Path, run: Path, words: list[str], world: World, recorded: bool = False) -> None:
    """Train 50 updates. Checkpoints of the first and the last and the log are left in `run`.

    With an epsilon of 1 the updates of both optimizers grow with the gradient, so half of a sum would show.
    """
    paper, name, sizes = SYSTEMS[system]
    shared = ["run.device=cpu", "run.threads=1", "optimizer.epsilon=1", f"vocabulary_size={WORDS}"]
    every = [
        "checkpoint_every=5",
        "state_every=49",
        "log_every=10",
        "validate_every=50",
        "evaluate.average=1",
        "keep_checkpoints=10",
    ]
    batches = ["batch.tokens=null", "batch.shuffle=false", *words]
    recipe = paper.recipe(name, [*shared, *every, *sizes, *batches, f"train.steps={UPDATES}"])
    run.mkdir(exist_ok=True)
    torch.manual_seed(3)
    model = paper.build_model(recipe)
    opened = TrainingText(ParallelIds.open(text, "train"), ParallelIds.open(text, "valid"), "made")
    trainer = Trainer(model, paper.build_optimization(model, recipe), opened, recipe, run, world)
    if recorded:
        trainer.recorded, trainer.update = True, RecordedUpdate(model, trainer.optimization, recipe.train, world)
    trainer.fit(lambda line: None)


def one_of_eight(rank: int, folder: Path) -> None:
    """Train every system in two ways as one process of eight."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=EIGHT)
    for system in SYSTEMS:
        world = World(rank, EIGHT)
        trained(system, folder, folder / f"{system}-one", ONE_MINIBATCH, world)
        # A process has a pair of every second minibatch only.
        trained(system, folder, folder / f"{system}-recorded", EIGHT_MINIBATCHES, world, recorded=True)
    distributed.destroy_process_group()


def test_eight_processes_make_the_updates_of_one(tmp_path: Path) -> None:
    """One process that accumulates eight minibatches makes the same 50 updates, up to float32 rounding."""
    draw = np.random.default_rng(5)
    for split, count in (("train", 320), ("valid", 9)):
        for side in ("source", "target"):
            lines = [draw.integers(UNK, WORDS, draw.integers(1, 9)).tolist() for _ in range(count)]
            write_side(tmp_path, split, side, lines, WORDS)
    multiprocessing.set_forkserver_preload(["papers.bahdanau2014.paper", "papers.vaswani2017.paper", "pytest"])
    start_processes(one_of_eight, (tmp_path,), nprocs=EIGHT, start_method="forkserver")
    for system in SYSTEMS:
        alone = tmp_path / f"{system}-alone"
        trained(system, tmp_path, alone, EIGHT_MINIBATCHES, ALONE)
        first = sorted((alone / "checkpoints").glob("*"))[0]
        for kind in ("one", "recorded"):
            eight = tmp_path / f"{system}-{kind}"
            assert furthest(last(alone), last(eight)) < 1e-5 * furthest(first, last(alone)), (system, kind)
            for ours, theirs in zip(read_log(alone), read_log(eight), strict=True):
                # One minibatch of all lengths has more padding than eight of similar lengths.
                for key in ours.keys() - MEASURED - ({"padding_share"} if kind == "one" else set()):
                    assert theirs[key] == pytest.approx(ours[key], rel=1e-5), (system, kind)


def last(run: Path) -> Path:
    """Return the run's last checkpoint."""
    return sorted((run / "checkpoints").glob("*.safetensors"))[-1]


def furthest(one: Path, other: Path) -> float:
    """Return the largest difference between the weights of two checkpoints."""
    ours, theirs = load_weights(one)[0], load_weights(other)[0]
    return max(float((ours[name] - theirs[name]).abs().max()) for name in ours)


def torchrun(*words: object, restarts: int = 0) -> list[str]:
    """Return the words that start two processes of a program."""
    launcher = ["torch.distributed.run", "--standalone", "--nproc-per-node=2", f"--max-restarts={restarts}"]
    return [sys.executable, "-m", *launcher, *map(str, words)]


def start(words: list[str]) -> subprocess.Popen[str]:
    """Start a program in the repository, one thread a process."""
    own = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
    environment = {**os.environ, **own}
    pipe = subprocess.PIPE
    return subprocess.Popen(words, cwd=ROOT, env=environment, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def ended(process: subprocess.Popen[str], status: int) -> str:
    """Wait for a program's end and return what it has written to standard error."""
    _, said = process.communicate(timeout=240)
    assert process.returncode == status, said
    return said


def ours(said: str) -> list[str]:
    """Return the lines of a failed program that are not torchrun's."""
    return [line for line in said.split("\n") if line.startswith("python -m papers.")]


def test_translations_and_scores_are_those_of_one_process(tmp_path: Path) -> None:
    train = ["papers.vaswani2017", "train", "demo/base-enfr", *TINY, "decode.beam=2", "evaluate.sets=[valid]"]
    run, runs = tmp_path / "run", ["--runs", str(tmp_path)]
    said = ended(start(torchrun("-m", *train, "--out", run, *runs, "--score")), 0)
    assert said.count("trained: ") == said.count("sacreBLEU ") == 1, "only the first process speaks"
    results = [json.loads((run / "result.json").read_text())]
    training = json.loads((run / "training.json").read_text())
    assert training["environment"]["hardware"].endswith(", 2 processes") and len(training["starts"]) == 1
    score = ["-m", "papers.vaswani2017", "score", str(run), *runs]
    for words in ([sys.executable, *score], torchrun(*score)):
        (run / "result.json").unlink()
        ended(start(words), 0)
        results.append(json.loads((run / "result.json").read_text()))
    for result in results:
        columns = result["sets"]["valid"]["columns"]["all"]
        columns.pop("seconds"), result.pop("environment")
        likelihoods = [result["training"].pop(split) for split in ("train", "dev")]
        expected = results[0]["training"].setdefault("likelihoods", likelihoods)
        for measured, there in zip(likelihoods, expected, strict=True):
            assert measured == pytest.approx(there, rel=1e-6)
    results[0]["training"].pop("likelihoods")
    assert results[0] == results[1] == results[2]
    assert len(set(results[0]["sets"]["valid"]["columns"]["all"]["hypotheses"])) > 2


def test_a_mistake_is_told_once() -> None:
    said = ended(start(torchrun("-m", "papers.vaswani2017", "train", "demo/base", "modle.N=3", "--out", "nowhere")), 1)
    assert len(ours(said)) == 1 and "unknown section `modle`" in ours(said)[0]
    assert ours(said)[0] in said.strip().split("\n")[-2], "torchrun's page ends with it too"


FAILING = """
import os, sys
from dataclasses import replace
from common.run.cli import main
from papers.vaswani2017.paper import PAPER, Vaswani2017

class Failing(Vaswani2017):
    def build_optimization(self, model, recipe):
        made, calls = super().build_optimization(model, recipe), []

        def condition(parameters):
            calls.append(1)
            if len(calls) == 5 and os.environ["RANK"] == "1":
                raise MemoryError

        return replace(made, condition_gradients=condition)

main(Failing(PAPER.root))
"""


def test_a_process_that_fails_ends_all_and_says_why(tmp_path: Path) -> None:
    """The second of two runs out of memory at update 5."""
    (tmp_path / "failing.py").write_text(FAILING)
    words = [tmp_path / "failing.py", "train", "demo/base-enfr", *TINY, "--out", tmp_path / "run", "--runs", tmp_path]
    said = ended(start(torchrun(*words)), 1)
    assert len(ours(said)) == 1 and "update 5: the memory does not suffice" in ours(said)[0]


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    """Wait until there is something at `path`, which the process will make."""
    while not path.exists():
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)


def rank(number: int, torchrun: subprocess.Popen[str]) -> int:
    """Return the process that torchrun has started under this number."""
    children = Path(f"/proc/{torchrun.pid}/task/{torchrun.pid}/children").read_text().split()
    told = {child: Path(f"/proc/{child}/environ").read_bytes().split(b"\0") for child in children}
    return next(int(child) for child, variables in told.items() if f"RANK={number}".encode() in variables)


def test_a_training_that_is_stopped_and_killed_goes_on_exactly(tmp_path: Path) -> None:
    """With dropout, for which each process has a random stream of its own.

    SIGTERM stops both processes after the same update. Then one is killed, and torchrun starts both again.
    """
    words = ["-m", "papers.vaswani2017", "train", "demo/base-enfr", *TINY, "train.steps=160", "checkpoint_every=80"]
    words += ["state_every=10", "log_every=40", "validate_every=80", "--runs", str(tmp_path), "--out"]
    ended(start(torchrun(*words, tmp_path / "whole")), 0)
    run = tmp_path / "run"
    first = start(torchrun(*words, run))
    wait_for(run / "state" / "000000030.safetensors", first)
    first.terminate()
    stopped = ours(ended(first, 1))
    assert len(stopped) == 1 and ": stopped after update " in stopped[0]
    second = start(torchrun(*words, run, restarts=1))
    wait_for(run / "state" / "000000100.safetensors", second)
    os.kill(rank(1, second), signal.SIGKILL)
    assert not ours(ended(second, 0))
    assert len(json.loads((run / "starts.json").read_text())) == 3
    assert furthest(last(tmp_path / "whole"), last(run)) == 0.0


@pytest.mark.parametrize("pairs", [0, 1, 2, 7])
@pytest.mark.parametrize("size", [1, 2, 3])
def test_the_parts_of_a_minibatch_are_the_minibatch(pairs: int, size: int) -> None:
    rows = np.arange(10, 10 + pairs)
    parts = [World(rank, size).part(rows) for rank in range(size)]
    assert sorted(np.concatenate(parts).tolist()) == rows.tolist()
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_one_process_alone_exchanges_nothing() -> None:
    parameter = torch.nn.Parameter(torch.ones(2))
    ALONE.sum_gradients([parameter])
    ALONE.wait()
    assert parameter.grad is None and ALONE.first and ALONE.any(True) and not ALONE.any(False)
    assert ALONE.sum([0.1, 2.0]) == [0.1, 2.0] and ALONE.gather("a") == ["a"]
