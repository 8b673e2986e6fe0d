"""The page that `prepare` writes last: what was read, left out (and why) and stored, and how long sentences are."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from common.files import write_whole
from common.markdown import table
from common.prepare.encoded import SIDES
from common.prepare.manifest import Counts, Manifest
from common.text.pipeline import SEGMENTERS
from common.text.vocabulary import SPECIALS

NAME, FIGURE = "summary.md", "lengths.png"
"""Files of a prepared folder."""


def write_summary(manifest: Manifest, directory: Path) -> None:
    """Write `summary.md` and `lengths.png` of a prepared corpus into its folder."""
    draw_lengths(
        manifest, json.loads((directory / "train.lengths.json").read_text(encoding="utf-8")), directory / FIGURE
    )
    write_whole(directory / NAME, summary(manifest))


def summary(manifest: Manifest) -> str:
    """Return the page as Markdown."""
    data, text, train = manifest.data, manifest.text, manifest.counts.train
    words = text["segmentation"] not in SEGMENTERS
    lines = [
        f"# {manifest.title}, {data['source']}-{data['target']}, prepared",
        "",
        "Generated text." if manifest.generated else f"Licence: {manifest.licence}",
        "",
        *(f"**Warning:** {warning}\n" for warning in manifest.warnings),
        "## Training pairs, part by part",
        "",
        _table(
            ["part", "read", "expected", "empty side", "too long", "length ratio", "not selected", "kept"],
            _parts(train.parts, manifest.expected),
        ),
        "",
        "## What is stored",
        "",
        _table(
            ["set", "side", "pairs", "pieces", "mean length", "unknown"] + (["coverage"] if words else []),
            _sets(manifest.counts, words),
        ),
        "",
        "Mean length counts the end of sentence; unknown is the share of pieces without an id of their own.",
    ]
    if words:
        lines += [
            "Coverage is the share of running words inside the shortlist. For comparison, 30,000 French words covered "
            "96.0% of the training text and 94.6% of the test set of Bahdanau et al. 2014 (reported, not ours).",
        ]
    else:
        rows, types = text["vocabulary_size"] - SPECIALS, train.piece_types or 0
        lines += [
            f"{types:,} types of sub-words occur and {rows:,} have an id"
            + (f": the rarest {types - rows:,} are unknown." if types > rows else ", so none is unknown."),
            f"They were learned from the {train.types_learned_from:,} most frequent of {train.types:,} types of words.",
        ]
    lines += [
        "",
        f"![Sentence lengths]({FIGURE})",
        "",
        "## Steps",
        "",
        _table(
            ["step", "seconds", "peak memory of all processes, MiB"],
            [[s.step, f"{s.seconds:,.1f}", f"{s.peak_memory_bytes / 2**20:,.0f}"] for s in manifest.steps],
        ),
        "",
        "Seconds and memory of the attempt that finished; what an interrupted one had made was not made again.",
    ]
    return "\n".join(lines) + "\n"


def _parts(parts: Mapping[str, Mapping[str, int]], expected: Mapping[str, int]) -> list[list[str]]:
    rows = []
    for name, counted in parts.items():
        part = {**counted, **({"expected": expected[name]} if name in expected else {})}
        keys = ("read", "expected", "empty", "too_long", "ratio", "unselected")
        kept = part.get("selected", part.get("kept", 0))
        rows.append([name, *(f"{part[key]:,}" if key in part else "" for key in keys), f"{kept:,}"])
    return rows


def _sets(counts: Counts, words: bool) -> list[list[str]]:
    rows = []
    for name, facts in {"train": counts.train, **counts.held_out}.items():
        for side, counted in zip(SIDES, (facts.source, facts.target), strict=True):
            row = [name, side, f"{facts.pairs:,}", f"{counted.tokens:,}", f"{counted.mean_length:.2f}"]
            row.append(f"{counted.unk_rate:.2%}")
            rows.append(row + ([f"{1 - counted.unk_rate:.2%}"] if words else []))
    return rows


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table with numbers from the second column on."""
    return table(head, rows, right=range(1, len(head)))


def draw_lengths(manifest: Manifest, histograms: dict[str, list[int]], path: Path) -> None:
    """Draw the lengths of the training sentences in pieces, for both sides, as shares of the sentences."""
    # Imported here, because only drawing needs this library.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.5))
    figure.subplots_adjust(left=0.08, right=0.98, top=0.91, bottom=0.14)
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    data = manifest.data
    seen = max(length for counts in histograms.values() for length, count in enumerate(counts) if count)
    for side, counts in histograms.items():
        total = sum(counts)
        language = data[side]
        axes.plot(range(seen + 1), [100 * count / total for count in counts[: seen + 1]], label=f"{language} ({side})")
    pieces = {"bpe": "sub-words (BPE)", "wordpieces": "word pieces"}.get(manifest.text["segmentation"], "words")
    longest = len(next(iter(histograms.values()))) - 1
    axes.set_xlabel(
        f"{pieces} in a training sentence" + (f" (last point: {longest} or more)" if seen == longest else "")
    )
    axes.set_ylabel("share of sentences, %")
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.set_title(f"{manifest.title}: {sum(histograms['source']):,} pairs", fontsize=9)
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    write_whole(path, lambda part: figure.savefig(part, format="png", dpi=120))
