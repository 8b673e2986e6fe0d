"""Data selection as a step of preparation: which pairs of which shards are kept.

Bahdanau2014 §4.1 reduced 850M words to 348M by the method of Axelrod et al. 2011 (common/prepare/cross_entropy.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from common.files import write_once
from common.prepare.cross_entropy import Scorer, keep_share, keep_words, train_models
from common.prepare.encoded import SIDES
from common.prepare.tokens import Array, Shard, save_array
from common.prepare.workers import Crew
from common.recipe import Data

SEED = 1
"""Seed of the samples that represent general text."""
RUN = 100
"""Number of consecutive pairs that belong to one half."""


def select(
    data: Data, by_part: Mapping[str, Sequence[Path]], work: Path, out: Path, crew: Crew
) -> tuple[list[Path | None], dict[str, dict[str, int]]]:
    """Return for every shard of every part in order the file of its mask, None if all is kept; and counts by part.

    by_part: shards of each training part. Writes `selection.<part>.{scores,lines,kept}.npy` into `out`. For every pair
    that was scored they have its score (lower is more like the in-domain text), its line in the part (from 1), and
    whether it is kept.
    """
    shares = dict(zip(data.parts, data.shares, strict=True)) if data.shares else {}
    judged = {name: by_part[name] for name, share in shares.items() if share < 1 and by_part[name]}
    if not judged:
        return [None for paths in by_part.values() for _ in paths], {}
    models = [work / f"models-{half}" for half in (0, 1)]
    in_domain = [path for name in data.in_domain for path in by_part[name]]
    general = [path for name, paths in by_part.items() if name not in data.in_domain for path in paths]
    crew.run_apart(_train, in_domain, general, models)
    scored = {path: scores_path(path) for paths in judged.values() for path in paths}
    crew.run(_score, [(path, models, end) for path, end in scored.items()])
    scores = {path: np.load(end, allow_pickle=False) for path, end in scored.items()}
    kept = _keep(data, by_part, judged, shares, scores)
    for path, mask in kept.items():
        write_once(mask_path(path), lambda part, mask=mask: save_array(part, mask))  # type: ignore[misc]
    about = {name: _report(name, paths, scores, kept, out) for name, paths in judged.items()}
    return [mask_path(path) if path in kept else None for paths in by_part.values() for path in paths], about


def mask_path(path: Path) -> Path:
    """Return the file of a shard's mask, which says for each pair whether it is kept."""
    return path.with_name(f"{path.stem}.kept.npy")


def scores_path(path: Path) -> Path:
    """Return the file of a shard's scores."""
    return path.with_name(f"{path.stem}.scores.npy")


def _keep(
    data: Data,
    by_part: Mapping[str, Sequence[Path]],
    judged: Mapping[str, Sequence[Path]],
    shares: Mapping[str, float],
    scores: Mapping[Path, Array],
) -> dict[Path, Array]:
    """Return the mask of each scored shard: each part's share, or the best of all up to a number of target words."""
    if data.select_words is None:
        return {
            path: mask
            for name, paths in judged.items()
            for path, mask in zip(paths, keep_share([scores[path] for path in paths], shares[name]), strict=True)
        }
    whole = [path for name, paths in by_part.items() if name not in judged for path in paths]
    taken = sum(int(Shard(path)["target.lengths"].sum()) for path in whole)
    paths = [path for part in judged.values() for path in part]
    words = [Shard(path)["target.lengths"].astype(np.int64) for path in paths]
    masks = keep_words([scores[path] for path in paths], words, max(0, data.select_words - taken))
    return dict(zip(paths, masks, strict=True))


def _report(
    name: str, paths: Sequence[Path], scores: Mapping[Path, Array], kept: Mapping[Path, Array], out: Path
) -> dict[str, int]:
    """Write the result for each pair of a part. Returns how many were selected and how many were not."""
    shards = [Shard(path) for path in paths]
    mask = np.concatenate([kept[path] for path in paths])
    np.save(out / f"selection.{name}.scores.npy", np.concatenate([scores[path] for path in paths]))
    np.save(out / f"selection.{name}.lines.npy", np.concatenate([shard["rows"] for shard in shards]))
    np.save(out / f"selection.{name}.kept.npy", mask)
    return {"selected": int(mask.sum()), "unselected": int((~mask).sum())}


def _half(size: int, number: int) -> Array:
    """Return which pairs of a shard belong to half 0 or 1.

    Runs of RUN pairs alternate, because neighbours are alike.
    """
    half: Array = np.flatnonzero(np.arange(size) // RUN % 2 == number)
    return half


def _train(in_domain: Sequence[Path], general: Sequence[Path], folders: Sequence[Path]) -> None:
    """Train language models of the in-domain text, and of as many pairs sampled from each half of the rest.

    Axelrod et al. 2011 sample from all of the rest. But a model has seen its own sample and would reject it whatever it
    says. So there are two sets of models, and each half is scored by the models whose sample is from the other half.
    """
    sizes = [len(Shard(path)["source.lengths"]) for path in general]
    wanted = sum(len(Shard(path)["source.lengths"]) for path in in_domain)
    share = min(1.0, wanted / max(sum(sizes) / 2, 1))

    def drawn(side: str, half: int) -> Iterator[str]:
        for number, (path, size) in enumerate(zip(general, sizes, strict=True)):
            there = _half(size, half)
            draw = np.random.default_rng([SEED, half, number]).choice(there, round(share * len(there)), replace=False)
            yield from Shard(path).lines(side, np.sort(draw))

    def whole(side: str) -> Iterator[str]:
        for path in in_domain:
            yield from Shard(path).lines(side)

    for half, folder in enumerate(folders):
        train_models((whole(SIDES[0]), whole(SIDES[1])), (drawn(SIDES[0], half), drawn(SIDES[1], half)), folder)


def _score(shard_path: Path, folders: Sequence[Path], path: Path) -> None:
    """Write the scores of all pairs of a shard, each half under the models of the other."""

    def write(part: Path) -> None:
        shard = Shard(shard_path)
        scores = np.empty(len(shard["source.lengths"]))
        for half, folder in enumerate(reversed(folders)):
            there = _half(len(scores), half)
            scores[there] = Scorer(folder).scores(shard.lines("source", there), shard.lines("target", there))
        save_array(part, scores)

    write_once(path, write)
