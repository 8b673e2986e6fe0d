"""Both papers from data to report: `python -m papers SCALE [PAPER]`, which reproduce.sh calls."""

from __future__ import annotations

import argparse
import re
import shutil
import sys
import time
from pathlib import Path

from common.errors import UserError
from common.paper import Paper
from common.progress import clock
from common.recipe import OWN_SCALE
from common.report.page import Section, write_report
from common.run.cli import Parser, guarded, split_overrides, utf8_output
from common.run.folder import prepare_data
from common.run.plan import describe, plan
from common.run.suite import check_slots, jobs_of, run_jobs, slots_of
from papers.lineage import PAPERS, same_data

TITLES = {
    "demo": "Both papers in miniature, on generated text",
    "multi30k": "Both papers' systems on Multi30k",
    OWN_SCALE: "Both papers on WMT14",
}
"""Title of the report, by scale."""


def main(arguments: list[str] | None = None) -> int:
    """Train, score and tabulate every system of a scale. Return the exit status as common.run.cli does."""
    utf8_output()
    parser = Parser(prog="python -m papers", description="Train, score and tabulate every system of a scale.")
    parser.add_argument("scale", choices=list(TITLES))
    parser.add_argument(
        "words",
        nargs="*",
        metavar="PAPER | KEY=VALUE",
        help=f"one paper alone ({', '.join(PAPERS)}); recipe fields to override in every system",
    )
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of everything made (default: runs)")
    parser.add_argument("--fresh", action="store_true", help="delete this scale's runs and start over")
    parser.add_argument(
        "--slots",
        type=slots,
        help="where systems train side by side: a number of CPU cores, or a list such as cuda:0,cuda:1; a slot "
        "cuda:0+1 gives each of its systems two GPUs (default: every GPU, or without one every core)",
    )
    options = parser.parse_intermixed_args(arguments)
    options.overrides, names = split_overrides(options.words)
    if unknown := [name for name in names if name not in (*PAPERS, "all")]:
        parser.error(f"{unknown[0]} is no paper; choose one of {', '.join(PAPERS)}, or all")
    papers = [paper for name, paper in PAPERS.items() if not names or name in names or "all" in names]
    return guarded(lambda: reproduce(papers, options), "reproduce")


def slots(text: str) -> list[str]:
    """Read the slots that `--slots` names."""
    named = ["cpu"] * int(text) if text.isdigit() else text.split(",")
    if not named or not all(re.fullmatch(r"cpu(:[1-9]\d*)?|cuda:\w+(\+\w+)*", name) for name in named):
        raise argparse.ArgumentTypeError(f"{text} is neither a number of cores nor a list such as cuda:0,cuda:1+2")
    return named


def reproduce(papers: list[Paper], options: argparse.Namespace) -> None:
    """Make one scale of the chosen papers, from data to report."""
    started = time.monotonic()
    if options.fresh:
        for paper in papers:
            shutil.rmtree(options.runs / options.scale / paper.name, ignore_errors=True)
    if options.scale == OWN_SCALE:
        print_plans(papers, options.overrides)
    prepare_all(papers, options)
    jobs = jobs_of(papers, options.scale, options.overrides, options.runs)
    if options.slots:
        check_slots(options.slots)
    run_jobs(jobs, options.runs, options.slots or slots_of(jobs))
    sections = build_sections(papers, options.scale, options.runs)
    report = options.runs / options.scale / "report.html"
    write_report(TITLES[options.scale], sections, report)
    print(f"\nDone in {clock(time.monotonic() - started)}. Report with figures: {report.resolve()}")


def build_sections(papers: list[Paper], scale: str, runs: Path) -> list[Section]:
    """Print and write the section of each paper. Once both papers' systems have run, add the page of both together."""
    sections = []
    for paper in papers:
        results = runs / scale / paper.name
        sections.append(paper.build_tables(scale, results, results))
    folders = same_data.folders(scale, runs)
    if all(any(folder.glob("*/result.json")) for folder in folders.values()):
        sections.append(same_data.build_tables(folders, runs / scale / "lineage"))
    for section in sections:
        print(section.markdown)
    return sections


def print_plans(papers: list[Paper], overrides: list[str]) -> None:
    """Print what each paper's own systems will cost, before anything is downloaded."""
    for paper in papers:
        for name in paper.systems(OWN_SCALE):
            print(f"== {paper.name} {describe(plan(paper, paper.recipe(name, overrides)))}\n", flush=True)


def prepare_all(papers: list[Paper], options: argparse.Namespace) -> None:
    """Prepare each corpus of the scale.

    This is done before the systems start side by side, because several of them share a corpus.
    """
    for paper in papers:
        names = paper.systems(options.scale)
        if not names:
            raise UserError(f"{paper.name} has no recipes for scale `{options.scale}`")
        for name in names:
            prepare_data(paper.recipe(name, options.overrides), options.runs)


if __name__ == "__main__":
    sys.exit(main())
