"""Figures 3 to 5 of Vaswani2017: encoder self-attention of one layer, as lines between two copies of a sentence.

The paper chose its words and heads by eye. Here rules choose them, so that the same run gives the same figures, and a
caption says by what value. What a head gives to punctuation or to the end of the sentence counts in no rule: much
attention goes there, and it says nothing of the words.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
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
from common.text.bpe import SEPARATOR
from common.text.wordpieces import PREFIX

Weights = npt.NDArray[np.float64]
FAR = 3
"""Smallest distance, in words, at which attention counts as long-distance."""
LOOKER = "making"
"""The word from which the paper's Figure 3 is drawn."""
PRONOUNS = ("its", "his", "her", "their", "it", "he", "she", "they")
"""The word from which the paper's Figure 4 is drawn, and those that stand in for it in a sentence without it."""
END = "</s>"
"""The end of a sentence, as `Example.source` shows it."""
GREY = "#a6a6a6"
"""Colour of the lines that do not count."""
DRAWN = (
    "Lines are drawn for weights of at least 1/S, an even spread over S words, and of at least 2/S where all words "
    "look. Grey lines begin or end at punctuation or at the end of the sentence. They did not count in the choice, nor "
    "did what a word gives to itself."
)
"""End of each caption."""


@dataclass(frozen=True)
class Sentence:
    """A sentence of S words, and how the heads of one layer look from each word at each."""

    words: tuple[str, ...]
    """Words, punctuation marks and the end of the sentence."""
    heads: Weights
    """Attention weights (h, S, S), a row for each word that looks."""

    @property
    def marks(self) -> npt.NDArray[np.bool_]:
        """Where punctuation and the end of the sentence stand, (S,)."""
        return np.array([word == END or not any(map(str.isalnum, word)) for word in self.words])

    @property
    def counted(self) -> Weights:
        """The weights (h, S, S) that count in a rule: from words and numbers to others. Elsewhere they are 0."""
        word = ~self.marks
        return self.heads * (word[:, None] & word & ~np.eye(len(word), dtype=bool))

    @property
    def ahead(self) -> npt.NDArray[np.int64]:
        """By how many words each word follows the one that looks, (S, S). It is negative for an earlier word."""
        position = np.arange(len(self.words))
        return position - position[:, None]

    def quoted(self, word: int) -> str:
        """Return the word at a position in quotation marks."""
        return f"\u201c{self.words[word]}\u201d"


def whole_words(pieces: Sequence[str], weights: Weights) -> Sentence:
    """Join pieces to words, and the weights (h, P, P) between P pieces to weights between words.

    A word looks as its pieces look on average, and gets what they get together.
    """
    begins = [
        i == 0 or not (piece.startswith(PREFIX) or pieces[i - 1].endswith(SEPARATOR)) for i, piece in enumerate(pieces)
    ]
    belongs = np.arange(sum(begins))[:, None] == np.cumsum(begins) - 1  # (S, P): which pieces are a word's
    shown = [piece.removeprefix(PREFIX).removesuffix(SEPARATOR) for piece in pieces]
    words = ("".join(np.array(shown, dtype=object)[own]) for own in belongs)
    average = belongs / belongs.sum(axis=1, keepdims=True)
    return Sentence(tuple(map(html.unescape, words)), average @ weights @ belongs.T)


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
    layers = len(examples[0].weights("encoder"))
    where = f"Encoder self-attention of {result.title} ({result.pair}), layer {chosen_layer(layers) + 1} of {layers}"
    second = _sentence(examples[min(1, len(examples) - 1)])
    return [
        long_distance(_sentence(examples[0]), where),
        *(draw(second, where) for draw in (pronoun, unlike_heads) if len(second.heads) > 1),
    ]


def _sentence(example: Example) -> Sentence:
    """Return an example in words, with the weights of the chosen layer."""
    encoder = example.weights("encoder")
    return whole_words(example.source, encoder[chosen_layer(len(encoder))])


# ----------------------------------------------------------------------------------------------------------------
# The rules


