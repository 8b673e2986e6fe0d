"""How fast both papers' models train on two CPU cores, beside other programs of the same sizes, in turns in one run.

    python -m benchmarks.train                   # at most eight minutes, into results/train.json
    python -m benchmarks.train --rounds 1 --only tiny     # a quick look

The Transformer stands beside Hugging Face's Marian and torch.nn.Transformer, RNNsearch beside a plain loop in PyTorch.
All get the same minibatches of random words, the same loss and the paper's own optimizer. In every round each program
makes one update of each minibatch, and the order changes from round to round. An update's time is the median of the
rounds. FLOPs are those of the readable model's matrix products.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.lengths import draw_lengths
from benchmarks.peers import Marian, TorchTransformer
from benchmarks.plain_rnnsearch import build as plain_rnnsearch
from common.contract import Batch, pad
from common.files import write_json
from common.ids import EOS, UNK
from common.paper import Paper
from common.recipe import Recipe
from common.run.cli import guarded, utf8_output
from common.run.record import commit, environment, matmul_rate
from common.train.update import Update
from common.typed import plain
from papers.bahdanau2014.paper import PAPER as BAHDANAU
from papers.vaswani2017.paper import PAPER as VASWANI

RESULT = Path(__file__).parent / "results" / "train.json"
"""Where the figures are written."""
MOST = 480
"""Seconds after which no round begins."""


@dataclass(frozen=True)
class System:
    """What is measured: a recipe, the sentences of a minibatch, and other programs of the same sizes by name."""

    paper: Paper
    recipe: str
    sentences: int
    peers: dict[str, Callable[[Recipe], nn.Module]]


TRANSFORMERS: dict[str, Callable[[Recipe], nn.Module]] = {"Marian": Marian, "torch.nn.Transformer": TorchTransformer}
SYSTEMS = {
    "tiny": System(VASWANI, "multi30k/base", 64, TRANSFORMERS),
    "base": System(VASWANI, "base", 24, TRANSFORMERS),
    "rnnsearch-50": System(BAHDANAU, "rnnsearch-50", 16, {"plain PyTorch": plain_rnnsearch}),
}


def draw_batches(recipe: Recipe, sentences: int, count: int) -> list[Batch]:
    """Draw minibatches of random words in sentences about as long as the corpus's, each of similar lengths."""
    draw = np.random.default_rng(1)
    means = (recipe.estimate.source_tokens, recipe.estimate.target_tokens)
    # Of eight times as many pairs, sorted as in training, so that there is as little padding.
    lengths = np.stack(list(draw_lengths(draw, 8 * sentences * count, means, recipe.batch.max_length or 100)))
    order = np.argsort(lengths.max(axis=0), kind="stable")
    starts = np.linspace(0.2, 0.8, count) * (len(order) - sentences)
    batches = []
    for start in starts.astype(int):
        chosen = order[start : start + sentences]
        sides = [
            pad([[*draw.integers(UNK + 1, recipe.text.vocabulary_size, size=n).tolist(), EOS] for n in side[chosen]])
            for side in lengths
        ]
        batches.append(Batch(*sides[0], *sides[1]))
    return batches


def programs(system: System, recipe: Recipe) -> dict[str, nn.Module]:
    """Build every program of a system: ours, readable and fast, and the peers."""
    own = {path: system.paper.recipe(system.recipe, [f"run.path={path}"]) for path in ("readable", "fast")}
    made: dict[str, nn.Module] = {path: system.paper.build_model(own[path]) for path in own}
    made.update({name: build(recipe) for name, build in system.peers.items()})
    return {name: model.train() for name, model in made.items()}


def make_update(update: Update, batch: Batch, step: int) -> None:
    """Make one whole update from one minibatch."""
    update.begin()
    update.add(batch, int(batch.target_mask.sum()))
    update.finish(step)


def measure(name: str, rounds: int, deadline: float) -> list[dict[str, Any]]:
    """Measure the programs of one system by turns and return a row for each."""
    system = SYSTEMS[name]
    recipe = system.paper.recipe(system.recipe)
    batches = draw_batches(recipe, system.sentences, 2)
    torch.manual_seed(1)
    updates = {
        program: Update(model, system.paper.build_optimization(model, recipe), recipe.train)
        for program, model in programs(system, recipe).items()
    }
    for program, update in updates.items():  # not timed: memory and optimizer are made
        with FlopCounterMode(display=False) as counter:
            for batch in batches:
                make_update(update, batch, 1)
        if program == "readable":
            flops = counter.get_total_flops()
    seconds: dict[str, list[float]] = {program: [] for program in updates}
    rates, order = [], list(updates)
    for step in range(rounds):
        if step and time.monotonic() > deadline:
            break
        rates.append(matmul_rate(torch.device("cpu"), 1.0))
        for program in order:
            started = time.monotonic()
            for batch in batches:
                make_update(updates[program], batch, step + 2)
            seconds[program].append(time.monotonic() - started)
        order = [*order[1:], order[0]]
    tokens, rate = sum(int(batch.target_mask.sum()) for batch in batches), statistics.median(rates)
    taken = {program: statistics.median(times) for program, times in seconds.items()}
    best = min(taken[peer] for peer in system.peers)
    return [
        {
            "system": name,
            "program": program,
            "rounds": len(rates),
            "milliseconds_per_update": round(1000 * taken[program] / len(batches), 1),
            "target_tokens_per_update": tokens / len(batches),
            "target_tokens_per_second": round(tokens / taken[program]),
            "times_the_best_peers_rate": round(best / taken[program], 3),
            "share_of_matmul_rate": round(flops / taken[program] / rate, 3),
            "matmul_flops_per_second": rate,
        }
        for program in updates
    ]


def main() -> None:
    """Measure the systems, print a line for each program and write the figures."""
    utf8_output()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=12, help="most rounds of a system")
    parser.add_argument("--only", action="append", choices=SYSTEMS, help="a system; several times for several")
    parser.add_argument("--out", type=Path, default=RESULT)
    given = parser.parse_args()
    torch.set_num_threads(2)
    root, rows, started = Path(__file__).resolve().parent.parent, [], time.monotonic()
    chosen = given.only or list(SYSTEMS)
    for number, name in enumerate(chosen, 1):
        # Begun rounds are finished, for which the last tenth is left.
        rows += measure(name, given.rounds, started + 0.9 * MOST * number / len(chosen))
        about = {"seconds": round(time.monotonic() - started, 1), "environment": plain(environment("cpu"))}
        write_json(given.out, {"rows": rows, **about, **commit(root)})
        for row in (row for row in rows if row["system"] == name):
            print(
                f"{name:14} {row['program']:22} {row['milliseconds_per_update']:9.1f} ms an update, "
                f"{row['target_tokens_per_second']:7,} target tokens/s, {row['times_the_best_peers_rate']:.2f} times "
                f"the best peer's, {row['share_of_matmul_rate']:.0%} of the matmul rate",
                flush=True,
            )


if __name__ == "__main__":
    sys.exit(guarded(main, "python -m benchmarks.train"))
