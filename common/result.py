"""What is written about a run, as typed values: result.json, training.json, starts.json and attention.json.

One schema for the programs that write these files (common/run) and for those that read them (common/report). Every
field is a key of the file, in the file's order. A field with a default may be missing: older programs did not know it,
or a training left nothing to know it from. It is not written while it has its default (`common.typed.plain`).
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
from common.typed import checked

FACTS = ("environment", "data_sha256", "matmul_flops_per_second", "commit", "dirty")
"""Fields that both a `Start` and a `Training` have: on what machine, text and commit the updates were made."""
SCORE = "run `score` on the run again, or delete the file"
"""The cure for a damaged result."""


@dataclass(frozen=True, kw_only=True)
class Environment:
    """Hardware, thread count and versions of a process."""

    hardware: str
    threads: int
    python: str
    torch: str
    sacrebleu: str
    platform: str


@dataclass(frozen=True, kw_only=True)
class Start:
    """One start of a training, or the moment at which a finished one took over changed fields."""

    step: int
    """Updates made before."""
    time: str
    """ISO 8601, UTC."""
    changed: dict[str, tuple[Any, Any]]
    """Recipe fields, dotted, that are other than at the start before: (then, now)."""
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
    """Where a training has come to; all counts are since its first update. Logs tell only what has no default."""

    step: int
    """Updates made."""
    epoch: int
    position: int | None = None
    """Minibatches of this epoch already used."""
    sentences: int | None = None
    target_tokens: int | None = None
    """EOS included."""
    seconds: float
    """Wall time, over all restarts."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """training.json: a training that has come to its end. Of one that has not, less is known."""

    finished: str | None = None
    """When it ended: ISO 8601, UTC."""
    progress: Reached
    parameters: int | None = None
    """Trainable ones."""
    environment: Environment | None = None
    data_sha256: str | None = None
    matmul_flops_per_second: float | None = None
    commit: str | None = ""
    """Of the last start: None without git, empty where no start is known."""
    dirty: bool | None = None
    starts: tuple[Start, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class Likelihood:
    """Unsmoothed negative log-likelihood of sentence pairs, teacher-forced, EOS included; nats."""

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
    """Whether the decoded weights are of the training's end."""
    train: Likelihood
    """Of the first thousand training pairs."""
    dev: Likelihood
    dev_curve: tuple[Measured, ...]


@dataclass(frozen=True, kw_only=True)
class Weights:
    """What is known of the weights that are decoded: the steps averaged or, of a single checkpoint, its step."""

    averaged_steps: tuple[int, ...] | None = None
    recipe: str | None = None
    step: int | None = None

    @property
    def steps(self) -> tuple[int, ...]:
        """The updates after which they were taken, several of an average."""
        return (self.step or 0,) if self.averaged_steps is None else self.averaged_steps


@dataclass(frozen=True, kw_only=True)
class Column:
    """One scored selection of a test set's sentences: all of them, or those without unknown words."""

    bleu: float
    """The paper's BLEU x 100."""
    interval: tuple[float, float]
    """Its 95% bootstrap interval."""
    signature: str
    """What BLEU this is: every choice that changes the number."""
    detail: str
    """The line that multi-bleu.perl prints."""
    variants: dict[str, float] | None = None
    """The same text by this and other variants of the paper's BLEU, by signature."""
    sacrebleu: float
    sacrebleu_signature: str
    notes: tuple[str, ...] | None = None
    """What a reader of the scores must know of the language."""
    sentences: int
    seconds: float
    """Of decoding."""
    statistics: tuple[str, ...]
    """`counts`, a line a sentence: see `rows`."""
    source_lengths: str
    """`lengths`, between spaces."""
    hypotheses: tuple[str, ...]
    """Detokenised."""

    @cached_property
    def counts(self) -> Statistics:
        """N-gram statistics by sentence, (sentences, 10)."""
        return np.array([row.split() for row in self.statistics], dtype=np.int64).reshape(-1, 10)

    @cached_property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Source words by sentence, (sentences,)."""
        return np.array(self.source_lengths.split(), dtype=np.int64)


def rows(counts: Statistics) -> tuple[str, ...]:
    """`Column.counts` as `Column.statistics` holds them."""
    return tuple(" ".join(map(str, row)) for row in counts.tolist())


@dataclass(frozen=True, kw_only=True)
class LongSentence:
    """A test sentence kept word for word, untokenised, and its translation."""

    source: str
    reference: str
    hypothesis: str


@dataclass(frozen=True, kw_only=True)
class ScoredSet:
    """A test set's scores. The column `all` is there always, `no_unk` where the recipe asks for it."""

    columns: dict[str, Column]
    longest: tuple[LongSentence, ...]

    def __post_init__(self) -> None:
        if "all" not in self.columns:
            raise UserError("a test set has no column `all`")


