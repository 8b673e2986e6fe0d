"""Variants of one base system, each trained with several seeds: mean scores, differences from the base, verdicts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from matplotlib.ticker import MaxNLocator

from common.errors import UserError
from common.markdown import table
from common.recipe import unlike
from common.report.claims import Results, compare, compare_means, spread_between, spread_of, within
from common.report.page import COLOURS, Figure, png
from common.report.results import Result
from common.score.seeds import Spread, bleu_interval, mean_interval
from common.score.significance import CONFIDENCE, Difference, chance

_SHOWN = 1.0
"""Nats above the lowest value that learning curves are drawn to."""
Printed = Mapping[str, float]
"""What a paper prints, by system."""


@dataclass(frozen=True)
class Measure:
    """A score that variants are compared by."""

    name: str
    digits: int
    margin: float
    """A difference that is smaller counts as none."""
    up: bool
    """Whether more is better."""
    of: Callable[[Result], float]
    compare: Callable[[Results, str, str], Difference | None]
    """Return the first system's mean minus the second's, with its interval. None without a second seed."""
    around: Callable[[Result, Spread], tuple[float, float]]
    """Return the interval of a system's mean."""

    def show(self, value: float, sign: str = "") -> str:
        """Return a value as text. sign: `+` for a difference."""
        return format(value, f"{sign}.{self.digits}f")

    def mean(self, result: Result) -> float:
        """Return the mean over the system's seeds."""
        return float(np.mean([self.of(run) for run in result.trainings]))

    def mean_cell(self, results: Results, system: str) -> str:
        """Return a system's mean as text, with its interval if there is a second seed."""
        spread = spread_of(results, system, self.of)
        ends = self.around(results[system], spread) if spread else ()
        interval = f" ({' to '.join(map(self.show, ends))})" if ends else ""
        return self.show(self.mean(results[system])) + interval

    def interval(self, difference: Difference) -> str:
        """Return a difference with its interval as text."""
        value, low, high = (self.show(end, "+") for end in (difference.value, difference.low, difference.high))
        return f"{value} ({low} to {high})"

    def verdict(self, difference: Difference) -> str:
        """Return whether the difference matters."""
        seen = difference.low > 0 or difference.high < 0
        if within(difference, self.margin) == "holds":
            return f"seen, but smaller than ±{self.margin:g}" if seen else "no difference seen"
        if seen:
            return f"matters: {'better' if (difference.low > 0) == self.up else 'worse'}"
        return f"undecided within ±{self.show(max(-difference.low, difference.high))}"


def bleu_measure(margin: float) -> Measure:
    """Return BLEU of all sentences of the test set. Its intervals cover seeds and sentences."""

    def of(run: Result) -> float:
        return run.all.bleu

    def several(results: Results, a: str, b: str) -> Difference | None:
        """Compare only where there are seeds."""
        return None if spread_between(results, a, b, of) is None else compare(results, a, b)

    def around(result: Result, spread: Spread) -> tuple[float, float]:
        return bleu_interval([run.all.counts for run in result.trainings], spread)

    return Measure("BLEU", 2, margin, True, of, several, around)


def dev_measure(name: str, digits: int, margin: float, of: Callable[[Result], float]) -> Measure:
    """Return a measure of the development set's likelihood, of which less is better. Its intervals cover the seeds."""

    def several(results: Results, a: str, b: str) -> Difference | None:
        return compare_means(results, a, b, of)

    def around(result: Result, spread: Spread) -> tuple[float, float]:
        return mean_interval([of(run) for run in result.trainings], spread)

    return Measure(name, digits, margin, False, of, several, around)


def compared(results: Results, base: str, measure: Measure) -> dict[str, Difference]:
    """Return the difference of each variant from the base. Nothing if the base or a second seed is missing."""
    if base not in results:
        return {}
    found = {name: measure.compare(results, name, base) for name in results if name != base}
    return {name: difference for name, difference in found.items() if difference}


