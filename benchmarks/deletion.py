"""CPU time of an update of each step from RNNsearch to the Transformer, by turns on one thread.

    python -m benchmarks.deletion      # a minute or two, into results/deletion.json

It measures as benchmarks/equal_cost.py does, with the minibatches of the steps' own training text.
"""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path

import torch

from benchmarks.equal_cost import Measured, options, take_turns
from common.files import write_json
from common.run.cli import guarded, utf8_output
from common.run.plan import training_flops
from common.run.record import commit, environment
from common.typed import plain
from papers.lineage.deletion import SCALE
from papers.lineage.deletion.paper import PAPER
from papers.lineage.deletion.tables import SPEED


def main(arguments: list[str] | None = None) -> None:
    """Measure all steps by turns, print a line for each and write the figures."""
    utf8_output()
    given = options(__doc__, SPEED).parse_args(arguments)
    torch.set_num_threads(1)
    recipes = [PAPER.recipe(name) for name in PAPER.systems(SCALE)]
    systems = [Measured(recipe.system, PAPER, recipe, given.runs, given.minibatches) for recipe in recipes]
    started = time.monotonic()
    take_turns(systems, given.turns)
    rows = [
        {
            "system": system.key,
            "target_tokens_per_update": round(system.tokens, 1),
            "cpu_seconds_per_update": round(system.rate, 5),
            "cpu_seconds_by_turn": [round(statistics.mean(turn), 5) for turn in zip(*system.seconds, strict=True)],
            "target_tokens_per_cpu_second": round(system.tokens / system.rate),
            "flops_per_update": training_flops(PAPER, system.recipe),
        }
        for system in systems
    ]
    about = {"seconds": round(time.monotonic() - started, 1), "environment": plain(environment("cpu"))}
    write_json(given.out, {"rows": rows, **about, **commit(Path(__file__).resolve().parent.parent)})
    for row in rows:
        print(
            f"{row['system']:18} {1000 * row['cpu_seconds_per_update']:6.1f} CPU ms an update, "
            f"{row['target_tokens_per_cpu_second']:,} target tokens a second"
        )


if __name__ == "__main__":
    sys.exit(guarded(main, "python -m benchmarks.deletion"))
