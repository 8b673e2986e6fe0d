"""The places on the page of Figures 1 and 2. What is drawn there comes from architecture.py."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from matplotlib.patches import FancyBboxPatch

from common.report.page import png

if TYPE_CHECKING:
    from papers.vaswani2017.architecture import Attention, Block, Edge, Group, Operation, Run, Side

NAMES = {"MultiHeadAttention": "Multi-Head\nAttention", "FeedForward": "Feed\nForward", "AddAndNorm": "Add & Norm"}
"""The paper's names of modules. Another module is shown under the name of its class."""
FUNCTIONS = {"matmul": "MatMul", "masked_fill": "Mask", "softmax": "SoftMax"}
"""The paper's names of the functions inside an attention."""
DIVISIONS = ("div", "true_divide", "truediv")
COLOURS = {
    "MultiHeadAttention": "#FFE2BB",
    "FeedForward": "#C2E8F7",
    "AddAndNorm": "#F2F4C1",
    "embedding": "#FCE0E1",
    "linear": "#DDDEEF",
    "matmul": "#DCC9E8",
    "masked_fill": "#FCE0E1",
    "softmax": "#CCE7CF",
    "scale": "#F2F4C1",
    "concat": "#F2F4C1",
}
"""As in the paper, by class or function. Others are grey."""
UNIT = 0.085
"""Inches."""
SMALL: dict[str, Any] = {"fontsize": 9, "color": "#333333"}
TITLE = 12
WIDTH = 27.0
"""Width of a block of Figure 1."""
ROLES = {"K": -8.0, "V": 0.0, "Q": 8.0}
"""Where an attention's arrows enter it, from its middle."""
Point = tuple[float, float]
"""Place across and up, in units."""
CENTRES = {"encoder": 34.0, "decoder": 82.0}
"""Middles of the stacks."""


def draw_model(run: Run) -> bytes:
    """Draw Figure 1."""
    drawing, axes = _page()
    tops: dict[str, float] = {}
    for stack, groups in run.stacks.items():
        y = _embedding(axes, stack, run.sides[stack])
        for group in groups:
            y = Column(axes, stack, y, tops).draw(group)
    x, out = CENTRES["decoder"], run.stacks["decoder"][-1].blocks[-1].output
    _arrow(axes, (x, y), (x, y + 5), right=out)
    _box(axes, (x, y + 5), (WIDTH, 7), "Linear", "linear", run.softmax)
    _arrow(axes, (x, y + 12), (x, y + 16.5), right=run.logits)
    _box(axes, (x, y + 16.5), (WIDTH, 5), "Softmax", "softmax")
    _arrow(axes, (x, y + 21.5), (x, y + 26), right=run.logits)
    axes.text(x, y + 26.6, "Output\nProbabilities", ha="center", va="bottom", fontsize=TITLE)
    legend = f"{run.parameters:,} parameters\n\nB  sentences\nS  source positions\nT  target positions"
    axes.text(14, y + 31, legend, va="top", linespacing=1.4, **SMALL)
    return _finish(drawing, axes, (3, 113), (-1, y + 33))


def _embedding(axes: Axes, stack: str, side: Side) -> float:
    """Draw a side's words, their embedding and their positions. Return the height above the sum."""
    x, out = CENTRES[stack], _outwards(stack)
    words, name = ("Inputs", "Input") if stack == "encoder" else ("Outputs\n(shifted right)", "Output")
    axes.text(x, 2.6, words, ha="center", va="center", fontsize=TITLE)
    _arrow(axes, (x, 5.4), (x, 9.6), right=side.words)
    _box(axes, (x, 9.6), (WIDTH, 7), f"{name} Embedding", "embedding", side.matrix)
    _arrow(axes, (x, 16.6), (x, 21.4), right=side.output)
    wave = x + out * 10.5
    axes.plot([x, wave], [23, 23], color="black", linewidth=1)
    for place, sign in ((x, "+"), (wave, "\u223f")):
        axes.plot(place, 23, marker="o", markersize=16, markerfacecolor="white", markeredgecolor="black", zorder=3)
        axes.text(place, 22.95, sign, ha="center", va="center", fontsize=14, zorder=4)
    outer, inner = ("right", "left") if out < 0 else ("left", "right")
    kind, _, size = side.positions.partition(", ")
    axes.text(wave + out * 2.4, 23.6, "Positional\nEncoding", ha=outer, va="bottom", fontsize=TITLE - 1, linespacing=1)
    axes.text(wave + out * 2.4, 22.6, f"{kind}\n{size}", ha=outer, va="top", **SMALL)
    axes.text(x - out * 2.4, 23, f"dropout {side.dropout:g}", ha=inner, va="center", **SMALL)
    return 24.6


