"""What `analyse` writes about a run, as typed values: analysis.json. Every field is a key of the file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from common.errors import UserError
from common.result import Environment, Example, Weights, read_typed
from common.score.significance import Difference

DIGITS = 6
"""Decimals that are written."""
KINDS = ("known", "unknown", "end")
"""Kinds of target positions: words that the model knows, unknown words, and the end token."""


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A value with its 95% bootstrap interval over sentences."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, value: float, interval: tuple[float, float]) -> Measure:
        """Return a value and its interval with `DIGITS` decimals."""
        value, low, high = (round(number, DIGITS) for number in (value, *interval))
        return cls(value=value, low=low, high=high)


@dataclass(frozen=True, kw_only=True)
class Sharpness:
    """How well alpha aligns the words of the references, teacher-forced. End tokens are not among the words."""

    error_rate: Measure
    """Alignment error rate of the greatest weights against the links that both directions of the aligner have."""
    sharp: Measure
    """Share of target words that give a single source position more than half of their weight."""
    entropy: Measure
    """Mean entropy of a target word's weights, in nats."""


@dataclass(frozen=True, kw_only=True)
class Position:
    """The target words at one place."""

    position: int
    """Counted from 1."""
    sentences: int
    entropy: Measure
    """Mean entropy of their weights, in nats."""
    uniform: float
    """Mean entropy of equal weights on the same sources, in nats."""


@dataclass(frozen=True, kw_only=True)
class Look:
    """Where target positions of one kind look: mean weight on source positions of each kind."""

    positions: int
    linked: Measure | None = None
    """On the word that the aligner links it with, over those that it links."""
    unknown: Measure
    """On all unknown words of the source together."""
    unknown_equal: float
    """What that would be with equal weights on all source positions."""
    last: Measure
    """On the source's last word, mostly its full stop."""
    end: Measure
    """On the source's end token."""


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Attention beside a statistical aligner, on sentences of a test set and their references."""

    test_set: str
    sentences: int
    aligner: str
    pairs: int
    """Training pairs from which the aligner learned."""
    links_sha256: str
    counts: tuple[str, ...]
    """By sentence: links that alpha's greatest weights share with the aligner, links of alpha, links of the aligner."""
    diagonal: Measure
    """Alignment error rate of the diagonal, which reads no word."""
    one: Measure
    """Alignment error rate of the aligner's own direction in which a target word has one source word at most, as in
    alpha."""
    alpha: Sharpness
    offsets: dict[str, int]
    """Number of linked target words by distance, in source positions, from the linked word to the greatest weight. The
    end token is the last position."""
    positions: tuple[Position, ...]
    looks: dict[str, Look]
    """By kind of target position, one of KINDS. Rare kinds are missing."""

    def __post_init__(self) -> None:
        if sum(self.offsets.values()) < 1 or not all(distance.lstrip("-").isdigit() for distance in self.offsets):
            raise UserError("the agreement has no count of linked words by distance")
        if unknown := self.looks.keys() - {*KINDS}:
            raise UserError(f"the agreement has looks of `{min(unknown)}`, which is none of {', '.join(KINDS)}")


@dataclass(frozen=True, kw_only=True)
class Repaired:
    """A test sentence whose translation had an unknown word."""

    source: str
    reference: str
    before: str
    after: str


@dataclass(frozen=True, kw_only=True)
class Known:
    """The sentences of the column No UNK, which have no unknown word, by the same weights with and without UNK."""

    sentences: int
    allowed: Measure
    """BLEU of the column All's translations of them."""
    forbidden: Measure
    """BLEU of the column No UNK, whose search may not write UNK."""
    gain: Difference
    """`forbidden` minus `allowed`, with the same sentences drawn for both."""


@dataclass(frozen=True, kw_only=True)
class Replacement:
    """What it changes on a test set to replace UNK through the alignment."""

    test_set: str
    signature: str
    dictionary_words: int
    """Source words that have a translation in the dictionary."""
    unknown: int
    """UNKs in all translations."""
    translated: int
    """Those replaced by a word of the dictionary. The others are copied from the source."""
    before: Measure
    """BLEU of the column All."""
    after: Measure
    gain: Difference
    """`after` minus `before`, with the same sentences drawn for both."""
    known: Known | None = None
    """None without a column No UNK by the same search."""
    examples: tuple[Repaired, ...]


@dataclass(frozen=True, kw_only=True)
class Moment:
    """A kept checkpoint."""

    step: int
    seconds: float | None = None
    """Wall time of training until then, by the log."""
    dev_nll_per_token: float | None = None
    """By the log. None if the development set was not measured at this update."""
    bleu: Measure
    """BLEU of the sample of development sentences, greedily decoded."""
    alpha: Sharpness | None = None
    """None for a model without attention."""


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """analysis.json: what a finished run shows of its attention, and how it came to it."""

    paper: str
    recipe: str
    title: str
    recipe_sha256: str
    seed: int
    data_sha256: str
    """Hash of all that the training depended on."""
    sets_sha256: dict[str, str]
    """Hashes of the tokenised files of the sets that were read, by name."""
    weights: Weights
    agreement: Agreement | None = None
    replacement: Replacement | None = None
    """Both are None for a model without attention."""
    dev_sentences: int
    """Development sentences of `course`."""
    course: tuple[Moment, ...]
    """The kept checkpoints, the oldest first."""
    alignment: Example | None = None
    """A sentence with its alpha at up to five of the checkpoints, by update, teacher-forced on the translation by the
    decoded weights."""
    environment: Environment
    seconds: float
    """Wall time of the analysis since its last start, without the aligner's."""
    time: str
    """ISO 8601, UTC."""
    commit: str | None
    dirty: bool

    def __post_init__(self) -> None:
        if not self.course:
            raise UserError("the course has no checkpoint")
        if (example := self.alignment) is None:
            return
        names = [*example.attention] if isinstance(example.attention, dict) else [""]
        shape = (len(example.target), len(example.source))
        if not all(name.isdigit() and example.weights(name).shape == shape for name in names):
            raise UserError(f"the alignment is no matrix of {shape[0]} x {shape[1]} weights for each of its updates")


def read_analysis(path: Path) -> Analysis | None:
    """Read an analysis.json. Return None if there is no such file. Raise UserError if it is damaged."""
    cure = "run `analyse` on the run again, or delete the file"
    analysis: Analysis | None = read_typed(path, Analysis, "analysis", cure) if path.is_file() else None
    return analysis
