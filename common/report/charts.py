"""Learning curves as SVG for the HTML report: in its colours, and each point says its value."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import takewhile
from operator import eq

from matplotlib.ticker import MaxNLocator

from common.report.provenance import button
from common.report.results import Result
from common.result import Measured

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 460, 270, 40, 28, 10, 36
"""Size of a chart and of its margins, in units of the drawing."""
COLOURS = 8
"""Colours that web.css has for lines. Further lines are dashed."""


def learning_curves(runs: Sequence[Result]) -> str:
    """Return a chart for each corpus and vocabulary, whose likelihoods per token compare. Nothing without curves."""
    groups: dict[str, list[Result]] = {}
    for run in runs:
        if len(run.file.training.dev_curve) > 1:
            text = run.recipe["text"]
            title = f"{run.pair}, vocabulary of {text['vocabulary_size']:,} ({text['segmentation']})"
            groups.setdefault(title, []).append(run)
    return "\n".join(_figure(title, group) for title, group in groups.items())


def _figure(title: str, runs: Sequence[Result]) -> str:
    """Return a chart with its title and legend."""
    title = html.escape(title)
    classes = [f"c{i % COLOURS}{' second' if i >= COLOURS else ''}" for i in range(len(runs))]
    names = [html.escape(run.title + (f", seed {run.seed}" if run.label != run.system else "")) for run in runs]
    points = [point for run in runs for point in run.file.training.dev_curve]
    nats = [point.dev_nll_per_token for point in points]
    scale = Scale(max(point.step for point in points), MaxNLocator(5).tick_values(min(nats), max(nats)))
    named = zip(classes, runs, names, strict=True)
    legend = "".join(f'<li class="{own}">{button(run, name)}</li>' for own, run, name in named)
    shown = [_own_course(runs, i) for i in range(len(runs))]
    drawn = "\n".join([*_axes(scale), *map(partial(_line, scale), classes, shown, names)])
    return (
        f'<figure><h4>{title}</h4><ul class="legend">{legend}</ul>\n<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'role="img" aria-label="Learning curves, {title}">\n{drawn}\n</svg><output></output>\n'
        "<figcaption>Negative log-likelihood of the development set, nats per target token, against updates. Each dot "
        "is a validation. Where two trainings have the same beginning, the longer is drawn from where the shorter "
        "ends.</figcaption></figure>"
    )


def _own_course(runs: Sequence[Result], i: int) -> Sequence[Measured]:
    """Return the points of a run, of those that it shares with a shorter run's beginning the last one only.

    A training that goes on from another's checkpoint has its points too, and would hide them.
    """
    curves = [run.file.training.dev_curve for run in runs]
    own, others = curves[i], [other for j, other in enumerate(curves) if (len(other), j) < (len(curves[i]), i)]
    shared = max((sum(takewhile(bool, map(eq, own, other))) for other in others), default=0)
    return own[max(0, shared - 1) :]


@dataclass(frozen=True)
class Scale:
    """Where updates and nats are in a chart."""

    steps: int
    """Updates at the right end."""
    ticks: Sequence[float]
    """Nats that have a grid line, from the lowest to the highest."""

    def x(self, step: float) -> float:
        """Return how far right an update is."""
        return LEFT + (WIDTH - LEFT - RIGHT) * step / self.steps

    def y(self, nats: float) -> float:
        """Return how far down a likelihood is."""
        return TOP + (HEIGHT - TOP - BOTTOM) * (self.ticks[-1] - nats) / (self.ticks[-1] - self.ticks[0])


def _axes(scale: Scale) -> list[str]:
    """Return grid lines and numbers."""
    lines = []
    for nats in scale.ticks:
        y = scale.y(nats)
        lines.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        lines.append(f'<text x="{LEFT - 5}" y="{y + 4:.1f}" text-anchor="end">{nats:g}</text>')
    for step in MaxNLocator(5).tick_values(0, scale.steps):
        if step <= scale.steps:
            x, y = scale.x(step), HEIGHT - BOTTOM + 15
            lines.append(f'<text x="{x:.1f}" y="{y}" text-anchor="middle">{step:,.0f}</text>')
    return [*lines, f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 4}" text-anchor="middle">updates</text>']


def _line(scale: Scale, colour: str, points: Sequence[Measured], name: str) -> str:
    """Return the curve of a run. An unseen ring around each dot makes it easier to point at."""
    places = [(f"{scale.x(point.step):.1f}", f"{scale.y(point.dev_nll_per_token):.1f}") for point in points]
    dots = "\n".join(
        f"<g><title>{name}: {point.dev_nll_per_token:.3f} nats at {point.step:,} updates</title>"
        f'<circle cx="{x}" cy="{y}" r="2"/><circle class="target" cx="{x}" cy="{y}" r="7"/></g>'
        for point, (x, y) in zip(points, places, strict=True)
    )
    return f'<g class="{colour}"><polyline points="{" ".join(map(",".join, places))}"/>\n{dots}</g>'
