"""A paper's conclusions, as statements that code decides on finished runs.

A verdict rests on 95% intervals. If systems were trained with several seeds, they cover seeds and test sentences. If
each is a single training, they cover the choice of sentences only (paired bootstrap).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from common.errors import UserError
from common.report.results import Result
from common.result import Column
from common.score import by_length
from common.score.bleu import bleu
from common.score.by_length import Sides, difference_of
from common.score.seeds import Spread, apart, bleu_difference, bleu_interval, mean_difference, pooled
from common.score.significance import Difference, paired_bootstrap

Verdict = Literal["holds", "fails", "undecided", "not run"]
Results = Mapping[str, Result]
"""Runs by system."""
Scored = tuple[float, tuple[float, float]]
"""A score and its interval."""
Finding = tuple[Verdict, str, Difference | None]
"""Verdict, evidence in words, and the difference that the verdict rests on."""


@dataclass(frozen=True)
class Claim:
    """One conclusion of a paper."""

    id: str
    statement: str
    """In our words."""
    source: str
    """Section and table where the paper draws it."""
    systems: tuple[str, ...]
    """The runs that the claim needs."""
    decide: Callable[[Results], Finding]
    """Called only if all these runs exist."""
    criterion: str = ""
    """How the claim is decided, if that takes more than one paired comparison."""
    printed: str = ""
    """The scores that the paper prints for it."""


@dataclass(frozen=True)
class Outcome:
    """A claim with its verdict."""

    claim: Claim
    verdict: Verdict
    evidence: str
    difference: Difference | None = None


def evaluate(claims: Sequence[Claim], results: Results) -> list[Outcome]:
    """Decide each claim on these runs. A claim with a missing run is `not run`."""
    return [_outcome(claim, results) for claim in claims]


def _outcome(claim: Claim, results: Results) -> Outcome:
    """Decide one claim, and add to the evidence which runs are unfinished or were scored differently."""
    missing = [system for system in claim.systems if system not in results]
    if missing or not claim.systems:
        return Outcome(claim, "not run", f"needs {', '.join(missing)}" if missing else "not reproduced here")
    try:
        verdict, evidence, difference = claim.decide(results)
    except UserError as error:
        return Outcome(claim, "undecided", f"not comparable: {error}")
    used = [run for name in claim.systems for run in results[name].trainings]
    short = [f"{run.label} at {run.updates}" for run in used if not run.complete]
    remarks = {"unfinished": short, "scored differently": _unlike(used)}
    told = [f"{remark}: {', '.join(cases)}" for remark, cases in remarks.items() if cases]
    return Outcome(claim, verdict, "; ".join([evidence, *told]), difference)


def _unlike(results: Sequence[Result]) -> list[str]:
    """Return the fields in which the results' signatures differ, apart from the version.

    Two BLEU scores with other fields are not measured in the same way.
    """
    fields = [result.all.signature.partition("|version:")[0].split("|") for result in results]
    every = dict.fromkeys(field for one in fields for field in one)
    return [field for field in every if not all(field in one for one in fields)]


def better(a: str, b: str) -> Callable[[Results], Finding]:
    """Make the rule that decides "a scores higher BLEU than b" on the same sentences."""

    def decide(results: Results) -> Finding:
        difference = compare(results, a, b)
        return beyond(difference, 0.0), f"{show(difference)} BLEU", difference

    return decide


def compare(results: Results, a: str, b: str) -> Difference:
    """Return BLEU of a minus BLEU of b: of their means, if a system like one of them was trained with several seeds.

    Raise UserError if their sentences are not the same.
    """
    ours, theirs = results[a].trainings, results[b].trainings
    for run in (*ours, *theirs):
        if not np.array_equal(run.all.counts[:, 9], ours[0].all.counts[:, 9]):
            raise UserError(f"{run.label} and {ours[0].label} were scored against different references; score both on "
                            "the same test set")  # fmt: skip
    spread = spread_between(results, a, b, lambda run: run.all.bleu)
    if spread is None:
        return paired_bootstrap(results[a].all.counts, results[b].all.counts)
    return bleu_difference([run.all.counts for run in ours], [run.all.counts for run in theirs], spread)


def alike(result: Result) -> tuple[str, str, str, int]:
    """Return what systems must share for their spreads over seeds to be pooled: the text, and how long they train."""
    return result.pair, result.test_set, result.corpus, result.recipe["train"]["steps"]


def spread_of(results: Results, system: str, measure: Callable[[Result], float]) -> Spread | None:
    """Return the spread of a measure over seeds, pooled over systems of the same text and number of updates.

    Return None if none of them was trained with two seeds.
    """
    like = [result for result in results.values() if alike(result) == alike(results[system])]
    return pooled([[measure(run) for run in result.trainings] for result in like])


def mean_bleu(
    results: Results, result: Result | None, column: str = "all", test_set: str | None = None
) -> Scored | None:
    """Return the mean BLEU over a system's seeds, with its 95% interval for seeds and sentences.

    Of one seed, return its BLEU with the interval for sentences. Return None if it was not run or not scored.
    results: those whose spread over seeds is pooled, as in `spread_of`. test_set: the default is the first one.
    """

    def scored(one: Result) -> list[Column]:
        columns = (run.column(column, test_set) for run in one.trainings)
        return [column for column in columns if column is not None]

    ours = scored(result) if result else []
    if result is None or len(ours) < 2:
        return (ours[0].bleu, ours[0].interval) if ours else None
    like = [one for one in results.values() if alike(one) == alike(result)]
    spread = pooled([[column.bleu for column in scored(one)] for one in like if scored(one)])
    assert spread is not None, "this system has two"
    counts = [column.counts for column in ours]
    return float(np.mean([bleu(one) for one in counts])), bleu_interval(counts, spread)


def spread_between(results: Results, a: str, b: str, measure: Callable[[Result], float]) -> Spread | None:
    """Return the spread of a measure over seeds for the difference of two systems.

    Systems of which one trains for longer, or on other text, have each their own. If nothing is known of one of them,
    it is taken to vary as the other does. Return None if nothing is known of either.
    """
    ours, theirs = (spread_of(results, system, measure) for system in (a, b))
    if alike(results[a]) == alike(results[b]) or not (ours and theirs):
        return ours or theirs
    return apart(ours, theirs, (len(results[a].trainings), len(results[b].trainings)))


def compare_means(results: Results, a: str, b: str, measure: Callable[[Result], float]) -> Difference | None:
    """Return the mean of a measure over a's seeds minus that over b's. The interval covers the seeds.

    Return None if there is no interval because no system like one of them was trained with two seeds.
    """
    spread = spread_between(results, a, b, measure)
    if spread is None:
        return None
    ours, theirs = ([measure(run) for run in results[system].trainings] for system in (a, b))
    return mean_difference(ours, theirs, spread)


def beyond(difference: Difference, bound: float) -> Verdict:
    """Return `holds` if the whole interval is above `bound`, `fails` if it is below, else `undecided`."""
    return "holds" if difference.low > bound else "fails" if difference.high < bound else "undecided"


def within(difference: Difference, margin: float) -> Verdict:
    """Return `holds` if the whole interval is inside +-margin, `fails` if it is outside, else `undecided`."""
    if -margin < difference.low and difference.high < margin:
        return "holds"
    return "fails" if difference.low > margin or difference.high < -margin else "undecided"


def all_of(*verdicts: Verdict) -> Verdict:
    """Return the verdict on a claim of several parts.

    The claim fails if one part fails, and is undecided if one part is undecided.
    """
    order: tuple[Verdict, ...] = ("not run", "fails", "undecided")  # the first that occurs decides
    return next((verdict for verdict in order if verdict in verdicts), "holds")


def show(difference: Difference) -> str:
    """Return a difference as text: `+7.41 (+6.80 to +8.02)`."""
    return f"{difference.value:+.2f} ({difference.low:+.2f} to {difference.high:+.2f})"


def halves(*results: Result) -> list[Sides]:
    """Return BLEU above the test set's median source length and BLEU at or below it, with the same draws for all runs.

    Raise UserError if they were scored on different test sets.
    """
    lengths = results[0].all.lengths
    for other in results[1:]:
        if not np.array_equal(other.all.lengths, lengths):
            raise UserError(f"{results[0].system} and {other.system} were scored on different test sets")
    return by_length.halves(lengths, *(result.all.counts for result in results))


def show_change(sides: Sides) -> str:
    """Return how BLEU changes with length: `-1.85 (-2.49 to -1.26) BLEU, -29% (-36 to -21)`."""
    change, relative = f"{show(sides.change)} BLEU", sides.relative
    return change + (f", {relative.value:+.0f}% ({relative.low:+.0f} to {relative.high:+.0f})" if relative else "")


def change_beyond_share(a: Sides, b: Sides, share: float) -> Difference:
    """Return change(a) - share * change(b), with its interval. a, b: with the same draws.

    It is above 0 if a falls with length by less than `share` of b's fall.
    """
    # Of both systems together: with shared draws, what an easy or hard sample does to both cancels.
    return difference_of(a.long - a.others - share * (b.long - b.others))
