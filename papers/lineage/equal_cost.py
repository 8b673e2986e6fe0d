"""RNNencdec-50, RNNsearch-50 and the Transformer on the same pairs at equal cost: tables, figures and claims.

There are two vocabularies, words and sub-words, and two budgets. Both budgets are RNNsearch-50's training on words: the
FLOPs counted from the model, and the time on the same machine. A system has a recipe for each budget, of which the
longer carries the shorter on. The one for equal time ends in `-time`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing

from common import markdown
from common.errors import UserError
from common.recipe import Recipe, unlike
from common.report import claims as claim
from common.report import page
from common.report import tables as report
from common.report.claims import Claim, Finding
from common.report.page import COLOURS, Figure, Section
from common.report.results import Result, read_results
from common.report.tables import number
from common.run.plan import training_flops
from common.score.bleu import brevity_penalty
from common.score.by_length import FEWEST, Bin, bleu_by_bins, sliding_bleu
from papers.bahdanau2014.figures import LAST, window
from papers.bahdanau2014.tables import FLOOR, falls_with_length, floor_notes, length_claims, unk_share
from papers.lineage import PAPERS
from papers.lineage.same_data import RECURRENT, Results, heading, read_runs, shared_sets

SCALES = ("europarl-same-small", "europarl-same")
"""Folders of the recipes that are compared."""
TITLE = "Both papers on the same text at equal cost"
"""Title of the page."""
YARDSTICK = "bahdanau2014/rnnsearch-50"
"""The run whose cost is the budget, both in FLOPs and in time."""
SYSTEMS = {
    "words": {
        "RNNencdec-50": "bahdanau2014/rnnencdec-50",
        "RNNsearch-50": YARDSTICK,
        "Transformer": "vaswani2017/base-enfr-words",
    },
    "sub-words": {
        "RNNencdec-50": "bahdanau2014/rnnencdec-50-subwords",
        "RNNsearch-50": "bahdanau2014/rnnsearch-50-subwords",
        "Transformer": "vaswani2017/base-enfr",
    },
}
"""The systems that are compared, by vocabulary and model."""
BUDGETS = {"equal FLOPs": "", "equal time": "-time"}
"""The budgets, and how the recipes for them end."""
LINES = {"RNNencdec-50": COLOURS[1], "RNNsearch-50": COLOURS[0], "Transformer": COLOURS[2]}
"""Colour of each model in the figures."""
RATES = Path(__file__).parents[2] / "benchmarks" / "results" / "equal_cost.json"
"""CPU seconds of an update of each system, measured by turns on one machine (benchmarks/equal_cost.py)."""
COSTS_DIFFER = 0.05
"""Costs that differ by more than this share count as different. Ours: the budgets are met to well within it."""
EQUAL = (
    "the interval of the BLEU difference lies above 0; fails when it lies below. Undecided if what the two used "
    f"differs by more than {COSTS_DIFFER:.0%}."
)
"""How a claim at equal cost is decided."""
BINS = (1, 11, 21, 31, 41, 51, 61, 1000)
"""Source lengths at which the columns of the table by length begin. The last number is past all sentences."""


def at(system: str, budget: str) -> str:
    """Return the run of a system at a budget. RNNsearch-50 on words has one run, which is at both."""
    return system if system == YARDSTICK else system + BUDGETS[budget]


@cache
def recipe_of(key: str, scale: str) -> Recipe:
    """Return the recipe of a run `paper/system` at a scale."""
    paper, system = key.split("/")
    return PAPERS[paper].recipe(f"{scale}/{system}")


@cache
def flops_of(key: str, scale: str) -> int:
    """Return the FLOPs of one update of a run's recipe."""
    return training_flops(PAPERS[key.split("/")[0]], recipe_of(key, scale))


def updates_within(budget: float, cost: float) -> int:
    """Return how many updates of the same `cost` come nearest to a budget."""
    return round(budget / cost)


