"""From counted words to segmentation, vocabularies and the table that turns words into ids."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from common.files import write_once
from common.prepare.lexicon import Lexicon
from common.prepare.tokens import Numbers, save_arrays
from common.prepare.types import Types, at_most, most_frequent
from common.prepare.workers import Crew
from common.recipe import Data, Text
from common.text.pipeline import SEGMENTER_FILES, SEGMENTERS, Segmenter, TextPipeline
from common.text.vocabulary import SPECIALS, Vocabulary
from common.text.wordpieces import WordPieces

MOST_TYPES = 2_500_000
"""Largest number of word types from which sub-words are learned, the most frequent ones. It limits the memory on any
corpus to 1.5 GB."""


def learn_subwords(text: Text, types: Sequence[Path], work: Path, out: Path, crew: Crew) -> None:
    """Learn from all types and their counts how words are split, and save it in `out`. Whole words need nothing.

    types: files that types.gather_types wrote.
    """
    if text.segmentation in SEGMENTERS and not (out / SEGMENTER_FILES[text.segmentation]).exists():
        crew.run_apart(_learn_segmenter, text, types, work, out / SEGMENTER_FILES[text.segmentation])


def build_lexicons(
    data: Data, text: Text, types: Sequence[Path], work: Path, out: Path, crew: Crew
) -> tuple[Path, Path]:
    """Split every type, save the vocabularies in `out`, and return the lexicons of source and target in `work`."""
    if text.segmentation not in SEGMENTERS:
        crew.run_apart(_build_from_words, data, text, types, work, out)
        return work / "source", work / "target"
    codes = out / SEGMENTER_FILES[text.segmentation]
    split = [path.with_name(path.name.replace("types", "split")) for path in types]
    crew.run(_split_types, [(path, text.segmentation, codes, end) for path, end in zip(types, split, strict=True)])
    crew.run_apart(_build_from_pieces, data, text, types, split, work, out)
    return work / "joint", work / "joint"


def _pipeline(
    data: Data, text: Text, source: Vocabulary, target: Vocabulary, segmenter: Segmenter | None
) -> TextPipeline:
    return TextPipeline(data.source, data.target, text.lowercase, text.tokeniser, source, target, segmenter)


def _build_from_words(data: Data, text: Text, types: Sequence[Path], work: Path, out: Path) -> None:
    """Build a vocabulary and a lexicon for each language, or for both the same one."""
    wanted = text.vocabulary_size - SPECIALS
    counted = ([0], [1]) if text.segmentation == "words" else ([0, 1], [0, 1])
    source, target = (Vocabulary.build(most_frequent(types, sides, wanted), text.vocabulary_size) for sides in counted)
    _pipeline(data, text, source, target, None).save(out)
    write_once(work / "learned.json", json.dumps({}))
    loaded = [Types.load(path) for path in types]
    for name, vocabulary in (("source", source), ("target", target)):
        ids = [np.array(vocabulary.encode(part.words), dtype=np.int32) for part in loaded]
        ones = [np.ones(len(part), dtype=np.int64) for part in ids]
        Lexicon.build([part.hashes for part in loaded], ones, ids, text.vocabulary_size).save(work / name)


def _learn_segmenter(text: Text, types: Sequence[Path], work: Path, path: Path) -> None:
    """Learn sub-words from the counts of both languages together."""
    counts = at_most(types, [0, 1], MOST_TYPES)
    write_once(work / "learned-from.json", json.dumps({"types_learned_from": len(counts)}))
    kind = SEGMENTERS[text.segmentation]
    write_once(path, kind.learn(counts, text.bpe_merges or text.vocabulary_size - SPECIALS).save)


@lru_cache(maxsize=1)
def _segmenter(kind: str, path: Path) -> Segmenter:
    return SEGMENTERS[kind].load(path)


def _split_types(types: Path, kind: str, codes: Path, path: Path) -> None:
    split_types(types, _segmenter(kind, codes), path)


def split_types(types_path: Path, segmenter: Segmenter, path: Path) -> None:
    """Write the pieces of every type of a partition, as numbers that index the partition's own list of pieces."""

    def write(part: Path) -> None:
        types = Types.load(types_path)
        numbers = Numbers()
        split = [[numbers[piece] for piece in segmenter.split([word])] for word in types.words]
        flat = np.array([number for pieces in split for number in pieces], dtype=np.int64)
        lengths = np.array([len(pieces) for pieces in split], dtype=np.int64)
        weights = np.repeat(types.counts.sum(axis=1), lengths)
        counts = np.bincount(flat, weights=weights, minlength=len(numbers)).astype(np.int64)
        names = np.frombuffer("".join(f"{piece}\n" for piece in numbers).encode(), dtype=np.uint8)
        save_arrays(part, {"pieces": names, "counts": counts, "flat": flat, "lengths": lengths})

    write_once(path, write)


def _build_from_pieces(
    data: Data, text: Text, types: Sequence[Path], split: Sequence[Path], work: Path, out: Path
) -> None:
    """Build one vocabulary of the pieces of both languages, and its lexicon."""
    parts = [np.load(path, allow_pickle=False) for path in split]
    hashes = [Types.load(path).hashes for path in types]
    names = [part["pieces"].tobytes().decode().split("\n")[:-1] for part in parts]
    counts: Counter[str] = Counter()
    for part, pieces in zip(parts, names, strict=True):
        counts.update(dict(zip(pieces, part["counts"].tolist(), strict=True)))
    segmenter = SEGMENTERS[text.segmentation].load(out / SEGMENTER_FILES[text.segmentation])
    types_of_pieces = len(counts)
    if isinstance(segmenter, WordPieces):
        # Exactly the segmenter's pieces, also those that this text never needs. One more per count keeps them in.
        counts = Counter({piece: counts[piece] + 1 for piece in segmenter.pieces})
    vocabulary = Vocabulary.build(counts, text.vocabulary_size)
    _pipeline(data, text, vocabulary, vocabulary, segmenter).save(out)
    learned = json.loads((work / "learned-from.json").read_text(encoding="utf-8"))
    learned |= {"types": sum(len(part) for part in hashes), "piece_types": types_of_pieces}
    write_once(work / "learned.json", json.dumps(learned))
    ids = [
        np.array(vocabulary.encode(pieces), dtype=np.int32)[part["flat"]]
        for part, pieces in zip(parts, names, strict=True)
    ]
    lengths = [part["lengths"] for part in parts]
    Lexicon.build(hashes, lengths, ids, text.vocabulary_size).save(work / "joint")
