"""Runs every system of a scale side by side: each is a process that can be resumed, in a slot of its own.

A slot is a CPU core (`cpu`), a GPU (`cuda:0`), or several cores or GPUs that one system uses together (`cpu:2`,
`cuda:0+1`). On several, torchrun starts one process each. Small models train fastest on one thread, so two systems at a
time on two cores are faster than one on both. A large model needs a GPU for itself.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO

import torch

from common.errors import UserError, raising_on_sigterm
from common.paper import Paper
from common.progress import clock
from common.recipe import Recipe
from common.result import read_result, read_training
from common.run.plan import training_flops

SUITE = "ATTENTION_SUITE"
"""Environment variable by which a system's process knows its parent. The process ends when the parent has ended."""
_REPORT_SECONDS = 10.0
"""Time between two reports."""


@dataclass
class Job:
    """One system, which one process trains, averages and scores."""

    paper: Paper
    recipe: Recipe
    overrides: Sequence[str]
    run: Path
    process: subprocess.Popen[bytes] | None = None
    slot: str = ""
    """Where `process` runs."""
    finished: bool = False
    """Whether there is a result of this recipe, as `look` last found."""

    @property
    def name(self) -> str:
        return self.recipe.name

    @property
    def after(self) -> str | None:
        """The system of the same paper that must be trained before this one."""
        return self.recipe.train.continues

    @cached_property
    def cost(self) -> float:
        """FLOPs of the whole training. The costliest job is started first."""
        return float(training_flops(self.paper, self.recipe) * self.recipe.train.steps)

    @property
    def trained(self) -> bool:
        """Whether the training has reached the last update of this recipe."""
        done = read_training(self.run)
        return done is not None and done.progress.step == self.recipe.train.steps

    def look(self) -> None:
        """Find out whether there is a result of this recipe.

        A result of another recipe, for instance one with fewer updates, is made again.
        """
        self.finished = False
        with suppress(UserError):
            result = read_result(self.run / "result.json")
            self.finished = self.trained and result.recipe_sha256 == self.recipe.sha256

    @property
    def label(self) -> str:
        return f"{self.paper.name} {self.recipe.system}"

    def command(self, runs: Path) -> list[str]:
        """Return the words of the command that starts, resumes and scores the run."""
        program = ["-m", f"papers.{self.paper.name}", "train", self.name, *self.overrides]
        return [*program, "--out", str(self.run), "--runs", str(runs), "--score"]


def jobs_of(papers: Sequence[Paper], scale: str, overrides: Sequence[str], runs: Path) -> list[Job]:
    """Return a job for every system of the scale, the costliest first."""
    jobs = []
    for paper in papers:
        for name in paper.systems(scale):
            recipe = paper.recipe(name, overrides)
            jobs.append(Job(paper, recipe, overrides, runs / scale / paper.name / recipe.system))
    if not jobs:
        raise UserError(
            f"no recipes for scale `{scale}` in {', '.join(str(paper.root / 'recipes') for paper in papers)}"
        )
    # A system that another one continues counts with the other's cost, so that the chain starts early.
    chained = {(job.paper.name, job.after): job.cost for job in jobs if job.after}
    return sorted(jobs, key=lambda job: -job.cost - chained.get((job.paper.name, job.recipe.system), 0.0))


def slots_of(jobs: Sequence[Job]) -> list[str]:
    """Return the slots of this machine: each of its GPUs, or its CPU cores if there is no GPU or no job uses one."""
    if all(job.recipe.run.device == "cpu" for job in jobs) or not torch.cuda.is_available():
        return ["cpu"] * (os.cpu_count() or 1)
    visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(torch.cuda.device_count())))
    return [f"cuda:{name}" for name in visible.split(",")]


def read_slots(text: str) -> list[str]:
    """Read the slots that `--slots` names."""
    named = ["cpu"] * int(text) if text.isdigit() else text.split(",")
    if not named or not all(re.fullmatch(r"cpu(:[1-9]\d*)?|cuda:\w+(\+\w+)*", name) for name in named):
        raise argparse.ArgumentTypeError(f"{text} is neither a number of cores nor a list such as cuda:0,cuda:1+2")
    return named


def check_slots(slots: Sequence[str]) -> None:
    """Raise UserError if the slots ask for more CPU cores than there are, or for a GPU where there is none."""
    cores = sum(int(slot.partition(":")[2] or 1) for slot in slots if slot.startswith("cpu"))
    there = os.cpu_count() or 1
    if cores > there:
        raise UserError(f"--slots asks for {cores:,} CPU cores and this machine has {there:,}; write fewer")
    if any(slot.startswith("cuda") for slot in slots) and not torch.cuda.is_available():
        raise UserError("--slots asks for CUDA, but no CUDA device is here; write a number of CPU cores")


