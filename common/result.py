"""What is written about a run, as typed values: result.json, training.json, starts.json and attention.json.

The programs that write these files (common/run) and those that read them (common/report) share this schema. Every field
is a key of the file, in the file's order. A field with a default may be missing, either because the program was older
or because the training left nothing from which to know it. Such a field is not written (`common.typed.plain`).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from common.errors import UserError
from common.score.bleu import Statistics
from common.score.parses import Parses
from common.typed import checked

FACTS = ("environment", "data_sha256", "matmul_flops_per_second", "commit", "dirty")
"""Fields that both a `Start` and a `Training` have: the machine, the text and the commit that made the updates."""
SCORE = "run `score` on the run again, or delete the file"
"""What a message advises if a result is damaged."""


@dataclass(frozen=True, kw_only=True)
class Environment:
    """Hardware, number of threads and versions of a process."""

    hardware: str
    threads: int
    python: str
    torch: str
    sacrebleu: str
    platform: str


@dataclass(frozen=True, kw_only=True)
class Start:
    """A start of a training, or the moment when a finished training got changed fields of its recipe."""

    step: int
    """Updates made before it."""
    time: str
    """ISO 8601, UTC."""
    changed: dict[str, tuple[Any, Any]]
    """Recipe fields, dotted, that differ from the start before: (then, now)."""
    data_sha256: str
    """Hash of the prepared data."""
    environment: Environment
    matmul_flops_per_second: float | None = None
    """FLOP/s of float32 matrix products on the machine that trains."""
    commit: str | None
    """None without git."""
    dirty: bool
    """Whether tracked files differed from the commit."""


@dataclass(frozen=True, kw_only=True)
class Reached:
    """Where a training is. All counts begin with its first update. A log holds only the fields without a default."""

    step: int
    """Updates made."""
    epoch: int
    position: int | None = None
    """Minibatches of this epoch that are already used."""
    sentences: int | None = None
    target_tokens: int | None = None
    """Target tokens, EOS included."""
    seconds: float
    """Wall time, summed over all restarts."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """training.json: a training that has come to its end. For an unfinished training, optional fields are missing."""

    finished: str | None = None
    """When it ended: ISO 8601, UTC."""
    progress: Reached
    parameters: int | None = None
    """Number of trainable parameters."""
    environment: Environment | None = None
    data_sha256: str | None = None
    matmul_flops_per_second: float | None = None
    commit: str | None = ""
    """Commit of the last start. None without git, empty if no start is known."""
    dirty: bool | None = None
    starts: tuple[Start, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class Likelihood:
    """Unsmoothed negative log-likelihood of sentence pairs: teacher-forced, EOS included, in nats."""

    nll_per_token: float
    nll_per_sentence: float
    perplexity: float
    """Per token."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A point of the development curve."""

    step: int
    dev_nll_per_token: float


@dataclass(frozen=True, kw_only=True)
class ScoredTraining(Training):
    """The section `training` of a result."""

    complete: bool
    """Whether the decoded weights are from the end of the training."""
    train: Likelihood
    """Likelihood of the first thousand training pairs."""
    dev: Likelihood
    dev_curve: tuple[Measured, ...]


@dataclass(frozen=True, kw_only=True)
class Weights:
    """The decoded weights: the updates that were averaged or, for a single checkpoint, its update."""

    averaged_steps: tuple[int, ...] | None = None
    recipe: str | None = None
    step: int | None = None

    @property
    def steps(self) -> tuple[int, ...]:
        """The updates after which they were taken. An average has several."""
        return (self.step or 0,) if self.averaged_steps is None else self.averaged_steps


