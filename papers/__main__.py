"""Both papers from data to report: `python -m papers SCALE [PAPER]`, which reproduce.sh calls."""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from pathlib import Path

import torch

from common.errors import UserError
from common.paper import Paper
from common.progress import clock
from common.recipe import OWN_SCALE
from common.run.cli import Parser, guarded, split_overrides, utf8_output
from common.run.folder import prepare_data
from common.run.plan import describe, describe_together, plan
from common.run.suite import Job, check_slots, jobs_of, read_slots, run_jobs, slots_of
from papers.lineage import PAPERS, report

LARGE = ("europarl", "europarl-same")
"""The scales that have such a folder. They need a GPU."""


def main(arguments: list[str] | None = None) -> int:
    """Train, score and tabulate every system of a scale. Return the exit status as common.run.cli does."""
    utf8_output()
    parser = Parser(prog="python -m papers", description="Train, score and tabulate every system of a scale.")
    parser.add_argument("scale", choices=list(report.TITLES))
    parser.add_argument(
        "words",
        nargs="*",
        metavar="PAPER | KEY=VALUE",
        help=f"one paper alone ({', '.join(PAPERS)}); recipe fields to override in every system",
    )
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of everything made (default: runs)")
    parser.add_argument(
        "--small", action="store_true", help="europarl and europarl-same: smaller models, 200,000 pairs, for 2 cores"
    )
    parser.add_argument("--fresh", action="store_true", help="delete this scale's runs and start over")
    parser.add_argument(
        "--slots",
        type=read_slots,
        help="where systems train side by side: a number of CPU cores, or a list such as cuda:0,cuda:1; a slot "
        "cuda:0+1 gives each of its systems two GPUs (default: every GPU, or without one every core)",
    )
    options = parser.parse_intermixed_args(arguments)
    options.overrides, names = split_overrides(options.words)
    if unknown := [name for name in names if name not in (*PAPERS, "all")]:
        parser.error(f"{unknown[0]} is no paper; choose one of {', '.join(PAPERS)}, or all")
    if options.small and options.scale not in LARGE:
        parser.error(f"--small is for {' and '.join(LARGE)}; {options.scale} has one size")
    options.scale += report.SMALL * options.small
    return guarded(lambda: reproduce(chosen(names, options.scale), options), "reproduce")


def chosen(names: list[str], scale: str) -> list[Paper]:
    """Return the papers that are named, or all that have recipes for the scale.

    Raise UserError if a named one has none.
    """
    named = [PAPERS[name] for name in PAPERS if name in names]
    for paper in named:
        if not paper.systems(scale):
            raise UserError(f"{paper.name} has no recipes for scale `{scale}`")
    return named if named and "all" not in names else [paper for paper in PAPERS.values() if paper.systems(scale)]


def reproduce(papers: list[Paper], options: argparse.Namespace) -> None:
    """Make one scale of the chosen papers, from data to report."""
    started = time.monotonic()
    if options.fresh:
        for paper in papers:
            shutil.rmtree(options.runs / options.scale / paper.name, ignore_errors=True)
    jobs = jobs_of(papers, options.scale, options.overrides, options.runs)
    if options.scale in (OWN_SCALE, *LARGE):
        print_plans(jobs)
    if options.scale in LARGE:
        require_gpu(jobs)
    prepare_all(jobs, options.runs)
    if options.slots:
        check_slots(options.slots)
    run_jobs(jobs, options.runs, options.slots or slots_of(jobs))
    print(report.write(papers, options.scale, options.runs, options.runs / options.scale / "report.html"))
    print(f"done    in {clock(time.monotonic() - started)}")


def print_plans(jobs: list[Job]) -> None:
    """Print what each system will cost, and all of a paper together, before anything is downloaded."""
    for paper in dict.fromkeys(job.paper for job in jobs):
        plans = [plan(paper, job.recipe) for job in jobs if job.paper is paper]
        for values in plans:
            print(f"== {paper.name} {describe(values)}\n", flush=True)
        print(f"== {describe_together(plans)}\n", flush=True)


def require_gpu(jobs: list[Job]) -> None:
    """Raise UserError if there is no GPU for models that need one. `run.device=cpu` trains them anyway."""
    if torch.cuda.is_available() or all(job.recipe.run.device == "cpu" for job in jobs):
        return
    raise UserError(
        f"{jobs[0].recipe.scale}: no GPU is here, and these models would take weeks on a few CPU cores (the hours are "
        "above); add --small for smaller ones on 200,000 pairs, hours on 2 cores, or run.device=cpu to wait"
    )


def prepare_all(jobs: list[Job], runs: Path) -> None:
    """Prepare each corpus of the scale.

    This is done before the systems start side by side, because several of them share a corpus.
    """
    for job in jobs:
        prepare_data(job.recipe, runs)


if __name__ == "__main__":
    sys.exit(main())
