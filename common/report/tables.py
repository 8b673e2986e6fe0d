"""What a page says of results: cells, tables, notes and provenance as markdown."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from common.errors import UserError
from common.markdown import table
from common.paper import Paper
from common.recipe import OWN_SCALE, changes_no_number, differences, of_one_corpus
from common.report.claims import Outcome, Scored
from common.report.results import RATES_DIFFER, Result
from common.result import Column
from common.yaml_files import is_path

COST = ("updates", "hours", "FLOPs: time x rate", "FLOPs: counted")
"""Columns for the training cost of a run."""
BY_SENTENCES = "intervals by bootstrap over sentences (95%, 1,000 draws)"
"""How intervals are made that cover no seeds."""
AS_NOTED = "intervals (95%) as the notes say"
"""The same on a page whose intervals cover seeds too. Its notes say how they are made."""


def plain(text: str) -> str:
    """Return free text, such as a translation, with everything escaped that markdown would act on."""
    return re.sub(r"([\\`*_<>\[\]&#~])", r"\\\1", text)


def number(value: float | None, form: str = ".2f") -> str:
    """Return the value as text, or an empty cell for None."""
    return "" if value is None else format(value, form)


def score(value: float, interval: tuple[float, float]) -> str:
    """Return a score as text: `25.31 (24.10 to 26.42)`."""
    return f"{value:.2f} ({interval[0]:.2f} to {interval[1]:.2f})"


def score_cell(scored: Scored | None) -> str:
    """Return a score with its interval as text, or an empty cell for None."""
    return score(*scored) if scored else ""


def beside(ours: Scored | None, printed: float | None, form: str, scale: str) -> list[str]:
    """Return the cells under `headings`: our score with its interval, the printed score, and perhaps the difference.

    The difference is shown only at the papers' own scale.
    """
    difference = [versus(ours[0] if ours else None, printed)] if scale == OWN_SCALE else []
    return [score_cell(ours), number(printed, form), *difference]


def headings(name: str, scale: str, paper: str = "paper") -> list[str]:
    """Return the headings of the columns that `beside` fills."""
    return [f"{name}: ours (95%)", paper, *(["difference"] if scale == OWN_SCALE else [])]


def versus(ours: float | None, printed: float | None) -> str:
    """Return ours minus the printed value, or an empty cell if one of them is missing."""
    return "" if ours is None or printed is None else f"{ours - printed:+.2f}"


def run_cell(result: Result | None) -> str:
    """Return the cell that names the run behind a row: recipe, updates, commits, and whether the text is generated.

    It says how many seeds there are if there are several.
    """
    if result is None:
        return ""
    commits = " and ".join(dict.fromkeys(run.commit for run in result.trainings))
    seeds = f"{len(result.trainings)} seeds, " if result.others else ""
    updates = result.updates if result.complete else f"unfinished: {result.updates}"
    return f"`{result.name}`, {seeds}{updates}, {commits}" + (", generated text" if result.generated else "")


def updates(result: Result) -> str:
    """Return `3,000`, or for an unfinished run `1,200 of 3,000`."""
    return f"{result.step:,}" if result.complete else f"{result.step:,} of {result.planned:,}"


def flops(value: float | None) -> str:
    """Return FLOPs as text, `3.3e18`, or an empty cell for None."""
    return "" if value is None else re.sub(r"e\+?(-?)0*(?=\d)", r"e\1", f"{float(value):.1e}")


def cost(result: Result | None) -> list[str]:
    """Return the cells under `COST`."""
    if result is None:
        return [""] * len(COST)
    hours = number(result.seconds / 3600, ".3g")
    return [updates(result), hours, flops(result.flops_by_time), flops(result.flops_counted)]


def cost_note(results: Mapping[str, Result]) -> str:
    """Explain the two FLOP figures under `COST`."""
    unrated = any(result.flops_by_time is None for result in results.values())
    return (
        "Time x rate is the method under Table 2 of Vaswani et al. 2017: training time x the sustained "
        "single-precision rate of the devices, here measured by square matrix products where the run was trained"
        + (" (a cell is empty for a run from before that, or one that was trained at several rates)" if unrated else "")
        + ". Counted are the matrix products of forward and backward passes, from the model and the mean sentence "
        "lengths of the recipe."
        + (" Of several seeds, the cost is the first's." if any(run.others for run in results.values()) else "")
        + "".join(f" {note}" for note in time_notes(results))
    )


def time_notes(results: Mapping[str, Result]) -> list[str]:
    """Return a note for each kind of machine whose rate was not the same wherever the runs started: no times compare.

    The rate is that of float32 matrix products, which each start of a training measures.
    """
    rates: dict[str, list[tuple[str, list[float]]]] = {}
    for run in (run for result in results.values() for run in result.trainings):
        starts = run.file.training.starts or ()
        for hardware in dict.fromkeys(start.environment.hardware for start in starts):
            measured = [one.matmul_flops_per_second for one in starts if one.environment.hardware == hardware]
            if known := [rate / 1e9 for rate in measured if rate]:
                rates.setdefault(hardware, []).append((run.title, known))
    remarks = []
    for hardware, found in rates.items():
        every = [rate for _, one in found for rate in one]
        if max(every) < RATES_DIFFER * min(every):
            continue
        within = [
            f"{title} ({', '.join(f'{rate:.0f}' for rate in one)})"
            for title, one in found
            if max(one) >= RATES_DIFFER * min(one)
        ]
        remarks.append(
            "Hours here compare neither with each other nor with other machines': when these trainings started, the "
            f"machine ({hardware}) multiplied float32 matrices at {min(every):.0f} to {max(every):.0f} GFLOP/s, by "
            "what else it did and by its library's kernels"
            + (f"; within one training: {', '.join(within)}" if within else "")
            + "."
        )
    return remarks


def standard_notes(results: Mapping[str, Result]) -> list[str]:
    """Return the notes that hold for every table: what intervals cover, and which sentences were scored."""
    remarks = [
        "Of several seeds, scores are means, and their intervals cover seeds and test sentences: the spread over seeds "
        "is pooled over the systems of the same text that make as many updates. Of a single training, intervals cover "
        "the choice of test sentences alone. Those of differences cover both if one of the two has several seeds; a "
        "single training is then taken to vary as the system does that it is compared with."
        if any(result.others for result in results.values())
        else "Intervals cover the choice of test sentences, not the random seed: each system is one training run."
    ]
    sets: dict[tuple[str, str, str], Column] = {
        (result.pair, result.test_set, result.corpus): result.all for result in results.values()
    }
    for (pair, test_set, corpus), column in sets.items():
        lengths = column.lengths
        remarks.append(
            f"Scored on `{test_set}` of {corpus}, {pair}: {len(lengths):,} sentences of {lengths.min()} to "
            f"{lengths.max()} source words, median {np.median(lengths):g}."
        )
    return remarks


def other_text_notes(paper: Paper, results: Mapping[str, Result]) -> list[str]:
    """Return a note on what differs from what the paper's own scores are of. None if it is neither text nor sizes."""
    pairs = [(result, theirs) for result in results.values() if (theirs := _original(paper, result.recipe))]
    trained = [result for result, theirs in pairs if _other_training_text(result, theirs)]
    facts = {
        "the test sentences are others": any(
            result.generated or result.test_set not in theirs["evaluate"]["sets"] for result, theirs in pairs
        ),
        f"the models were trained on other text, {_amount(trained)}": bool(trained),
        "the models are of other sizes": any(_other_sizes(result.recipe, theirs) for result, theirs in pairs),
    }
    if not any(facts.values()):
        return []
    return [
        f"Against the paper's scores: {'; '.join(fact for fact, holds in facts.items() if holds)}. The paper's stand "
        "there for orientation. Compare systems within a column."
    ]


