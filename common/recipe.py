"""Recipes: YAML files read into frozen, typed dataclasses. An unknown key or wrong type gives an error of one line.

A recipe states every value once. With `extends: NAME` it starts from another recipe, so its file shows only what its
row of a table changes. The sections `model` and `optimizer` belong to the paper. All other sections are defined here.
A relative path in a recipe starts from the folder of its file. One in an override starts from the working directory.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

import yaml

from common.errors import UserError
from common.files import sha256_json
from common.typed import build, checked
from common.yaml_files import NOT_YAML, is_path, read_yaml

GOING_ON = {"may change": "going on"}
"""Metadata of a field that may change when a training is continued. It sets how far the training goes, not what an
update computes."""
OF_ONE_CORPUS = {"of one corpus": True}
"""Metadata of a field that names parts or sets of one corpus: it means nothing to another one."""
AT_ANY_TIME = {"may change": "at any time"}
"""Metadata of a field or section that no update depends on. It may change even after the training."""
LATER = {"later": True}
"""Metadata of a field that was added when there were results already. At its default it is not in a recipe's hash."""


def require(condition: bool, key: str, must: str) -> None:
    """Raise UserError "`key` must ..." unless `condition` holds."""
    if not condition:
        raise UserError(f"recipe key `{key}` must {must}")


@dataclass(frozen=True)
class Data:
    """The text that is read. Fields without a default name the text. The others select from it."""

    corpus: str = field(metadata=AT_ANY_TIME)
    """A name, such as wmt14 (common/corpus/declared), or a YAML file's path (common/corpus/declaration.py)."""
    source: str
    """Language code of the source side."""
    target: str
    """Language code of the target side."""
    parts: tuple[str, ...] = field(default=(), metadata=OF_ONE_CORPUS)
    """Training parts of the corpus, in this order. Empty means all parts that have both languages."""
    first: int | None = None
    """Number of training pairs to read, counted over the parts in order before any is left out. Null reads all."""
    shares: tuple[float, ...] = field(default=(), metadata=OF_ONE_CORPUS)
    """Share of each of `parts` that data selection keeps. 1 keeps the whole part. Empty keeps all parts whole."""
    in_domain: tuple[str, ...] = field(default=(), metadata=OF_ONE_CORPUS)
    """Parts that data selection uses as in-domain text."""
    select_words: int | None = field(default=None, metadata=OF_ONE_CORPUS)
    """Limit in target words of all parts together. It replaces the values of the shares below 1: the best pairs of
    those parts are kept up to this limit."""
    valid: tuple[str, ...] = field(default=(), metadata=AT_ANY_TIME | OF_ONE_CORPUS)
    """Sets that together are the development set. Empty means the corpus's set `valid`."""
    clean_tokens: int | None = None
    """Moses clean-corpus-n: training pairs with more tokens on either side are left out before anything is learned."""
    clean_ratio: float | None = None
    """Moses clean-corpus-n: pairs with more than this many times as many tokens on one side are left out as well."""

    def __post_init__(self) -> None:
        require(self.first is None or self.first > 0, "data.first", "be positive or null")
        for key in ("parts", "valid"):
            require(len({*getattr(self, key)}) == len(getattr(self, key)), f"data.{key}", "name nothing twice")
        require(len(self.shares) in (0, len(self.parts)), "data.shares", "give one number for each of data.parts")
        require(all(0 < share <= 1 for share in self.shares), "data.shares", "lie above 0 and up to 1")
        selecting = any(share < 1 for share in self.shares)
        require(not selecting or bool(self.in_domain), "data.in_domain", "name parts when data.shares has one below 1")
        require(set(self.in_domain) <= set(self.parts), "data.in_domain", "name some of data.parts")
        require(self.select_words is None or selecting, "data.select_words", "be null without a share below 1")
        require(self.select_words is None or self.select_words > 0, "data.select_words", "be positive or null")
        require(self.clean_tokens is None or self.clean_tokens > 0, "data.clean_tokens", "be positive or null")
        require(self.clean_ratio is None or self.clean_ratio >= 1, "data.clean_ratio", "be 1 or more, or null")