def read_rates(scale: str, hardware: str | None = None) -> dict[str, float]:
    """Return the measured CPU seconds of an update by system. Return nothing for another scale or kind of machine.

    A recipe whose FLOPs have changed since then counts as slower or faster by as much.
    hardware: the kind of machine that is asked for. None takes the one that was measured.
    """
    measured = json.loads(RATES.read_text(encoding="utf-8")) if RATES.is_file() else None
    if measured is None or scale != measured["scale"] or hardware not in (None, measured["environment"]["hardware"]):
        return {}
    return {
        row["system"]: row["cpu_seconds_per_update"] * flops_of(row["system"], scale) / row["flops_per_update"]
        for row in measured["rows"]
    }


def build_tables(results: Mapping[str, Path], out: Path) -> Section:
    """Build the page of one scale from each paper's folder of results, and write it to the folder `out`.

    Raise UserError if one of the papers has no result, or if RNNsearch-50 on words was not run.
    """
    group = next((group for group in shared_sets(read_runs(results)) if YARDSTICK in group), None)
    if group is None:
        raise UserError(
            f"{results['bahdanau2014']}: no result of rnnsearch-50 beside one of the Transformer; train both"
        )
    outcomes = claim.evaluate(claims(), group)
    drawings = [by_length(group), curves(group)]
    remarks = [*report.standard_notes(group), *floor_notes(outcomes, group), *notes(group)]
    parts = [
        f"# {TITLE}\n\n{'; '.join(paper.citation for paper in PAPERS.values())}",
        f"{heading(group)}. {budget_line(group)}",
        *(
            f"## {vocabulary.capitalize()}, {budget}\n\n{cost_table(group, vocabulary, budget)}"
            for vocabulary in SYSTEMS
            for budget in BUDGETS
        ),
        f"## Sub-words against words\n\n{vocabularies_table(group)}",
        page.figure_block(drawings[0]),
        lengths_table(group),
        page.figure_block(drawings[1]),
        f"## Claims\n\n{report.claims_table(outcomes, group)}",
        f"## Runs\n\n{report.provenance(group)}",
        "## Notes\n\n" + "\n".join(f"- {note}" for note in remarks),
    ]
    section = Section(TITLE, "\n\n".join(parts), drawings, outcomes, remarks)
    page.write_section(section, out)
    return section


def hours(group: Results, key: str, step: int) -> float:
    """Return the hours of the first `step` updates of a run.

    They are CPU hours by the measured rates if these are of all runs of the group, else the share of its wall time.
    """
    result, rate = group[key], rates_of(group).get(key.removesuffix(BUDGETS["equal time"]))
    return step * (result.seconds / result.step if rate is None else rate) / 3600


def rates_of(group: Results) -> dict[str, float]:
    """Return the measured rates, or nothing unless all runs are of recipes and of a kind of machine that was measured.

    Another number of updates is another cost at the same rate, and the corpus may be another declaration of the text.
    """
    run, known = group[YARDSTICK], {at(system, budget) for budget in BUDGETS for system in _systems()}
    scale = run.name.rpartition("/")[0]
    rates = read_rates(scale, run.hardware)
    for key, result in group.items():
        if key in known and rates:
            other = {*unlike(result.recipe, recipe_of(key, scale).to_dict())} - {"train.steps", "data.corpus"}
            if other or result.hardware != run.hardware:
                return {}
    return rates


def _systems() -> list[str]:
    """Return the systems of both vocabularies."""
    return [system for systems in SYSTEMS.values() for system in systems.values()]


def budget_line(group: Results) -> str:
    """Return both budgets in words."""
    run = group[YARDSTICK]
    time = hours(group, YARDSTICK, run.step)
    return (
        f"Budgets: {report.flops(run.flops_counted)} FLOPs counted and {time:.2f} hours, those of RNNsearch-50 on "
        f"words in {run.updates}."
    )


