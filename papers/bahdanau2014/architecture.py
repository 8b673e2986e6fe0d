"""Figure 1 of Bahdanau2014, drawn from a model that is built and run.

The model runs on one sentence pair, and hooks note which vectors each module reads and makes. Boxes stand in the order
of the calls, arrows go where a vector is read, shapes are those of the tensors, and the lines to the annotations are as
wide as their alpha. Only the places on the page are laid down here. Another `step_order` gives another picture.

Letters are model.py's; i is the target word that is drawn, counted from 1.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure as Drawing
from matplotlib.patches import FancyBboxPatch
from torch import Tensor, nn

from common.contract import Batch
from common.report.page import COLOURS
from papers.bahdanau2014.model import RNNsearch

READS = {"align": ("s",), "decoder": ("E y", "s", "c"), "readout": ("s", "E y", "c")}
"""What each module of a turn reads, in the order of its arguments."""
MAKES = {"embedding": "E y", "align": "c", "decoder": "s"}
"""The vector that a module makes."""
TITLES = {"align": "alignment model", "decoder": "gated units", "readout": "deep output"}
COLOUR = {"align": COLOURS[3], "decoder": COLOURS[0], "readout": COLOURS[1]}
WIDTH, LEVEL = 16.0, 8.2
"""Width of the source sentence on the page, and how high the boxes of the turn are."""
Point = tuple[float, float]


@dataclass
class Turn:
    """The modules that one turn of the decoder calls, in their order, with what they read and make."""

    origins: dict[str, list[str | None]] = field(default_factory=dict)
    """For each vector that a module reads, as in `READS`, the module of this turn that made it. None: made before."""
    makes: dict[str, Tensor] = field(default_factory=dict)
    """Vectors by module: the readout's are logits."""
    alpha: Tensor | None = None
    """(S,)"""

    @property
    def order(self) -> list[str]:
        """The modules of `READS` in the order of their calls."""
        return [name for name in self.makes if name in READS]

    def note(self, name: str, inputs: tuple[Tensor, ...], made: Tensor) -> None:
        """Note a call of a module. Its vectors are compared with what the turn has made so far."""
        vectors = [vector for _, vector in zip(READS.get(name, ()), inputs, strict=False)]
        self.origins[name] = [
            next((module for module, other in self.makes.items() if torch.equal(vector, other)), None)
            for vector in vectors
        ]
        self.makes[name] = made


@torch.no_grad()
def observe(model: RNNsearch, batch: Batch) -> tuple[dict[str, tuple[int, ...]], list[Turn]]:
    """Run the model on a batch of one pair.

    Return the shapes of what the encoder's modules make, by name, and the turns of the decoder.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    turns: list[Turn] = []

    def note(name: str, inputs: tuple[Tensor, ...], output: Tensor | tuple[Tensor, ...]) -> None:
        made = output[0] if isinstance(output, tuple) else output
        if name.startswith("encoder"):
            shapes[name] = tuple(made.shape)
            return
        if name == "embedding":  # every turn begins with the word before
            turns.append(Turn())
        turns[-1].note(name, inputs, made)
        if name == "align":
            turns[-1].alpha = output[1][0]

    def hook(name: str, module: nn.Module) -> torch.utils.hooks.RemovableHandle:
        return module.register_forward_hook(lambda _, inputs, output: note(name, inputs, output))

    hooks = [hook(name, module) for name, module in model.named_modules() if name]
    try:
        model(batch)
    finally:
        for handle in hooks:
            handle.remove()
    return shapes, turns


def draw(model: RNNsearch, batch: Batch, source: Sequence[str], target: Sequence[str], i: int) -> Drawing:
    """Draw the encoder and the turn that writes word i of a sentence pair. i is at least 2, for it has a word before.

    batch: the pair alone. source, target: its S and T tokens.
    """
    shapes, turns = observe(model, batch)
    turn = turns[i - 1]
    drawing = Drawing(figsize=(9.4, 6.2))
    axes = drawing.add_axes((0, 0, 1, 1))
    axes.set(xlim=(-2.4, WIDTH + 3.4), ylim=(-0.6, 12.2))
    axes.axis("off")
    places = {"before": -1.4} | {name: 2.4 + 5.8 * place for place, name in enumerate(turn.order)}
    ports = _encoder(axes, shapes, source)
    _attention(axes, turn, ports, places["align"])
    _decoder(axes, turn, places, target[i - 2], target[i - 1])
    return drawing


def _encoder(axes: Axes, shapes: dict[str, tuple[int, ...]], source: Sequence[str]) -> list[Point]:
    """Draw the source words, their embeddings and both RNNs. Return the points where alpha's lines begin."""
    step = WIDTH / (len(source) - 1)
    xs, wide = [step * place for place in range(len(source))], 0.62 * step
    for x, word in zip(xs, source, strict=True):
        _word(axes, (x, -0.1), word)
        _box(axes, (x, 3.05), (wide + 0.3, 2.3), "", "white")
        for y, colour in ((1.0, COLOURS[4]), (2.5, COLOURS[2]), (3.6, COLOURS[5])):
            _box(axes, (x, y), (wide, 0.7), "", colour)
        _arrow(axes, (x, 0.2), (x, 0.65))
        _arrow(axes, (x, 1.35), (x, 1.9))
    for left, right in zip(xs, xs[1:], strict=False):
        _arrow(axes, (left + wide / 2, 2.5), (right - wide / 2, 2.5))
        _arrow(axes, (right - wide / 2, 3.6), (left + wide / 2, 3.6))
    rows = {
        r"$E x_j$": (1.0, shapes["encoder.embedding"][2:]),
        r"$\overrightarrow{h}_j$": (2.5, shapes["encoder.forward_rnn"][1:]),
        r"$\overleftarrow{h}_j$": (3.6, shapes["encoder.backward_rnn"][1:]),
        r"$h_j$": (4.6, shapes["encoder"][2:]),
    }
    for name, (y, shape) in rows.items():
        axes.text(WIDTH + 1.1, y, f"{name}   {_size(shape)}", va="center", fontsize=10)
    return [(x, 4.2) for x in xs]