def corrected(difference: Difference, comparisons: int = 1) -> float:
    """Return the two-sided p of a difference, times the number of comparisons that were made (Bonferroni)."""
    return min(1.0, comparisons * 2 * min(difference.p, 1 - difference.p))


def lasting(difference: Difference, comparisons: int) -> bool:
    """Return whether a difference is also seen if all comparisons together are to have the intervals' 95%."""
    return corrected(difference, comparisons) < 1 - CONFIDENCE


def variants_table(
    results: Results,
    base: str,
    measure: Measure,
    changed: Callable[[Result], str],
    printed: Printed | None = None,
    verdict: str = "verdict",
    correct: bool = False,
) -> str:
    """Return a row for each variant: what it changes, mean and single scores, the difference and the verdict.

    printed: the paper's scores of the variants. They and their differences stand beside ours. verdict: heading of the
    verdicts, if it says what they hold for. correct: show each p, and what is left of it after as many comparisons.
    """
    if not results:
        return "No run stands behind this table yet."
    theirs = ["paper", "difference there"] if printed else []
    outcomes = compared(results, base, measure)
    chances = [f"p, and times {len(outcomes)}"] if correct and outcomes else []
    header = ["variant", "changes", f"{measure.name}, mean (95%)", "by seed", "difference (95%)", *chances, verdict]
    rows = []
    for variant, result in results.items():
        difference = outcomes.get(variant)
        rows.append(
            [
                result.title,
                changed(result),
                measure.mean_cell(results, variant),
                ", ".join(measure.show(measure.of(run)) for run in result.trainings),
                measure.interval(difference) if difference else "",
                *([_chances(difference, len(outcomes)) if difference else ""] if chances else []),
                f"**{_verdict(measure, difference, len(outcomes) if correct else 1)}**" if difference else "",
                *(_printed_cells(printed, variant, base) if printed else ()),
            ]
        )
    return table([*header, *theirs], rows, right=(2, 4, *((6, 7) if printed else ())))


def _chances(difference: Difference, comparisons: int) -> str:
    """Return p before and after correction as text."""
    return f"{chance(corrected(difference))}, {chance(corrected(difference, comparisons))}"


def _verdict(measure: Measure, difference: Difference, comparisons: int) -> str:
    """Return the verdict, and whether it is gone after correction for so many comparisons."""
    verdict = measure.verdict(difference)
    gone = verdict.startswith("matters") and comparisons > 1 and not lasting(difference, comparisons)
    return f"{verdict}, not when corrected" if gone else verdict


def _printed_cells(printed: Printed, variant: str, base: str) -> tuple[str, str]:
    """Return a printed score, and how far it is from the printed score of the base."""
    decimals = max(len(f"{value:g}".partition(".")[2]) for value in printed.values())
    return f"{printed[variant]:.{decimals}f}", "" if variant == base else f"{printed[variant] - printed[base]:+.2f}"


def differences_figure(results: Results, base: str, measures: Mapping[Measure, Printed | None]) -> Figure | None:
    """Draw every variant's differences from the base: a dot for each seed, a bar for the interval.

    measures: by each the differences that the paper prints, if it does. They are drawn as rings.
    Return None without the base or a second seed.
    """
    if not compared(results, base, next(iter(measures))):
        return None
    drawing = Drawing(figsize=(5.0 + 2.0 * len(measures), 0.42 * len(results) + 1.3), layout="constrained")
    panels = drawing.subplots(1, len(measures), sharey=True)
    cut = False
    for axes, (measure, printed) in zip(panels, measures.items(), strict=True):
        cut |= _draw(axes, results, base, measure, printed or {})
        axes.set_yticks(range(len(results)), [result.title for result in results.values()])
    panels[0].invert_yaxis()
    first, *others = (f"{measure.name}: {'more' if measure.up else 'less'}" for measure in measures)
    caption = (
        "Dots: single trainings minus the mean of the base's. Blue: difference of the means with its 95% interval. "
        f"Grey: what counts as no difference. {'; '.join([f'{first} is better', *others])}."
    )
    if cut:
        caption += " Dotted: an interval that goes on beyond all trainings."
    if ringed := [measure.name for measure, printed in measures.items() if printed]:
        caption += (
            f" Rings, of {' and '.join(ringed)}: the differences that the paper prints, for its own sizes and text."
        )
    return Figure("differences", "Differences from the base", caption, png(drawing))