def run_jobs(jobs: Sequence[Job], runs: Path, slots: Sequence[str]) -> None:
    """Run all jobs, one at a time in each slot. Ctrl-C and SIGTERM stop them all, and each saves its state.

    Raise UserError that names the log if a job fails, and Terminated after SIGTERM.
    """
    started = told = time.monotonic()
    for job in jobs:
        job.look()
    try:
        with raising_on_sigterm(lambda: "stopped; the same command goes on from the last updates"):
            while not all(job.finished for job in jobs):
                for job in jobs:
                    _advance(job, jobs, runs, slots)
                if time.monotonic() - told > _REPORT_SECONDS:
                    told = time.monotonic()
                    _report(jobs, told - started)
                time.sleep(0.2)
    finally:
        running = [job.process for job in jobs if job.process is not None]
        for process in running:
            process.terminate()
        for process in running:
            process.wait()


def _advance(job: Job, jobs: Sequence[Job], runs: Path, slots: Sequence[str]) -> None:
    """Collect a job's process if it has ended. Start the next one if a slot is free."""
    if job.process is not None and job.process.poll() is not None:
        status, job.process = job.process.returncode, None
        job.look()
        if status != 0 or not job.finished:
            raise UserError(f"{job.label} failed: {_reason(job.run)} (all of it in {job.run / 'output.txt'})")
        print(f"{job.label}: {_last_line(job.run).strip()}", file=sys.stderr, flush=True)
    # As multisets: a slot such as `cpu` may occur several times.
    busy = Counter(other.slot for other in jobs if other.process is not None)
    free = list((Counter(slots) - busy).elements())
    if job.process is None and not job.finished and free and _ready(job, jobs):
        job.run.mkdir(parents=True, exist_ok=True)
        job.slot = free[0]
        job.process = start(job.command(runs), job.slot, open(job.run / "output.txt", "ab"))


def _ready(job: Job, jobs: Sequence[Job]) -> bool:
    """Return whether the system that this one continues is trained."""
    before = [other for other in jobs if other.paper is job.paper and other.recipe.system == job.after]
    return all(other.trained for other in before)


def start(command: list[str], slot: str, output: IO[bytes]) -> subprocess.Popen[bytes]:
    """Start Python with the words `command` in a slot. It sees no GPU outside of the slot.

    In a slot of several cores or GPUs, torchrun starts one process on each.
    """
    kind, _, places = slot.partition(":")
    if kind == "cpu":
        own = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        count = int(places or 1)
    else:
        own = {"CUDA_VISIBLE_DEVICES": places.replace("+", ",")}
        count = len(places.split("+"))
    several = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)] if count > 1 else []
    environment = {**os.environ, **own, "PYTHONUNBUFFERED": "1", SUITE: str(os.getpid())}
    words = [sys.executable, *several, *command]
    with output:
        return subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment)


def _lines(run: Path) -> list[str]:
    """Return the lines that a job's processes have printed."""
    try:
        # A progress bar returns to the beginning of its line.
        return (
            (run / "output.txt").read_text(encoding="utf-8", errors="replace").strip().replace("\r", "\n").split("\n")
        )
    except OSError:
        return [""]


def _last_line(run: Path) -> str:
    """Return the last line that a job's processes have printed, shortened."""
    return _lines(run)[-1][:200]


def _reason(run: Path) -> str:
    """Return why the last process failed: the last line that it printed.

    Under torchrun, which adds a page of its own, this is the last line of ours, or torchrun's own of a signal.
    """
    if not _lines(run)[-1].startswith("="):
        return _last_line(run)
    ours = [line for line in _lines(run) if line.startswith("python -m papers.") or "Signal" in line]
    return ours[-1].strip() if ours else "torchrun says no reason"


def _report(jobs: Sequence[Job], seconds: float) -> None:
    """Print how many systems are done, and the last line of each that runs, with its rate and the time left."""
    done = sum(job.finished for job in jobs)
    print(f"[{clock(seconds)}] {done} of {len(jobs)} systems done", file=sys.stderr)
    for job in jobs:
        if job.process is not None:
            print(f"    {job.paper.name}: {_last_line(job.run) or 'starting'}", file=sys.stderr, flush=True)
