"""Results written by hand, with numbers no run and no paper has, for the tests of tables and claims."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from common.recipe import Recipe
from common.score.bleu import bleu


def statistics(qualities: Sequence[float], words: int = 11) -> np.ndarray:
    """Ten counts a sentence, (sentences, 10): of `words` words, and of the n-grams in them, a share is right."""
    totals = [words - n for n in range(4)]
    return np.array([[*(round(quality * total) for total in totals), *totals, words, words] for quality in qualities])


def column(counts: np.ndarray, lengths: Sequence[int], value: float | None = None) -> dict[str, Any]:
    """A scored column; `value` overrides the BLEU, to be found again in a table."""
    score = bleu(counts) if value is None else value
    return {
        "bleu": score,
        "interval": [score - 0.125, score + 0.125],
        "signature": "made|by:hand",
        "detail": "",
        "sacrebleu": score + 0.0625,
        "sacrebleu_signature": "sacre|by:hand",
        "sentences": len(counts),
        "seconds": 1.0,
        "statistics": [" ".join(map(str, row)) for row in counts.tolist()],
        "source_lengths": " ".join(map(str, lengths)),
        "hypotheses": ["mot"] * len(counts),
    }


def values(recipe: Recipe, columns: dict[str, Any], **changed: Any) -> dict[str, Any]:
    """A whole result.json. `changed` overrides top-level keys; `step`, `seconds`, `perplexity` the training's."""
    step, seconds = changed.pop("step", recipe.train.steps), changed.pop("seconds", 7200.0)
    perplexity = changed.pop("perplexity", 3.625)
    dev = {"nll_per_token": float(np.log(perplexity)), "nll_per_sentence": 77.7, "perplexity": perplexity}
    long = {"source": "a *long* | one", "reference": "une longue", "hypothesis": "une <b> longue"}
    return {
        "paper": "made",
        "recipe": recipe.name,
        "title": recipe.title,
        "resolved_recipe": recipe.to_dict(),
        "recipe_sha256": "c0ffee" * 10,
        "generated": True,
        "data": {"title": "made text", "train_used": {"pairs": 1000}},
        "training": {
            "progress": {"step": step, "epoch": 1, "seconds": seconds, "sentences": 4500},
            "complete": step == recipe.train.steps,
            "parameters": 123_400_000,
            "train": {"nll_per_sentence": 66.6},
            "dev": dev,
            "commit": "abcdef0123",
            "dirty": False,
            "environment": {"hardware": "a machine", "torch": "9.9"},
        },
        "weights": {"averaged_steps": [1, 2]},
        "environment": {"hardware": "a machine", "torch": "9.9"},
        "flops_counted": 7.77e9,
        "matmul_flops_per_second": 1e6,
        "commit": "abcdef0123",
        "dirty": False,
        "sets": {"made": {"columns": columns, "longest": [long]}},
    } | changed


def write(folder: Path, system: str, result: dict[str, Any], attention: list[Any] | None = None) -> None:
    """A run folder with a result and its attention maps."""
    (folder / system).mkdir(parents=True)
    (folder / system / "result.json").write_text(json.dumps(result))
    (folder / system / "attention.json").write_text(json.dumps(attention or []))


def cells(markdown: str, heading: str) -> list[dict[str, str]]:
    """The rows of the first table after `heading`, as `tables` reads them."""
    return tables(markdown[markdown.index(heading) :])[0]


def tables(markdown: str) -> list[list[dict[str, str]]]:
    """The rows of every table, by column; columns of one name are numbered `paper`, `paper 2`."""
    blocks: list[list[list[str]]] = [[]]
    for line in markdown.split("\n"):
        if line.startswith("|"):
            blocks[-1].append([cell.strip() for cell in line.replace("\\|", "\0").strip("|").split("|")])
        elif blocks[-1]:
            blocks.append([])
    return [
        [dict(zip(_numbered(header), row, strict=True)) for row in rows] for header, _, *rows in filter(None, blocks)
    ]


def _numbered(header: Sequence[str]) -> list[str]:
    names: list[str] = []
    for name in header:
        known = sum(other.split(" 2")[0] == name for other in names)
        names.append(f"{name} {known + 1}" if known else name)
    return names