def _draw(axes: Axes, results: Results, base: str, measure: Measure, printed: Printed) -> bool:
    """Draw one measure. Return whether an interval was so wide that the rest would have been too small to see."""
    centre, outcomes = measure.mean(results[base]), compared(results, base, measure)
    every = [measure.of(run) - centre for result in results.values() for run in result.trainings]
    least, most, cut = min(every), max(every), False
    axes.axvspan(-measure.margin, measure.margin, color="#eeeeee", linewidth=0)
    axes.axvline(0, color="#777777", linewidth=1)
    for row, (variant, result) in enumerate(results.items()):
        if difference := outcomes.get(variant):
            low, high, wide = difference.low, difference.high, difference.high - difference.low > 2 * (most - least)
            if wide:
                low, high, cut = max(low, least), min(high, most), True
            axes.plot([low, high], [row - 0.14] * 2, ":" if wide else "-", color=COLOURS[0], linewidth=2)
            axes.plot(difference.value, row - 0.14, "|", color=COLOURS[0], markersize=10, markeredgewidth=2)
        scores = [measure.of(run) - centre for run in result.trainings]
        axes.plot(scores, [row + 0.14] * len(scores), "o", color=COLOURS[1], markersize=4, alpha=0.8)
        if variant in printed and variant != base:
            axes.plot(printed[variant], row, "o", color=COLOURS[2], markersize=7, fillstyle="none")
    axes.set_xlabel(f"{measure.name} minus the base's mean")
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    return cut


def spreads(results: Results, base: str, measure: Measure) -> str:
    """Return the pooled standard deviation of a training in words, or nothing.

    ` (standard deviation of one training: 0.42 BLEU, 40 degrees of freedom)`
    """
    spread = spread_of(results, base, measure.of) if base in results else None
    if spread is None:
        return ""
    deviation = f"{measure.show(spread.deviation)} {measure.name}"
    return f" (standard deviation of one training: {deviation}, {spread.degrees} degrees of freedom)"


