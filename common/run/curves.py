"""RUN/loss.png: a training's loss and the development set's likelihood by update."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from common.recipe import Recipe


def draw_curves(recipe: Recipe, entries: Sequence[dict[str, Any]]) -> bytes:
    """Return the curves as PNG. entries: the lines of the log, of all starts."""
    from matplotlib.figure import Figure  # slow to import, and only wanted at the end of a training
    from matplotlib.ticker import MaxNLocator

    from common.report.page import COLOURS, png

    smoothing = recipe.train.label_smoothing
    curves = {
        "loss": "training loss" + (f", label smoothing {smoothing:g}" if smoothing else ""),
        "dev_nll_per_token": "development set, negative log-likelihood",
    }
    drawing = Figure(figsize=(7.0, 4.2), layout="constrained")
    axes = drawing.add_subplot()
    for (key, label), colour in zip(curves.items(), COLOURS, strict=False):
        points = [(entry["step"], entry[key]) for entry in entries if key in entry]
        # Single points would not show as a line.
        marker = "o" if key != "loss" or len(points) == 1 else None
        axes.plot(*zip(*points, strict=True), color=colour, label=label, marker=marker, markersize=3, linewidth=1.2)
    axes.set_title(recipe.name)
    axes.set_xlabel("updates")
    axes.set_ylabel("nats per target token")
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.xaxis.set_major_formatter(lambda value, place: f"{value:,.0f}")
    axes.grid(alpha=0.3)
    axes.legend()
    return png(drawing)