def cost_table(group: Results, vocabulary: str, budget: str) -> str:
    """Return score, size and cost of the three models at one budget, and how they differ from RNNsearch-50."""
    header = ["model", "BLEU (95%)", "minus RNNsearch-50 (95%)", "brevity penalty", "UNK written", "parameters"]
    header += ["updates", "million target tokens", "FLOPs: counted", "hours", "the run behind it"]
    base, rows = at(SYSTEMS[vocabulary]["RNNsearch-50"], budget), []
    for model, system in SYSTEMS[vocabulary].items():
        key = at(system, budget)
        result = group.get(key)
        if result is None:
            rows.append([model, *[""] * (len(header) - 1)])
            continue
        tokens = result.file.training.progress.target_tokens
        rows.append(
            [
                model,
                report.score_cell(claim.mean_bleu(group, result)),
                difference(group, key, base) if key != base and base in group else "",
                f"{brevity_penalty(result.all.counts):.3f}",
                f"{unk_share(result):.1%}",
                number(result.parameters, ","),
                report.updates(result),
                "" if tokens is None else f"{tokens / 1e6:.1f}",
                report.flops(result.flops_counted),
                f"{hours(group, key, result.step):.2f}",
                report.run_cell(result),
            ]
        )
    return markdown.table(header, rows, right=range(1, len(header) - 1))


def difference(group: Results, a: str, b: str) -> str:
    """Return BLEU of a run minus another's with its interval, or which of their trainings do not compare."""
    try:
        return claim.show(claim.compare(group, a, b))
    except UserError as error:
        return f"not comparable: {error}"


def vocabularies_table(group: Results) -> str:
    """Return for each model and budget BLEU with sub-words minus BLEU with words."""
    rows = []
    for model in LINES:
        rows.append([model])
        for budget in BUDGETS:
            pair = [at(SYSTEMS[vocabulary][model], budget) for vocabulary in ("sub-words", "words")]
            known = all(key in group for key in pair)
            rows[-1].append(difference(group, *pair) if known else "")
    header = ["model", *(f"{budget}: sub-words minus words (95%)" for budget in BUDGETS)]
    low = [model for model in LINES if any(result.all.bleu < FLOOR for result in _of(group, model))]
    warned = f" Of {' and '.join(low)} it says nothing, below {FLOOR:g} BLEU on one side or both." if low else ""
    return markdown.table(header, rows, right=range(1, len(header))) + (
        "\n\nIntervals cover the choice of test sentences alone. An RNN is scored by its last checkpoint, whose BLEU "
        f"also moves from one checkpoint to the next, so a difference of some tenths is open.{warned}"
    )


def _of(group: Results, model: str) -> list[Result]:
    """Return the runs of a model with either vocabulary at any budget."""
    keys = {at(systems[model], budget) for systems in SYSTEMS.values() for budget in BUDGETS}
    return [result for key, result in group.items() if key in keys]


def lengths_table(group: Results) -> str:
    """Return BLEU by source length, for readers who cannot see the figure."""
    header: list[str] = []
    rows = []
    for vocabulary, systems in SYSTEMS.items():
        for budget in BUDGETS:
            for model, system in systems.items():
                if result := group.get(at(system, budget)):
                    parts = bleu_by_bins(result.all.counts, result.all.lengths, BINS)
                    parts = [part for part in parts if part.sentences >= FEWEST]
                    header = header or [_bin(part) for part in parts]
                    scores = [report.score(part.bleu, part.interval) for part in parts]
                    rows.append([model, vocabulary, budget, *scores])
    return markdown.table(["model", "vocabulary", "budget", *header], rows, right=range(3, len(header) + 3)) + (
        "\n\nBLEU with its 95% interval; it is 0 where no four words in a row are right. Columns: source words "
        f"(sentences); those of fewer than {FEWEST} sentences are left out."
    )


def _bin(part: Bin) -> str:
    """Return the heading of a column of lengths: `11 to 20 (812)`."""
    span = f"{part.low} to {part.high - 1}" if part.high < BINS[-1] else f"{part.low} and more"
    return f"{span} ({part.sentences:,})"