def check_variants(results: Results, base: str, declared: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise UserError for a result that differs from the base's in other fields, or values, than its recipe says.

    declared: the variants' resolved recipes and the base's, as plain values.
    """
    if base not in results:
        return
    for variant, result in results.items():
        found, said = unlike(result.recipe, results[base].recipe), unlike(declared[variant], declared[base])
        for key in sorted({*found, *said}):
            if found.get(key) != said.get(key):
                shown = " for ".join(map(str, found[key])) if key in found else "the same"
                raise UserError(
                    f"{result.path}: {key} is not what {result.name} makes of {base} ({results[base].path}): {shown}; "
                    "train one of them again, or move it away"
                )


def dev_curve(result: Result) -> tuple[list[int], list[float]] | None:
    """Return updates and NLL of the development set, mean over the system's seeds, at the updates that all measured.

    Return None if there are fewer than two such updates.
    """
    curves = [
        {point.step: point.dev_nll_per_token for point in run.file.training.dev_curve} for run in result.trainings
    ]
    steps = sorted(set.intersection(*map(set, curves)))
    return (steps, [float(np.mean([curve[step] for curve in curves])) for step in steps]) if len(steps) > 1 else None


def lately(result: Result, share: float = 0.1) -> float | None:
    """Return by how much the development set's NLL rose in the last `share` of the updates. None without a curve."""
    if (curve := dev_curve(result)) is None:
        return None
    steps, nats = curve
    return nats[-1] - float(np.interp(steps[-1] * (1 - share), steps, nats))


def reached_at(base: Result, nats: float) -> float | None:
    """Return the updates at which the base's development set first had this NLL, between the measured ones.

    None if that was before or after all of them.
    """
    if (curve := dev_curve(base)) is None:
        return None
    steps, own = curve
    lowest, first = np.unique(np.minimum.accumulate(own), return_index=True)
    return float(np.interp(nats, lowest, np.array(steps)[first])) if lowest[0] <= nats <= lowest[-1] else None


def lowest(run: Result) -> tuple[int, float] | None:
    """Return the updates after which a training's development NLL was lowest, and that NLL. None without a curve."""
    points = [(point.step, point.dev_nll_per_token) for point in run.file.training.dev_curve]
    return min(points, key=lambda point: point[1]) if points else None


def curves_table(results: Results, base: str) -> str:
    """Return for each variant its best and last likelihood, and when the base was where the variant was at its best."""
    rows = []
    for variant, result in results.items():
        curve, change = dev_curve(result), lately(result)
        best = [low for run in result.trainings if (low := lowest(run))]
        mean = float(np.mean([nats for _, nats in best])) if best else None
        then = reached_at(results[base], mean) if mean and base in results and variant != base else None
        rows.append(
            [
                result.title,
                "" if mean is None else f"{mean:.3f}",
                ", ".join(f"{step:,}" for step, _ in best),
                "" if variant == base or base not in results else "-" if then is None else f"{then:,.0f}",
                f"{curve[1][-1]:.3f}" if curve else "",
                "" if change is None else f"{change:+.3f}",
            ]
        )
    header = ["variant", "lowest dev NLL, mean", "after updates, by seed", "updates at which the base had it"]
    header += ["dev NLL at the end", "change in the last tenth"]
    return table(header, rows, right=(1, 3, 4, 5))


def curves_figure(results: Results, base: str) -> Figure | None:
    """Draw the likelihood of the development set against updates: a panel for each variant, over the base's curves.

    Return None without the base or its curve.
    """
    if base not in results or dev_curve(results[base]) is None:
        return None
    others = {name: result for name, result in results.items() if name != base} or {base: results[base]}
    columns = min(3, len(others))
    rows = -(-len(others) // columns)
    drawing = Drawing(figsize=(3.0 * columns, 2.3 * rows + 0.3), layout="constrained")
    panels = drawing.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for axes, result in zip(panels.flat, others.values(), strict=False):
        for training, colour in [(one, "#999999") for one in results[base].trainings] + [
            (one, COLOURS[0]) for one in result.trainings
        ]:
            points = training.file.training.dev_curve
            axes.plot(
                [point.step for point in points],
                [point.dev_nll_per_token for point in points],
                color=colour,
                linewidth=1.2,
            )
            if low := lowest(training):
                axes.plot(*low, "o", color=colour, markersize=4)
        axes.set_title(result.title, fontsize=10)
    # Curves differ where they are low; the first updates would take most of the height.
    every = [run for result in results.values() for run in result.trainings]
    least = min(point.dev_nll_per_token for run in every for point in run.file.training.dev_curve)
    bottom, top = panels[0, 0].get_ylim()
    panels[0, 0].set_ylim(bottom=max(bottom, least - 0.06), top=min(top, least + _SHOWN))
    for axes in panels.flat[len(others) :]:
        axes.set_axis_off()
    for axes in panels.flat:
        axes.spines[["top", "right"]].set_visible(False)
        axes.xaxis.set_major_locator(MaxNLocator(4))
    drawing.supxlabel("updates", fontsize=10)
    drawing.supylabel("nats per target token", fontsize=10)
    changes = {result.title: change for result in results.values() if (change := lately(result)) is not None}
    falling = [title for title, change in changes.items() if change < 0]
    caption = (
        "Negative log-likelihood of the development set, a line for each training, a dot where it is lowest. Grey: the "
        f"base's, in every panel. What is more than {_SHOWN:g} nats above the lowest is cut off."
    )
    if len(falling) < len(changes):
        caption += (
            f" In the last tenth of the updates the mean of {len(changes) - len(falling)} of {len(changes)} variants "
            "rose: these trainings end past their best, and their ends also compare how fast they get worse."
        )
    if falling:
        caption += f" Still falling: {', '.join(falling)}. Such a curve may reach a lower value later."
    return Figure("curves", "Learning curves", caption, png(drawing))
