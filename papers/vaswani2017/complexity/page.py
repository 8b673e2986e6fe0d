"""The page on Table 1 of Vaswani2017: what its authors state beside what was counted and measured here."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from matplotlib.lines import Line2D

from common.errors import UserError
from common.files import write_whole
from common.markdown import table
from common.report import page
from common.report.page import COLOURS
from common.result import Environment, read_typed
from common.yaml_files import read_yaml
from papers.vaswani2017.complexity.layers import (
    CONVOLUTIONAL,
    DILATED,
    KERNEL,
    RECURRENT,
    RESTRICTED_BARE,
    SELF_ATTENTION,
    SELF_ATTENTION_BARE,
    TYPES,
    WINDOW,
    LayerType,
)
from papers.vaswani2017.paper import PAPER

RESULT = PAPER.root / "results" / "complexity.json"
"""The committed measurement (benchmarks/complexity.py). The page stands beside it."""
LARGE = 256
"""Sizes n and d from which on the order of growth should show."""
NEAR = 0.1
"""How far the exponent of a growth in proportion may lie from 1."""
SHOWN = 512
"""The d of the figure and of the tables of time and memory: the base model's."""

Size = tuple[int, int]
"""n and d."""
Row = tuple[str, bool, str]
"""A claim, whether it holds, and the evidence."""


@dataclass(frozen=True, kw_only=True)
class Count:
    """What was counted on the graph of one layer at one length."""

    layer: str
    n: int
    sequential_operations: int
    path_length: int
    layers: int
    """How many of it a path from the last position to the first takes."""


@dataclass(frozen=True)
class Cell:
    """What was measured of one layer at one size."""

    layer: str
    n: int
    d: int
    flops: int
    peak_bytes: int
    seconds: tuple[float, ...]
    """CPU seconds of one call, one value for each round."""

    @property
    def time(self) -> float:
        """The median over the rounds, in seconds."""
        return float(np.median(self.seconds))


@dataclass(frozen=True, kw_only=True)
class Record:
    """A complexity.json."""

    rounds: int
    seed: int
    seconds: float
    cpu_seconds: float
    matmul_flops_per_second: float
    environment: Environment
    commit: str | None
    dirty: bool
    counts: tuple[Count, ...]
    cells: tuple[Cell, ...]


class Measured:
    """A measurement, read back. Raise UserError if the file is missing, damaged or lacks a layer at a size."""

    def __init__(self, path: Path) -> None:
        cure = "measure it: python -m benchmarks.complexity"
        self.record: Record = read_typed(path, Record, "measurement", cure)
        self.cells = self.record.cells
        self.n, self.d = (sorted({getattr(cell, letter) for cell in self.cells}) for letter in "nd")
        self.sizes: list[Size] = [(n, d) for n in self.n for d in self.d]
        whole = {(kind.label, n) for kind in TYPES for n in self.n}
        measured = {(cell.layer, cell.n, cell.d) for cell in self.cells}
        if (
            {(count.layer, count.n) for count in self.record.counts} != whole
            or measured != {(*one, d) for one in whole for d in self.d}
            or min(len(self.n), len(self.d)) < 2
        ):
            raise UserError(f"{path}: lacks a layer type at a size, or has fewer than two n or d; {cure}")
        self.shown = SHOWN if SHOWN in self.d else self.d[-1]

    def of(self, kind: LayerType, least: int = 0) -> list[Cell]:
        """Return what was measured of a layer type at sizes of which both are at least `least`."""
        return [cell for cell in self.cells if cell.layer == kind.label and min(cell.n, cell.d) >= least]

    def at(self, kind: LayerType, n: int, d: int) -> Cell:
        """Return what was measured of a layer type at one size."""
        return next(cell for cell in self.of(kind) if (cell.n, cell.d) == (n, d))

    def by_length(self, kind: LayerType) -> list[Cell]:
        """Return what was measured of a layer type at the d that is shown, in the order of n."""
        return [self.at(kind, n, self.shown) for n in self.n]


def exponents(n: Sequence[float], d: Sequence[float], cost: Sequence[float]) -> tuple[float, float]:
    """Return the exponents a and b of c n^a d^b, fitted to the logarithm of the costs by least squares."""
    known = np.column_stack([np.ones(len(n)), np.log(n), np.log(d)])
    a, b = np.linalg.lstsq(known, np.log(cost), rcond=None)[0][1:]
    return float(a), float(b)


