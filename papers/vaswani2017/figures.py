"""Figures 3 to 5 of Vaswani2017: encoder self-attention of one layer, as lines between two copies of a sentence.

The paper chose its words and heads by eye. Here rules choose them, so that the same run gives the same figures.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D

from common.report.page import COLOURS, Figure, png
from common.report.results import Result
from common.result import Example

Weights = npt.NDArray[np.float64]
FAINT = 0.02
"""Weights below this are not drawn."""
FAR = 3
"""Smallest distance, in words, at which attention counts as long-distance."""


def chosen_layer(layers: int) -> int:
    """Return the index, from 0, of the layer that is drawn.

    It is the last but one, like the paper's 5 of 6, or the last in a stack of at most two.
    """
    return layers - 2 if layers > 2 else layers - 1


def attention_figures(result: Result) -> list[Figure]:
    """Draw Figures 3, 4 and 5 of one run. Return nothing if it kept no attention."""
    examples = result.attention
    if not examples:
        return []
    drawn = [(example, _layer(example)) for example in examples]
    layers = len(examples[0].weights("encoder"))
    where = f"Encoder self-attention of {result.title} ({result.pair}), layer {chosen_layer(layers) + 1} of {layers}"
    second = drawn[min(1, len(drawn) - 1)]
    return [
        long_distance(*drawn[0], where),
        *(draw(*second, where) for draw in (sharpest_heads, unlike_heads) if len(second[1]) > 1),
    ]


def _layer(example: Example) -> Weights:
    """Return the weights of the chosen layer: (h, S, S), a row for each word that looks."""
    encoder = example.weights("encoder")
    return encoder[chosen_layer(len(encoder))]


def long_distance(example: Example, heads: Weights, where: str) -> Figure:
    """Draw Figure 3 "long-distance dependencies": all heads, from the one word that looks furthest."""
    words = [html.unescape(word) for word in example.source]
    positions = np.arange(len(words))
    far = np.abs(positions[:, None] - positions) >= FAR
    word = _pick(words, (heads * far).sum(axis=(0, 2)))
    drawing, (axes,) = _panels(words, 1)
    for head, weights in enumerate(heads):
        _lines(
            axes, weights, [word], COLOURS[head % len(COLOURS)], shift=(head - (len(heads) - 1) / 2) * 0.5 / len(heads)
        )
    _sentence(axes, words, [word])
    _legend(drawing, range(len(heads)))
    caption = (
        f"{where}: every head, from \u201c{words[word]}\u201d alone (below, the words it looks at). The paper chose "
        f"\u201cmaking\u201d; here it is the word that gives most weight to words at least {FAR} away. "
        "The stronger the line, the larger the weight."
    )
    return Figure("attention-long-distance", "Figure 3: attention over a distance", caption, png(drawing))


def sharpest_heads(example: Example, heads: Weights, where: str) -> Figure:
    """Draw Figure 4 "anaphora resolution": one head for all words, and two heads for one word."""
    words = [html.unescape(word) for word in example.source]
    order = np.argsort(entropy(heads).mean(axis=1), kind="stable")
    first, second = sorted(order[:2].tolist())
    best = int(order[0])
    away = heads[best] * (1 - np.eye(len(words)))
    word = _pick(words, away.max(axis=1))
    drawing, (full, single) = _panels(words, 2)
    _lines(full, heads[best], range(len(words)), COLOURS[best % len(COLOURS)])
    _sentence(full, words, range(len(words)))
    for shift, head in ((-0.08, first), (0.08, second)):
        _lines(single, heads[head], [word], COLOURS[head % len(COLOURS)], shift)
    _sentence(single, words, [word])
    _legend(drawing, (first, second))
    caption = (
        f"{where}. Above: all of head {best + 1}. "
        f"Below: heads {first + 1} and {second + 1} from \u201c{words[word]}\u201d alone. "
        "These are the two heads with the sharpest attention (lowest mean entropy) and the word that looks hardest at "
        "another; the paper's two heads were chosen for resolving a pronoun, which these need not do."
    )
    return Figure("attention-sharp-heads", "Figure 4: two sharp heads", caption, png(drawing))


def unlike_heads(example: Example, heads: Weights, where: str) -> Figure:
    """Draw Figure 5 "structure of the sentence": two heads that do different things, each for all words."""
    words = [html.unescape(word) for word in example.source]
    pairs = list(combinations(range(len(heads)), 2))
    first, second = max(pairs, key=lambda pair: float(np.abs(heads[pair[0]] - heads[pair[1]]).sum()))
    drawing, panels = _panels(words, 2)
    for axes, head in zip(panels, (first, second), strict=True):
        _lines(axes, heads[head], range(len(words)), COLOURS[head % len(COLOURS)])
        _sentence(axes, words, range(len(words)))
    _legend(drawing, (first, second))
    caption = f"{where}: heads {first + 1} and {second + 1}, the two whose weights differ most on this sentence."
    return Figure("attention-unlike-heads", "Figure 5: heads that differ", caption, png(drawing))


def _pick(words: Sequence[str], scores: Weights) -> int:
    """Return the position with the highest score that holds a word, not punctuation, a number or the end token."""
    allowed = [any(map(str.isalpha, word)) and word != "</s>" for word in words]
    return int(np.where(allowed, scores, -1.0).argmax())


def entropy(weights: Weights) -> Weights:
    """Return the entropy in nats of each row of attention weights: (..., S) -> (...)."""
    return np.asarray(-(weights * np.log(np.maximum(weights, 1e-12))).sum(axis=-1))


def _panels(words: Sequence[str], rows: int) -> tuple[Drawing, Sequence[Axes]]:
    """Make a panel for each row, as wide as the sentence needs."""
    width = float(np.clip(0.36 * len(words) + 0.8, 5.0, 14.0))
    layout = ConstrainedLayoutEngine(h_pad=0.15)  # inches; keeps the words of neighbouring panels apart
    drawing = Drawing(figsize=(width, 3.5 * rows + 0.4), layout=layout)
    return drawing, np.atleast_1d(drawing.subplots(rows, 1)).tolist()


def _lines(axes: Axes, weights: Weights, lookers: Sequence[int], colour: str, shift: float = 0.0) -> None:
    """Draw lines from each word that looks (above) to what it looks at (below), as strong as the weight.

    shift: sideways, in words, so that the lines of several heads from one word stay apart.
    """
    for looker in lookers:
        for seen, weight in enumerate(weights[looker]):
            if weight > FAINT:
                axes.plot(
                    [looker, seen + shift],
                    [1, 0],
                    color=colour,
                    alpha=float(min(1.0, weight)),
                    linewidth=1 + 2.5 * weight,
                    solid_capstyle="round",
                )


def _sentence(axes: Axes, words: Sequence[str], lookers: Sequence[int]) -> None:
    """Write the words above and below the lines. Words that do not look are pale."""
    for position, word in enumerate(words):
        colour = "black" if position in lookers else "#999999"
        style: dict[str, Any] = {"rotation": 90, "ha": "center", "fontsize": 9, "parse_math": False}
        axes.text(position, 1.04, word, va="bottom", color=colour, **style)
        axes.text(position, -0.04, word, va="top", **style)
    axes.set(xlim=(-0.6, len(words) - 0.4), ylim=(0, 1))
    axes.axis("off")


def _legend(drawing: Drawing, heads: Sequence[int]) -> None:
    """Name the heads by their colours."""
    handles = [
        Line2D([], [], color=COLOURS[head % len(COLOURS)], linewidth=3, label=f"head {head + 1}") for head in heads
    ]
    drawing.legend(handles=handles, loc="outside upper left", ncols=min(8, len(handles)), frameon=False, fontsize=9)