@dataclass(frozen=True)
class Text:
    """The steps from text to ids."""

    tokeniser: Literal["moses-2014", "moses-2016", "none"]
    """tokenizer.perl as it was in that year (common/text/moses.py), or `none` for text that is already tokenised."""
    lowercase: bool
    """Whether both sides are lower-cased, in training text and references."""
    segmentation: Literal["words", "joint_words", "bpe", "wordpieces"]
    """`words`: a shortlist per language. `joint_words`: one shortlist for both, for models with one embedding. `bpe`,
    `wordpieces`: sub-words learned jointly, one vocabulary for both."""
    bpe_merges: int | None
    """Merges learned jointly on both sides (bpe only). Word pieces are learned up to `vocabulary_size` instead."""
    vocabulary_size: int
    """Embedding rows per vocabulary, EOS and UNK included. The most frequent types fill them."""

    def __post_init__(self) -> None:
        require(self.vocabulary_size >= 3, "text.vocabulary_size", "be at least 3 (EOS, UNK and one word)")
        require(self.segmentation != "bpe" or (self.bpe_merges or 0) > 0, "text.bpe_merges", "be positive with bpe")
        require(self.segmentation == "bpe" or self.bpe_merges is None, "text.bpe_merges", "be null without bpe")


@dataclass(frozen=True)
class Batching:
    """How sentence pairs become minibatches: a pool is read, sorted by length and cut."""

    max_length: int | None
    """Training pairs with more tokens than this on either side are left out. EOS is not counted."""
    pool: int | None
    """Minibatches that are read ahead and sorted by length together (Bahdanau: 20). Null takes the whole epoch."""
    sentences: int | None
    """Sentence pairs per minibatch (Bahdanau: 80). Null if `tokens` is set."""
    tokens: int | None
    """Padded positions per minibatch on the longer side (Vaswani: about 25,000). Null if `sentences` is set."""
    shuffle: bool
    """Whether the minibatches of a pool come in random order. If not, they come from short to long, as in GroundHog."""
    accumulate: int
    """Number of minibatches whose gradients are summed into one update."""

    def __post_init__(self) -> None:
        require(
            (self.sentences is None) != (self.tokens is None),
            "batch.sentences",
            "be set when batch.tokens is null, and null when it is set",
        )
        for key in ("max_length", "pool", "sentences", "tokens", "accumulate"):
            value = getattr(self, key)
            # The products of two of them stay below 2**63.
            require(value is None or 0 < value <= 10**9, f"batch.{key}", "be from 1 to 1,000,000,000")


@dataclass(frozen=True)
class Train:
    """The training loop: how long it runs, which loss it uses, which weights it keeps."""

    steps: int = field(metadata=GOING_ON)
    """Number of updates."""
    loss: Literal["sum", "token_mean"]
    """`sum` over all target tokens of the minibatch (GroundHog), or `token_mean`, their mean (tensor2tensor)."""
    label_smoothing: float
    """Probability that is taken from the correct token and spread over the V - 1 others."""
    seed: int
    precision: Literal["float32", "tf32", "bfloat16"]
    """How matrix products are computed. `float32` everywhere; on a GPU also `tf32`, with inputs rounded to 10 bits of
    mantissa, and `bfloat16`, by autocast. Weights, optimizer and loss are float32 in all of them."""
    checkpoint_every: int = field(metadata=GOING_ON)
    """Updates between kept checkpoints. Only these can be averaged."""
    keep_checkpoints: int = field(metadata=GOING_ON)
    continues: str | None = None
    """Name of a recipe in the same folder whose finished run this one continues (RNNsearch-50* continues RNNsearch-50).
    `extends` takes over every field but this one, because a recipe with another model cannot continue the same run."""

    def __post_init__(self) -> None:
        for key in ("steps", "checkpoint_every", "keep_checkpoints"):
            require(getattr(self, key) > 0, f"train.{key}", "be positive")
        require(0 <= self.label_smoothing < 1, "train.label_smoothing", "lie in [0, 1)")


