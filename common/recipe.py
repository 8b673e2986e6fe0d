"""YAML recipes into frozen, typed dataclasses; unknown keys and wrong types are refused in one line.

A recipe states every value once. `extends: NAME` starts from another recipe, so a file shows only what its
row of a table changes. Two sections, `model` and `optimizer`, belong to the paper; the rest is here.
A path in a recipe starts from the folder of the file that says it, one in an override from the working directory.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from common.errors import UserError
from common.files import utf8_lines, without_mark
from common.typed import BARE_WORDS, build, checked

GOING_ON = {"may change": "going on"}
"""Metadata of a field that may change when a training goes on: it decides how far, not what an update computes."""
AT_ANY_TIME = {"may change": "at any time"}
"""Metadata of a field, or of a whole section, that no update depends on: it may change after the training, too."""


def require(condition: bool, key: str, must: str) -> None:
    """Raise UserError "`key` must ..." unless `condition`."""
    if not condition:
        raise UserError(f"recipe key `{key}` must {must}")


@dataclass(frozen=True)
class Data:
    """What is read. Fields without a default say which text, the others what is taken of it."""

    corpus: str = field(metadata=AT_ANY_TIME)
    """demo, demo-small, multi30k, wmt14, or the path of a YAML file of another (common/corpus/declaration.py)."""
    source: str
    """Language code of the source side."""
    target: str
    """Language code of the target side."""
    parts: tuple[str, ...] = ()
    """Training parts of the corpus, in this order; none named: all that have both languages."""
    first: int | None = None
    """Only the first so many pairs of the training text, counted over the parts in order before anything is left out;
    null reads all."""
    shares: tuple[float, ...] = ()
    """Share of each of `parts` that data selection keeps; 1 keeps a part whole. None given: all are kept whole."""
    in_domain: tuple[str, ...] = ()
    """Parts that data selection takes for the text it wants more of."""
    select_words: int | None = None
    """Instead of the shares below 1: keep the best pairs of those parts until all parts have this many target words."""
    valid: tuple[str, ...] = field(default=(), metadata=AT_ANY_TIME)
    """Sets that together are the development set; none named: the corpus's `valid`."""
    clean_tokens: int | None = None
    """Moses clean-corpus-n: training pairs with more tokens on either side are left out before anything is learned."""
    clean_ratio: float | None = None
    """Moses clean-corpus-n: likewise pairs of which one side has more than this many times the other's tokens."""

    def __post_init__(self) -> None:
        require(self.first is None or self.first > 0, "data.first", "be positive or null")
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
    """How text becomes ids."""

    tokeniser: Literal["moses-2014", "moses-2016", "none"]
    """tokenizer.perl as it was in that year (common/text/moses.py), or `none` for text that is tokenised already."""
    lowercase: bool
    """Lower-case both sides, training and references alike."""
    segmentation: Literal["words", "bpe", "wordpieces"]
    """`words`: a shortlist per language; `bpe` and `wordpieces`: sub-words learned jointly, one vocabulary for both."""
    bpe_merges: int | None
    """Merge operations learned jointly on both sides (bpe only); word pieces fill `vocabulary_size` instead."""
    vocabulary_size: int
    """Embedding rows per vocabulary, EOS and UNK included; the most frequent types fill them."""

    def __post_init__(self) -> None:
        require(self.vocabulary_size >= 3, "text.vocabulary_size", "be at least 3 (EOS, UNK and one word)")
        require(self.segmentation != "bpe" or (self.bpe_merges or 0) > 0, "text.bpe_merges", "be positive with bpe")
        require(self.segmentation == "bpe" or self.bpe_merges is None, "text.bpe_merges", "be null without bpe")


@dataclass(frozen=True)
class Batching:
    """Pool, sort, cut: how sentence pairs become minibatches."""

    max_length: int | None
    """Training pairs with more tokens than this on either side are left out; EOS is not counted."""
    pool: int | None
    """Minibatches read ahead, sorted by length together and cut (Bahdanau: 20); null pools the whole epoch."""
    sentences: int | None
    """Sentence pairs per minibatch (Bahdanau: 80), or null when `tokens` rules."""
    tokens: int | None
    """Padded positions per minibatch on the longer side (Vaswani: about 25,000), or null."""
    shuffle: bool
    """Emit a pool's minibatches in random order; false emits short to long, as GroundHog does."""
    accumulate: int
    """Minibatches whose gradients are summed into one update."""

    def __post_init__(self) -> None:
        require(
            (self.sentences is None) != (self.tokens is None),
            "batch.sentences",
            "be set when batch.tokens is null, and null when it is set",
        )
        for key in ("max_length", "pool", "sentences", "tokens", "accumulate"):
            value = getattr(self, key)
            require(value is None or value > 0, f"batch.{key}", "be positive")


