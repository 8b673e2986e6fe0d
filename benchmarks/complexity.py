"""FLOPs, CPU time and memory of the layer types of Vaswani2017 Table 1 on one thread, and their paths.

    python -m benchmarks.complexity                          # some minutes, about 5 GiB; writes the committed result
    python -m benchmarks.complexity --n 16 64 256 --d 64 256 --rounds 2 --out /tmp/complexity.json   # a rehearsal

The result goes to papers/vaswani2017/results/complexity.json and the page on it beside it. Each round measures every
layer at every size, so that what changes on the machine spreads over all of them. CPU time does not count what other
programs take, but these slow down memory and caches: run it while nothing else runs.
"""

from __future__ import annotations

import argparse
import ctypes
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from common.files import write_json
from common.progress import progress
from common.run.cli import Parser, guarded, utf8_output
from common.run.folder import REPOSITORY
from common.run.record import commit, environment, matmul_rate
from common.typed import plain
from papers.vaswani2017.complexity.layers import DILATED, TYPES, LayerType
from papers.vaswani2017.complexity.page import RESULT, write_page
from papers.vaswani2017.complexity.paths import layers_to_connect, path_length, sequential_operations

N = (16, 64, 256, 1024, 4096)
D = (64, 128, 256, 512, 1024)
SEED = 1
LEAST = 0.02
"""CPU seconds that a layer is called for, at least."""
NARROW = 2
"""d of the layers whose graphs are walked. The counts do not depend on it."""


def forward_pass(kind: LayerType, n: int, d: int) -> Callable[[], Any]:
    """Return a call of a layer on random input. If dilated it is the topmost of a stack that connects n positions."""
    torch.manual_seed(SEED)
    return partial(kind.build(d, layers_to_connect(n) - 1 if kind is DILATED else 0), torch.randn(1, n, d))


def keep_memory() -> None:
    """Let the C library keep what PyTorch frees. Otherwise the time of large layers is mostly that of new pages."""
    with suppress(AttributeError):  # glibc has this function, other libraries lack it
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(-4, 0)  # M_MMAP_MAX: large blocks come from the heap too
        mallopt(-1, -1)  # M_TRIM_THRESHOLD: the heap does not shrink


def cpu_seconds(call: Callable[[], Any]) -> float:
    """Return the CPU time of a call: the mean of as many as take LEAST, after one that is not timed."""
    call()
    calls, started = 0, time.process_time()
    while (taken := time.process_time() - started) < LEAST or not calls:
        call()
        calls += 1
    return taken / calls


def peak_bytes(call: Callable[[], Any]) -> int:
    """Return the most memory that PyTorch's allocator held at once during a call, besides what it held before."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        call()
    events = (event for event in profiled.profiler.kineto_results.events() if event.name() == "[memory]")
    held = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak


def flops(call: Callable[[], Any]) -> int:
    """Return the FLOPs of the matrix products of a call."""
    with FlopCounterMode(display=False) as counter:
        call()
    return int(counter.get_total_flops())


def counts(lengths: list[int]) -> list[dict[str, Any]]:
    """Return what the graphs of all layer types say at each length."""
    rows = []
    with progress(len(TYPES) * len(lengths), "paths", "graph") as bar:
        for kind in TYPES:
            for n in lengths:
                torch.manual_seed(SEED)
                path, layers = path_length(kind, n, NARROW)
                sequential = sequential_operations(kind.build(NARROW), n, NARROW)
                rows.append(
                    {
                        "layer": kind.label,
                        "n": n,
                        "sequential_operations": sequential,
                        "path_length": path,
                        "layers": layers,
                    }
                )
                bar.update()
    return rows


@torch.no_grad()
def cells(n: list[int], d: list[int], rounds: int) -> list[dict[str, Any]]:
    """Measure all layer types at all sizes."""
    sizes = [(kind, length, width) for kind in TYPES for length in n for width in d]
    rows: list[dict[str, Any]] = []
    with progress(len(sizes) * (rounds + 1), "costs", "layer") as bar:
        for kind, length, width in sizes:
            call = forward_pass(kind, length, width)
            row = {"layer": kind.label, "n": length, "d": width, "flops": flops(call)}
            rows.append({**row, "peak_bytes": peak_bytes(call), "seconds": []})
            bar.update()
        for _ in range(rounds):
            for row, (kind, length, width) in zip(rows, sizes, strict=True):
                call = forward_pass(kind, length, width)
                row["seconds"].append(float(f"{cpu_seconds(call):.4g}"))
                bar.update()
    return rows


def main(arguments: list[str] | None = None) -> None:
    """Count, measure, and write the result and its page."""
    utf8_output()
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, nargs="+", default=[*N], help="sequence lengths")
    parser.add_argument("--d", type=int, nargs="+", default=[*D], help="widths, multiples of 64")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each size")
    parser.add_argument("--out", type=Path, default=RESULT)
    given = parser.parse_args(arguments)
    if min(*given.n, *given.d, given.rounds) < 1 or min(len({*given.n}), len({*given.d})) < 2:
        parser.error("--n and --d take at least two sizes each, which like --rounds are numbers from 1 on")
    if any(width % 64 for width in given.d):
        parser.error("--d takes multiples of 64: each head has 64 dimensions")
    torch.set_num_threads(1)
    keep_memory()
    started, cpu = time.monotonic(), time.process_time()
    made = {"counts": counts(given.n), "cells": cells(given.n, given.d, given.rounds)}
    about = {
        "rounds": given.rounds,
        "seed": SEED,
        "seconds": round(time.monotonic() - started, 1),
        "cpu_seconds": round(time.process_time() - cpu, 1),
        "matmul_flops_per_second": float(f"{matmul_rate(torch.device('cpu')):.4g}"),
        "environment": plain(environment("cpu")),
    }
    write_json(given.out, {**about, **commit(REPOSITORY), **made})
    write_page(given.out)
    print(f"written: {given.out} and {given.out.with_suffix('.md')}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(guarded(main, "python -m benchmarks.complexity"))
