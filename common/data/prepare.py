"""A corpus made ready once: tokenised, segmented, encoded, in a folder that says what it is made from.

Folders are complete or absent: they are built beside their place and renamed.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from common.data.corpora import Corpus, check_readable, input_sums, read_pairs
from common.data.encoded import SIDES, ParallelIds, write_side
from common.data.fetch import checksum, locked
from common.data.pipeline import TextPipeline
from common.data.progress import progress
from common.data.text import Tokeniser
from common.errors import UserError
from common.lines import decode
from common.model import UNK
from common.recipe import Data

FORMAT = 1
"""Raised when the same data section would give other files: older folders are then left alone."""
TOOLS = ("sacremoses", "subword-nmt", "torchtext")
TEXT_FIELDS = (
    "corpus",
    "source",
    "target",
    "segmentation",
    "vocabulary_size",
    "bpe_merges",
    "lowercase",
    "moses_2014_quotes",
)
"""Of the data section, what the prepared files depend on. `max_length` is not among them: the limit is applied when
the pairs are opened, so that RNNsearch-30 and -50 share one preparation and, as in GroundHog, one vocabulary."""
GENERATOR_FIELDS = ("pairs", "lexicon", "min_words", "max_words", "corpus_seed")
"""What a generated corpus depends on besides."""


@dataclass(frozen=True)
class Prepared:
    """A prepared corpus, opened."""

    directory: Path
    manifest: dict[str, Any]
    text: TextPipeline
    train: ParallelIds
    valid: ParallelIds

    @classmethod
    def open(cls, directory: Path, max_length: int | None) -> Prepared:
        """The folder's contents, training pairs limited to `max_length` pieces a side; `valid` is not limited.

        The manifest has `train_used` added: the limit and how many pairs it kept and dropped.
        """
        manifest = json.loads((directory / "manifest.json").read_text(encoding="utf-8"))
        train = ParallelIds.open(directory, "train", max_length)
        dropped = manifest["counts"]["train"]["pairs"] - len(train)
        manifest["train_used"] = {"max_length": max_length, "pairs": len(train), "dropped_by_length": dropped}
        return cls(directory, manifest, TextPipeline.load(directory), train, ParallelIds.open(directory, "valid"))

    def lines(self, split: str) -> dict[str, list[str]]:
        """Lines of a split other than train.

        Keys: source and reference, untokenised; source_tokens and reference_tokens, tokens joined by spaces.
        With data.lowercase all but source are lower-cased.
        """
        files = {
            "source": "source",
            "source_tokens": "source.tok",
            "reference": "target",
            "reference_tokens": "target.tok",
        }
        paths = {key: self.directory / f"{split}.{name}" for key, name in files.items()}
        if not all(path.is_file() for path in paths.values()):
            known = ", ".join(name for name in self.manifest["counts"] if name != "train")
            raise UserError(f"{self.directory} has no text of `{split}`; it has {known}")
        return {key: decode(path.read_bytes(), str(path)) for key, path in paths.items()}


def prepare(data: Data, splits: Sequence[str], root: Path, cache: Path) -> Prepared:
    """The prepared corpus of `data`, built under `root` unless it is there already.

    splits: test sets that will be wanted; all of the corpus are prepared. cache: where downloads go.
    Raises UserError for an unknown corpus, language or split, unreadable text, a full disk.
    """
    corpus = check_readable(data)
    if unknown := [split for split in splits if split not in corpus.splits[1:]]:
        known = ", ".join(corpus.splits[1:])
        raise UserError(f"evaluate.sets: {corpus.name} has no test set `{unknown[0]}`; it has {known}")
    directory = root / folder_name(data)
    try:
        if not _complete(directory):
            with locked(directory):
                if not _complete(directory):
                    _replace(data, corpus, directory, cache)
    except OSError as error:
        raise UserError(f"{error.filename or root}: {error.strerror}; free space or mend that, and run again") from None
    return Prepared.open(directory, data.max_length)


def folder_name(data: Data) -> str:
    """`<corpus>-<source>-<target>-<hash>`, the hash over all that the prepared files depend on."""
    facts = {"format": FORMAT, "data": relevant(data), "inputs": input_sums(data)}
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    return f"{data.corpus}-{data.source}-{data.target}-{digest[:12]}"


def relevant(data: Data) -> dict[str, Any]:
    """The values of the data section that change the prepared files."""
    names = TEXT_FIELDS + (GENERATOR_FIELDS if check_readable(data).generated else ())
    values = dataclasses.asdict(data)
    return {name: values[name] for name in names}


def _complete(directory: Path) -> bool:
    """Whether every file of the manifest is there with its size."""
    try:
        outputs = json.loads((directory / "manifest.json").read_text(encoding="utf-8"))["outputs"]
        return all((directory / name).stat().st_size == facts["bytes"] for name, facts in outputs.items())
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _replace(data: Data, corpus: Corpus, directory: Path, cache: Path) -> None:
    """Build beside `directory`, where a killed attempt may have left something, and rename."""
    part = directory.with_name(f"{directory.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        part.mkdir(parents=True)
        _build(data, corpus, part, cache)
        shutil.rmtree(directory, ignore_errors=True)
        part.rename(directory)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _build(data: Data, corpus: Corpus, part: Path, cache: Path) -> None:
    """All files of a prepared corpus; the manifest last."""
    counts = _write_splits(data, corpus, part, cache)
    manifest = {
        "format": FORMAT,
        "corpus": corpus.name,
        "title": corpus.title,
        "generated": corpus.generated,
        "licence": corpus.licence,
        "citation": corpus.citation,
        "data": relevant(data),
        "tools": {tool: version(tool) for tool in TOOLS},
        "inputs": input_sums(data),
        "counts": counts,
        "outputs": {
            path.name: {"bytes": path.stat().st_size, "sha256": checksum(path)} for path in sorted(part.iterdir())
        },
    }
    (part / "manifest.json").write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _write_splits(data: Data, corpus: Corpus, part: Path, cache: Path) -> dict[str, Any]:
    """Every file but the manifest; what there is to count, by split."""
    tokenisers = [
        Tokeniser(language, data.lowercase, data.moses_2014_quotes) for language in (data.source, data.target)
    ]
    raw = {split: read_pairs(data, split, cache) for split in corpus.splits}
    tokenised = {split: _tokenise(pair, tokenisers, f"{corpus.name} {split}") for split, pair in raw.items()}
    tokenised["train"], empty = _without_empty(tokenised["train"])
    frequencies = [Counter(token for line in side for token in line.split()) for side in tokenised["train"]]
    text = TextPipeline.learn(data, *frequencies)
    text.save(part)
    counts = {split: _encode(text, split, pair, part) for split, pair in tokenised.items()}
    counts["train"]["dropped_empty"] = empty
    for side, frequency in zip(SIDES, frequencies, strict=True):
        counts["train"][f"{side}_word_types"] = len(frequency)
    for split in corpus.splits[1:]:
        _write_text(data, part, split, raw[split], tokenised[split])
    return counts


Pairs = tuple[list[str], list[str]]


def _tokenise(pairs: Pairs, tokenisers: Sequence[Tokeniser], name: str) -> Pairs:
    """Both sides tokenised, line by line."""
    with progress(2 * len(pairs[0]), f"tokenising {name}", "line") as bar:
        source, target = (_each(tokeniser, side, bar) for tokeniser, side in zip(tokenisers, pairs, strict=True))
    return source, target


def _each(tokeniser: Tokeniser, lines: list[str], bar: Any) -> list[str]:
    tokenised = []
    for line in lines:
        tokenised.append(tokeniser.tokenise(line))
        bar.update()
    return tokenised


def _without_empty(pairs: Pairs) -> tuple[Pairs, int]:
    """The pairs with a token on both sides, and how many others there were."""
    kept = [pair for pair in zip(*pairs, strict=True) if all(pair)]
    if not kept:
        raise UserError("the training text has no pair with words on both sides; check data.corpus")
    source, target = (list(side) for side in zip(*kept, strict=True))
    return (source, target), len(pairs[0]) - len(kept)


def _encode(text: TextPipeline, split: str, pairs: Pairs, part: Path) -> dict[str, Any]:
    """Write the ids of both sides; pairs, pieces, mean length with EOS, share of UNK."""
    counts: dict[str, Any] = {"pairs": len(pairs[0])}
    for side, vocabulary, lines in zip(SIDES, (text.source_vocabulary, text.target_vocabulary), pairs, strict=True):
        sentences = [vocabulary.encode(text.pieces(line)) for line in lines]
        write_side(part, split, side, sentences)
        pieces = sum(map(len, sentences))
        counts[f"{side}_tokens"] = pieces
        counts[f"{side}_mean_length"] = round(pieces / len(lines) + 1, 4)
        counts[f"{side}_unk_rate"] = round(sum(ids.count(UNK) for ids in sentences) / max(pieces, 1), 6)
        counts[f"{side}_vocabulary_words"] = len(vocabulary.words)
    return counts


def _write_text(data: Data, part: Path, split: str, raw: Pairs, tokenised: Pairs) -> None:
    """A split as text: `.source`, `.target` and both with `.tok`."""
    references: Iterable[str] = (line.lower() for line in raw[1]) if data.lowercase else raw[1]
    sides = {"source": raw[0], "source.tok": tokenised[0], "target": references, "target.tok": tokenised[1]}
    for name, lines in sides.items():
        content = "".join(f"{line}\n" for line in lines)
        (part / f"{split}.{name}").write_text(content, encoding="utf-8", newline="\n")