@dataclass(frozen=True)
class Decode:
    """Settings of beam search."""

    beam: int
    length_penalty: Literal["none", "mean", "gnmt"]
    """Score of a hypothesis. `none`: its log-probability. `mean`: that divided by its number of tokens, EOS included.
    `gnmt`: that divided by ((5 + tokens) / 6)^alpha."""
    alpha: float
    """Exponent of the gnmt length penalty."""
    search: Literal["shrinking", "fixed"]
    """`shrinking`: every finished hypothesis makes the beam narrower by one (GroundHog). `fixed`: as tensor2tensor."""
    max_factor: float
    """The longest hypothesis has max_factor x source tokens + max_extra tokens. EOS is counted on both sides."""
    max_extra: int
    min_factor: float
    """EOS is forbidden at the first floor(min_factor x source tokens) steps. EOS is one of the source tokens."""
    suppress_unk: bool
    """Whether UNK is never chosen. Its log-probability becomes -inf, and the others are not renormalised."""
    retry: bool
    """Whether a sentence without a finished hypothesis is searched again: first with UNK allowed, then with the beam
    doubled until it reaches 500 (GroundHog)."""

    def __post_init__(self) -> None:
        require(self.beam > 0, "decode.beam", "be positive")
        require(0 <= self.alpha <= 10, "decode.alpha", "lie in [0, 10]")
        require(self.max_factor > 0 or self.max_extra > 0, "decode.max_factor", "allow at least one token")
        # A model that never ends a sentence would otherwise be decoded for ever.
        require(self.max_factor <= 1_000, "decode.max_factor", "be at most 1,000")
        require(self.max_extra <= 10_000, "decode.max_extra", "be at most 10,000")


@dataclass(frozen=True)
class Evaluate:
    """What is scored after a run is trained."""

    average: int
    """Number of checkpoints averaged before decoding (Vaswani2017 §6.1: 5 base, 20 big). 1 means the last one only."""
    sets: tuple[str, ...]
    """Sets of the corpus that are decoded and scored. The tables print the first one."""
    metric: Literal["tokenised", "tokenised_compound"]
    """BLEU of the tables: multi-bleu.perl, without or with the compound splitting of 2017."""
    no_unk: bool
    """Whether to score also the sentences without unknown words, UNK suppressed (Bahdanau2014 Table 1, No UNK)."""
    brackets: bool = field(default=False, metadata=LATER)
    """Whether the target side is trees (common/trees/linear.py), to be scored as EVALB does (Vaswani2017 Table 4)."""

    def __post_init__(self) -> None:
        require(self.average >= 1, "evaluate.average", "be at least 1")
        require(len({*self.sets}) == len(self.sets), "evaluate.sets", "name nothing twice")
        require(len(self.sets) >= 1, "evaluate.sets", "name at least one set")


@dataclass(frozen=True)
class Run:
    """Where and how fast a run computes, and what it records.

    None of it is meant to change a number but by rounding and by the numbers that dropout draws: both depend on device
    and path, and rounding on the threads too.
    """

    device: Literal["auto", "cpu", "cuda"]
    threads: int
    """Number of CPU threads. Small updates run fastest on one."""
    log_every: int
    """Updates between two lines of the log."""
    validate_every: int
    """Updates between two measurements of the development set's negative log-likelihood."""
    state_every: int
    """Updates between saves of the full state, from which a killed run resumes. Every checkpoint also saves it."""
    path: Literal["auto", "readable", "fast"] = "auto"
    """Which of the paper's two programs computes the model: `readable` is model.py with the equations as they stand,
    `fast` is fast.py with the same functions arranged for speed. The results differ only by rounding. On a GPU `fast`
    also draws other dropout, and with `precision: bfloat16` it may round what one layer hands to the next (the paper's
    README says so). `auto` is fast on a GPU and readable elsewhere. A run's own recipe says which of the two it was."""
    decode_positions: int | None = None
    """Most source positions x beam rows decoded together. It changes speed and memory, never the result. Null means
    what suits the device (common/decode/translate.py)."""
    examples: tuple[str, ...] = ()
    """Source sentences whose attention is drawn. Empty means four of the test set."""
    shown: tuple[str, ...] = ()
    """Beginnings of source sentences. A result keeps the test sentences that begin so, with their translations. Of a
    set without any it keeps the three longest."""

    def __post_init__(self) -> None:
        for key in ("threads", "log_every", "validate_every", "state_every"):
            require(getattr(self, key) > 0, f"run.{key}", "be positive")
        require(self.threads <= 1_024, "run.threads", "be at most 1,024")
        require(self.decode_positions is None or self.decode_positions > 0, "run.decode_positions", "be positive")