def _outwards(stack: str) -> int:
    """Return the direction in which a stack has room, -1 for left."""
    return -1 if stack == "encoder" else 1


class Column:
    """Layers that are alike, drawn as one in a frame.

    tops: heights of the ends of layers by path, from which other stacks read. It gains those that are drawn here.
    """

    def __init__(self, axes: Axes, stack: str, start: float, tops: dict[str, float]) -> None:
        self.axes, self.stack, self.tops = axes, stack, tops
        self.x, self.out = CENTRES[stack], _outwards(stack)
        self.frame = start + 3.2
        # Where each block ends, and above it the height at which a line past the next one leaves.
        self.ends, self.leaving = {"below": start}, {"below": self.frame + 2}

    def draw(self, group: Group) -> float:
        """Draw the blocks from below. Return the height at which they end."""
        at, before = self.frame + 2, "below"
        for block in group.blocks:
            at += self._room(block, before)
            height = self._block(block, at)
            self._reads(block, at, at + height / 2, before)
            at, before = at + height, block.name
            self.ends[before], self.leaving[before] = at, at + 1.4
        top = at + 2.6
        place, size = (self.x - WIDTH / 2 - 6.5, self.frame), (WIDTH + 13, top - self.frame)
        style = "round,pad=0,rounding_size=2.5"
        grey: dict[str, Any] = {"facecolor": "#F3F3F4", "edgecolor": "#555555", "zorder": 0}
        self.axes.add_patch(FancyBboxPatch(place, *size, boxstyle=style, **grey))
        count = f"{group.count}\u00d7"
        self.axes.text(self.x + self.out * (WIDTH / 2 + 10.6), (self.frame + top) / 2, count, fontsize=18, ha="center")
        _line(self.axes, (self.x, at), (self.x, top))
        self.tops |= {f"{self.stack}.{group.first + place}": top for place in range(group.count)}
        return top

    def _room(self, block: Block, before: str) -> float:
        """Return the space below a block: for one arrow, for a line that leaves there, or for those of an attention."""
        if any(edge.origin not in self.ends for edge in block.edges):
            return 10.6
        if block.edges[0].role in ROLES:
            return 7.2 if before == "below" else 8.4
        return 5.8 if len(block.edges) == 1 else 4.2

    def _block(self, block: Block, y: float) -> float:
        """Draw a block with its bottom at y. Return its height."""
        title = ("Masked\n" if block.masked else "") + NAMES.get(block.kind, block.kind)
        height = 4 + 2.6 * (title.count("\n") + 1)
        _box(self.axes, (self.x, y), (WIDTH, height), title, block.kind, f"{block.name}  {block.parameters:,}")
        return height

    def _reads(self, block: Block, y: float, middle: float, before: str) -> None:
        """Draw what a block at y reads: from the block before it, past that from further below, or from elsewhere."""
        x, split = self.x, y - 2.8
        own = [edge for edge in block.edges if edge.origin == before]
        elsewhere = [edge for edge in block.edges if edge.origin not in self.ends]
        if own and own[0].role not in ROLES:
            dropout = "" if block.dropout is None else f"dropout {block.dropout:g}"
            _arrow(self.axes, (x, self.ends[before]), (x, y), right=own[0].shape, left=dropout)
        elif own:
            low = split - 2.2 if elsewhere else split
            _line(self.axes, (x, self.ends[before]), (x, low))
            _label(self.axes, x, low - 1.7, own[0].shape)
            self._fork(own, low, y, x)
        if elsewhere:
            self._from_elsewhere(elsewhere, split, y)
        for edge in block.edges:
            if edge.origin in self.ends and edge.origin != before:
                leaves, side = self.leaving[edge.origin], x + self.out * (WIDTH / 2 + 3.6)
                edge_of_box = (x + self.out * WIDTH / 2, middle)
                _arrow(self.axes, (x, leaves), (side, leaves), (side, middle), edge_of_box)

    def _fork(self, edges: Sequence[Edge], split: float, y: float, start: float) -> None:
        """Divide a line that arrives at (start, split) into the arrows of an attention at y."""
        places = [self.x + ROLES[edge.role] for edge in edges]
        _line(self.axes, (min(start, *places, start), split), (max(start, *places, start), split))
        for edge, place in zip(edges, places, strict=True):
            _arrow(self.axes, (place, split), (place, y))
            self.axes.text(place + 0.8, y - 1.5, edge.role, va="center", **SMALL)

    def _from_elsewhere(self, edges: Sequence[Edge], split: float, y: float) -> None:
        """Draw what another stack gives: up from its top, across, and into an attention at y."""
        layer = edges[0].origin.rpartition(".")[0]
        x, top = CENTRES[layer.partition(".")[0]], self.tops[layer]
        between = (x + self.x) / 2
        _line(self.axes, (x, top), (x, top + 3.2), (between, top + 3.2), (between, split))
        _label(self.axes, x, top + 5, f"{edges[0].shape}, from {layer}")
        self._fork(edges, split, y, between)


