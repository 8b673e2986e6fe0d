"""Trains systems of a scale with several seeds each, side by side, and builds the tables of the scale from them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from common.errors import UserError
from common.paper import Paper
from common.run.folder import prepare_data
from common.run.suite import Job, check_slots, run_jobs, slots_of

SEEDS = (1, 2, 3)
"""The seeds of each system, unless others are asked for."""


class SeedJob(Job):
    """A system with one of the seeds."""

    @property
    def label(self) -> str:
        return self.run.name


def jobs_of(
    paper: Paper, scale: str, runs: Path, systems: Sequence[str], overrides: Sequence[str], seeds: Sequence[int]
) -> list[Job]:
    """Return a job for each of the systems and seeds. All systems have the first seed before any has the second.

    systems: without any, all of the scale.
    Raise UserError for a system that the scale lacks, and for overrides with a seed.
    """
    for word in overrides:
        if word.startswith(("seed=", "train.seed=")):
            raise UserError(f"{word}: every training is made with the seeds {', '.join(map(str, seeds))}; leave it out")
    known = [name.rpartition("/")[2] for name in paper.systems(scale)]
    if unknown := [system for system in systems if system not in known]:
        raise UserError(f"{scale} has no system {unknown[0]}; it has {', '.join(known)}")
    jobs: list[Job] = []
    for seed in seeds:
        for system in systems or known:
            words = [*overrides, f"train.seed={seed}"]
            recipe = paper.recipe(f"{scale}/{system}", words)
            jobs.append(SeedJob(paper, recipe, words, runs / scale / paper.name / f"{system}-seed{seed}"))
    return jobs


def train_with_seeds(paper: Paper, scale: str, jobs: Sequence[Job], runs: Path, slots: Sequence[str] | None) -> None:
    """Train and score the jobs, and print the tables of their scale. What is finished is kept.

    slots: as in common.run.suite, or None for those of this machine.
    """
    places = slots_of(jobs) if slots is None else slots
    check_slots(places)
    for recipe in {(job.recipe.data, job.recipe.text): job.recipe for job in jobs}.values():
        prepare_data(recipe, runs)
    run_jobs(jobs, runs, places)
    results = runs / scale / paper.name
    print(paper.build_tables(scale, results, results).markdown)
    print(f"written to {results}", file=sys.stderr)
