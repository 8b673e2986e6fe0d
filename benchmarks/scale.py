"""Whether WMT14's size is opened, ordered and made into minibatches fast enough and in little memory, on one process.

    python -m benchmarks.scale                     # about three minutes; 4.5 GB in the temporary folder
    python -m benchmarks.scale --pairs 1000000     # a quick look

The ids are random, in as many shards as `prepare` writes, since time and memory depend on lengths only. Lengths are
those of WMT14 English-French in word pieces. They have just been written, so they are read from the system's file
cache: a slow disk is not measured.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.lengths import draw_lengths
from common.errors import UserError
from common.files import write_json
from common.ids import UNK
from common.paper import Paper
from common.prepare.encoded import SIDES, ParallelIds, id_type, shard_name, write_offsets
from common.prepare.preparation import SHARD
from common.recipe import Recipe
from common.run.cli import guarded, utf8_output
from common.run.record import commit, environment
from common.train.batching import load_batch, minibatches
from common.typed import plain
from papers.bahdanau2014.paper import PAPER as BAHDANAU
from papers.vaswani2017.paper import PAPER as VASWANI

ROOT = Path(__file__).resolve().parent.parent
RESULT = Path(__file__).parent / "results" / "scale.json"
"""Where the figures are written."""
WMT14_PAIRS = 40_842_333
"""English-French pairs of WMT14, all parts together."""
SYSTEMS = ((BAHDANAU, "rnnsearch-50"), (VASWANI, "base-enfr"))
"""Recipes whose minibatches are made: pools of 20 x 80 pairs, and one pool an epoch of 25,000 positions."""
OPEN_FILES = 1024
"""The usual soft limit. WMT14 has more shards."""
LOADING = 15.0
"""Seconds for which minibatches are made."""


def write_ids(folder: Path, recipe: Recipe, pairs: int) -> int:
    """Write `pairs` of random ids. Return their bytes."""
    draw, size = np.random.default_rng(1), recipe.text.vocabulary_size
    means, limit = (recipe.estimate.source_tokens, recipe.estimate.target_tokens), recipe.batch.max_length or 255
    lengths: dict[str, list[Any]] = {side: [] for side in SIDES}
    for number, start in enumerate(range(0, pairs, SHARD)):
        count = min(SHARD, pairs - start)
        for side, drawn in zip(SIDES, draw_lengths(draw, count, means, limit), strict=True):
            lengths[side].append(drawn.astype(np.int32))
            ids = draw.integers(UNK + 1, size, size=drawn.sum(), dtype=id_type(size))
            np.save(folder / shard_name("train", side, number), ids)
    for side in SIDES:
        write_offsets(folder, "train", side, lengths[side], pairs)
    return sum(path.stat().st_size for path in folder.iterdir())


def phases(folder: Path, recipe: Recipe) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each phase before it is run, without figures, and after it with them."""
    batching, seed = recipe.batch, recipe.train.seed
    yield "open", {}
    ids = ParallelIds.open(folder, "train", batching.max_length)
    yield "open", {"shards": len(ids.source.shards), "pairs_used": len(ids)}
    yield "first_epoch", {}
    order = minibatches(ids.source_lengths, ids.target_lengths, batching, seed, 0)
    yield "first_epoch", {"minibatches": len(order)}
    yield "next_epoch", {}
    # As in training, the epoch that ends is still held while the next one is ordered.
    following = minibatches(ids.source_lengths, ids.target_lengths, batching, seed, 1)
    yield "next_epoch", {"minibatches": len(following)}
    del following
    yield "load", {}
    tokens, made, started = 0, 0, time.monotonic()
    for indices in order:
        tokens += int(load_batch(ids, indices).target_mask.sum())
        made += 1
        if time.monotonic() - started > LOADING:
            break
    yield "load", {"minibatches": made, "target_tokens": tokens}


def child(connection: Connection, folder: Path, recipe: Recipe) -> None:
    """Run the phases and send the figures of each, with its wall and processor time."""
    torch.set_num_threads(1)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, hard))
    connection.send(("start", {}))
    wall = processor = 0.0
    for phase, figures in phases(folder, recipe):
        if figures:
            figures |= {"seconds": time.monotonic() - wall, "processor_seconds": time.process_time() - processor}
            connection.send((phase, figures))
        wall, processor = time.monotonic(), time.process_time()
    connection.close()


def memory(process: int) -> int:
    """Return the bytes of anonymous memory of a process: without files that are mapped, which the system may drop."""
    lines = Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines()
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon:")), 0)


def measure(paper: Paper, name: str, folder: Path) -> dict[str, Any]:
    """Run the phases in a fresh process, and look at its memory from here every 5 ms."""
    recipe, context = paper.recipe(name), multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=child, args=(theirs, folder, recipe))
    process.start()
    theirs.close()
    result: dict[str, Any] = {"system": f"{paper.name}/{name}"}
    peak = 0
    while True:
        if not ours.poll(0.005):
            peak = max(peak, memory(process.pid or 0))
            continue
        try:
            phase, figures = ours.recv()
        except EOFError:
            break
        figures["peak_memory_mib"] = round(max(peak, memory(process.pid or 0)) / 2**20)
        result[phase], peak = {k: round(v, 3) if isinstance(v, float) else v for k, v in figures.items()}, 0
    process.join()
    if process.exitcode:
        raise UserError(f"{name}: the measuring process ended with status {process.exitcode}")
    load = result["load"]
    load["target_tokens_per_second"] = round(load["target_tokens"] / load["seconds"])
    load["target_tokens_per_processor_second"] = round(load["target_tokens"] / load["processor_seconds"])
    return result


def main() -> None:
    """Write the ids, measure both papers' batching, print a line for each and write the figures."""
    utf8_output()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=WMT14_PAIRS)
    parser.add_argument("--out", type=Path, default=RESULT)
    given = parser.parse_args()
    need = given.pairs * 150  # 2 bytes for each of 64 tokens, and 8 bytes for each side's offset
    if shutil.disk_usage(tempfile.gettempdir()).free < need:
        raise UserError(
            f"{tempfile.gettempdir()}: less than {need / 1e9:.1f} GB are free; set TMPDIR to another folder"
        )
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        size = write_ids(folder, VASWANI.recipe("base-enfr"), given.pairs)
        writing = round(time.monotonic() - started, 1)
        print(f"{given.pairs:,} pairs, {size / 1e9:.2f} GB, written in {writing} s", flush=True)
        rows = []
        for paper, system in SYSTEMS:
            rows.append(row := measure(paper, system, folder))
            print(
                f"{system:13} open {row['open']['seconds']:.1f} s, "
                f"an epoch's order {row['first_epoch']['seconds']:.1f} s, "
                f"{row['next_epoch']['peak_memory_mib']:,} MiB, "
                f"{row['load']['target_tokens_per_second']:,} target tokens/s",
                flush=True,
            )
    about = {"seconds": round(time.monotonic() - started, 1), "environment": plain(environment("cpu")), **commit(ROOT)}
    write_json(given.out, {"pairs": given.pairs, "bytes": size, "writing_seconds": writing, "rows": rows, **about})


if __name__ == "__main__":
    sys.exit(guarded(main, "python -m benchmarks.scale"))
