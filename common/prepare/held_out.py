"""Preparation of the development and test sets: every pair is kept, as text and as ids."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from common.files import write_whole
from common.ids import UNK
from common.prepare.encoded import SIDES, write_side
from common.prepare.manifest import SetCounts, SideCounts
from common.text.pipeline import TextPipeline

Pairs = tuple[list[str], list[str]]
"""Source lines and target lines."""


def write_held_out(raw: Mapping[str, Pairs], development: Sequence[str], out: Path) -> dict[str, SetCounts]:
    """Write the untokenised sets `raw` into `out`, which already has the text pipeline. Returns the counts of each set.

    The sets that `development` names together are `valid`, even if the corpus has another set of that name.
    """
    text = TextPipeline.load(out)
    together = tuple([line for name in development for line in raw[name][side]] for side in (0, 1))
    splits = {"valid": together, **{name: pairs for name, pairs in raw.items() if name != "valid"}}
    counts = {}
    for split, (source, target) in splits.items():
        tokenised = (
            [text.source_tokeniser.tokenise(line) for line in source],
            [text.target_tokeniser.tokenise(line) for line in target],
        )
        counts[split] = _encode_split(text, split, tokenised, out)
        _write_text(text.lowercase, out, split, (source, target), tokenised)
    return counts


def _encode_split(text: TextPipeline, split: str, pairs: Pairs, out: Path) -> SetCounts:
    """Write the ids of both sides of a set, given tokens joined by spaces. Returns the counts of the set."""
    counts = []
    for side, vocabulary, lines in zip(SIDES, (text.source_vocabulary, text.target_vocabulary), pairs, strict=True):
        sentences = [vocabulary.encode(text.pieces(line)) for line in lines]
        write_side(out, split, side, sentences, vocabulary.size)
        pieces, unknown = sum(map(len, sentences)), sum(ids.count(UNK) for ids in sentences)
        counts.append(SideCounts.of(len(lines), pieces, unknown, len(vocabulary.words)))
    return SetCounts(len(pairs[0]), *counts)


def _write_text(lowercase: bool, out: Path, split: str, raw: Pairs, tokenised: Pairs) -> None:
    """Write a split as text: `.source`, `.target`, and both with `.tok`."""
    references: Iterable[str] = (line.lower() for line in raw[1]) if lowercase else raw[1]
    sides = {"source": raw[0], "source.tok": tokenised[0], "target": references, "target.tok": tokenised[1]}
    for name, lines in sides.items():
        write_whole(out / f"{split}.{name}", "".join(f"{line}\n" for line in lines))
