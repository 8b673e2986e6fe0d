"""The words of the prepared training pairs, as they were before the shortlist: ids hide those beyond it.

A prepared folder keeps the training text as ids only. The corpus is therefore read and tokenised again.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from common.corpus.bitext import choose
from common.errors import UserError
from common.files import utf8_lines
from common.prepare.prepared import Prepared
from common.progress import progress
from common.recipe import Recipe

_BLOCK = 10_000
"""Lines that are read at a time."""

Words = tuple[list[str], list[str]]
"""The tokens of a source and of a target sentence."""


def training_words(prepared: Prepared, recipe: Recipe, cache: Path, most: int) -> Iterator[Words]:
    """Yield the tokens of the prepared training pairs of any length, in file order, at most `most`.

    recipe: the one that `prepared` was prepared for; its tokens are whole words. cache: folder of downloads.
    Raise UserError if the corpus no longer has these pairs.
    """
    text, sides = prepared.text, (prepared.train.source, prepared.train.target)
    pairs, row = min(len(sides[0].offsets) - 1, most), 0
    with progress(pairs, "reading the training text again", "pair") as bar:
        for pair in _tokenised(prepared, recipe, cache):
            ids = (text.source_vocabulary.encode(pair[0]), text.target_vocabulary.encode(pair[1]))
            # What cleaning and selection left out is not among the prepared pairs, which are in the text's order.
            if all(side.sentences(np.array([row]))[0].tolist() == own for side, own in zip(sides, ids, strict=True)):
                yield pair
                row += 1
                bar.update()
                if row == pairs:
                    return
    raise UserError(f"{prepared.directory}: {recipe.data.corpus} has other training text now; give back that text")


def _tokenised(prepared: Prepared, recipe: Recipe, cache: Path) -> Iterator[Words]:
    """Yield the tokens of every pair that is read, those that preparation left out too."""
    bitext, text = choose(recipe.data), prepared.text
    paths, left = bitext.download(cache), bitext.first
    for name, part in bitext.parts.items():
        first = 1
        for _, *sides, pairs in bitext.blocks(name, _BLOCK, paths, left):
            lines = [utf8_lines(side, told, first) for side, told in zip(sides, bitext.names(part), strict=True)]
            for source, target in zip(*lines, strict=True):
                yield text.source_tokeniser.tokenise(source).split(), text.target_tokeniser.tokenise(target).split()
            first, left = first + pairs, left and left - pairs
