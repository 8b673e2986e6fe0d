"""The page that `prepare` writes last: what was read, left out (and why) and stored, and how long sentences are."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import unescape
from pathlib import Path
from statistics import mean

from common.files import write_whole
from common.markdown import table
from common.prepare.encoded import SIDES
from common.prepare.manifest import Counts, Example, Manifest, Modelled, SelectionCheck
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
    if manifest.selection:
        lines += ["", "## Data selection", "", selection_page(manifest.selection, data["source"], data["target"])]
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


_MODELLED = "set| |words|perplexity: selected|random|whole|gain, bits a word|unseen: selected|random|whole".split("|")
"""Head of the table of perplexities."""
_CRITERION = """\
Perplexity is that of four-gram models (modified Kneser-Ney, not pruned) of each text; of the random texts the mean, and
from the lowest to the highest. All models of a language have one vocabulary, the words that the whole text has at least
twice. Other words count as one unknown word, and the end of a sentence is a word. Gain: cross-entropy under the random
texts minus that under the selected one; its interval covers the 95% bootstrap intervals over sentences of all draws.
The claim holds if each interval is above 0, and fails if one is below. Unseen: share of words that the text does not
have at all."""


def selection_page(check: SelectionCheck, source: str, target: str) -> str:
    """Return what a selection kept, beside random text, as Markdown without a heading. source, target: languages."""
    languages = dict(zip(SIDES, (source, target), strict=True))
    whole, selected = check.whole, check.selected
    shares = (f"{selected.words[side] / whole.words[side]:.1%} of the {languages[side]} words" for side in SIDES)
    looked = check.texts["whole"].pairs
    sample = (
        f" The texts are samples, drawn from {looked:,} of the {whole.pairs:,} pairs." if looked < whole.pairs else ""
    )
    return "\n".join(
        [
            f"{selected.pairs:,} of {whole.pairs:,} pairs were selected ({selected.pairs / whole.pairs:.1%}), with "
            f"{' and '.join(shares)}: {selected.words['target']:,} of {whole.words['target']:,} {target} words.",
            "",
            "Axelrod et al. 2011 claim that selected text models the domain better than as much random text. "
            f"On the development sets: **{check.verdict}**.",
            "",
            table(
                _MODELLED,
                [_modelled(name, languages[side], sides[side]) for name, sides in check.sets.items() for side in SIDES],
                right=range(2, len(_MODELLED)),
            ),
            "",
            _CRITERION,
            "",
            table(
                ["text", "pairs", *(f"{language} words" for language in languages.values())],
                [
                    [name, f"{size.pairs:,}", *(f"{size.words[side]:,}" for side in SIDES)]
                    for name, size in check.texts.items()
                ],
                right=range(1, 4),
            ),
            "",
            f"Pairs are drawn at random until they have as many {target} words as the selected ones.{sample}",
            "",
            "The pairs of medium length that are most and least like the in-domain text, by the score that selected "
            "them (lower is more alike):",
            "",
            "```",
            *(line for pair in (*check.best, *check.worst) for line in _example(pair)),
            "```",
        ]
    )


def _example(pair: Example) -> tuple[str, str]:
    """Return two lines, without the tokeniser's HTML escapes."""
    return f"{pair.score:+6.2f}  {unescape(pair.source)}", f"{'':8}{unescape(pair.target)}"


def _modelled(name: str, language: str, side: Modelled) -> list[str]:
    """Return a row of the table of perplexities."""
    draws = [text for text in side.perplexity if text not in ("whole", "selected")]
    perplexities = [side.perplexity[draw] for draw in draws]
    low, high = side.interval
    return [
        name,
        language,
        f"{side.words:,}",
        f"{side.perplexity['selected']:.1f}",
        f"{mean(perplexities):.1f} ({min(perplexities):.1f} to {max(perplexities):.1f})",
        f"{side.perplexity['whole']:.1f}",
        f"{side.gain:+.3f} ({low:+.3f} to {high:+.3f})",
        f"{side.unseen['selected']:.2%}",
        f"{mean(side.unseen[draw] for draw in draws):.2%}",
        f"{side.unseen['whole']:.2%}",
    ]


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
