"""`python -m papers.bahdanau2014.ambiguities` trains every recipe with every seed, scores them and builds the page.

Run it again to go on after an interruption. Finished trainings are kept.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from common.errors import UserError
from common.run.cli import Parser, guarded, split_overrides, utf8_output
from common.run.folder import prepare_data
from common.run.suite import Job, check_slots, run_jobs, slots_of
from papers.bahdanau2014.ambiguities import SCALE, SEEDS
from papers.bahdanau2014.paper import PAPER


class SeedJob(Job):
    """A recipe with one of the seeds."""

    @property
    def label(self) -> str:
        return self.run.name


def main(arguments: list[str] | None = None) -> int:
    """Train, score and tabulate. Return the exit status as common.run.cli does."""
    utf8_output()
    parser = Parser(prog="python -m papers.bahdanau2014.ambiguities", description=__doc__)
    parser.add_argument("words", nargs="*", metavar="KEY=VALUE", help="recipe fields to override in every training")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of everything made (default: runs)")
    parser.add_argument("--slots", type=int, metavar="N", help="trainings side by side (default: one on each core)")
    options = parser.parse_intermixed_args(arguments)
    overrides, others = split_overrides(options.words)
    if others:
        parser.error(f"unrecognized arguments: {' '.join(others)}")
    return guarded(lambda: reproduce(overrides, options.runs, options.slots), parser.prog)


def reproduce(overrides: Sequence[str], runs: Path, slots: int | None) -> None:
    """Make the page, from data to tables."""
    jobs = jobs_of(overrides, runs)
    places = slots_of(jobs) if slots is None else ["cpu"] * slots
    if not places:
        raise UserError(f"--slots is {slots}; write 1 or more")
    check_slots(places)
    prepare_data(jobs[0].recipe, runs)
    run_jobs(jobs, runs, places)
    results = runs / SCALE / PAPER.name
    print(PAPER.build_tables(SCALE, results, results).markdown)
    print(f"written to {results}", file=sys.stderr)


def jobs_of(overrides: Sequence[str], runs: Path) -> list[Job]:
    """Return a job for every recipe and seed. All recipes have the first seed before any has the second.

    Raise UserError if the overrides have a seed.
    """
    for word in overrides:
        if word.startswith(("seed=", "train.seed=")):
            raise UserError(f"{word}: every training is made with the seeds {', '.join(map(str, SEEDS))}; leave it out")
    jobs: list[Job] = []
    for seed in SEEDS:
        for name in PAPER.systems(SCALE):
            words = [*overrides, f"train.seed={seed}"]
            recipe = PAPER.recipe(name, words)
            jobs.append(SeedJob(PAPER, recipe, words, runs / SCALE / PAPER.name / f"{recipe.system}-seed{seed}"))
    return jobs


if __name__ == "__main__":
    sys.exit(main())