def _other_training_text(result: Result, theirs: Mapping[str, Any]) -> bool:
    """Return whether a run has read other training text than the recipe `theirs` declares."""
    ours, its = result.recipe["data"], theirs["data"]
    return result.generated or any(
        (ours.get(key) or None) != (its[key] or None) for key in ("parts", "first", "shares")
    )


def _other_sizes(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> bool:
    """Return whether a size of the model or the length of its vocabulary differs between resolved recipes."""
    here, there = ({**recipe["model"], "vocabulary": recipe["text"]["vocabulary_size"]} for recipe in (ours, theirs))
    return any(type(value) is int and here.get(key, value) != value for key, value in there.items())


def _amount(results: Sequence[Result]) -> str:
    """Return how many training pairs the runs read: `170,839 pairs`, or `110,466 to 170,839 pairs`."""
    counts = [int(result.file.data["train_used"]["pairs"]) for result in results]
    return " to ".join(f"{count:,}" for count in sorted({min(counts), max(counts)})) + " pairs" if counts else ""


def text_label(results: Mapping[str, Result]) -> str:
    """Return the text behind a table, for its heading: ` (generated text)`. It is empty without results."""
    return f" ({text_of(results)})" if results else ""


def text_of(results: Mapping[str, Result]) -> str:
    """Return the corpus in words and, if only parts of it were trained on, which, how many pairs, and the test set."""
    if any(result.generated for result in results.values()):
        return "generated text"
    parts = dict.fromkeys(part for result in results.values() for part in result.recipe["data"].get("parts") or ())
    corpus = ", ".join(sorted({result.corpus for result in results.values()}))
    if not parts:
        return corpus
    tested = ", ".join(dict.fromkeys(result.test_set for result in results.values()))
    trained = f"trained on {', '.join(parts)}: {_amount([*results.values()])}"
    return f"{trained}; tested on {tested}; both from {corpus}"


def provenance(results: Mapping[str, Result]) -> str:
    """Return the lines under a table: the metrics' signatures and how intervals are made, then one line per run."""
    if not results:
        return "No run stands behind this table yet."
    trainings = [run for result in results.values() for run in result.trainings]
    intervals = AS_NOTED if len(trainings) > len(results) else BY_SENTENCES
    columns = (run.column(name) for run in trainings for name in ("all", "no_unk"))
    signatures = sorted({column.signature for column in columns if column})
    lines = [f"- BLEU: `{signature}`, {intervals}" for signature in signatures]
    return "\n".join(lines + [f"- {run.title}: {run.provenance}" for run in trainings])


def numbers_of(result: Result) -> set[str]:
    """Return the texts by which tables show the numbers of a run."""
    training, dev = result.file.training, result.dev
    scores = {score(column.bleu, column.interval) for column in _columns(result)}
    scores |= {number(value) for column in _columns(result) for value in (column.bleu, column.sacrebleu)}
    parameters = training.parameters or 0
    others = [
        *(f"{parameters:,}", f"{parameters / 1e6:.3g} M", *cost(result), number(result.epochs, ".1f")),
        *(f"{training.progress.seconds / 3600:.2f}", f"{dev.perplexity:.2f}", f"{dev.nll_per_token:.3f}"),
        *(f"{likelihood.nll_per_sentence:.1f}" for likelihood in (result.train, dev)),
    ]
    return (scores | set(others)) - {""}


def every_score(results: Mapping[str, Result]) -> str:
    """Return a table of all test sets and columns that were scored, by both metrics."""
    rows = []
    trainings = [run for result in results.values() for run in result.trainings]
    for result in trainings:
        for test_set, scored in result.file.sets.items():
            for name, column in scored.columns.items():
                rows.append(
                    [
                        f"`{result.label}`",
                        result.pair,
                        test_set,
                        {"all": "All", "no_unk": "No UNK"}[name],
                        f"{column.sentences:,}",
                        score(column.bleu, column.interval),
                        number(column.sacrebleu),
                    ]
                )
    header = ["system", "languages", "set", "sentences", "count", "BLEU by the paper's metric (95%)", "sacreBLEU"]
    signatures = sorted({column.sacrebleu_signature for result in trainings for column in _columns(result)})
    return "\n".join(
        [table(header, rows, right=(4, 5, 6)), "", *(f"- sacreBLEU: `{signature}`" for signature in signatures)]
    )


def _columns(result: Result) -> list[Column]:
    """Return the columns of all test sets of a result."""
    return [column for scored in result.file.sets.values() for column in scored.columns.values()]


def changes(recipes: Mapping[str, tuple[Mapping[str, Any], Mapping[str, Any]]]) -> str:
    """Return a table of what the recipes change against the paper's: field, the paper's value, that here, and systems.

    recipes: system -> (ours, the paper's), as plain values. Systems with the same change share a row.
    """
    grouped: dict[tuple[str, str, str], list[str]] = {}
    for system, (ours, theirs) in recipes.items():
        changed = differences(ours, theirs)
        for key, (here, paper) in changed.items():
            # Parts of another corpus say nothing beside the paper's. One that has parts of the same names does.
            foreign = "data.corpus" in changed and not ours.get("data", {}).get("parts") and of_one_corpus(key)
            if not changes_no_number(key) and not foreign:
                grouped.setdefault((key, _value(paper), _value(here)), []).append(system)
    if not grouped:
        return "The recipes are the paper's own."
    order = {key: index for index, key in enumerate(dict.fromkeys(key for key, _, _ in grouped))}

    def named(systems: list[str]) -> str:
        """Return the systems, or where it is far shorter those that they are not."""
        others = [system for system in recipes if system not in systems]
        if 2 * len(others) < len(systems):
            return "all" + (f" but {', '.join(others)}" if others else "")
        return ", ".join(systems)

    rows = [
        [f"`{key}`", paper, here, named(systems)]
        for (key, paper, here), systems in sorted(grouped.items(), key=lambda item: order[item[0][0]])
    ]
    return table(["recipe field", "the paper's recipe", "here", "systems"], rows)


def closing_parts(paper: Paper, scale: str, results: Mapping[str, Result]) -> list[str]:
    """Return the end of a section: every score by both metrics, and what the recipes change against the paper's."""
    parts = [f"## Every score{text_label(results)}\n\n{every_score(results)}"] if results else []
    return [*parts, changes_part(paper, scale, results)]


def changes_part(paper: Paper, scale: str, results: Mapping[str, Result]) -> str:
    """Return the part on what a scale's recipes and the runs' own change against the paper's."""
    used = {recipe.system: recipe.to_dict() for recipe in map(paper.recipe, paper.systems(scale))}
    used |= {system: _with_title(result) for system, result in results.items()}
    recipes = {system: (ours, theirs) for system, ours in used.items() if (theirs := _original(paper, ours))}
    return f"## What these recipes change against the paper\n\n{changes(recipes)}"


def _with_title(result: Result) -> dict[str, Any]:
    """Return a result's resolved recipe, with the corpus by its title if it was given as a file."""
    recipe, corpus = dict(result.recipe), result.recipe["data"]["corpus"]
    return recipe | {"data": recipe["data"] | {"corpus": result.corpus}} if is_path(corpus) else recipe


def _original(paper: Paper, ours: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the paper's own recipe of the system that a resolved recipe reproduces.

    Return None if that system is not the paper's.
    """
    names = {name.rpartition("/")[2]: name for name in paper.systems(OWN_SCALE)}
    system = ours["reproduces"]
    if "/" in system:  # the paper's own recipe is in another folder
        return paper.recipe(system).to_dict()
    if system not in names:  # a result that was made before recipes said what they reproduce
        with suppress(UserError):
            system = paper.recipe(ours["name"]).reproduces
    return paper.recipe(names[system]).to_dict() if system in names else None


def _value(value: Any) -> str:
    """Return a recipe's value as a reader would write it."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    if isinstance(value, list):
        return ", ".join(map(_value, value))
    return f"{value:,}" if isinstance(value, int) else f"{value:g}" if isinstance(value, float) else str(value)


def claims_table(outcomes: Sequence[Outcome], results: Mapping[str, Result]) -> str:
    """Return how many claims hold, a row with verdict and evidence for each, and how each was decided.

    results: those that the claims were decided on.
    """
    rows = [
        [
            outcome.claim.statement,
            outcome.claim.source,
            outcome.claim.printed,
            f"**{outcome.verdict}**",
            outcome.evidence,
        ]
        for outcome in outcomes
    ]
    rules = [
        f"- {outcome.claim.statement}: {outcome.claim.criterion}" for outcome in outcomes if outcome.claim.criterion
    ]
    return "\n".join(
        [
            f"Verdicts: {verdicts(outcomes)}. Unless a line below says otherwise, {rule(results)}",
            "",
            table(["claim", "where", "printed", "verdict", "evidence here"], rows),
            "",
            *rules,
        ]
    )


def verdicts(outcomes: Sequence[Outcome]) -> str:
    """Return how often there is each verdict: `6 holds, 2 fails`."""
    counts: Counter[str] = Counter(outcome.verdict for outcome in outcomes)
    return ", ".join(f"{counts[name]} {name}" for name in ("holds", "fails", "undecided", "not run") if counts[name])


def rule(results: Mapping[str, Result]) -> str:
    """Return how claims without a rule of their own are decided on these results."""
    seeds = any(result.others for result in results.values())
    over = "over seeds and test sentences" if seeds else "paired bootstrap over the test sentences"
    return (
        f"a claim holds when the 95% interval of the difference ({over}) lies above 0, fails when it lies below, and "
        "is undecided in between."
    )
