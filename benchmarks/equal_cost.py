"""CPU time of an update of the systems that both papers' comparison at equal cost trains, by turns on one thread.

    python -m benchmarks.equal_cost      # some minutes, into results/equal_cost.json
    python -m benchmarks.equal_cost --runs runs data.corpus=$PAPERS_MIRROR/wmt14-real/wmt14-real.yaml

Each system makes real updates from minibatches of its own training text, spread evenly from the shortest to the
longest. At each of them all systems take their turn. CPU time does not count what other programs take, but these slow
down memory and caches, some systems more than others: run it while nothing else runs. The turns show how far the
figures agree. The updates at equal cost follow from them and from the FLOPs, and the recipes have them.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.train import make_update
from common.contract import Batch
from common.files import write_json
from common.paper import Paper
from common.recipe import Recipe
from common.run.cli import Parser, guarded, utf8_output
from common.run.folder import prepare_data
from common.run.record import commit, environment
from common.train.batching import load_batch, minibatches
from common.train.update import Update
from common.typed import plain
from papers.lineage import PAPERS
from papers.lineage.equal_cost import RATES, SYSTEMS, YARDSTICK, flops_of, updates_within

SCALE = "europarl-same-small"
"""The scale whose systems are measured."""


class Measured:
    """One system, with its minibatches and the seconds that it took for each."""

    def __init__(self, key: str, paper: Paper, recipe: Recipe, runs: Path, count: int) -> None:
        self.key, self.recipe = key, recipe
        train = prepare_data(self.recipe, runs).train
        source, target = np.asarray(train.source_lengths), np.asarray(train.target_lengths)
        order = minibatches(source, target, self.recipe.batch, self.recipe.train.seed, 0)
        self.tokens = float(np.mean([target[chosen].sum() for chosen in order]))
        self.sentences = float(np.mean([len(chosen) for chosen in order]))
        ascending = sorted(order, key=lambda chosen: int(np.maximum(source, target)[chosen].max()))
        middles = ((np.arange(count) + 0.5) * len(ascending) / count).astype(int)
        self.batches: list[Batch] = [load_batch(train, ascending[middle]) for middle in middles]
        self.seconds: list[list[float]] = [[] for _ in middles]
        torch.manual_seed(self.recipe.train.seed)
        model = paper.build_model(self.recipe).train()
        self.update = Update(model, paper.build_optimization(model, self.recipe), self.recipe.train)

    def take(self, index: int, step: int) -> None:
        """Make the update of one minibatch, and note its CPU time."""
        started = time.process_time()
        make_update(self.update, self.batches[index], step)
        self.seconds[index].append(time.process_time() - started)

    @property
    def rate(self) -> float:
        """CPU seconds of an update: the mean over the minibatches of the median over their turns."""
        return statistics.mean(map(statistics.median, self.seconds))


def take_turns(systems: list[Measured], turns: int) -> None:
    """Let every system make the updates of all its minibatches, `turns` times."""
    step = 0
    for turn in range(turns + 1):
        for index in range(len(systems[0].batches) if turn else 1):
            step += 1
            for system in systems[step % len(systems) :] + systems[: step % len(systems)]:
                system.take(index, step)
        if not turn:  # the first update also makes memory and optimizer
            for system in systems:
                system.seconds[0].clear()


def system_of(key: str, overrides: list[str], runs: Path, count: int) -> Measured:
    """Return the system `paper/system` of the scale."""
    name, system = key.split("/")
    paper = PAPERS[name]
    return Measured(key, paper, paper.recipe(f"{SCALE}/{system}", overrides), runs, count)


def rows(systems: list[Measured]) -> list[dict[str, Any]]:
    """Return the figures of each system, with its updates at equal FLOPs and at equal time."""
    base = next(system for system in systems if system.key == YARDSTICK)
    steps, flops = base.recipe.train.steps, {system.key: flops_of(system.key, SCALE) for system in systems}
    return [
        {
            "system": system.key,
            "recipe": system.recipe.name,
            "sentences_per_update": round(system.sentences, 2),
            "target_tokens_per_update": round(system.tokens, 1),
            "cpu_seconds_per_update": round(system.rate, 5),
            "cpu_seconds_by_turn": [round(statistics.mean(turn), 5) for turn in zip(*system.seconds, strict=True)],
            "flops_per_update": flops[system.key],
            "updates_at_equal_flops": updates_within(steps * flops[YARDSTICK], flops[system.key]),
            "updates_at_equal_time": updates_within(steps * base.rate, system.rate),
        }
        for system in systems
    ]


def options(about: str | None, out: Path) -> Parser:
    """Return a parser of what a measurement by turns can be asked. out: the file that it writes by default."""
    parser = Parser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minibatches", type=int, default=16, help="of each system")
    parser.add_argument("--turns", type=int, default=3, help="of each minibatch")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of downloads and prepared data")
    parser.add_argument("--out", type=Path, default=out)
    return parser


def main(arguments: list[str] | None = None) -> None:
    """Measure all systems by turns, print a line for each and write the figures."""
    utf8_output()
    parser = options(__doc__, RATES)
    parser.add_argument("overrides", nargs="*", metavar="data.corpus=FILE", help="another declaration of the same text")
    given = parser.parse_intermixed_args(arguments)
    if others := [word for word in given.overrides if not word.startswith("data.corpus=")]:
        parser.error(f"{others[0]}: only data.corpus=FILE can be given; other fields make other systems")
    torch.set_num_threads(1)
    keys = [key for systems in SYSTEMS.values() for key in systems.values()]
    systems = [system_of(key, given.overrides, given.runs, given.minibatches) for key in keys]
    started = time.monotonic()
    take_turns(systems, given.turns)
    measured = rows(systems)
    about = {"seconds": round(time.monotonic() - started, 1), "environment": plain(environment("cpu"))}
    write_json(given.out, {"scale": SCALE, "rows": measured, **about, **commit(Path(__file__).resolve().parent.parent)})
    for row in measured:
        print(
            f"{row['system']:36} {row['cpu_seconds_per_update']:.3f} CPU s and {row['flops_per_update']:.3g} FLOPs an "
            f"update: {row['updates_at_equal_flops']:,} updates at equal FLOPs, {row['updates_at_equal_time']:,} at "
            "equal time"
        )


if __name__ == "__main__":
    sys.exit(guarded(main, "python -m benchmarks.equal_cost"))
