"""Pictures for notebooks: matrices and curves, several side by side. They take few bytes: a notebook keeps them all."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from IPython.display import Image
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from matplotlib.ticker import NullFormatter, StrMethodFormatter
from PIL import Image as Pixels

from common.report.page import COLOURS, Section, png

Labels = Sequence[str] | Mapping[str, Sequence[str]]
"""Names of columns or rows: for all panels, or by the titles of those that show them. Without any there are numbers."""
WIDTH = 9.0
"""Inches: the widest picture."""
HEIGHT = 4.0
"""Inches: the highest matrix."""
CELL = 0.36
"""Inches: the largest cell of a matrix."""
FEW = 20
"""The most points of a curve that are marked."""
STYLES = ("-", "--", ":")
"""How a curve is drawn that lies over none, over one, over two earlier ones: they are seen through its gaps."""
LETTER = 0.085
"""Inches: about the width of a letter of a label."""


def image(picture: bytes, alt: str) -> Image:
    """Return a PNG as a notebook shows it, in few colours. `alt` describes it for readers who cannot see it."""
    return Image(few_colours(picture), retina=True, alt=alt)


def few_colours(picture: bytes) -> bytes:
    """Return a PNG in at most 256 colours. A drawing then takes a third of the bytes."""
    buffer = io.BytesIO()
    pixels = Pixels.open(io.BytesIO(picture)).convert("RGB")
    pixels.quantize(256, Pixels.Quantize.MEDIANCUT, dither=Pixels.Dither.NONE).save(buffer, "png", optimize=True)
    return buffer.getvalue()


def lighter(section: Section) -> Section:
    """Return the section with its figures in few colours."""
    return replace(section, figures=[replace(one, png=few_colours(one.png)) for one in section.figures])


def heat(
    panels: Mapping[str, Any],
    alt: str,
    across: Labels = (),
    down: Labels = (),
    *,
    most: float | None = None,
    signed: bool = False,
    numbers: bool = False,
) -> Image:
    """Return matrices as pictures side by side, by title: the darker, the larger.

    across, down: names of the columns and of the rows. numbers: whether to write the values into the cells.
    most: the value that is darkest, by default the largest of each matrix. signed: red is above 0 and blue below.
    """
    matrices = {title: np.asarray(panel, dtype=float) for title, panel in panels.items()}
    columns = [matrix.shape[1] for matrix in matrices.values()]
    left = [max(map(len, [*_names(down, title), "00"])) * LETTER + 0.3 for title in matrices]
    below = max(len(name) for title in matrices for name in [*_names(across, title), "0"]) * LETTER + 0.2
    rows = max(map(len, matrices.values()))
    cell = min(CELL, (WIDTH - sum(left)) / sum(columns), HEIGHT / rows)
    size = (sum(left) + cell * sum(columns), cell * rows + below + 0.4)
    drawing = Drawing(figsize=size, layout="compressed")
    row = drawing.subplots(1, len(matrices), squeeze=False, width_ratios=columns)[0]
    for axes, (title, matrix) in zip(row, matrices.items(), strict=True):
        top = most or max(float(abs(matrix).max()), 1e-9)
        map_name, low = ("RdBu_r", -top) if signed else ("Blues", 0.0)
        axes.imshow(matrix, cmap=map_name, vmin=low, vmax=top, interpolation="nearest")
        axes.set_title(title, fontsize=10)
        axes.tick_params(length=0, labelsize=9)
        _label(axes, across, down, title)
        if numbers:
            _write(axes, matrix, top)
    return image(png(drawing), alt)


def _names(labels: Labels, title: str) -> Sequence[str]:
    """Return the names that a panel shows."""
    return labels.get(title, ()) if isinstance(labels, Mapping) else labels


def _label(axes: Axes, across: Labels, down: Labels, title: str) -> None:
    """Name the columns and the rows. Where only other panels show names, show nothing."""
    for labels, place, turn in ((across, axes.set_xticks, 90), (down, axes.set_yticks, 0)):
        names = _names(labels, title)
        if labels:
            short = max(map(len, [*names, ""])) <= 2
            place(range(len(names)), names, rotation=0 if short else turn, parse_math=False)


def _write(axes: Axes, matrix: npt.NDArray[np.float64], top: float) -> None:
    """Write the values into the cells. top: the value of the darkest."""
    for (row, column), value in np.ndenumerate(matrix):
        colour = "white" if abs(value) > 0.6 * top else "black"
        axes.text(column, row, f"{value:.2g}", ha="center", va="center", fontsize=8, color=colour)


def plot(panels: Mapping[str, Mapping[str, Any]], alt: str, *, log: str = "") -> Image:
    """Return curves as pictures side by side.

    panels: by `title | name of x | name of y`, the curves by name. A curve is (x, y), or y at 1, 2, 3, ...
    log: `x`, `y` or `xy`: what is logarithmic.
    """
    drawing = Drawing(figsize=(WIDTH if len(panels) > 1 else 6.5, 2.8), layout="constrained")
    labels = {tuple(curves) for curves in panels.values()}
    alike = len(labels) == 1 and len(*labels) > 1
    styles = _styles(panels.values())
    for axes, (names, curves) in zip(drawing.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        title, x_name, y_name = (part.strip() for part in names.split("|"))
        for (label, curve), colour in zip(curves.items(), COLOURS, strict=False):
            x, y = _points(curve)
            axes.plot(x, y, STYLES[styles[label]], color=colour, label=label, marker="." if len(x) <= FEW else "")
        axes.set(xlabel=x_name, ylabel=y_name)
        _logarithmic(axes, log, x)
        axes.set_title(title, fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
        if not alike and len(curves) > 1:
            axes.legend(frameon=False, fontsize=9)
    if alike:
        axes.legend(frameon=False, fontsize=9, loc="upper left", bbox_to_anchor=(1, 1))  # where it hides nothing
    return image(png(drawing), alt)


def _points(curve: Any) -> tuple[Sequence[float], Sequence[float]]:
    """Return x and y of a curve that is (x, y), or y at 1, 2, 3, ..."""
    return curve if isinstance(curve, tuple) else (range(1, len(curve) + 1), curve)


def _styles(panels: Iterable[Mapping[str, Any]]) -> Counter[str]:
    """Return over how many earlier curves each curve lies somewhere, by name: one number for all panels."""
    styles: Counter[str] = Counter()
    for curves in panels:
        drawn: Counter[Any] = Counter()
        for label, curve in curves.items():
            pieces = set(pairwise(zip(*(map(float, values) for values in _points(curve)), strict=True)))
            below = max((drawn[piece] for piece in pieces), default=0)
            styles[label] = min(max(styles[label], below), len(STYLES) - 1)
            drawn.update(pieces)
    return styles


def _logarithmic(axes: Axes, letters: str, x: Sequence[float]) -> None:
    """Make axes logarithmic, with plain numbers. x: a few values get a mark each."""
    for letter in letters:
        axes.set(**{f"{letter}scale": "log"})
        axis = axes.xaxis if letter == "x" else axes.yaxis
        axis.set_major_formatter(StrMethodFormatter("{x:,g}"))
        axis.set_minor_formatter(NullFormatter())
    if "x" in letters and len(x) <= FEW:
        axes.set_xticks(x)
        axes.xaxis.minorticks_off()