def fitted(cells: Sequence[Cell], costs: Callable[[Cell], Sequence[float]]) -> list[str]:
    """Return the exponents of n and of d as text: the mean over the rounds and, of several, the range.

    costs: what each round gave for a cell. Return empty texts where there are not two sizes of each.
    """
    n, d = [cell.n for cell in cells], [cell.d for cell in cells]
    if min(len({*n}), len({*d})) < 2:
        return ["", ""]
    rounds = np.array([exponents(n, d, cost) for cost in zip(*map(costs, cells), strict=True)])  # (rounds, 2)
    return [
        f"{values.mean():.2f}" + (f" ({values.min():.2f} to {values.max():.2f})" if len(values) > 1 else "")
        for values in rounds.T
    ]


def stated_exponent(order: str, letter: str) -> int:
    """Return the exponent of a letter in an order as reported.yaml writes it: of n in `O(n^2 d)` it is 2."""
    found = re.search(rf"\b{letter}(?:\^(\d))?", order.removeprefix("O"))
    return int(found[1] or 1) if found else 0


def write_page(path: Path = RESULT) -> None:
    """Write the page and the figure beside a measurement."""
    measured = Measured(path)
    stated = read_yaml(PAPER.root / "reported.yaml")["tables"]["table1"]["rows"]
    figure = path.with_suffix(".png")
    parts = [
        f"# Table 1: complexity, sequential operations and path length\n\n{PAPER.citation}",
        "What §4 states, beside what was counted and measured here. The layers are in "
        "`papers/vaswani2017/complexity/layers.py`.",
        f"## Complexity per layer\n\n{growth_table(measured, stated)}\n\n{GROWTH_NOTE}",
        f"## Sequential operations\n\n{sequential_table(measured, stated)}\n\n{SEQUENTIAL_NOTE}",
        f"## Maximum path length\n\n{path_table(measured, stated)}\n\n{PATH_NOTE}",
        f"## Time and memory\n\n![Cost by length]({figure.name})\n\n{caption(measured)}",
        length_table(measured, lambda cell: f"{1000 * cell.time:,.3g}", "CPU ms"),
        length_table(measured, lambda cell: f"{cell.peak_bytes / 2**20:,.1f}", "MiB"),
        COST_NOTE,
        f"## Self-attention or recurrence\n\n{RIVALS_NOTE}\n\n{rivals_table(measured)}",
        f"## What §4 concludes\n\n{claims_table(measured)}\n\n{CLAIMS_NOTE}",
        "## Where the exponents are not those of the order\n\n"
        + "\n".join(f"- {reason}" for reason in departures(measured)),
        provenance(measured),
    ]
    write_whole(figure, page.png(drawing(measured, stated)))
    write_whole(path.with_suffix(".md"), "\n\n".join(parts) + "\n")


GROWTH_NOTE = (
    "The exponents are those of c n^a d^b, fitted to the logarithms over all sizes, for “large” over n and d from "
    f"{LARGE} on. Those of time are the mean over the rounds and their range. FLOPs are those of matrix products, "
    "counted as they ran (`torch.utils.flop_counter`); a multiply-add counts as two. The paper's order of "
    "self-attention leaves out its four projections, 8 n d² FLOPs. So do the rows without projections: Eq. (1) alone."
)
SEQUENTIAL_NOTE = (
    "The longest chain of matrix products within one layer, each of which needs the one before, on the autograd graph. "
    "It is walked with d = 2: neither this nor the path below depends on d."
)
PATH_NOTE = (
    "The fewest matrix products that a gradient of the last position's output passes until it reaches the first "
    "position's input, found by carrying it down the autograd graph, and how many layers that takes. Of the k "
    "positions that a convolution reads the last is its own. Restricted self-attention reads (r - 1) / 2 positions "
    "before its own, rounded down, and the others after it. Table 1 states the path of dilated convolutions; O(n/k) "
    "is from the text of §4."
)
COST_NOTE = (
    "One forward pass of one sequence without gradients: median CPU time of the rounds, and the most memory that "
    "PyTorch's allocator held at once, without input and weights. The dilated convolution is the topmost of a stack "
    "that connects n positions. The process keeps the memory that is freed: new pages are no part of the time."
)
RIVALS_NOTE = (
    "§4 says that self-attention is faster than a recurrent layer where n is smaller than d. Here is at how many of "
    "the measured sizes it takes less than the recurrent layer."
)