def draw_attention(attention: Attention) -> bytes:
    """Draw Figure 2: on the left the functions of one attention, on the right the module around it."""
    drawing, axes = _page()
    for x, title in ((27, "Scaled Dot-Product Attention"), (98, "Multi-Head Attention")):
        axes.text(x, 73, title, ha="center", fontsize=TITLE + 1)
    _functions(axes, 27, 69, attention)
    _heads(axes, 98, attention)
    return _finish(drawing, axes, (0, 138), (1, 76))


def _functions(axes: Axes, x: float, top: float, attention: Attention) -> None:
    """Draw the functions from below, each with what it reads besides the result of the one before it."""
    width, height, y = 16.0, 5.2, 13.0
    step = (top - y) / len(attention.operations)
    across = x + width / 2 - 3
    for place, operation in enumerate(attention.operations):
        middle = y + height / 2
        name, colour = _function(operation)
        _box(axes, (x, y), (width, height), name, colour)
        for read in operation.reads:
            if read == "mask":
                _arrow(axes, (x - width / 2 - 4, middle), (x - width / 2, middle))
                note = f"mask\n{attention.projected[read]}"
                axes.text(x - width / 2 - 4.6, middle, note, ha="right", va="center", **SMALL)
            elif read in ROLES and place == 0:
                _input(axes, x, read, attention.projected[read])
                _arrow(axes, (x, 8), (x, y))
            elif read in ROLES:
                across += 14.5
                _input(axes, across, read, attention.projected[read])
                _arrow(axes, (across, 8), (across, middle), (x + width / 2, middle))
        _arrow(axes, (x, y + height), (x, y + step), right=operation.output)
        y += step


def _function(operation: Operation) -> tuple[str, str]:
    """Return the name and the colour of a function."""
    if operation.function in DIVISIONS and operation.number is not None:
        return f"Scale by 1/{operation.number:g}", "scale"
    return FUNCTIONS.get(operation.function, operation.function), operation.function


def _input(axes: Axes, x: float, name: str, size: str) -> None:
    axes.text(x, 6, name, ha="center", va="center", fontsize=TITLE + 1)
    axes.text(x, 3.2, size, ha="center", va="center", **SMALL)


