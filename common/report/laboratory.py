"""The BLEU laboratory as tables and as a drawing: scores by protocol, and the waterfall from one to another."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure as Drawing

from common.markdown import table
from common.report.page import COLOURS
from common.score.laboratory import FACTORS, METRIC, OF_TODAY, PROTOCOLS, Waterfall
from common.score.significance import chance

Plain = Mapping[str, Any]
"""A score or a difference as plain values (common.score.laboratory)."""


def interval(value: Plain) -> str:
    """Return a score with its interval as text."""
    return f"{value['score']:.2f} ({value['low']:.2f} to {value['high']:.2f})"


def difference(value: Plain) -> str:
    """Return a difference with its interval and p as text."""
    return f"{value['difference']:+.2f} ({value['low']:+.2f} to {value['high']:+.2f}), p {chance(value['p'])}"


def protocol_table(scores: Mapping[str, Plain], others: Mapping[str, Plain], differences: Mapping[str, Plain]) -> str:
    """Return an output's score by every protocol.

    others, differences: the scores of another output and the differences from them, or nothing.
    """
    header, rows = ["protocol", "used by", "score (95%)"], []
    if differences:
        header += ["the other's (95%)", "difference (95%), p"]
    for key, value in scores.items():
        rows.append([PROTOCOLS[key].label, PROTOCOLS[key].usage, interval(value)])
        if differences:
            rows[-1] += [interval(others[key]), difference(differences[key])]
    return table(header, rows, right=range(2, len(header)))


def signatures(scores: Mapping[str, Plain]) -> str:
    """Return the signature of each protocol's score as a list, with what its tool prints for it."""
    return "\n".join(
        f"- {PROTOCOLS[key].label}: `{value['signature']}`: {value['detail']}" for key, value in scores.items()
    )


Step = tuple[str, Callable[[Waterfall], float]]
"""A step's name and what it adds."""
STEPS: Sequence[Step] = (
    (METRIC, lambda fall: fall.metric),
    *((text, lambda fall, factor=factor: fall.gain(factor)) for factor, text in FACTORS.items()),
)
"""The steps of the waterfall in their order."""


def waterfall_table(falls: Sequence[Waterfall]) -> str:
    """Return what each step adds: to one output, or in the mean of several with the least and the most."""
    several, reached = len(falls) > 1, np.array([fall.start for fall in falls])
    header = ["step, in this order", "adds", *["over the outputs"] * several, "in any order", "BLEU then"]
    rows = [[OF_TODAY, "", *[""] * several, "", f"{reached.mean():.2f}"]]
    for (name, gain), factor in zip(STEPS, (None, *FACTORS), strict=True):
        gains = np.array([gain(fall) for fall in falls])
        reached = reached + gains
        row = [name, _signed(gains.mean())]
        if several:
            row.append(f"{_signed(gains.min())} to {_signed(gains.max())}")
        ranges = np.array([fall.range(factor) for fall in falls]).mean(axis=0) if factor else None
        row.append("" if ranges is None else f"{_signed(ranges[0])} to {_signed(ranges[1])}")
        rows.append([*row, f"{reached.mean():.2f}"])
    return table(header, rows, right=range(1, len(header)))


def _signed(value: float) -> str:
    """Return a gain with its sign. A gain that rounds to nothing has none."""
    return f"{value:+.2f}" if abs(value) >= 0.005 else "0.00"


def waterfall_drawing(falls: Sequence[Waterfall]) -> Drawing:
    """Draw the waterfall: of one output, or of the mean of several with a dot for what a step adds to each."""
    names = [OF_TODAY, *(name for name, _ in STEPS), "all of these"]
    starts = np.array([fall.start for fall in falls])
    gains = np.array([[gain(fall) for _, gain in STEPS] for fall in falls])  # (outputs, steps)
    levels = starts.mean() + np.concatenate([[0.0], gains.mean(axis=0).cumsum()])
    figure = Drawing(figsize=(9, 4.2), layout="constrained")
    axes = figure.add_subplot()
    rows = range(len(names))
    bars = [(0.0, levels[0]), *zip(levels[:-1], levels[1:], strict=True), (0.0, levels[-1])]
    for row, (low, high) in zip(rows, bars, strict=True):
        total = row in (0, len(names) - 1)
        colour = "#777777" if total else COLOURS[0] if high >= low else COLOURS[1]
        axes.barh(row, high - low, left=low, color=colour, height=0.62)
        text = f"{high:.2f}" if total else _signed(high - low)
        axes.annotate(text, (max(low, high), row), xytext=(5, 0), textcoords="offset points", va="center", fontsize=9)
    for step, low in enumerate(levels[:-1]):
        axes.plot([low, low], [step + 0.31, step + 0.69], color="#777777", linewidth=0.8)
        if len(falls) > 1:  # where each output would be if only this step's gain were its own
            axes.plot(low + gains[:, step], [step + 1.42] * len(falls), "|", color="#333333", markersize=5, alpha=0.7)
    reached = [*levels, *(low + gain for step, low in enumerate(levels[:-1]) for gain in gains[:, step])]
    margin = 0.15 * (max(reached) - min(reached)) + 0.1
    axes.set_xlim(min(reached) - margin, max(reached) + margin)
    axes.set_yticks(list(rows), names)
    axes.invert_yaxis()
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel("BLEU" if len(falls) == 1 else f"BLEU, mean of {len(falls)} outputs; ticks: each output's step")
    return figure