@dataclass(frozen=True, kw_only=True)
class Column:
    """One scored selection of a test set's sentences: all of them, or those without unknown words."""

    bleu: float
    """The paper's BLEU x 100."""
    interval: tuple[float, float]
    """The 95% bootstrap interval of `bleu`."""
    signature: str
    """Every choice that changes `bleu`."""
    detail: str
    """The line that multi-bleu.perl prints."""
    variants: dict[str, float] | None = None
    """BLEU of the same text by each variant of the paper's BLEU, by signature."""
    sacrebleu: float
    sacrebleu_signature: str
    notes: tuple[str, ...] | None = None
    """What a reader of the scores must know about the language."""
    sentences: int
    seconds: float
    """Wall time of decoding."""
    statistics: tuple[str, ...]
    """`counts` as text, one line per sentence (see `rows`)."""
    source_lengths: str
    """`lengths` as text, separated by spaces."""
    hypotheses: tuple[str, ...]
    """Detokenised hypotheses."""

    def __post_init__(self) -> None:
        ten = all(len(row.split()) == 10 and row.replace(" ", "").isdigit() for row in self.statistics)
        lengths = self.source_lengths.split()
        if not ten or {len(self.statistics), len(lengths)} != {self.sentences} or not all(map(str.isdigit, lengths)):
            raise UserError(f"statistics and source_lengths are not those of {self.sentences} sentences")

    @cached_property
    def counts(self) -> Statistics:
        """N-gram statistics by sentence, (sentences, 10)."""
        return np.array([row.split() for row in self.statistics], dtype=np.int64).reshape(-1, 10)

    @cached_property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Source words by sentence, (sentences,)."""
        return np.array(self.source_lengths.split(), dtype=np.int64)


def rows(counts: Statistics) -> tuple[str, ...]:
    """Return `Column.counts` in the form of `Column.statistics`."""
    return tuple(" ".join(map(str, row)) for row in counts.tolist())


@dataclass(frozen=True, kw_only=True)
class LongSentence:
    """A test sentence in full, untokenised, and its translation."""

    source: str
    reference: str
    hypothesis: str


@dataclass(frozen=True, kw_only=True)
class ScoredSet:
    """The scores of a test set. It always has the column `all`, and `no_unk` if the recipe asks for it."""

    columns: dict[str, Column]
    longest: tuple[LongSentence, ...]
    """Sentences that are kept in full: those that the recipe names (`run.shown`), or the longest."""
    parses: Parses | None = None
    """The hypotheses scored as trees, if the recipe asks for it."""

    def __post_init__(self) -> None:
        if "all" not in self.columns:
            raise UserError("a test set has no column `all`")


@dataclass(frozen=True, kw_only=True)
class ResultFile:
    """result.json: a run's scores and everything that they rest on."""

    paper: str
    recipe: str
    """Name of the recipe: `demo/rnnsearch-50`."""
    title: str
    resolved_recipe: dict[str, Any]
    """Plain values, in the names of the program that wrote them. `common.recipe.current` translates them into
    today's."""
    recipe_sha256: str
    generated: bool
    """Whether the text was made by a program."""
    data: dict[str, Any]
    """The prepared corpus: its manifest, and `train_used`."""
    training: ScoredTraining
    weights: Weights
    environment: Environment
    """Machine and versions of the scoring."""
    flops_counted: int
    """FLOPs of the training's matrix products, counted from the model."""
    matmul_flops_per_second: float | None = None
    """Rate of the machine that scored. Newer results have the rate of the machine that trained (`Training`) instead."""
    sets: dict[str, ScoredSet]
    """By name. Tables show the first."""
    commit: str | None
    """Commit of the scoring. None without git."""
    dirty: bool

    def __post_init__(self) -> None:
        if not self.sets:
            raise UserError("no test set was scored")
        if missing := {"data", "train"} - self.resolved_recipe.keys():
            raise UserError(f"resolved_recipe has no section `{min(missing)}`")
        if missing := {"title", "train_used"} - self.data.keys():
            raise UserError(f"data has no `{min(missing)}`")


@dataclass(frozen=True, kw_only=True)
class Example:
    """An entry of attention.json: a sentence, the run's own translation of it, and the attention between them."""

    line: str
    source: tuple[str, ...]
    """S tokens, the end token included."""
    target: tuple[str, ...]
    """T tokens, the end token included."""
    attention: Any
    """Nested lists by name, as in `Paper.attention`. Older files of Bahdanau2014 hold the one list without a name."""

    def __post_init__(self) -> None:
        lengths = {len(self.source), len(self.target)}
        try:
            shapes = [np.array(weights, dtype=float).shape for weights in self.maps.values()]
        except (TypeError, ValueError):
            shapes = []
        if not shapes or not all(len(shape) >= 2 and {*shape[-2:]} <= lengths for shape in shapes):
            raise UserError(f"the attention of `{self.line[:40]}` is no matrix over its tokens")

    @property
    def maps(self) -> dict[str, Any]:
        """Attention by name."""
        return self.attention if isinstance(self.attention, dict) else {"source": self.attention}

    def weights(self, name: str) -> npt.NDArray[np.float64]:
        """Return the attention of that name, (..., words that look, words looked at).

        Raise UserError if none was kept.
        """
        if name not in self.maps:
            raise UserError(f"no attention `{name}` of `{self.line[:40]}` was kept; {SCORE}")
        return np.array(self.maps[name])


def read_result(path: Path) -> ResultFile:
    """Read a result.json.

    Raise UserError, which names the file and what to do, if it is missing, damaged or not a result.
    """
    result: ResultFile = read_typed(path, ResultFile, "result", SCORE)
    return result


def read_attention(path: Path) -> tuple[Example, ...]:
    """Read an attention.json. Return nothing if there is no such file. Raise UserError as `read_result` does."""
    examples: tuple[Example, ...] = read_typed(path, tuple[Example, ...], "attention", SCORE) if path.is_file() else ()
    return examples


def read_training(run: Path) -> Training | None:
    """Read RUN/training.json. Return None while the training has not ended. Raise UserError if the file is damaged."""
    path = run / "training.json"
    cure = "delete it, and `train` writes it anew"
    training: Training | None = read_typed(path, Training, "training", cure) if path.is_file() else None
    return training


def read_starts(run: Path) -> tuple[Start, ...]:
    """Read RUN/starts.json: all starts of the training, the first one first. Raise UserError if the file is damaged."""
    path = run / "starts.json"
    cure = "move it away, and the run goes on without its history"
    starts: tuple[Start, ...] = read_typed(path, tuple[Start, ...], "starts", cure) if path.is_file() else ()
    return starts


def facts(of: Start | Training) -> dict[str, Any]:
    """Return the fields FACTS of a start or a training, to give them to another one."""
    return {name: getattr(of, name) for name in FACTS}


def read_typed(path: Path, hint: Any, key: str, cure: str) -> Any:
    """Read the JSON value in `path` and check it against the type `hint`. Messages call it `key`."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise UserError(f"{path}: missing or damaged; {cure}") from None
    try:
        return checked(hint, values, key, str(path))
    except UserError as error:
        raise UserError(f"{error}; {cure}") from None