@dataclass(frozen=True)
class Train:
    """The loop: how long, what loss, which weights are kept."""

    steps: int = field(metadata=GOING_ON)
    """Updates."""
    loss: Literal["sum", "token_mean"]
    """`sum` over all target tokens of the minibatch (GroundHog) or their `token_mean` (tensor2tensor)."""
    label_smoothing: float
    """Probability taken from the true word and spread over the V - 1 others."""
    seed: int
    precision: Literal["float32", "bfloat16"]
    """float32, or bfloat16 autocast on CUDA."""
    checkpoint_every: int = field(metadata=GOING_ON)
    """Updates between kept checkpoints (the ones averaging may use)."""
    keep_checkpoints: int = field(metadata=GOING_ON)
    continues: str | None = None
    """A sibling recipe whose finished run this one carries on (RNNsearch-50* carries on RNNsearch-50). Of all fields
    the only one that `extends` does not take over: what changes the model cannot carry on the same run."""

    def __post_init__(self) -> None:
        for key in ("steps", "checkpoint_every", "keep_checkpoints"):
            require(getattr(self, key) > 0, f"train.{key}", "be positive")
        require(0 <= self.label_smoothing < 1, "train.label_smoothing", "lie in [0, 1)")


@dataclass(frozen=True)
class Decode:
    """Beam search."""

    beam: int
    length_penalty: Literal["none", "mean", "gnmt"]
    """Score = log-probability; or divided by the token count (EOS included); or by ((5 + count) / 6)^alpha."""
    alpha: float
    """Exponent of the gnmt penalty."""
    search: Literal["shrinking", "fixed"]
    """`shrinking`: every finished hypothesis narrows the beam by one (GroundHog); `fixed`: tensor2tensor's."""
    max_factor: float
    """Longest hypothesis = max_factor x source tokens (EOS included) + max_extra, EOS included."""
    max_extra: int
    min_factor: float
    """EOS is barred for the first floor(min_factor x source tokens) steps, EOS included in the count."""
    suppress_unk: bool
    """Never emit UNK: its log-probability is -inf, nothing is renormalised."""
    retry: bool
    """If nothing finished: allow UNK again, then double the beam until it reaches 500 (GroundHog)."""

    def __post_init__(self) -> None:
        require(self.beam > 0, "decode.beam", "be positive")
        require(self.alpha >= 0, "decode.alpha", "be zero or more")
        require(self.max_factor > 0 or self.max_extra > 0, "decode.max_factor", "allow at least one token")


@dataclass(frozen=True)
class Evaluate:
    """What is scored once a run is trained."""

    average: int
    """Checkpoints averaged before decoding (Vaswani 2017 section 6.1: 5 base, 20 big); 1 means the last alone."""
    sets: tuple[str, ...]
    """Splits of the corpus that are decoded and scored; the first is the one the tables print."""
    metric: Literal["tokenised", "tokenised_compound"]
    """BLEU of the tables: multi-bleu.perl, without or with the 2017 compound splitting."""
    no_unk: bool
    """Also score the sentences without unknown words, UNK suppressed (Bahdanau Table 1, column No UNK)."""

    def __post_init__(self) -> None:
        require(self.average >= 1, "evaluate.average", "be at least 1")
        require(len(self.sets) >= 1, "evaluate.sets", "name at least one split")


@dataclass(frozen=True)
class Run:
    """Where and how fast a run computes and what it records: nothing here changes a number in a table."""

    device: Literal["auto", "cpu", "cuda"]
    threads: int
    """CPU threads; small steps run fastest on one."""
    log_every: int
    """Updates between lines of the log."""
    validate_every: int
    """Updates between measurements of the dev set's negative log-likelihood."""
    state_every: int
    """Updates between saves of the full state from which a killed run resumes; every checkpoint comes with one."""
    decode_batch: int
    """Sentences decoded together, fewer where they are long; changes speed and memory, never the result."""
    path: Literal["readable", "fast"] = "readable"
    """Which of the paper's two programs computes the model: model.py's equations as they stand, or the same functions
    arranged for speed in fast.py. Changes no result beyond the order of rounding."""
    examples: tuple[str, ...] = ()
    """Source sentences whose attention is drawn; none named: four of the test set."""

    def __post_init__(self) -> None:
        for key in ("threads", "log_every", "validate_every", "state_every", "decode_batch"):
            require(getattr(self, key) > 0, f"run.{key}", "be positive")