def _heads(axes: Axes, x: float, attention: Attention) -> None:
    """Draw the projections, the heads, and what joins them."""
    spread, width = 21.0, 17.5
    for place, letter in enumerate("VKQ", start=-1):
        at = x + place * spread
        _input(axes, at, letter, attention.inputs[letter])
        _arrow(axes, (at, 8), (at, 13))
        note = f"W_{letter}  {attention.weights[letter]}"
        _stack(axes, (at, 13), (width, 7), "Linear", "linear", attention.heads, note)
        _arrow(axes, (at, 20), (at, 31), right=attention.projected[letter])
    whole = 2 * spread + width
    _stack(axes, (x, 31), (whole, 7), "Scaled Dot-Product Attention", "matmul", attention.heads)
    axes.text(x + whole / 2 + 4, 35, f"{attention.heads}\u00d7", fontsize=15, va="center")
    _arrow(axes, (x, 38), (x, 46), right=attention.operations[-1].output)
    _box(axes, (x, 46), (24, 5.2), "Concat", "concat")
    _arrow(axes, (x, 51.2), (x, 56.5), right=attention.concat)
    _box(axes, (x, 56.5), (24, 7), "Linear", "linear", f"W_O  {attention.weights['O']}")
    _arrow(axes, (x, 63.5), (x, 69), right=attention.output)


def _stack(
    axes: Axes, place: Point, size: tuple[float, float], title: str, colour: str, count: int, note: str = ""
) -> None:
    """Draw a box with others behind it, three at most, for `count` of a kind."""
    for behind in range(min(count, 3) - 1, 0, -1):
        shifted = place[0] + 1.1 * behind, place[1] + 1.1 * behind
        _box(axes, shifted, size, "", colour, zorder=2 - behind / 10)
    _box(axes, place, size, title, colour, note)


# ----------------------------------------------------------------------------------------------------------------
# Boxes and lines


def _page() -> tuple[Drawing, Axes]:
    drawing = Drawing()
    axes = drawing.add_axes((0, 0, 1, 1))
    axes.axis("off")
    return drawing, axes


def _finish(drawing: Drawing, axes: Axes, across: tuple[float, float], up: tuple[float, float]) -> bytes:
    """Cut out this part of the plane, one unit as long across as up, and return it as PNG."""
    axes.set(xlim=across, ylim=up)
    drawing.set_size_inches((across[1] - across[0]) * UNIT, (up[1] - up[0]) * UNIT)
    return png(drawing)


def _box(
    axes: Axes, place: Point, size: tuple[float, float], title: str, colour: str, note: str = "", zorder: float = 2
) -> None:
    """Draw a box. place: the middle of its bottom. note: small text below the title."""
    (x, y), (width, height) = place, size
    paint: dict[str, Any] = {"facecolor": COLOURS.get(colour, "#E6E6E6"), "edgecolor": "black", "zorder": zorder}
    round_corners = "round,pad=0,rounding_size=1"
    axes.add_patch(FancyBboxPatch((x - width / 2, y), width, height, boxstyle=round_corners, **paint))
    middle: dict[str, Any] = {"ha": "center", "va": "center", "zorder": zorder}
    axes.text(x, y + height / 2 + (1.25 if note else 0), title, fontsize=TITLE, linespacing=1, **middle)
    axes.text(x, y + 1.8, note, **SMALL, **middle)


def _line(axes: Axes, *points: Point) -> None:
    axes.plot(*zip(*points, strict=True), color="black", linewidth=1, zorder=2)


def _arrow(axes: Axes, *points: Point, right: str = "", left: str = "") -> None:
    """Draw a line through the points that ends in an arrow, with text on both sides of the middle of a straight one."""
    _line(axes, *points[:-1])
    style: dict[str, Any] = {
        "arrowstyle": "-|>,head_width=0.22,head_length=0.45",
        "color": "black",
        "shrinkA": 0,
        "shrinkB": 0,
    }
    axes.annotate("", xy=points[-1], xytext=points[-2], arrowprops=style, zorder=2)
    x, y = points[0][0], (points[0][1] + points[-1][1]) / 2
    _label(axes, x, y, right)
    axes.text(x - 1, y, left, ha="right", va="center", **SMALL)


def _label(axes: Axes, x: float, y: float, text: str) -> None:
    """Write the shape of a tensor to the right of its line."""
    axes.text(x + 1, y, text, va="center", **SMALL)