def _panels(height: float, sharey: Literal["all", "col"]) -> tuple[Drawing, dict[tuple[int, int], Axes]]:
    """Return a drawing of two rows of panels, with a column for each vocabulary. sharey: which have the same scale."""
    drawing = Drawing(figsize=(9.0, height), layout="constrained")
    grid = drawing.subplots(2, len(SYSTEMS), sharex="row", sharey=sharey)
    panels = {(row, column): axes for (row, column), axes in np.ndenumerate(grid)}
    for axes in panels.values():
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color="#dddddd", linewidth=0.8)
    return drawing, panels


def _legend(drawing: Drawing, panels: Mapping[tuple[int, int], Axes]) -> None:
    """Name each model once, above all panels."""
    named = {
        label: line for axes in panels.values() for line, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    shown = [model for model in LINES if model in named]
    drawing.legend([named[model] for model in shown], shown, loc="outside upper center", ncols=3, frameon=False)


def by_length(group: Results) -> Figure:
    """Draw BLEU against source length: a panel for each vocabulary and budget."""
    drawing, panels = _panels(6.4, "all")
    width = window(group[YARDSTICK].all.lengths)
    for column, (vocabulary, systems) in enumerate(SYSTEMS.items()):
        for row, budget in enumerate(BUDGETS):
            axes = panels[row, column]
            for model, system in systems.items():
                if (result := group.get(at(system, budget))) and (
                    curve := sliding_bleu(result.all.counts, result.all.lengths, width, LAST)
                ):
                    axes.plot(*zip(*curve, strict=True), color=LINES[model], linewidth=2, label=model)
            axes.set_title(f"{vocabulary}, {budget}", fontsize=10)
            axes.axvline(50, color="#777777", linestyle=":", linewidth=1)
            if row:
                axes.set_xlabel("source length (words)")
            if not column:
                axes.set_ylabel("BLEU")
    for axes in panels.values():  # once all is drawn, because it ends the automatic choice
        axes.set(xlim=(0, None), ylim=(0, None))
    _legend(drawing, panels)
    caption = (
        f"BLEU against the length of the source sentence, pooled over a sliding window of {width} lengths; windows of "
        f"fewer than {FEWEST} sentences and lengths above {LAST} are left out. It is 0 where no four words in a row "
        "are right. Dotted: the longest sentence in training, in words."
    )
    return Figure("bleu-by-length", "BLEU by sentence length", caption, page.png(drawing))


def curves(group: Results) -> Figure:
    """Draw the likelihood of the development set against FLOPs and hours: a column for each vocabulary."""
    drawing, panels = _panels(6.8, "col")
    for column, (vocabulary, systems) in enumerate(SYSTEMS.items()):
        for model, system in systems.items():
            longer = [key for key in (at(system, "equal time"), system) if key in group]
            if not longer:
                continue
            key = max(longer, key=lambda key: group[key].step)
            result = group[key]
            nats = [point.dev_nll_per_token for point in result.file.training.dev_curve]
            steps = [point.step for point in result.file.training.dev_curve]
            scales = [result.flops_counted / result.step, hours(group, key, 1)]
            for row, scale in enumerate(scales):
                axes = panels[row, column]
                axes.plot([step * scale for step in steps], nats, color=LINES[model], linewidth=1.8, label=model)
                for one in (group[at(system, budget)] for budget in BUDGETS if at(system, budget) in group):
                    if len(one.file.weights.steps) > 1:
                        axes.plot(one.step * scale, one.dev.nll_per_token, "D", color=LINES[model], markersize=6)
        run = group[YARDSTICK]
        for row, (budget, name) in enumerate(
            [(run.flops_counted, "FLOPs counted"), (hours(group, YARDSTICK, run.step), "hours")]
        ):
            axes = panels[row, column]
            axes.axvline(budget, color="#777777", linestyle=":", linewidth=1)
            axes.set_xlabel(name)
            if not row:
                axes.set_title(vocabulary, fontsize=10)
            if not column:
                axes.set_ylabel("nats per target token")
    for axes in panels.values():
        axes.set_xlim(left=0)
    _legend(drawing, panels)
    caption = (
        "Negative log-likelihood of the development set, teacher-forced and without label smoothing, in nats per "
        "target token, against cost. Tokens are words on the left and sub-words on the right, so the two columns do "
        "not compare. The Transformer is trained with label smoothing, which raises it (Vaswani et al. 2017, §5.4). "
        "Its curve is of its weights as they are at each validation; diamonds are the means of checkpoints that are "
        "scored. Dotted: the budget."
    )
    return Figure("curves", "Likelihood of the development set by cost", caption, page.png(drawing))


def claims() -> list[Claim]:
    """Return what is decided: attention, the Transformer, and who falls with length."""
    made = []
    for vocabulary, systems in SYSTEMS.items():
        for budget in BUDGETS:
            encdec, search, transformer = (at(systems[model], budget) for model in LINES)
            place = f"{vocabulary}-{budget.partition(' ')[2].lower()}"
            for identifier, (a, b), names, source, remark in (
                (
                    "attention",
                    (search, encdec),
                    "RNNsearch-50 beats RNNencdec-50",
                    "Bahdanau et al. 2014, §5.1, Table 1",
                    "",
                ),
                (
                    "transformer",
                    (transformer, search),
                    "The Transformer beats RNNsearch-50",
                    "Vaswani et al. 2017, §6.1, Table 2",
                    f" {RECURRENT} Equal budgets are ours.",
                ),
            ):
                statement = f"{names}: {vocabulary}, {budget}"
                decide = better_at_equal_cost(a, b, budget)
                rule = f"{EQUAL}{remark}"
                made.append(Claim(f"{identifier}-{place}", statement, source, (a, b), decide, rule))
    return [*made, *(decided for vocabulary in SYSTEMS for decided in claims_on_length(vocabulary))]


def better_at_equal_cost(a: str, b: str, budget: str) -> Callable[[Results], Finding]:
    """Make the rule that decides "a scores higher BLEU than b at the same cost"."""

    def decide(runs: Results) -> Finding:
        """Compare BLEU, once the costs are about the same."""
        verdict, evidence, difference = claim.better(a, b)(runs)
        costs = [
            runs[key].flops_counted if budget == "equal FLOPs" else hours(runs, key, runs[key].step) for key in (a, b)
        ]
        ratio = costs[0] / costs[1]
        equal = abs(ratio - 1) <= COSTS_DIFFER
        return verdict if equal else "undecided", f"{evidence}; {budget.split()[1]} x{ratio:.2f}", difference

    return decide


def claims_on_length(vocabulary: str) -> list[Claim]:
    """Return at equal FLOPs the conclusions from Figure 2 of 2014, by its own rules, and the Transformer's fall."""
    systems, place = SYSTEMS[vocabulary], f"{vocabulary}, equal FLOPs"
    keys = {"rnnencdec-50": systems["RNNencdec-50"], "rnnsearch-50": systems["RNNsearch-50"]}

    def moved(theirs: Claim) -> Claim:
        """Return a claim of 2014 on the runs of this comparison."""
        return replace(
            theirs,
            id=f"{theirs.id}-{vocabulary}",
            statement=f"{theirs.statement}: {place}",
            source=f"Bahdanau et al. 2014, {theirs.source}",
            systems=tuple(keys[system] for system in theirs.systems),
            decide=lambda runs: theirs.decide({system: runs[keys[system]] for system in theirs.systems}),
        )

    encdec, *search = map(moved, length_claims())
    falls = replace(
        encdec,
        id=f"transformer-falls-with-length-{vocabulary}",
        statement=f"The Transformer falls as sentences grow longer: {place}",
        source="neither paper",
        systems=(systems["Transformer"],),
        decide=lambda runs: falls_with_length(runs[systems["Transformer"]]),
    )
    return [encdec, *search, falls]


def _averaged(group: Results) -> str:
    """Return how far apart the averaged checkpoints are, and how much likelihood their mean gains, in words."""
    runs = [result for result in group.values() if len(result.file.weights.steps) > 1]
    gaps = sorted({later - earlier for run in runs for earlier, later in pairwise(run.file.weights.steps)})
    ends = [(run, run.file.training.dev_curve[-1]) for run in runs if run.file.training.dev_curve]
    gains = [end.dev_nll_per_token - run.dev.nll_per_token for run, end in ends if end.step == run.step]
    if not gains:
        return ""
    return (
        f", which lie {' or '.join(map(str, gaps))} updates apart. The mean gains {min(gains):.3f} to {max(gains):.3f} "
        "nats for a token of the development sets over the last of the five, at no counted cost. No RNN has such a gain"
    )


def _first_tries(group: Results) -> list[str]:
    """Return what came of the Transformers' first trainings, which the ones on the page replaced."""
    folders = {result.path.parent / "warmup-1000" for key, result in group.items() if key.startswith("vaswani2017/")}
    first = {system: result for folder in folders for system, result in read_results(folder).items()}
    if not first:
        return []
    told = [
        f"{result.title} {result.all.bleu:.2f} BLEU, here {group[f'vaswani2017/{system}'].all.bleu:.2f}"
        for system, result in first.items()
    ]
    return [
        "The Transformers were trained twice. At first the warm-up was 1,000 updates, ours. The paper's 4,000 were "
        f"taken when the scores were seen: {'; '.join(told)} (results/europarl-same-small/warmup-1000 of vaswani2017). "
        "No RNN was trained a second time."
    ]


def _unknown(group: Results) -> str:
    """Return the share of the development sets' words that are unknown to the two models on words, in words."""
    told = []
    for model in ("RNNsearch-50", "Transformer"):
        result = group.get(SYSTEMS["words"][model])
        counts = result.file.data.get("counts", {}).get("valid", {}) if result else {}
        if {"source_unk_rate", "target_unk_rate"} <= counts.keys():
            told.append(f"{counts['target_unk_rate']:.2%} and {counts['source_unk_rate']:.2%} to {model}")
    return f" (French and English words unknown: {'; '.join(told)})" if told else ""


def notes(group: Results) -> list[str]:
    """Return what a reader must know to compare the models."""
    timed = (
        "Hours are CPU hours of the updates alone: updates x the CPU time of an update, measured for all systems by "
        "turns on a machine of this kind, with MKL's AVX-512 kernels (benchmarks/README.md; "
        "benchmarks/results/equal_cost.json). Other kernels give other ratios. A system whose FLOPs have changed since "
        "then counts as slower or faster by as much. The trainings shared its cores, and their wall time would say how "
        "busy it was."
        if rates_of(group)
        else "Hours are the wall time of the trainings, validation and saving included. They compare only between runs "
        "on the same idle machine."
    )
    return [
        "All models read the same training pairs, in words of up to 50 on either side, tokenised and cased as in 2014, "
        "and are scored by the tokenised BLEU of the signature above on the same references. Each searches as its own "
        "paper does. The RNNs are scored by their last checkpoint, the Transformer by the mean of five"
        f"{_averaged(group)}.",
        "The Transformer's minibatches have fewer tokens than its paper's. Where the models are smaller than the "
        "papers', Adadelta's step is larger. The recipes say by how much.",
        "Counted FLOPs leave out padding, what is no matrix product, validation and decoding. The recipes' numbers of "
        "updates follow from them. A minibatch of the Transformer counts as full, which is some 4% more than it holds.",
        "The Transformer has one matrix for all its embeddings (§3.4), so its words are one shortlist of both "
        "languages, as long as leaves as many French words of the development sets unknown as RNNsearch-50's two lists "
        f"do{_unknown(group)}.",
        timed,
        *_first_tries(group),
        *([] if rates_of(group) else report.time_notes(group)),
    ]