def far_words(sentence: Sentence) -> tuple[int, Weights]:
    """Return the word of Figure 3, and what each head gives from it to words at least FAR away, (h, S).

    The word is the paper's or, in a sentence without it, the one from which all heads together give most.
    """
    far = sentence.counted * (np.abs(sentence.ahead) >= FAR)
    paper = LOOKER in sentence.words
    word = sentence.words.index(LOOKER) if paper else int(far.sum(axis=(0, 2)).argmax())
    return word, far[:, word]


def referring_heads(sentence: Sentence) -> tuple[int, list[tuple[int, int]]]:
    """Return the word of Figure 4, and two heads, each with the earlier word at which it looks most from there.

    The word is the first of PRONOUNS that occurs. Its heads are the two that give most to a single earlier word, where
    the word just before it does not count. Without a pronoun it is the word from which a head gives most in that way.
    """
    earlier = sentence.counted * (sentence.ahead < -1)
    words = [word.lower() for word in sentence.words]
    named = [words.index(pronoun) for pronoun in PRONOUNS if pronoun in words]
    word = named[0] if named else int(earlier.max(axis=(0, 2)).argmax())
    most = earlier[:, word].max(axis=1)  # (h,)
    return word, [(int(head), int(earlier[head, word].argmax())) for head in np.argsort(-most, kind="stable")[:2]]


def most_unlike(sentence: Sentence) -> tuple[int, int, float]:
    """Return the two heads of Figure 5, and how unlike they are.

    This is half the sum of the differences between their weights, on average over the words. It is 1 for two heads that
    give everything to other words and share none, and the less, the more they give to what does not count.
    """
    heads = sentence.counted
    lookers = max(1, int((heads.sum(axis=(0, 2)) > 0).sum()))
    unlike = {
        pair: float(np.abs(heads[pair[0]] - heads[pair[1]]).sum()) / 2 / lookers
        for pair in combinations(range(len(heads)), 2)
    }
    first, second = max(unlike, key=lambda pair: unlike[pair])
    return first, second, unlike[first, second]


# ----------------------------------------------------------------------------------------------------------------
# The drawings


def long_distance(sentence: Sentence, where: str) -> Figure:
    """Draw Figure 3 "long-distance dependencies": all heads, from one word."""
    word, far = far_words(sentence)
    heads = range(len(sentence.heads))
    drawing, (axes,) = _panels(sentence.words, 1)
    for head in heads:
        _lines(axes, sentence, head, [word], shift=(head - (len(heads) - 1) / 2) * 0.6 / len(heads))
    _write(axes, sentence.words, [word])
    _legend(drawing, heads)
    own = sentence.words[word] == LOOKER
    chosen = "the paper's word" if own else "the word from which all heads together give most to distant words"
    most = " and ".join(
        f"head {head + 1} ({far[head].sum():.2f}, of which {far[head].max():.2f} to "
        f"{sentence.quoted(int(far[head].argmax()))})"
        for head in np.argsort(-far.sum(axis=1), kind="stable")[:2]
    )
    caption = (
        f"{where}: every head from {sentence.quoted(word)}, {chosen}. The heads that give most to words at least "
        f"{FAR} away are {most}. {DRAWN}"
    )
    return Figure("attention-long-distance", "Figure 3: attention over a distance", caption, png(drawing))


def pronoun(sentence: Sentence, where: str) -> Figure:
    """Draw Figure 4 "anaphora resolution": one head for all words, and two heads for one word."""
    word, chosen = referring_heads(sentence)
    drawing, (full, single) = _panels(sentence.words, 2)
    best = chosen[0][0]
    _lines(full, sentence, best, range(len(sentence.words)))
    _write(full, sentence.words, range(len(sentence.words)))
    for shift, (head, _) in zip((-0.1, 0.1), chosen, strict=True):
        _lines(single, sentence, head, [word], shift)
    _write(single, sentence.words, [word])
    _legend(drawing, [head for head, _ in chosen])
    found = " and ".join(
        f"head {head + 1} ({sentence.heads[head, word, seen]:.2f} to {sentence.quoted(seen)})" for head, seen in chosen
    )
    alone = f"{sentence.quoted(word)} alone"
    if sentence.words[word].lower() not in PRONOUNS:
        alone += ", as there is no pronoun"
    caption = (
        f"{where}. Above: head {best + 1} from all words. Below: from {alone}, the two heads that "
        f"give most to a single word before it, the one just before aside: {found}. The paper's two were chosen by eye "
        f"for what the pronoun stands for, which these need not find. {DRAWN}"
    )
    return Figure("attention-pronoun", "Figure 4: two heads from one word", caption, png(drawing))


