"""How fast the papers' own models train on one GPU: the real loop at full size, in single and in mixed precision.

    python -m benchmarks.gpu                     # two and a half minutes on an H200, into results/gpu.json
    python -m benchmarks.gpu --updates 4 --warm 2 --only base   # a quick look

The text is random words in sentences about as long as the corpus's. No data is needed, since time depends on lengths
only. FLOPs are those of `plan`: the matrix products of forward and backward passes, shared equally among the target
tokens. The share of the peak ("MFU") refers to the data sheet: dense bfloat16, or float32 without tensor cores.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.lengths import draw_lengths
from common.errors import UserError
from common.files import write_json
from common.ids import UNK
from common.paper import Paper
from common.prepare.encoded import SIDES, ParallelIds, write_side
from common.recipe import Recipe
from common.run.cli import utf8_output
from common.run.plan import minibatch_shape, training_flops
from common.run.record import commit, environment
from common.train.loop import Trainer, TrainingText, read_log
from common.typed import plain
from papers.bahdanau2014.paper import PAPER as BAHDANAU
from papers.vaswani2017.paper import PAPER as VASWANI

RESULT = Path(__file__).parent / "results" / "gpu.json"
"""Where the figures are written."""
SYSTEMS = ((VASWANI, "base"), (VASWANI, "big"), (BAHDANAU, "rnnsearch-50"), (BAHDANAU, "rnnencdec-50"))
"""Recipes that are measured."""
PEAKS = {"H100": (67e12, 989e12), "H200": (67e12, 989e12), "A100": (19.5e12, 312e12)}
"""FLOP/s in float32 and in dense bfloat16, from the data sheets of the SXM cards, by a part of the card's name."""


def write_corpus(folder: Path, recipe: Recipe, pairs: int) -> TrainingText:
    """Write `pairs` of random words and a small development set, and open them."""
    draw = np.random.default_rng(1)
    means, limit = (recipe.estimate.source_tokens, recipe.estimate.target_tokens), recipe.batch.max_length or 255
    for split, count in (("train", pairs), ("valid", 64)):
        for side, lengths in zip(SIDES, draw_lengths(draw, count, means, limit), strict=True):
            words = draw.integers(UNK + 1, recipe.text.vocabulary_size, size=lengths.sum())
            sentences = [part.tolist() for part in np.split(words, lengths.cumsum()[:-1])]
            write_side(folder, split, side, sentences, recipe.text.vocabulary_size)
    return TrainingText(ParallelIds.open(folder, "train"), ParallelIds.open(folder, "valid"), "random")


def measure(paper: Paper, name: str, precision: str, warm: int, updates: int) -> dict[str, Any]:
    """Train for `warm` updates and then `updates` more, and return the figures of the second part only."""
    overrides = [f"precision={precision}", f"train.steps={warm + updates}", f"log_every={warm}"]
    never = [f"{key}={warm + updates + 1}" for key in ("validate_every", "checkpoint_every", "state_every")]
    recipe = paper.recipe(
        name, [*overrides, *never, "keep_checkpoints=1", "evaluate.average=1", "run.device=auto", "run.threads=1"]
    )
    sentences, _, target = minibatch_shape(recipe)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with tempfile.TemporaryDirectory() as folder:
        corpus = write_corpus(Path(folder), recipe, max(20_000, 25 * sentences))
        torch.manual_seed(1)
        model = paper.build_model(recipe).to(device)
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        trainer = Trainer(model, paper.build_optimization(model, recipe), corpus, recipe, Path(folder))
        trainer.resume()
        trainer.fit(lambda line: print(line, file=sys.stderr, flush=True))
        log = [entry for entry in read_log(Path(folder)) if "loss" in entry and entry["step"] > warm]
    seconds = sum(warm / entry["updates_per_second"] for entry in log)
    tokens = sum(warm / entry["updates_per_second"] * entry["target_tokens_per_second"] for entry in log)
    count = warm * len(log)
    flops = training_flops(paper, recipe) / (sentences * recipe.batch.accumulate * target)
    result = {
        "system": f"{paper.name}/{name}",
        "precision": precision,
        "updates": count,
        "seconds_per_update": round(seconds / count, 5),
        "target_tokens_per_second": round(tokens / seconds),
        "target_tokens_per_update": round(tokens / count),
        "flops_per_second": flops * tokens / seconds,
        "hours_for_the_paper's_updates": round(paper.recipe(name).train.steps * seconds / count / 3600, 2),
        "first_loss": round(log[0]["loss"], 4),
        "last_loss": round(log[-1]["loss"], 4),
    }
    if device.type == "cuda":
        result["peak_memory_gib"] = round(torch.cuda.max_memory_allocated() / 2**30, 2)
        for card, peaks in PEAKS.items():
            if card in torch.cuda.get_device_name():
                result["share_of_peak"] = round(result["flops_per_second"] / peaks[precision == "bfloat16"], 4)
    return result


def main() -> None:
    """Measure the systems, print a line for each and write the figures."""
    utf8_output()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--updates", type=int, default=60, help="updates that are timed")
    parser.add_argument("--warm", type=int, default=15, help="updates before; also how often the log is written")
    names = [name for _, name in SYSTEMS]
    parser.add_argument("--only", action="append", choices=names, help="a recipe; several times for several")
    parser.add_argument("--out", type=Path, default=RESULT)
    given = parser.parse_args()
    if given.updates % given.warm:
        parser.error("--updates must be a multiple of --warm")
    root, rows, started = Path(__file__).resolve().parent.parent, [], time.monotonic()
    for (paper, name), precision in itertools.product(SYSTEMS, ("float32", "bfloat16")):
        if given.only and name not in given.only:
            continue
        rows.append(measure(paper, name, precision, given.warm, given.updates))
        torch.cuda.empty_cache()
        about = {"seconds": round(time.monotonic() - started, 1), "environment": plain(environment()), **commit(root)}
        write_json(given.out, {"rows": rows, **about})  # after each system, because a later one may not fit into memory
        share = f"{rows[-1]['share_of_peak']:.1%} of peak" if "share_of_peak" in rows[-1] else ""
        print(
            f"{name:14} {precision:9} {1000 * rows[-1]['seconds_per_update']:8.1f} ms an update, "
            f"{rows[-1]['target_tokens_per_second']:9,} target tokens/s, {rows[-1]['flops_per_second']:.2e} FLOP/s, "
            f"{share}, {rows[-1].get('peak_memory_gib', 0)} GiB",
            flush=True,
        )


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
