"""What the paper does not print: what `analyse` found of each run, as parts of the page and figures.

UNK replaced through the alignment, alpha beside a statistical aligner, and the course of training.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from matplotlib.ticker import MaxNLocator

from common.align.record import Agreement, Analysis, Measure, Moment
from common.markdown import table
from common.report import tables as report
from common.report.page import Figure, figure_block, png
from common.report.results import Result
from common.report.tables import number
from common.score.significance import Difference
from papers.bahdanau2014 import figures

Results = Mapping[str, Result]
Analyses = Mapping[str, Analysis]
"""By system, as the results are."""

STYLES = {**figures.CURVES, "rnnsearch-50-star": ("#000000", "-")}
"""Colour and line of each system, those of Figure 2."""
HEADING = "## What the paper does not print"
SHARP = 0.5
"""Share of sharp target words from which on alignments count as sharp."""
KINDS = {"known": "known word", "unknown": "UNK", "end": "end of sentence"}
NEAR = (-2, -1, 0, 1, 2)
"""Distances from the linked word that have a column."""


def build(reported: Mapping[str, Any], runs: Results) -> tuple[list[str], list[Figure]]:
    """Return the parts of the page and the figures in them. Both are empty if no run was analysed.

    An analysis of something else than the result beside it is left out, and the page says so.
    """
    order = [*(system for system in reported["table1"]["rows"] if system in runs), *runs]
    found = {system: one for system in dict.fromkeys(order) if (one := runs[system].analysis)}
    stale = "\n".join(
        f"- {run.title}: `{run.beside('analysis').name}` is of {run.stale} than the result beside it, and left out. "
        "`analyse` the run again, or delete the file."
        for run in map(runs.__getitem__, dict.fromkeys(order))
        if run.stale
    )
    if not found:
        return ([f"{HEADING}\n\n{stale}"] if stale else []), []
    drawings = [figure for figure in (entropy(found), course(found, runs), sharpening(found)) if figure]
    blocks = {figure.name: figure_block(figure).replace("## ", "### ", 1) for figure in drawings}
    agreements = {system: one.agreement for system, one in found.items() if one.agreement}
    parts = [HEADING, stale]
    if agreements:
        parts += [
            replacement_part(found, runs),
            agreement_part(found, agreements),
            blocks.get("entropy-by-position", ""),
        ]
    parts += [
        course_part(reported, found, runs),
        blocks.get("course", ""),
        blocks.get("sharpening", ""),
        made_by(found),
    ]
    return [part for part in parts if part], drawings


def share(measure: Measure | None) -> str:
    """Return a share as per cent with its interval: `42.1% (40.0 to 44.2)`. Empty for None."""
    if measure is None:
        return ""
    return f"{100 * measure.value:.1f}% ({100 * measure.low:.1f} to {100 * measure.high:.1f})"


def scored(measure: Measure | Difference, form: str = ".2f") -> str:
    """Return a value with its interval."""
    return f"{measure.value:{form}} ({measure.low:{form}} to {measure.high:{form}})"


def replacement_part(found: Analyses, runs: Results) -> str:
    """Return BLEU before and after UNK is replaced, and what it gains to forbid UNK where no word is unknown."""
    rows = []
    for one in found.values():
        if replaced := one.replacement:
            known = replaced.known
            rows.append(
                [
                    one.title,
                    f"{replaced.unknown:,}",
                    f"{replaced.translated:,}",
                    f"{replaced.unknown - replaced.translated:,}",
                    scored(replaced.before),
                    scored(replaced.after),
                    scored(replaced.gain, "+.2f"),
                    *(
                        (scored(known.allowed), scored(known.forbidden), scored(known.gain, "+.2f"))
                        if known
                        else ("",) * 3
                    ),
                ]
            )
    header = ["model", "UNK written", "translated", "copied", "All (95%)", "All, UNK replaced (95%)", "gain (95%)"]
    header += ["All, on No UNK's sentences (95%)", "No UNK (95%)", "gain by forbidding UNK (95%)"]
    told = (
        "Each UNK that the model writes is replaced by the dictionary's translation of the source word with its "
        "greatest alpha or, where the dictionary has none, by that word itself (Luong et al. 2015, Jean et al. 2015). "
        "The dictionary is learned from the training text by the aligner below. Tables 1 to 3 never have it."
    )
    return (
        "### UNK replaced through the alignment\n\n"
        f"{table(header, rows, right=range(1, len(header)))}\n\n{told}{distance(found, runs)}{examples(found)}"
    )


def distance(found: Analyses, runs: Results) -> str:
    """Return what of the distance from All to No UNK is the choice of sentences. Nothing without a column No UNK."""
    parts = []
    for system, one in found.items():
        known, column = one.replacement.known if one.replacement else None, runs[system].column("no_unk")
        if known and column and one.replacement:
            whole = known.forbidden.value - one.replacement.before.value
            chosen = known.allowed.value - one.replacement.before.value
            parts.append((f"{one.title} {chosen:.2f} of {whole:.2f}", runs[system].all.lengths, column))
    if not parts:
        return ""
    _, lengths, column = parts[0]
    return (
        "\n\nHow much of the distance from All to No UNK is the shortlist: that column has other sentences and another "
        "search. The last three columns keep the sentences and change the search alone, which may not write UNK; the "
        "last one is what that gains. The rest of the distance is there before the search "
        f"changes, by the choice of sentences alone: {', '.join(text for text, *_ in parts)} BLEU. The sentences of No "
        f"UNK, {column.sentences:,} of {len(lengths):,}, have no unknown word in source or reference, but they are "
        f"also short: {column.lengths.mean():.1f} source words on average, where all have {lengths.mean():.1f}. These "
        "two are not told apart here. Replacement recovers some of what unknown words cost all sentences, and no more "
        "than the alignments allow."
    )


def examples(found: Analyses) -> str:
    """Return translations before and after, by the first system that kept some."""
    replaced = next((one.replacement for one in found.values() if one.replacement and one.replacement.examples), None)
    if replaced is None:
        return ""
    rows = [
        [name, report.plain(text)]
        for one in replaced.examples
        for name, text in (
            ("Source", one.source), ("Reference", one.reference), ("As decoded", one.before), ("Replaced", one.after),
        )
    ]  # fmt: skip
    title = next(one.title for one in found.values() if one.replacement is replaced)
    return f"\n\n{table([title, 'first short sentences with UNK'], rows)}"


def agreement_part(found: Analyses, agreements: Mapping[str, Agreement]) -> str:
    """Return alpha beside the aligner, and where words look."""
    links = by_links(agreements)
    header = ["model", "AER of alpha (95%)", "sharp words (95%)", "entropy, nats (95%)"]
    rows = []
    for compared in links:
        rows += [
            [found[system].title, share(one.alpha.error_rate), share(one.alpha.sharp), scored(one.alpha.entropy),
             *_near(one)]
            for system, one in compared.items()
        ]  # fmt: skip
        one = next(iter(compared.values()))
        rows += [
            [name, share(measure), *[""] * (len(NEAR) + 3)]
            for name, measure in (("the diagonal", one.diagonal), ("the aligner's one direction", one.one))
        ]
    header += [f"{distance:+d}" if distance else "on it" for distance in NEAR] + ["farther"]
    told = "\n\n".join(
        f"{', '.join(found[system].title for system in compared)}: {one.sentences:,} sentences of {one.test_set} and "
        f"their references, alpha teacher-forced; {one.aligner}, which lower-cases its text, trained on "
        f"{one.pairs:,} pairs of the training text and these sentences."
        for compared in links
        for one in list(compared.values())[:1]
    )
    if len(links) > 1:
        told += "\n\nThese groups are compared with different links, so their error rates do not compare."
    told += (
        "\n\nAlignment error rate (Och and Ney 2003) of each target word's greatest alpha against the links that both "
        "directions of the aligner have; a word that looks most at the source's end token has no link. Where target "
        "words have no link in both directions, even a perfect aligner has an error rate above 0: the aligner's own "
        "direction that gives every target word at most one source word is there for scale, and so is the diagonal, "
        "which reads no word. A word is sharp if one source position has more than half of its weight. Where alpha is "
        "nearly flat (see the entropy), its greatest weight is an accident, and the error rate says nothing. The "
        "columns on the right: where the greatest weight is, in source positions from the linked word, +1 being the "
        "next one on its right (the end token is the last), as shares of the linked target words."
    )
    return (
        f"### Alpha beside a statistical aligner\n\n{table(header, rows, right=range(1, len(header)))}\n\n{told}\n\n"
        f"{looks_part(found, agreements)}"
    )


def looks_part(found: Analyses, agreements: Mapping[str, Agreement]) -> str:
    """Return where words, UNK and the end of the sentence look."""
    looks = [
        [
            found[system].title,
            KINDS[kind],
            f"{look.positions:,}",
            share(look.linked),
            share(look.unknown) if look.unknown_equal else "",
            f"{100 * look.unknown_equal:.1f}%" if look.unknown_equal else "",
            share(look.last),
            share(look.end),
        ]
        for system, one in agreements.items()
        for kind, look in one.looks.items()
    ]
    columns = [
        "model",
        "target",
        "positions",
        "on its linked word",
        "on UNK",
        "on UNK if equal",
        "on the last word",
        "on the end token",
    ]
    return (
        "What words, UNK and the end of the sentence look at: mean alpha (95%) on source positions of each kind, and "
        "on UNK with equal weights everywhere (both empty where no source has one).\n\n"
        f"{table(columns, looks, right=range(2, len(columns)))}"
    )


def by_links(agreements: Mapping[str, Agreement]) -> list[dict[str, Agreement]]:
    """Return the systems in groups that are compared with the same links."""
    groups: dict[str, dict[str, Agreement]] = {}
    for system, one in agreements.items():
        groups.setdefault(one.links_sha256, {})[system] = one
    return list(groups.values())


def _near(one: Agreement) -> list[str]:
    """Return the shares of linked words whose greatest weight is at each of the distances NEAR, and farther."""
    total = sum(one.offsets.values())
    near = [one.offsets.get(str(distance), 0) for distance in NEAR]
    return [f"{100 * count / total:.1f}%" for count in [*near, total - sum(near)]]


def sharp_since(one: Analysis) -> Moment | None:
    """Return the first kept checkpoint with sharp alignments, or None.

    At least SHARP of the target words are sharp, and the error rate's interval is below the diagonal's.
    """
    if one.agreement is None:
        return None
    straight = one.agreement.diagonal.low
    moments = ((moment, moment.alpha) for moment in one.course)
    return next(
        (moment for moment, a in moments if a and a.sharp.value >= SHARP and a.error_rate.high < straight), None
    )


def course_part(reported: Mapping[str, Any], found: Analyses, runs: Results) -> str:
    """Return time to quality beside the paper's hours, and RNNsearch-50's checkpoints."""
    printed = reported["table2"]["rows"]
    rows = []
    for system, one in found.items():
        row, result, last = printed.get(system, {}), runs[system], one.course[-1]
        sharp = sharp_since(one)
        by = "by " if sharp is one.course[0] else ""
        rows.append(
            [
                one.title,
                f"{last.step:,}",
                number(result.seconds / 3600, ".3g"),
                result.hardware,
                scored(last.bleu),
                "" if one.agreement is None else f"{by}{sharp.step:,}" if sharp else f"not after {last.step:,}",
                f"{by}{sharp.seconds / 3600:.3g}" if sharp and sharp.seconds else "",
                f"{row['updates'] * 100_000:,.0f}" if row else "",
                str(row.get("hours", "")),
                row.get("gpu", ""),
            ]
        )
    dev = " or ".join(dict.fromkeys(f"{one.dev_sentences:,}" for one in found.values()))
    header = [
        "model",
        "updates",
        "hours",
        "hardware",
        f"BLEU of {dev} dev sentences (95%)",
        "sharp after",
        "hours then",
    ]
    header += ["paper: updates", "paper: hours", "paper: card"]
    told = (
        "Alignments count as sharp at the first kept checkpoint where at least half of the target words are sharp and "
        "the alignment error rate is reliably below the diagonal's (their intervals do not meet). The half is ours. "
        "'By' stands where that is the oldest kept checkpoint, since earlier ones may have been sharp too: a run keeps "
        "the last `train.keep_checkpoints`, and a run that continues another has none of the other's. Hours are those "
        "of training, by its log. Development sentences are decoded greedily."
    )
    told += "".join(f"\n\n{note}" for note in report.time_notes({system: runs[system] for system in found}))
    shown = next(system for system in ("rnnsearch-50", *found) if system in found)
    return (
        f"### The course of training\n\n{table(header, rows, right=(1, 2, 4, 5, 6, 7, 8))}\n\n{told}\n\n"
        f"{found[shown].title}, checkpoint by checkpoint:\n\n{checkpoints(found[shown])}"
    )


def checkpoints(one: Analysis) -> str:
    """Return a row for each kept checkpoint."""
    header = ["updates", "hours", "dev NLL, nats per token", "BLEU (95%)", "AER (95%)", "sharp words (95%)"]
    rows = []
    for moment in one.course:
        a = moment.alpha
        rows.append(
            [
                f"{moment.step:,}",
                number(None if moment.seconds is None else moment.seconds / 3600, ".2f"),
                number(moment.dev_nll_per_token, ".3f"),
                scored(moment.bleu),
                *([share(a.error_rate), share(a.sharp), scored(a.entropy)] if a else ["", "", ""]),
            ]
        )
    return table([*header, "entropy, nats (95%)"], rows, right=range(7))


def made_by(found: Analyses) -> str:
    """Return where each analysis is from."""
    lines = [
        f"- {one.title}: recipe `{one.recipe}` ({one.recipe_sha256[:10]}), seed {one.seed}, commit "
        f"{(one.commit or 'none')[:7]}{'+' if one.dirty else ''}, {one.seconds / 60:.1f} minutes on "
        f"{one.environment.hardware}"
        for one in found.values()
    ]
    return "\n".join(
        [
            "Analysed by `analyse`. Minutes are the analysis's, since its last start and without the aligner's:",
            "",
            *lines,
        ]
    )


def entropy(found: Analyses) -> Figure | None:
    """Draw the entropy of alpha by target position. Return None without attention, or if the sentences are too few."""
    shown = {system: one.agreement for system, one in found.items() if one.agreement and one.agreement.positions}
    if not shown:
        return None
    drawing = Drawing(figsize=(7.2, 4.0), layout="constrained")
    axes = drawing.subplots()
    for system, one in shown.items():
        places = [position.position for position in one.positions]
        colour, style = STYLES.get(system, ("#777777", "-"))
        _band(axes, places, [position.entropy for position in one.positions], colour, style, found[system].title)
    groups = [max(compared.values(), key=lambda one: len(one.positions)) for compared in by_links(shown)]
    for one in groups:
        places = [position.position for position in one.positions]
        axes.plot(places, [position.uniform for position in one.positions], color="#777777", linestyle=":")
    middle = groups[0].positions[len(groups[0].positions) // 2]
    axes.annotate("equal weights", (middle.position, middle.uniform), (0, -13), textcoords="offset points",
                  color="#555555", fontsize=9, ha="center")  # fmt: skip
    _finish(axes, "Target position (words)", "Entropy of alpha (nats)")
    drawing.legend(loc="outside upper center", ncols=4, frameon=False)
    texts = " or ".join(dict.fromkeys(f"{one.sentences:,} sentences of {one.test_set}" for one in groups))
    caption = (
        f"Mean entropy of alpha over the target words at each place, with 95% bands, on {texts}, teacher-forced on the "
        "references. 0 is a single source position. Dotted: equal weights on all positions of the same sources."
    )
    return Figure("entropy-by-position", "Entropy of alpha by target position", caption, png(drawing))


def course(found: Analyses, runs: Results) -> Figure:
    """Draw likelihood, BLEU, error rate and sharpness against updates, and BLEU against hours."""
    drawing = Drawing(figsize=(12.0, 6.8), layout="constrained")
    cells = drawing.subplot_mosaic([["nll", "bleu", "hours"], ["rate", "sharp", "."]])
    # The longest first: where a run continues another, their first part is one curve, and the shorter one is on top.
    for system, one in sorted(found.items(), key=lambda item: -item[1].course[-1].step):
        colour, style = STYLES.get(system, ("#777777", "-"))
        curve = [(point.step, point.dev_nll_per_token) for point in runs[system].file.training.dev_curve]
        if curve:
            cells["nll"].plot(*zip(*curve, strict=True), color=colour, linestyle=style, linewidth=2, label=one.title)
        scores = [moment.bleu for moment in one.course]
        _band(cells["bleu"], [moment.step for moment in one.course], scores, colour, style, one.title)
        hours = [moment.seconds / 3600 for moment in one.course if moment.seconds is not None]
        if len(hours) == len(one.course):
            _band(cells["hours"], hours, scores, colour, style, one.title)
        aligned = [(moment.step, moment.alpha) for moment in one.course if moment.alpha]
        steps = [step for step, _ in aligned]
        _band(cells["rate"], steps, [_scaled(a.error_rate) for _, a in aligned], colour, style, one.title)
        _band(cells["sharp"], steps, [_scaled(a.sharp) for _, a in aligned], colour, style)
    agreements = {system: one.agreement for system, one in found.items() if one.agreement}
    for compared in by_links(agreements):
        scale = next(iter(compared.values()))
        _level(cells["rate"], 100 * scale.diagonal.value, "the diagonal")
        _level(cells["rate"], 100 * scale.one.value, "the aligner's one direction")
    if agreements:
        _level(cells["sharp"], 100 * SHARP, f"counts as sharp: {100 * SHARP:g}%")
    _finish(cells["nll"], "Updates", "Dev NLL (nats per token)", zero=False)
    _finish(cells["bleu"], "Updates", "Greedy BLEU of dev sentences")
    _finish(cells["hours"], "Hours of training", "Greedy BLEU of dev sentences")
    _finish(cells["rate"], "Updates", "Alignment error rate (%)")
    _finish(cells["sharp"], "Updates", "Sharp words (%)")
    drawn = {
        name: line for panel in cells.values() for line, name in zip(*panel.get_legend_handles_labels(), strict=True)
    }
    named = {one.title: drawn[one.title] for one in found.values() if one.title in drawn}
    drawing.legend(named.values(), named, loc="outside upper center", ncols=5, frameon=False)
    caption = (
        "Above: likelihood of the development set against updates, and BLEU of a sample of it against updates and "
        "hours. Below, for the models with attention: alignment error rate against the statistical aligner, and the "
        "share of target words that give one source position more than half of their weight. Bands: 95% intervals "
        "over sentences. Where a run continues another, their likelihoods are one curve until then, and its other "
        "curves begin later."
    )
    if report.time_notes({system: runs[system] for system in found}):
        caption += " Hours compare neither with each other nor with the paper's (above): the machine's rate changed."
    return Figure("course", "Quality and alignment over the course of training", caption, png(drawing))


def sharpening(found: Analyses) -> Figure | None:
    """Draw one sentence's alpha at several checkpoints of RNNsearch-50. Return None if it was not kept."""
    one = found.get("rnnsearch-50") or next((one for one in found.values() if one.alignment), None)
    if one is None or one.alignment is None:
        return None
    example, steps = one.alignment, list(one.alignment.attention)
    columns = 3 if len(steps) > 3 else len(steps)
    rows = -(-len(steps) // columns)
    width, height = (0.17 * len(words) for words in (example.source, example.target))
    drawing = Drawing(figsize=(columns * (width + 0.3) + 1.2, rows * (height + 1.2) + 0.4), layout="constrained")
    drawing.get_layout_engine().set(h_pad=0.1)  # type: ignore[union-attr,call-arg]
    panels = np.atleast_1d(drawing.subplots(rows, columns)).ravel()
    for place, (axes, step) in enumerate(zip(panels, steps, strict=False)):
        target = example.target if place % columns == 0 else ()
        figures.draw_weights(axes, example.weights(step), example.source, target, labels=8)
        axes.set_xlabel(f"after {int(step):,} updates")
    for axes in panels[len(steps) :]:
        axes.set_visible(False)
    caption = (
        f"Alpha of {one.title} for one sentence at {len(steps)} checkpoint{'s' * (len(steps) > 1)}, teacher-forced on "
        "the translation by the decoded weights. Across: source words; down: generated words. Black is 0, white is 1. "
        f"Equal weights look dark too: 1/{len(example.source)} each, {1 / len(example.source):.2f}."
    )
    return Figure("sharpening", "One alignment over the course of training", caption, png(drawing))


def _scaled(measure: Measure) -> Measure:
    """Return a share in per cent."""
    return Measure(value=100 * measure.value, low=100 * measure.low, high=100 * measure.high)


def _band(
    axes: Axes, places: Sequence[float], measures: Sequence[Measure], colour: str, style: str, label: str = ""
) -> None:
    """Draw values with their intervals as a band."""
    if not measures:
        return
    axes.plot(places, [one.value for one in measures], color=colour, linestyle=style, linewidth=2, label=label)
    lows, highs = ([getattr(one, end) for one in measures] for end in ("low", "high"))
    axes.fill_between(places, lows, highs, color=colour, alpha=0.15, linewidth=0)


def _level(axes: Axes, value: float, name: str) -> None:
    """Draw a dotted line across, and its name on white at the left, where few curves are: below it if there is room."""
    below = value > 15
    axes.axhline(value, color="#777777", linestyle=":", linewidth=1)
    axes.annotate(name, (0.02, value), (0, -3 if below else 3), xycoords=("axes fraction", "data"),
                  textcoords="offset points", va="top" if below else "bottom", color="#555555", fontsize=9,
                  bbox={"color": "white", "pad": 0.5})  # fmt: skip


def _finish(axes: Axes, across: str, up: str, zero: bool = True) -> None:
    """Name the axes and clear what is not needed."""
    axes.set(xlabel=across, ylabel=up, xlim=(0, None))
    if across == "Hours of training":
        axes.xaxis.set_major_locator(MaxNLocator(6))
    else:
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.xaxis.set_major_formatter("{x:,.0f}")
    if zero:
        axes.set_ylim(0, None)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#dddddd", linewidth=0.8)
