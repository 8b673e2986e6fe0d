"""What a paper concludes, as statements that code decides on finished runs.

A verdict rests on 95% bootstrap intervals over the test sentences. They cover the choice of sentences, not of the
random seed: each system here is one training run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from common.errors import UserError
from common.report.results import Result
from common.score.by_length import changes_with_length, length_slope
from common.score.significance import Difference, interval_difference, paired_bootstrap

Verdict = Literal["holds", "fails", "undecided", "not run"]
Results = Mapping[str, Result]
Finding = tuple[Verdict, str, Difference | None]
"""Verdict, evidence in words, and the difference it rests on."""


@dataclass(frozen=True)
class Claim:
    """One conclusion of a paper."""

    id: str
    statement: str
    """In our words."""
    source: str
    """Where the paper draws it: section and table."""
    systems: tuple[str, ...]
    """The runs it needs."""
    decide: Callable[[Results], Finding]
    """Asked only when all the runs are there."""
    criterion: str = ""
    """How it is decided, where that is more than one paired comparison."""
    printed: str = ""
    """The paper's own figures."""


@dataclass(frozen=True)
class Outcome:
    """A claim decided."""

    claim: Claim
    verdict: Verdict
    evidence: str
    difference: Difference | None = None


def evaluate(claims: Sequence[Claim], results: Results) -> list[Outcome]:
    """Each claim's verdict on these runs; `not run` where one is missing."""
    return [_outcome(claim, results) for claim in claims]


def _outcome(claim: Claim, results: Results) -> Outcome:
    missing = [system for system in claim.systems if system not in results]
    if missing or not claim.systems:
        return Outcome(claim, "not run", f"needs {', '.join(missing)}" if missing else "not reproduced here")
    try:
        verdict, evidence, difference = claim.decide(results)
    except UserError as error:
        return Outcome(claim, "undecided", f"not comparable: {error}")
    short = [f"{name} at {results[name].updates}" for name in claim.systems if not results[name].complete]
    remarks = {"unfinished": short, "scored differently": _unlike([results[name] for name in claim.systems])}
    told = [f"{remark}: {', '.join(cases)}" for remark, cases in remarks.items() if cases]
    return Outcome(claim, verdict, "; ".join([evidence, *told]), difference)


def _unlike(results: Sequence[Result]) -> list[str]:
    """The fields in which these results' signatures differ, version aside: their BLEU differs by that alone."""
    fields = [result.all.signature.partition("|version:")[0].split("|") for result in results]
    every = dict.fromkeys(field for one in fields for field in one)
    return [field for field in every if not all(field in one for one in fields)]


def better(a: str, b: str) -> Callable[[Results], Finding]:
    """Decides "a scores higher BLEU than b" on the same sentences."""

    def decide(results: Results) -> Finding:
        difference = compare(results, a, b)
        return beyond(difference, 0.0), f"{show(difference)} BLEU", difference

    return decide


def compare(results: Results, a: str, b: str) -> Difference:
    """BLEU of a minus BLEU of b, paired. UserError where their sentences are not the same."""
    return paired_bootstrap(results[a].all.counts, results[b].all.counts)


def beyond(difference: Difference, bound: float) -> Verdict:
    """Holds when the whole interval lies above `bound`, fails when it lies below, else undecided."""
    return "holds" if difference.low > bound else "fails" if difference.high < bound else "undecided"


def within(difference: Difference, margin: float) -> Verdict:
    """Holds when the whole interval lies inside +-margin, fails when it lies outside, else undecided."""
    if -margin < difference.low and difference.high < margin:
        return "holds"
    return "fails" if difference.low > margin or difference.high < -margin else "undecided"


def all_of(*verdicts: Verdict) -> Verdict:
    """The verdict on a claim of several parts: one failure fails it, one doubt leaves it undecided."""
    order: tuple[Verdict, ...] = ("not run", "fails", "undecided")
    return next((verdict for verdict in order if verdict in verdicts), "holds")


def show(difference: Difference) -> str:
    """`+7.41 (+6.80 to +8.02)`."""
    return f"{difference.value:+.2f} ({difference.low:+.2f} to {difference.high:+.2f})"


def fall(result: Result) -> Difference:
    """BLEU above the test set's median source length minus BLEU at or below it; negative where it falls."""
    return length_slope(result.all.lengths, result.all.counts)


def change_beyond_share(a: Result, b: Result, share: float) -> Difference:
    """How much better a keeps up with length than `share` of what b does: change(a) - share x change(b).

    change: as in `fall`. Above 0, a falls by less than `share` of b's fall. Long and short sentences are
    resampled apart, the same draws for both systems.
    """
    if not np.array_equal(a.all.lengths, b.all.lengths):
        raise UserError(f"{a.system} and {b.system} were scored on different test sets")
    ours, theirs = changes_with_length(a.all.lengths, a.all.counts, b.all.counts)
    return interval_difference(ours[0] - share * theirs[0], ours[1] - share * theirs[1])