CLAIMS_NOTE = (
    "`holds` is at every size of the measurement, `fails` is else. A path grows in proportion to n if its fitted "
    f"exponent lies within {NEAR:g} of 1, and a cost is k times another within {NEAR / 2:.0%}. The text of §4 is in "
    "our words. Rows without projections are Eq. (1) alone, which is what the orders of Table 1 count. The recurrence "
    "has two matrices, one for its input and one for its state, so a convolution has k / 2 times its FLOPs. Of "
    "separable convolutions, O(k n d + n d²), there is no layer here. With k = n these are the orders of "
    "self-attention and of a feed-forward layer, n² d and n d², as §4 says."
)


def growth_table(measured: Measured, stated: dict[str, Any]) -> str:
    """Return for each layer type FLOPs and time as orders of n and d, stated and fitted."""
    header = ["layer", "stated", "FLOPs"]
    for letter in "nd":
        header += [f"{letter}: {what}" for what in ("stated", "FLOPs", "time (range)", "time, large (range)")]
    rows = []
    for kind in TYPES:
        order = stated[kind.row]["complexity"]
        fits = [
            [str(stated_exponent(order, letter)) for letter in "nd"],
            fitted(measured.of(kind), lambda cell: [cell.flops]),
            fitted(measured.of(kind), lambda cell: cell.seconds),
            fitted(measured.of(kind, LARGE), lambda cell: cell.seconds),
        ]
        rows.append([kind.label, order, kind.formula, *(fit[0] for fit in fits), *(fit[1] for fit in fits)])
    return table(header, rows, right=range(3, len(header)))


def sequential_table(measured: Measured, stated: dict[str, Any]) -> str:
    """Return the sequential operations of each layer type by n, beside the stated order."""
    return count_table(
        measured, lambda kind: stated[kind.row]["sequential"], lambda count: f"{count.sequential_operations:,}"
    )


def path_table(measured: Measured, stated: dict[str, Any]) -> str:
    """Return the path length of each layer type by n, and the layers if it takes several, beside the stated order."""

    def shown(count: Count) -> str:
        """Return the text of a cell."""
        return f"{count.path_length:,}" + (f" ({count.layers:,} layers)" if count.layers > 1 else "")

    return count_table(measured, lambda kind: stated[kind.row][kind.path], shown)


def count_table(measured: Measured, stated: Callable[[LayerType], str], shown: Callable[[Count], str]) -> str:
    """Return what was counted on the graphs of each layer type by n, beside what is stated."""
    counts = {(count.layer, count.n): count for count in measured.record.counts}
    rows = [[kind.label, stated(kind), *(shown(counts[kind.label, n]) for n in measured.n)] for kind in TYPES]
    header = ["layer", "stated", *(f"n = {n:,}" for n in measured.n)]
    return table(header, rows, right=range(2, len(header)))


def length_table(measured: Measured, show: Callable[[Cell], str], unit: str) -> str:
    """Return a cost of each layer type by n, at the d that is shown."""
    rows = [[kind.label, *map(show, measured.by_length(kind))] for kind in TYPES]
    header = [f"{unit}, d = {measured.shown}", *(f"n = {n:,}" for n in measured.n)]
    return table(header, rows, right=range(1, len(header)))


COSTS: dict[str, Callable[[Cell], float]] = {"FLOPs": lambda cell: cell.flops, "time": lambda cell: cell.time}
"""What two layers are compared by."""


def cheaper(measured: Measured, kind: LayerType, rival: LayerType, cost: str, sizes: Sequence[Size]) -> str:
    """Return at how many of the sizes a layer type costs less than another: `3 of 11`."""
    less = sum(COSTS[cost](measured.at(kind, *size)) < COSTS[cost](measured.at(rival, *size)) for size in sizes)
    return f"{less} of {len(sizes)}"


def rivals_table(measured: Measured) -> str:
    """Return at how many sizes self-attention costs less than the recurrent layer, where n < d, n = d and n > d."""
    groups = {
        "n < d": [(n, d) for n, d in measured.sizes if n < d],
        "n = d": [(n, d) for n, d in measured.sizes if n == d],
        "n > d": [(n, d) for n, d in measured.sizes if n > d],
    }
    columns = [(cost, kind) for cost in COSTS for kind in (SELF_ATTENTION_BARE, SELF_ATTENTION)]
    rows = [
        [group, *(cheaper(measured, kind, RECURRENT, cost, sizes) for cost, kind in columns)]
        for group, sizes in groups.items()
    ]
    header = ["sizes", *(f"{name}: {kind.label}" for name, kind in columns)]
    return table(header, rows, right=range(1, len(header)))