@dataclass(frozen=True)
class Estimate:
    """Size of the training text, for `plan`, which touches no data; and so for counting a training's FLOPs."""

    pairs: int
    """Sentence pairs of the training text."""
    source_tokens: float
    """Average source tokens of a sentence, EOS included."""
    target_tokens: float
    """Average target tokens of a sentence, EOS included."""

    def __post_init__(self) -> None:
        for key in ("pairs", "source_tokens", "target_tokens"):
            require(getattr(self, key) > 0, f"estimate.{key}", "be positive")


@dataclass(frozen=True)
class Recipe:
    """One row of one table, complete: everything a run depends on but the machine."""

    name: str = field(metadata=AT_ANY_TIME)
    """Path under the paper's recipes folder, without .yaml: `rnnsearch-50`, `demo/rnnsearch-50`."""
    title: str = field(metadata=AT_ANY_TIME)
    """How the tables call the system."""
    reproduces: str = field(metadata=AT_ANY_TIME)
    """The paper's system that this is, in its size or another: tables say what differs from that one's recipe."""
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
        train, average = self.train, self.evaluate.average
        made = average if train.continues else -(-train.steps // train.checkpoint_every)
        there = f"{train.steps:,} updates with a checkpoint every {train.checkpoint_every:,} make {made:,}"
        require(average <= made, "evaluate.average", f"be at most {made:,}, not {average:,}: {there}")
        kept = train.keep_checkpoints
        require(average <= kept, "evaluate.average", f"be at most train.keep_checkpoints, {kept:,}, not {average:,}")

    def may_change(self, key: str) -> str | None:
        """When the field `key`, dotted, may change without making another model; None if never.

        Returns "going on" (while a training is carried on) or "at any time".
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
        """The folder of the recipe: `demo`, `multi30k`, `wmt14`; empty for one from elsewhere."""
        return self.name.rpartition("/")[0]

    @property
    def system(self) -> str:
        """The row's name, the same at every scale."""
        return self.name.rpartition("/")[2]

    def to_dict(self) -> dict[str, Any]:
        """Plain YAML-able values."""
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
OWN_SCALE = "wmt14"
"""The papers' own size and text: the folder of recipes that may be named without it."""
_WORDS = ("name", "title", "reproduces")
"""Keys of a recipe that are no sections."""


def load_recipe(root: Path, reference: str, sections: dict[str, type], overrides: Sequence[str] = ()) -> Recipe:
    """The recipe named `reference` under `root`, or the YAML file it is the path of.

    root: the paper's recipes folder; sections: the dataclasses of `model` and `optimizer`;
    overrides: words `key=value`, the key dotted or, where only one section has it, bare.
    Raises UserError for a missing file, an unknown or missing key, a wrong type, a value out of range.
    """
    path = _find(root, reference, Path())
    values = _resolve(root, path, ())
    values["name"] = _name(root, path)
    return _overridden(values, sections, overrides, str(path))


def recipe_from_dict(values: dict[str, Any], sections: dict[str, type], where: str) -> Recipe:
    """A Recipe from plain values, as `Recipe.to_dict` or a run's `recipe.yaml` hold them."""
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
        return Recipe(**built)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None


def override(recipe: Recipe, sections: dict[str, type], words: Sequence[str]) -> Recipe:
    """The recipe with `key=value` words laid over it."""
    return _overridden(recipe.to_dict(), sections, words, recipe.name)


def _overridden(values: dict[str, Any], sections: dict[str, type], words: Sequence[str], where: str) -> Recipe:
    for word in words:
        _override(values, word, {**sections, **SECTIONS})
    _make_corpus_absolute(values, Path())
    return recipe_from_dict(values, sections, where)


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
    "decode.batch": "run.decode_batch",
    "evaluate.examples": "run.examples",
}
"""Where the fields of earlier versions are now."""


def current(values: Mapping[str, Any]) -> dict[str, Any]:
    """The plain values of a resolved recipe in the names of today, whichever version of this program wrote them."""
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
            found |= {_MOVED.get(f"{section}.{key}", f"{section}.{key}"): value for key, value in fields.items()}
    for section, kind in SECTIONS.items():
        keys = (item.name for item in dataclasses.fields(kind))
        now[section] = {key: found[f"{section}.{key}"] for key in keys if f"{section}.{key}" in found}
    return now


