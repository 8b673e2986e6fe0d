"""Whether data selection does what it is for: a check on the development sets, beside text drawn at random.

Axelrod, He & Gao 2011 claim that the selected pairs model the domain better than as much random text. Here four-gram
models are estimated from the selected pairs, from random pairs with as many target words, and from all pairs that could
have been selected. All models of a language have one vocabulary: the words seen at least twice in all of these pairs.
So their perplexities are of the same events and can be compared. A word outside the vocabulary counts as <unk> and is
predicted like any other word, and so is the end of a sentence.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from common.files import write_once, write_whole
from common.prepare.cross_entropy import BITS, open_model
from common.prepare.encoded import SIDES
from common.prepare.language_model import estimate, vocabulary
from common.prepare.manifest import Example, Modelled, SelectionCheck, Size
from common.prepare.selection import mask_path, scores_path
from common.prepare.tokens import Array, Shard, save_array
from common.prepare.workers import Crew
from common.progress import progress
from common.score.significance import bootstrap_interval

SEED = 2
"""Seed of the sample and the draws."""
DRAWS = 3
"""Number of random texts. Their differences show how much a draw matters."""
LIMIT = 32_000_000
"""Target words that are looked at. Of a larger text as many are sampled, which bounds time, memory and disk."""
AT_ONCE = 2
"""Number of models that are estimated at once. Two of all text that is looked at take up to 3 GB of disk."""
EXAMPLES = 3
"""Number of best and of worst pairs that are kept to be shown."""
SHOWN = range(8, 31)
"""Target words of those pairs. The extremes among all pairs are headings and lists."""

Sets = Mapping[str, tuple[Sequence[str], Sequence[str]]]
"""Source and target lines of the development sets by name, tokens joined by spaces."""


def check_selection(groups: Sequence[Sequence[Path]], sets: Sets, work: Path, crew: Crew) -> SelectionCheck | None:
    """Return the check of what `select` did, or None if a text would be empty.

    groups: shards that were scored. Each group was cut on its own, and random pairs are drawn from each on its own.
    work: folder for the check alone. What is finished there is not made again.
    """
    paths = [path for group in groups for path in group]
    mask, scores = (
        np.concatenate([np.load(file(path), allow_pickle=False) for path in paths]) for file in (mask_path, scores_path)
    )
    words = {side: np.concatenate([Shard(path)[f"{side}.lengths"] for path in paths]) for side in SIDES}
    ends = np.cumsum([sum(len(Shard(path)["rows"]) for path in group) for group in groups])
    texts = _texts(mask, words["target"].astype(np.int64), ends[:-1])
    if not all(text.any() for text in texts.values()):
        return None

    def size(chosen: Array) -> Size:
        return Size(int(chosen.sum()), {side: int(words[side][chosen].sum()) for side in SIDES})

    measured = _measure(paths, texts, sets, work, crew)
    best, worst = _examples(paths, scores, words["target"])
    return SelectionCheck(
        whole=size(np.ones_like(mask)),
        selected=size(mask),
        texts={name: size(text) for name, text in texts.items()},
        sets={
            name: {side: _modelled(measured[side], lines[number], at) for number, side in enumerate(SIDES)}
            for (name, lines), at in zip(sets.items(), _places(sets), strict=True)
        },
        best=best,
        worst=worst,
    )


def _texts(mask: Array, words: Array, cuts: Array) -> dict[str, Array]:
    """Return masks of the pairs that are looked at, of the selected ones among them, and of each random text.

    mask, words: of all pairs, whether they are selected and their target words. cuts: where groups but the first begin.
    """
    generator = np.random.default_rng(SEED)
    whole = generator.random(len(mask)) < LIMIT / max(int(words.sum()), 1)
    texts = {"whole": whole, "selected": whole & mask}
    for number in range(1, DRAWS + 1):
        text = np.zeros_like(mask)
        for group in np.split(np.arange(len(mask)), cuts):
            order = generator.permutation(group[whole[group]])
            wanted = words[group[texts["selected"][group]]].sum()
            text[order[: np.searchsorted(np.cumsum(words[order]), wanted, side="right")]] = True
        texts[f"random {number}"] = text
    return texts


def _places(sets: Sets) -> list[slice]:
    """Return where the lines of each set are among the lines of all sets."""
    ends = np.cumsum([0, *(len(source) for source, _ in sets.values())]).tolist()
    return [slice(start, end) for start, end in zip(ends, ends[1:], strict=False)]


def _measure(
    paths: Sequence[Path], texts: Mapping[str, Array], sets: Sets, work: Path, crew: Crew
) -> dict[str, dict[str, Array]]:
    """Return what `_model` writes, by side and text, for the lines of all sets in order."""
    work.mkdir(exist_ok=True)
    masks = {name: work / f"{name}.npy" for name in texts}
    for name, path in masks.items():
        write_once(path, lambda part, name=name: save_array(part, texts[name]))  # type: ignore[misc]
    words = {side: work / f"{side}.words" for side in SIDES}
    crew.run(_vocabulary, [(paths, masks["whole"], side, words[side]) for side in SIDES])
    lines = {side: [line.encode() for pair in sets.values() for line in pair[n]] for n, side in enumerate(SIDES)}
    ends = {side: {name: work / f"{name}.{side}.npy" for name in texts} for side in SIDES}
    tasks = [(paths, masks[name], side, words[side], lines[side], ends[side][name]) for name in texts for side in SIDES]
    with progress(len(tasks), "modelling selected and random text", "model") as bar:
        crew.run(_model, tasks, lambda task: bar.update(), AT_ONCE)
    return {side: {name: np.load(ends[side][name], allow_pickle=False) for name in texts} for side in SIDES}


def _lines(paths: Sequence[Path], mask: Path, side: str) -> Iterator[bytes]:
    """Yield the sentences of one side of the pairs in the mask of all shards."""
    chosen, start = np.load(mask, allow_pickle=False), 0
    for path in paths:
        shard = Shard(path)
        end = start + len(shard[f"{side}.lengths"])
        yield from (line.encode() for line in shard.lines(side, chosen[start:end]))
        start = end


def _vocabulary(paths: Sequence[Path], mask: Path, side: str, path: Path) -> None:
    """Write the words that the text in the mask has at least twice, in alphabetical order."""
    if not path.exists():
        write_whole(path, b"\n".join(sorted(vocabulary(_lines(paths, mask, side)))))


def _model(paths: Sequence[Path], mask: Path, side: str, words: Path, lines: Sequence[bytes], path: Path) -> None:
    """Estimate a model of the text in the mask, and write for each of `lines` (2, lines): bits, and unseen words.

    Unseen words are those that the text does not have, whether or not the vocabulary has them.
    """

    def write(part: Path) -> None:
        unseen = {word for line in lines for word in line.split()}

        def read() -> Iterator[bytes]:
            for line in _lines(paths, mask, side):
                unseen.difference_update(line.split())
                yield line

        trie = path.with_suffix(".trie")
        estimate(read(), set(words.read_bytes().split(b"\n")), trie, f"the {side} text of {mask.stem}")
        model = open_model(trie)
        bits = [-BITS * model.score(line) for line in lines]
        save_array(part, np.array([bits, [sum(word in unseen for word in line.split()) for line in lines]]))
        trie.unlink()

    write_once(path, write)


def _modelled(measured: Mapping[str, Array], lines: Sequence[str], at: slice) -> Modelled:
    """Return what the models say of one side of a set, whose lines are those of all sets at `at`."""
    words = np.array([len(line.encode().split()) for line in lines])
    tokens = words + 1  # the end of the sentence
    bits = {name: values[0, at] for name, values in measured.items()}
    draws = [bits[name] for name in bits if name not in ("whole", "selected")]
    spread = [
        bootstrap_interval(
            np.stack([draw - bits["selected"], tokens], axis=1), lambda sums: sums[..., 0] / sums[..., 1]
        )
        for draw in draws
    ]
    return Modelled(
        words=int(words.sum()),
        perplexity={name: round(float(2 ** (each.sum() / tokens.sum())), 2) for name, each in bits.items()},
        unseen={name: round(float(values[1, at].sum() / max(words.sum(), 1)), 6) for name, values in measured.items()},
        gain=round(float((np.mean(draws, axis=0) - bits["selected"]).sum() / tokens.sum()), 6),
        interval=(round(min(low for low, _ in spread), 6), round(max(high for _, high in spread), 6)),
    )


def _examples(paths: Sequence[Path], scores: Array, words: Array) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    """Return the pairs with the lowest and with the highest scores, no target sentence twice.

    scores, words: of all pairs of the shards in `paths`, their scores and target words.
    """
    starts = np.cumsum([0, *(len(Shard(path)["rows"]) for path in paths)])
    shown = np.flatnonzero((words >= SHOWN.start) & (words < SHOWN.stop))
    order = shown[np.argsort(scores[shown], kind="stable")]

    def first(rows: Array) -> tuple[Example, ...]:
        found: dict[str, Example] = {}
        for row in rows.tolist():
            number = int(np.searchsorted(starts, row, side="right")) - 1
            shard, at = Shard(paths[number]), np.array([row - starts[number]])
            source, target = (shard.lines(side, at)[0] for side in SIDES)
            found.setdefault(target, Example(source, target, round(float(scores[row]), 4)))
            if len(found) == EXAMPLES:
                break
        return tuple(found.values())

    return first(order), first(order[::-1])