def claims_table(measured: Measured) -> str:
    """Return what §4 concludes, with a verdict and what it rests on."""

    def counted(kind: LayerType, what: str) -> list[int]:
        """Return what was counted on the graphs of a layer type, by n."""
        return [getattr(count, what) for count in measured.record.counts if count.layer == kind.label]

    def grows(kind: LayerType, what: str) -> str:
        values = counted(kind, what)
        return f"{kind.label}: {values[0]:,} to {values[-1]:,}"

    chains, paths, layers = "sequential_operations", "path_length", "layers"
    constant = {what: len({*counted(SELF_ATTENTION, what)}) == 1 for what in (chains, paths)}
    linear = {what: counted(RECURRENT, what) == measured.n for what in (chains, paths)}
    needed = [math.ceil(round(math.log(n, KERNEL), 9)) for n in measured.n]
    paths_by_n = [
        (letter, kind, float(np.polyfit(np.log(measured.n), np.log(counted(kind, paths)), 1)[0]))
        for letter, kind in (("k", CONVOLUTIONAL), ("r", RESTRICTED_BARE))
    ]
    rows: list[Row] = [
        (
            "Self-attention takes a constant number of sequential operations, a recurrence n",
            constant[chains] and linear[chains],
            f"{grows(SELF_ATTENTION, chains)}; {grows(RECURRENT, chains)}",
        ),
        (
            "Its longest path is constant, and a recurrence's is n",
            constant[paths] and linear[paths],
            f"{grows(SELF_ATTENTION, paths)}; {grows(RECURRENT, paths)}",
        ),
        (
            f"Convolutions of k = {KERNEL} connect all positions in log_k n layers if they are dilated",
            counted(DILATED, layers) == needed,
            f"{grows(DILATED, layers)} layers, where log_k n, rounded up, is {needed[0]} to {needed[-1]}",
        ),
        *(
            (
                f"Longest paths grow as n / {letter}: {kind.label}",
                abs(slope - 1) < NEAR,
                f"{grows(kind, paths)}, n to the power of {slope:.2f}",
            )
            for letter, kind, slope in paths_by_n
        ),
        *cost_claims(measured),
    ]
    header = ["claim", "verdict", "evidence"]
    return table(header, [[claim, "holds" if holds else "fails", evidence] for claim, holds, evidence in rows])


def cost_claims(measured: Measured) -> list[Row]:
    """Return what §4 concludes of costs, whether it holds, and the evidence."""
    short = [(n, d) for n, d in measured.sizes if n < d]
    compared = [
        (cost, kind, cheaper(measured, kind, RECURRENT, cost, short))
        for kind in (SELF_ATTENTION_BARE, SELF_ATTENTION)
        for cost in COSTS
    ]
    every = f"{len(short)} of {len(short)}"
    ratio = {
        name: [cost(measured.at(CONVOLUTIONAL, *size)) / cost(measured.at(RECURRENT, *size)) for size in measured.sizes]
        for name, cost in COSTS.items()
    }
    return [
        *(
            (f"Where n < d, self-attention costs less than a recurrence: {kind.label}, {cost}", less == every, less)
            for cost, kind, less in compared
        ),
        *(
            (
                f"A convolution costs k = {KERNEL} times what a recurrence costs: {name}",
                all(abs(value - KERNEL) < NEAR / 2 * KERNEL for value in values),
                f"{min(values):.2f} to {max(values):.2f} times",
            )
            for name, values in ratio.items()
        ),
    ]