def _text_for_generator(data: dict[str, Any]) -> dict[str, Any]:
    """A data section in which `builtin`, once generated by what four fields asked for, is the text that came of it.

    Where they asked for something else than the recipes did, the text of `demo` stands in.
    """
    asked = [data.get(key) for key in ("lexicon", "min_words", "max_words", "corpus_seed")]
    if data.get("corpus") != "builtin":
        return data
    name = {40_000: "demo", 1_200: "demo-small"}.get(data["pairs"]) if asked == [100, 3, 16, 1] else None
    return data | ({"corpus": name} if name else {"corpus": "demo", "first": data["pairs"]})


def _refuse_moved(section: str, values: Any, where: str) -> None:
    """Raise UserError naming where a field is now that an earlier version had in `section`."""
    for key in values if isinstance(values, dict) else ():
        if moved := _MOVED.get(f"{section}.{key}"):
            raise UserError(f"{where}: `{section}.{key}` is `{moved}` now; write that")


def tokeniser_of(moses_2014_quotes: bool) -> str:
    """The tokeniser that an earlier version's field stood for."""
    return "moses-2014" if moses_2014_quotes else "moses-2016"


def is_path(name: str) -> bool:
    """Whether the name of a recipe or corpus is a path, that of a YAML file."""
    return name.endswith((".yaml", ".yml"))


def _find(root: Path, reference: str, folder: Path) -> Path:
    """The file of a recipe. folder: where a relative path starts."""
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


class _Loader(yaml.SafeLoader):  # type: ignore[misc,unused-ignore]
    """YAML of which every key is text, as it is written: a set called 2013 is not a number."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """As PyYAML's; UserError for a key that it would take for no text, and for one that comes twice."""
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise UserError(f"line {key.start_mark.line + 1:,}: a key is a list or a mapping; write a name")
            where = f"line {key.start_mark.line + 1:,}: the key `{key.value}`"
            kind = key.tag.rpartition(":")[2]
            if kind in ("bool", "null"):
                raise UserError(f"{where} is no name; {BARE_WORDS if kind == 'bool' else 'write one'}")
            if key.value in seen:
                raise UserError(f"{where} comes twice; rename or remove one of them")
            if kind != "merge":
                key.tag = "tag:yaml.org,2002:str"
                seen.add(key.value)
        return node


def read_yaml(path: Path) -> Any:
    """The YAML value in `path`, keys as they are written; UserError when it is missing, not UTF-8 or not YAML."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    text = "\n".join(utf8_lines(without_mark(content, str(path)), str(path)))
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    except UserError as error:
        raise UserError(f"{path}, {error}") from None


def _resolve(root: Path, path: Path, seen: tuple[Path, ...]) -> dict[str, Any]:
    """The file's values laid over those of the recipe it extends."""
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
    base = _resolve(root, _find(root, str(parent), path.parent), (*seen, path.resolve()))
    if isinstance(base.get("train"), dict):
        base["train"].pop("continues", None)
    return _merge(base, values)


def _make_corpus_absolute(values: dict[str, Any], folder: Path) -> None:
    """Complete, in place, a path in `data.corpus`, so that it names the same file from wherever the recipe is used."""
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
    """Lay `key=value` over `values` in place."""
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
            raise UserError(f"override `{word}`: unknown or ambiguous key `{key}`; {advice}")
        section, name = homes[0], key
    if section not in typed:
        raise UserError(f"override `{word}`: unknown section `{section}`; sections are {', '.join(typed)}")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        raise UserError(f"override `{word}`: `{text}` is not a YAML value") from None
    values.setdefault(section, {})[name] = value


def difference(ours: Recipe, theirs: Recipe) -> dict[str, tuple[Any, Any]]:
    """What two recipes have differently, but for what they are called: dotted key -> (value of `ours`, of `theirs`)."""
    return differences(ours.to_dict(), theirs.to_dict())


def differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """`difference` of resolved recipes as plain values, of which a field may be missing in `theirs`: None there."""
    here, there = _leaves(ours), _leaves(theirs)
    return {key: (here[key], there.get(key)) for key in here if key not in _WORDS and here[key] != there.get(key)}


def changes_no_number(key: str) -> bool:
    """Whether the field, dotted, sets speed or records, and so changes no number in a table."""
    return key.startswith("run.")


def taken_of_the_corpus(key: str) -> bool:
    """Whether the field, dotted, says what is taken of a corpus, and so says nothing of another corpus."""
    optional = (f"data.{item.name}" for item in dataclasses.fields(Data) if item.default is not dataclasses.MISSING)
    return key in optional


def _leaves(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    leaves: dict[str, Any] = {}
    for key, value in values.items():
        leaves.update(_leaves(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value})
    return leaves