def _attention(axes: Axes, turn: Turn, ports: list[Point], middle: float) -> None:
    """Draw a line from each annotation to the alignment model, as wide as its alpha."""
    assert turn.alpha is not None
    for (x, y), weight in zip(ports, turn.alpha.tolist(), strict=True):
        line = {"color": COLOURS[3], "linewidth": 0.5 + 8 * weight, "alpha": 0.8, "solid_capstyle": "butt"}
        axes.plot((x, middle), (y, LEVEL - 0.65), zorder=1, **line)
    axes.text(WIDTH + 1.1, 5.7, rf"$\alpha_{{ij}}$   {_size(tuple(turn.alpha.shape))}", va="center", fontsize=10)


def _decoder(axes: Axes, turn: Turn, places: dict[str, float], before: str, written: str) -> None:
    """Draw the modules of the turn, the words, and an arrow for each vector that a module reads."""
    late = turn.order.index("decoder") > turn.order.index("align")  # as in Eq. (4): the new state is s_i
    new = {"E y": r"$E y_{i-1}$", "c": "$c_i$", "s": "$s_i$" if late else "$s_{i-1}$"}
    old = {"c": "$c_{i-1}$", "s": "$s_{i-1}$" if late else "$s_{i-2}$"}
    across, order = places[turn.order[1]], list(places)
    _box(axes, (across, 11), (2.6, 0.75), f"{new['E y']}   {_size(turn.makes['embedding'].shape[1:])}", COLOURS[4])
    _word(axes, (across, 11.8), f"{before}  ($y_{{i-1}}$)")
    _box(axes, (places["before"], LEVEL), (1.2, 1.3), "turn\n$i-1$", "white")
    for name in turn.order:
        made = "logits" if name == "readout" else new[MAKES[name]]
        label = f"{TITLES[name]}\n{made}   {_size(turn.makes[name].shape[1:])}"
        _box(axes, (places[name], LEVEL), (3.4, 1.3), label, COLOUR[name])
        lanes = iter((0.3, -0.3))
        for role, origin in zip(READS[name], turn.origins[name], strict=True):
            origin = origin or "before"
            start, end = places.get(origin, across), places[name]
            if origin == "embedding":
                _arrow(axes, (start, 10.6), (end - 0.2, LEVEL + 0.65))
            elif order.index(name) == order.index(origin) + 1:
                edge, y = (0.6 if origin == "before" else 1.7), LEVEL + next(lanes)
                _arrow(axes, (start + edge, y), (end - 1.7, y), (old if origin == "before" else new)[role])
            else:
                text = (old if origin == "before" else new)[role]
                _arrow(axes, (start + 0.4, LEVEL + 0.65), (end - 0.9, LEVEL + 0.65), text, bend=-0.17)
    _arrow(axes, (places["readout"] + 1, LEVEL + 0.65), (places["readout"] + 1, 11.4))
    _word(axes, (places["readout"] + 1, 11.8), f"{written}  ($y_i$)")


def _size(shape: Sequence[int]) -> str:
    return "×".join(map(str, shape))


def _word(axes: Axes, middle: Point, word: str) -> None:
    axes.text(*middle, html.unescape(word), ha="center", va="center", fontsize=10)


def _box(axes: Axes, middle: Point, size: tuple[float, float], label: str, colour: str) -> None:
    (x, y), (width, height) = middle, size
    face = to_rgba(colour, 1 if colour == "white" else 0.5)
    corner = (x - width / 2, y - height / 2)
    for paint in ("white", face):  # lines that pass behind do not shine through
        rounded = "round,pad=0,rounding_size=0.12"
        axes.add_patch(
            FancyBboxPatch(corner, width, height, boxstyle=rounded, facecolor=paint, edgecolor="black", zorder=2)
        )
    axes.text(x, y, label, ha="center", va="center", fontsize=9, zorder=3)


def _arrow(axes: Axes, start: Point, end: Point, label: str = "", bend: float = 0.0) -> None:
    """Draw an arrow with a label above its middle. bend: how far it curves, in shares of its length."""
    curve = f"arc3,rad={bend}"
    style = {"arrowstyle": "-|>", "color": "black", "shrinkA": 0, "shrinkB": 0, "connectionstyle": curve}
    axes.annotate("", xy=end, xytext=start, arrowprops=style, zorder=2)
    if label:
        share, above = (0.3, abs(bend) * (end[0] - start[0]) * 0.38) if bend else (0.5, 0.3)
        middle = start[0] + share * (end[0] - start[0])
        patch = {"facecolor": "white", "edgecolor": "none", "pad": 1}
        axes.text(middle, start[1] + above, label, ha="center", va="center", fontsize=9, bbox=patch, zorder=3)