def unlike_heads(sentence: Sentence, where: str) -> Figure:
    """Draw Figure 5 "structure of the sentence": two heads that do different things, each for all words."""
    first, second, value = most_unlike(sentence)
    drawing, panels = _panels(sentence.words, 2)
    for axes, head in zip(panels, (first, second), strict=True):
        _lines(axes, sentence, head, range(len(sentence.words)))
        _write(axes, sentence.words, range(len(sentence.words)))
    _legend(drawing, (first, second))
    caption = (
        f"{where}: heads {first + 1} and {second + 1}, whose weights between different words differ most: {value:.2f}, "
        "where 1 would be two heads that give everything to other words and never to the same. "
        f"{DRAWN}"
    )
    return Figure("attention-unlike-heads", "Figure 5: heads that differ", caption, png(drawing))


def _panels(words: Sequence[str], rows: int) -> tuple[Drawing, Sequence[Axes]]:
    """Make a panel for each row, as wide as the sentence needs and at most as wide as a printed page."""
    width = float(np.clip(0.28 * len(words) + 0.4, 4.5, 7.0))  # inches
    layout = ConstrainedLayoutEngine(h_pad=0.15)  # inches; keeps the words of neighbouring panels apart
    drawing = Drawing(figsize=(width, 3.0 * rows + 0.4), layout=layout)
    return drawing, np.atleast_1d(drawing.subplots(rows, 1)).tolist()


def _lines(axes: Axes, sentence: Sentence, head: int, lookers: Sequence[int], shift: float = 0.0) -> None:
    """Draw lines from each word that looks (above) to what it looks at (below), as wide as the weight is large.

    shift: sideways, in words, so that the lines of several heads from one word stay apart.
    """
    least = (1 if len(lookers) == 1 else 2) / len(sentence.words)  # with more lines only a tangle would be seen
    for looker in lookers:
        for seen, weight in enumerate(sentence.heads[head, looker]):
            if weight >= least:
                counts = not sentence.marks[[looker, seen]].any()
                axes.plot(
                    [looker, seen + shift],
                    [1, 0],
                    color=_colour(head) if counts else GREY,
                    linewidth=0.5 + 4.5 * weight,
                    solid_capstyle="round",
                    zorder=2 + counts + weight,  # the stronger over the weaker, what counts over what does not
                )


def _write(axes: Axes, words: Sequence[str], lookers: Sequence[int]) -> None:
    """Write the words above and below the lines. Words that do not look are pale."""
    for position, word in enumerate(words):
        colour = "black" if position in lookers else "#8a8a8a"
        style: dict[str, Any] = {"rotation": 90, "ha": "center", "fontsize": 9, "parse_math": False}
        axes.text(position, 1.04, word, va="bottom", color=colour, **style)
        axes.text(position, -0.04, word, va="top", **style)
    axes.set(xlim=(-0.6, len(words) - 0.4), ylim=(0, 1))
    axes.axis("off")


def _legend(drawing: Drawing, heads: Sequence[int]) -> None:
    """Name the heads by their colours."""
    handles = [Line2D([], [], color=_colour(head), linewidth=3, label=f"head {head + 1}") for head in heads]
    drawing.legend(handles=handles, loc="outside upper left", ncols=min(8, len(handles)), frameon=False, fontsize=9)


def _colour(head: int) -> str:
    """Return the colour of a head, the same in every figure."""
    return COLOURS[head % len(COLOURS)]