@dataclass(frozen=True)
class Estimate:
    """Size of the training text, for `plan`, which reads no data, and for the count of a training's FLOPs."""

    pairs: int
    """Number of sentence pairs in the training text."""
    source_tokens: float
    """Mean number of source tokens in a sentence, EOS included."""
    target_tokens: float
    """Mean number of target tokens in a sentence, EOS included."""

    def __post_init__(self) -> None:
        for key in ("pairs", "source_tokens", "target_tokens"):
            require(getattr(self, key) > 0, f"estimate.{key}", "be positive")
        for key in ("source_tokens", "target_tokens"):  # `plan` computes one sentence pair of this length
            require(getattr(self, key) <= 10_000, f"estimate.{key}", "be at most 10,000")


@dataclass(frozen=True)
class Recipe:
    """One row of one table, complete: everything that a run depends on except the machine."""

    name: str = field(metadata=AT_ANY_TIME)
    """Path under the paper's recipes folder, without .yaml: `rnnsearch-50`, `demo/rnnsearch-50`."""
    title: str = field(metadata=AT_ANY_TIME)
    """Name of the system in tables."""
    reproduces: str = field(metadata=AT_ANY_TIME)
    """The paper's system that this reproduces, at its size or another. Tables list what differs from its recipe."""
    model: Any
    optimizer: Any
    data: Data
    text: Text
    batch: Batching
    train: Train
    decode: Decode = field(metadata=AT_ANY_TIME)
    evaluate: Evaluate = field(metadata=AT_ANY_TIME)
    run: Run = field(metadata=AT_ANY_TIME)
    estimate: Estimate = field(metadata=AT_ANY_TIME)

    def __post_init__(self) -> None:
        train, average, most = self.train, self.evaluate.average, 1 - 1 / self.text.vocabulary_size
        smoothing = f"be at most {most:.3g}, at which all {self.text.vocabulary_size:,} tokens are equally probable"
        require(train.label_smoothing <= most, "train.label_smoothing", smoothing)
        require(train.continues != self.system, "train.continues", "name another recipe than this one")
        made = average if train.continues else -(-train.steps // train.checkpoint_every)
        there = f"{train.steps:,} updates with a checkpoint every {train.checkpoint_every:,} make {made:,}"
        require(average <= made, "evaluate.average", f"be at most {made:,}, not {average:,}: {there}")
        kept = train.keep_checkpoints
        require(average <= kept, "evaluate.average", f"be at most train.keep_checkpoints, {kept:,}, not {average:,}")

    def may_change(self, key: str) -> str | None:
        """Return when the field `key`, dotted, may change without making another model.

        The answer is "going on" (while a training is continued), "at any time", or None if it may never change.
        """
        owner: Any = self
        for name in key.split("."):
            found = next(item for item in dataclasses.fields(owner) if item.name == name)
            if "may change" in found.metadata:
                return str(found.metadata["may change"])
            owner = getattr(owner, name)
        return None

    @property
    def scale(self) -> str:
        """The folder of the recipe: `demo`, `multi30k`, `wmt14`. It is empty for a recipe from elsewhere."""
        return self.name.rpartition("/")[0]

    @property
    def sha256(self) -> str:
        """Hash of all that a number can depend on, but by rounding and by the numbers that dropout draws.

        Where the run computes and what it records is not in it.
        """
        values = {key: value for key, value in self.to_dict().items() if key != "run"}
        for section in (key for key, value in values.items() if isinstance(value, dict)):
            own = getattr(self, section)
            for item in dataclasses.fields(own):
                if "later" in item.metadata and getattr(own, item.name) == item.default:
                    del values[section][item.name]
        return sha256_json(values)

    @property
    def system(self) -> str:
        """The name of the table's row, the same at every scale."""
        return self.name.rpartition("/")[2]

    def to_dict(self) -> dict[str, Any]:
        """Return the recipe as plain values that YAML can hold."""
        plain: dict[str, Any] = _plain(dataclasses.asdict(self))
        return plain


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


SECTIONS: dict[str, type] = {
    "data": Data,
    "text": Text,
    "batch": Batching,
    "train": Train,
    "decode": Decode,
    "evaluate": Evaluate,
    "run": Run,
    "estimate": Estimate,
}
SCALES = ("demo", "multi30k", "europarl-small", "europarl-same-small", "europarl", "europarl-same", "wmt14")
"""Folders of recipes that reproduce.sh runs, from small to large. What lies in other folders is run by hand."""
OWN_SCALE = "wmt14"
"""The papers' own size and text. A recipe of this folder can be named without it."""
_WORDS = ("name", "title", "reproduces")
"""Keys of a recipe that are not sections."""


def load_recipe(root: Path, reference: str, sections: dict[str, type], overrides: Sequence[str] = ()) -> Recipe:
    """Return the recipe named `reference` under `root`, or the one in the YAML file at the path `reference`.

    root: the paper's recipes folder. sections: the dataclasses of `model` and `optimizer`.
    overrides: words `key=value`. The key is dotted, or bare if only one section has it.
    Raises UserError for a missing file, an unknown or missing key, a wrong type, or a value out of range.
    """
    path = _find(root, reference, Path())
    values = _resolve(root, path, ())
    values["name"] = _name(root, path)
    recipe = _overridden(values, sections, overrides, str(path))
    if not any((root / folder / f"{recipe.reproduces}.yaml").is_file() for folder in (OWN_SCALE, "")):
        known = ", ".join(sorted(found.stem for found in (root / OWN_SCALE).glob("*.yaml")))
        raise UserError(f"{path}: `reproduces` is `{recipe.reproduces}`; write one of the paper's systems: {known}")
    return recipe


def recipe_from_dict(values: dict[str, Any], sections: dict[str, type], where: str) -> Recipe:
    """Return the recipe that plain values describe. `Recipe.to_dict` and a run's `recipe.yaml` hold such values."""
    typed = {**sections, **SECTIONS}
    built: dict[str, Any] = {}
    for key, value in values.items():
        if key in _WORDS:
            built[key] = checked(str, value, key, where)
        elif key in typed:
            _refuse_moved(key, value, where)
            built[key] = build(typed[key], value, key, where, "a recipe states every value the paper does")
        else:
            raise UserError(f"{where}: unknown key `{key}`; sections are {', '.join(typed)}")
    missing = [key for key in (*_WORDS, *typed) if key not in built]
    if missing:
        raise UserError(f"{where}: missing `{missing[0]}`; add it or extend a recipe that has it")
    try:
        recipe = Recipe(**built)
        for key, value in _leaves(recipe.to_dict()).items():
            require(not isinstance(value, int) or abs(value) < 2**63, key, "fit in 64 bits; write a smaller number")
        return recipe
    except UserError as error:
        raise UserError(f"{where}: {error}") from None


def override(recipe: Recipe, sections: dict[str, type], words: Sequence[str]) -> Recipe:
    """Return the recipe with the values of `key=value` words in place of its own."""
    return _overridden(recipe.to_dict(), sections, words, recipe.name)


def _overridden(values: dict[str, Any], sections: dict[str, type], words: Sequence[str], where: str) -> Recipe:
    for word in words:
        _override(values, word, {**sections, **SECTIONS})
    _make_corpus_absolute(values, Path())
    try:
        return recipe_from_dict(values, sections, where)
    except UserError as error:
        if guilty := [word for word in words if re.search(rf"\b{re.escape(word.partition('=')[0])}`", str(error))]:
            raise UserError(f"{error} (set by {' '.join(guilty[-1].split())})") from None
        raise


_MOVED = {
    **{
        f"data.{key}": f"text.{key}"
        for key in ("segmentation", "vocabulary_size", "bpe_merges", "lowercase", "tokeniser")
    },
    "data.moses_2014_quotes": "text.tokeniser",
    "data.max_length": "batch.max_length",
    "data.pairs": "estimate.pairs",
    "data.mean_source_tokens": "estimate.source_tokens",
    "data.mean_target_tokens": "estimate.target_tokens",
    **{
        f"train.{key}": f"run.{key}"
        for key in ("device", "threads", "path", "log_every", "validate_every", "state_every")
    },
    "decode.batch": "run.decode_positions",
    "run.decode_batch": "run.decode_positions",
    "evaluate.examples": "run.examples",
}
"""Present names of the fields of earlier versions."""
_ANEW = ("decode.batch", "run.decode_batch")
"""Earlier fields whose numbers mean nothing under the present name: these counted sentences."""


def current(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a resolved recipe's plain values under the present names, whichever version of this program wrote them."""
    if isinstance(run := values.get("run"), dict):
        values = {**values, "run": {key: value for key, value in run.items() if f"run.{key}" not in _ANEW}}
    if not isinstance(data := values.get("data"), dict) or "estimate" in values:
        return dict(values)
    data = _text_for_generator(data)
    if isinstance(old := data.get("moses_2014_quotes"), bool):
        data = {**data, "moses_2014_quotes": tokeniser_of(old)}
    values = {"reproduces": str(values.get("name")).rpartition("/")[2], **values, "data": data}
    now: dict[str, Any] = {key: value for key, value in values.items() if key not in SECTIONS}
    found: dict[str, Any] = {}
    for section, fields in values.items():
        if section in SECTIONS and isinstance(fields, dict):
            now_called = {f"{section}.{key}": value for key, value in fields.items() if f"{section}.{key}" not in _ANEW}
            found |= {_MOVED.get(key, key): value for key, value in now_called.items()}
    for section, kind in SECTIONS.items():
        keys = (item.name for item in dataclasses.fields(kind))
        now[section] = {key: found[f"{section}.{key}"] for key in keys if f"{section}.{key}" in found}
    return now


def _text_for_generator(data: dict[str, Any]) -> dict[str, Any]:
    """Return the data section with the text that replaced the corpus `builtin`.

    Earlier versions generated `builtin` from four fields. If their values are not those of the recipes, `demo` is used.
    """
    asked = [data.get(key) for key in ("lexicon", "min_words", "max_words", "corpus_seed")]
    if data.get("corpus") != "builtin":
        return data
    name = {40_000: "demo", 1_200: "demo-small"}.get(data["pairs"]) if asked == [100, 3, 16, 1] else None
    return data | ({"corpus": name} if name else {"corpus": "demo", "first": data["pairs"]})


def _refuse_moved(section: str, values: Any, where: str) -> None:
    """Raise UserError, which gives the present name, if `section` has a field that an earlier version had there."""
    for key in values if isinstance(values, dict) else ():
        if moved := _MOVED.get(f"{section}.{key}"):
            count = " and counts source positions x beam rows" if f"{section}.{key}" in _ANEW else ""
            raise UserError(f"{where}: `{section}.{key}` is `{moved}` now{count}; write that")


def tokeniser_of(moses_2014_quotes: bool) -> str:
    """Return the tokeniser that the earlier versions' field `moses_2014_quotes` meant."""
    return "moses-2014" if moses_2014_quotes else "moses-2016"


def _find(root: Path, reference: str, folder: Path) -> Path:
    """Return the file of a recipe. folder: where a relative path starts."""
    for path in (
        root / f"{reference}.yaml",
        root / OWN_SCALE / f"{reference}.yaml",
        folder / os.path.expanduser(reference),
    ):
        if path.is_file() and is_path(path.name):
            return path
    known = sorted(_name(root, path).removeprefix(f"{OWN_SCALE}/") for path in root.glob("**/*.yaml"))
    raise UserError(f"no recipe `{reference}`: give a YAML file or one of {', '.join(known)}")


def _name(root: Path, path: Path) -> str:
    try:
        return path.resolve().relative_to(root.resolve()).with_suffix("").as_posix()
    except ValueError:
        return path.stem


def _resolve(root: Path, path: Path, seen: tuple[Path, ...]) -> dict[str, Any]:
    """Return the file's values merged over those of the recipe that it extends."""
    if path.resolve() in seen:
        raise UserError(f"{path}: `extends` leads back to itself; break the circle")
    values = read_yaml(path)
    if not isinstance(values, dict):
        raise UserError(
            f"{path}: a recipe is a mapping of sections; this file is {'empty' if values is None else 'not'}"
        )
    _make_corpus_absolute(values, path.parent)
    parent = values.pop("extends", None)
    if parent is None:
        return values
    name = checked(str, parent, "extends", str(path))
    base = _resolve(root, _find(root, name, path.parent), (*seen, path.resolve()))
    if isinstance(base.get("train"), dict):
        base["train"].pop("continues", None)
    return _merge(base, values)


def _make_corpus_absolute(values: dict[str, Any], folder: Path) -> None:
    """Make a relative path in `data.corpus` absolute, in place.

    It then names the same file wherever the recipe is used.
    """
    data = values.get("data")
    if isinstance(data, dict) and isinstance(corpus := data.get("corpus"), str) and is_path(corpus):
        data["corpus"] = os.path.normpath(folder.resolve() / os.path.expanduser(corpus))


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(base.get(key), dict)
        merged[key] = _merge(base[key], value) if both else value
    return merged


def _override(values: dict[str, Any], word: str, typed: dict[str, type]) -> None:
    """Put the value of `key=value` into `values`, in place."""
    key, equals, text = word.partition("=")
    if not equals:
        raise UserError(f"override `{word}` must be written key=value")
    section, dot, name = key.partition(".")
    if not dot:
        homes = [home for home, kind in typed.items() if key in {field.name for field in dataclasses.fields(kind)}]
        if key in ("title", "reproduces"):
            values[key] = text
            return
        if len(homes) != 1:
            advice = f"say which: {', '.join(f'{home}.{key}' for home in homes)}" if homes else "no section has it"
            known = {field.name for kind in typed.values() for field in dataclasses.fields(kind)}
            if not homes and (near := get_close_matches(key, known, 1)):
                advice += f"; did you mean `{near[0]}`?"
            if moved := [now for then, now in _MOVED.items() if then.endswith(f".{key}")]:
                advice = f"it is `{moved[0]}` now"
            raise UserError(f"override `{word}`: unknown or ambiguous key `{key}`; {advice}")
        section, name = homes[0], key
    if section not in typed:
        raise UserError(f"override `{word}`: unknown section `{section}`; sections are {', '.join(typed)}")
    try:
        value = yaml.safe_load(text)
    except NOT_YAML:
        raise UserError(f"override `{word}`: `{text}` is not a YAML value") from None
    fields = values.setdefault(section, {})
    if isinstance(fields, dict):  # if not, the recipe is refused when it is built
        fields[name] = value


def difference(ours: Recipe, theirs: Recipe) -> dict[str, tuple[Any, Any]]:
    """Return the fields, names aside, that differ in two recipes: dotted key -> (value in `ours`, in `theirs`)."""
    return differences(ours.to_dict(), theirs.to_dict())


def differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return `difference` of resolved recipes given as plain values. A field that `theirs` lacks is None there."""
    here, there = _leaves(ours), _leaves(theirs)
    return {key: (here[key], there.get(key)) for key in here if key not in _WORDS and here[key] != there.get(key)}


def unlike(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return the `differences` of two trainings beyond their seeds, in fields that set more than speed or records.

    A field that one of the recipes lacks does not count: it is of an older program. Nor do estimates: no update and no
    score depends on them.
    """
    known = _leaves(theirs)
    return {
        key: values
        for key, values in differences(ours, theirs).items()
        if key in known and key != "train.seed" and not key.startswith("estimate.") and not changes_no_number(key)
    }


def changes_no_number(key: str) -> bool:
    """Return whether the field, dotted, sets only speed or records. Tables do not list such fields."""
    return key.startswith("run.")


def of_one_corpus(key: str) -> bool:
    """Return whether the field, dotted, names parts or sets of its corpus. It says nothing about another corpus."""
    return key in (f"data.{item.name}" for item in dataclasses.fields(Data) if "of one corpus" in item.metadata)


def _leaves(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    leaves: dict[str, Any] = {}
    for key, value in values.items():
        leaves.update(_leaves(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value})
    return leaves