@dataclass(frozen=True, kw_only=True)
class ResultFile:
    """result.json: a run's scores and everything behind them."""

    paper: str
    recipe: str
    """Its name: `demo/rnnsearch-50`."""
    title: str
    resolved_recipe: dict[str, Any]
    """Plain values, in the names of the program that wrote them; `common.recipe.current` gives those of today."""
    recipe_sha256: str
    generated: bool
    """Whether the text was made by a program."""
    data: dict[str, Any]
    """The prepared corpus: its manifest, and `train_used`."""
    training: ScoredTraining
    weights: Weights
    environment: Environment
    """Where it was scored."""
    flops_counted: int
    """Of the training's matrix products, counted from the model."""
    matmul_flops_per_second: float | None = None
    """Of the machine that scored it; newer results have the one that trained it (`Training`)."""
    sets: dict[str, ScoredSet]
    """The first is the one that tables print."""
    commit: str | None
    """It was scored by; None without git."""
    dirty: bool

    def __post_init__(self) -> None:
        if not self.sets:
            raise UserError("no test set was scored")


@dataclass(frozen=True, kw_only=True)
class Example:
    """An entry of attention.json: a sentence, the run's own translation of it, and the attention between them."""

    line: str
    source: tuple[str, ...]
    """S tokens, the end token included."""
    target: tuple[str, ...]
    """T tokens, the end token included."""
    attention: Any
    """Nested lists by name, as `Paper.attention` has them. Older files of Bahdanau2014 hold the list alone."""

    def weights(self, name: str) -> npt.NDArray[np.float64]:
        """The attention of that name, (..., words that look, words looked at)."""
        maps = self.attention if isinstance(self.attention, dict) else {"source": self.attention}
        return np.array(maps[name])


def read_result(path: Path) -> ResultFile:
    """A result.json. UserError, naming the file and the cure, when it is missing, damaged or not a result."""
    result: ResultFile = _read(path, ResultFile, "result", SCORE)
    return result


def read_attention(path: Path) -> tuple[Example, ...]:
    """An attention.json; empty when there is no such file. UserError as in `read_result`."""
    examples: tuple[Example, ...] = _read(path, tuple[Example, ...], "attention", SCORE) if path.is_file() else ()
    return examples


def read_training(run: Path) -> Training | None:
    """RUN/training.json; None while the training has not ended. UserError when the file is damaged."""
    path = run / "training.json"
    cure = "delete it, and `train` writes it anew"
    training: Training | None = _read(path, Training, "training", cure) if path.is_file() else None
    return training


def read_starts(run: Path) -> tuple[Start, ...]:
    """RUN/starts.json: every start of the training, the first first. UserError when the file is damaged."""
    path = run / "starts.json"
    cure = "move it away, and the run goes on without its history"
    starts: tuple[Start, ...] = _read(path, tuple[Start, ...], "starts", cure) if path.is_file() else ()
    return starts


def facts(of: Start | Training) -> dict[str, Any]:
    """The FACTS of a start for another one, or for a training."""
    return {name: getattr(of, name) for name in FACTS}


def _read(path: Path, hint: Any, key: str, cure: str) -> Any:
    """The JSON value in `path`, checked against `hint`; messages call it `key`."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise UserError(f"{path}: missing or damaged; {cure}") from None
    try:
        return checked(hint, values, key, str(path))
    except UserError as error:
        raise UserError(f"{error}; {cure}") from None
