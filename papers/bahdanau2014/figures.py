"""Figures 2 and 3 of Bahdanau2014, drawn from results and attention maps."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing

from common.report.page import COLOURS, Figure, png
from common.report.results import Result
from common.report.tables import text_of
from common.result import Example
from common.score.by_length import FEWEST, sliding_bleu

CURVES = {
    "rnnsearch-50": (COLOURS[0], "-"),
    "rnnsearch-30": (COLOURS[4], "--"),
    "rnnencdec-50": (COLOURS[1], "-"),
    "rnnencdec-30": (COLOURS[5], "--"),
}
"""The four systems of Figure 2 in the order of its legend. Colour by model, broken lines for the shorter length
limit."""
PAPER_WINDOW = 10
"""Lengths that are pooled around each point in the similar figure of Cho et al. 2014b. This paper gives no number."""

LAST = 60
"""Longest length of the figure's axis, as in the paper. Beyond it curves would rest on a handful of sentences."""


def window(lengths: np.ndarray) -> int:
    """Return the width of the smoothing window.

    It is the paper's 10 if sentences reach 60 words, as the paper's do, and proportionally smaller on shorter text.
    """
    return int(np.clip(round(float(lengths.max()) * PAPER_WINDOW / 60), 2, PAPER_WINDOW))


def bleu_by_length(results: Mapping[str, Result]) -> Figure | None:
    """Draw Figure 2 "BLEU scores ... with respect to the lengths of the sentences". Return None without runs."""
    shown = {system: results[system] for system in CURVES if system in results}
    if not shown:
        return None
    first = next(iter(shown.values())).all
    width = window(first.lengths)
    drawing = Drawing(figsize=(7.2, 4.9), layout="constrained")
    above, below = drawing.subplots(2, 1, sharex=True, height_ratios=(5, 1))
    for system, result in shown.items():
        colour, style = CURVES[system]
        curve = sliding_bleu(result.all.counts, result.all.lengths, width, LAST)
        if curve:
            above.plot(*zip(*curve, strict=True), color=colour, linestyle=style, linewidth=2, label=result.title)
    longest = min(int(first.lengths.max()), LAST)
    _cutoffs(above, shown, longest)
    above.set(ylabel="BLEU (all sentences)", ylim=(0, None), xlim=(0, longest + 1))
    drawing.legend(*above.get_legend_handles_labels(), loc="outside upper center", ncols=4, frameon=False)
    lengths, counts = np.unique(first.lengths[first.lengths <= LAST], return_counts=True)
    below.bar(lengths, counts, color="#999999", width=0.9)
    below.set(xlabel="Source length (words)", ylabel="sentences")
    for axes in (above, below):
        axes.spines[["top", "right"]].set_visible(False)
    above.grid(axis="y", color="#dddddd", linewidth=0.8)
    caption = (
        f"BLEU against the length of the source sentence, pooled over a sliding window of {width} lengths (the paper's "
        f"smoothing is not stated; the like figure of Cho et al. 2014b pools {PAPER_WINDOW}); windows of fewer than "
        f"{FEWEST} sentences are left out, and so is what is longer than {LAST} words. Dotted: the longest sentence in "
        f"training. Below: test sentences of each length. Text: {text_of(shown)}."
    )
    return Figure("bleu-by-length", "Figure 2: BLEU by sentence length", caption, png(drawing))


def _cutoffs(axes: Axes, results: Mapping[str, Result], longest: int) -> None:
    """Draw a dotted line at each length limit of the training pairs, as far as the axis reaches."""
    limits = {result.recipe["batch"]["max_length"] for result in results.values()} - {None}
    for limit in sorted(limit for limit in limits if limit <= longest):
        axes.axvline(limit, color="#777777", linestyle=":", linewidth=1)
        axes.annotate(
            f"{limit} ",
            (limit, 1),
            xycoords=("data", "axes fraction"),
            ha="right",
            va="top",
            color="#555555",
            fontsize=9,
        )


def alignments(result: Result) -> Figure | None:
    """Draw Figure 3 "sample alignments" with up to four sentences. Return None if no attention was kept."""
    examples = result.attention[:4]
    if not examples:
        return None
    columns = min(2, len(examples))
    rows = -(-len(examples) // columns)
    longest = max(max(len(example.source), len(example.target)) for example in examples)
    side = np.clip(0.23 * longest + 1.4, 3.2, 8.0)
    drawing = Drawing(figsize=(columns * side, rows * side), layout="constrained")
    panels = np.atleast_1d(drawing.subplots(rows, columns)).ravel()
    for letter, axes, example in zip("abcd", panels, examples, strict=False):
        _matrix(axes, example, f"({letter})" if len(examples) > 1 else "")
    for axes in panels[len(examples) :]:
        axes.set_visible(False)
    caption = (
        f"Alignment weights of {result.title}, teacher-forced on its own translations. Across: source words; down: "
        "generated words; both with their end token. Black is 0, white is 1, as in the paper."
    )
    return Figure("alignments", "Figure 3: alignments", caption, png(drawing))


def _matrix(axes: Axes, example: Example, letter: str) -> None:
    """Draw one alignment matrix, with alpha_ij in row i and column j."""
    draw_weights(axes, example.weights("source"), example.source, example.target)
    axes.set_xlabel(letter)


def draw_weights(
    axes: Axes, weights: np.ndarray, source: Sequence[str], target: Sequence[str], labels: float = 9
) -> None:
    """Draw weights (T, S), black for 0 and white for 1, with the tokens beside them, without HTML escapes.

    source, target: none for an axis that stays bare. labels: size of the tokens.
    """
    axes.imshow(weights, cmap="gray", vmin=0, vmax=1, aspect="equal", interpolation="nearest")
    axes.xaxis.tick_top()
    axes.set_xticks(range(len(source)), list(map(html.unescape, source)), rotation=90, parse_math=False)
    axes.set_yticks(range(len(target)), list(map(html.unescape, target)), parse_math=False)
    axes.tick_params(length=0, labelsize=labels)