def departures(measured: Measured) -> list[str]:
    """Return why exponents of FLOPs and time are not those of the order, with the figures that show it."""
    n, d = measured.n, measured.d
    largest = f"n = {n[-1]:,}, d = {d[-1]:,}"
    alone, near = (measured.at(kind, n[-1], d[-1]) for kind in (SELF_ATTENTION_BARE, RESTRICTED_BARE))
    step = [1e6 * measured.at(RECURRENT, n[-1], width).time / n[-1] for width in (d[0], d[-1])]
    short = [1000 * measured.at(CONVOLUTIONAL, length, d[-1]).time for length in n[:2]]
    return [
        "Self-attention: while n < 2 d its projections have more FLOPs than the rest. It grows as n d² there, and as "
        f"n² d far beyond. Restricted self-attention grows as n d² wherever d is well above r / 2 = {WINDOW // 2}.",
        f"At {largest} self-attention without its projections makes {giga(alone.flops / alone.time)}, and square "
        f"matrix products make {giga(measured.record.matmul_flops_per_second)}. The softmax reads and writes a "
        "number for each head and each pair of positions, which takes time and is no matrix product.",
        f"Restricted self-attention without its projections makes {giga(near.flops / near.time)} there. It copies r "
        "keys and r values for each position and multiplies them by one query.",
        f"Recurrent: at n = {n[-1]:,} a step takes {step[0]:.3g} µs with d = {d[0]} and {step[1]:.3g} µs with d = "
        f"{d[-1]:,}. That is x{step[1] / step[0]:.3g}, where d² grows x{(d[-1] / d[0]) ** 2:,.0f}. With small d it is "
        "the time of Python's loop and its calls. With large d each step reads the matrix U again, for one vector.",
        f"Convolutional: k d² weights are read whatever n is. With d = {d[-1]:,} it takes {short[0]:.3g} ms at n = "
        f"{n[0]} and {short[1]:.3g} ms at n = {n[1]}. PyTorch also has one program for small convolutions and another "
        "for large ones.",
    ]


def giga(rate: float) -> str:
    """Return a rate in FLOP/s as text."""
    return f"{rate / 1e9:.3g} GFLOP/s"


def provenance(measured: Measured) -> str:
    """Return the line on how the measurement was made."""
    record, environment = measured.record, measured.record.environment
    commit = "no commit" if record.commit is None else f"commit {record.commit[:7]}"
    changed = " with changes that nobody committed" if record.dirty else ""
    return (
        f"Measured by {commit}{changed} on {environment.hardware}, {environment.threads} thread, PyTorch "
        f"{environment.torch}, seed {record.seed}, {record.rounds} rounds over all sizes, in "
        f"{record.seconds / 60:.1f} minutes, {record.cpu_seconds / record.seconds:.0%} of them on the CPU."
    )


def caption(measured: Measured) -> str:
    """Return what the figure shows."""
    return (
        f"FLOPs and CPU time of one layer by n, at d = {measured.shown}. Dashed: the variant of the same colour. Thin "
        "and dotted: the order that the paper states, through the last point."
    )


STYLES = {
    "self-attention": (COLOURS[0], "o"),
    "recurrent": (COLOURS[1], "s"),
    "convolutional": (COLOURS[2], "^"),
    "restricted": (COLOURS[3], "D"),
}
"""Colour and marker of each row of Table 1."""


def drawing(measured: Measured, stated: dict[str, Any]) -> Drawing:
    """Draw FLOPs and time against n, both logarithmic, with the stated orders."""
    figure = Drawing(figsize=(9.5, 5.2), layout="constrained")
    left, right = figure.subplots(1, 2, sharex=True)
    curves(left, measured, stated, lambda cell: float(cell.flops))
    curves(right, measured, stated, lambda cell: cell.time)
    for axes, title in ((left, "FLOPs of matrix products"), (right, "CPU seconds")):
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xticks(measured.n, [f"{n:,}" for n in measured.n])
        axes.set_xlabel("n, positions")
        axes.set_title(f"{title}, d = {measured.shown}", fontsize=10)
        axes.grid(alpha=0.25)
    handles, labels = left.get_legend_handles_labels()
    handles.append(Line2D([], [], color="#555555", linestyle=":", linewidth=0.9))
    figure.legend(handles, [*labels, "order stated in Table 1"], loc="outside lower center", ncols=3, frameon=False)
    return figure


def curves(axes: Axes, measured: Measured, stated: dict[str, Any], cost: Callable[[Cell], float]) -> None:
    """Draw a cost of each layer type by n, and its stated order through the last point."""
    n = np.array(measured.n, dtype=float)
    seen: set[str] = set()
    for kind in TYPES:
        colour, marker = STYLES[kind.row]
        values = np.array([cost(cell) for cell in measured.by_length(kind)])
        line = "--" if kind.row in seen else "-"
        filled = "white" if kind.row in seen else colour
        axes.plot(n, values, line, color=colour, marker=marker, markersize=5, markerfacecolor=filled, label=kind.label)
        order = values[-1] * (n / n[-1]) ** stated_exponent(stated[kind.row]["complexity"], "n")
        axes.plot(n, order, ":", color=colour, linewidth=0.9)
        seen.add(kind.row)
