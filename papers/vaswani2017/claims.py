"""The conclusions that Vaswani et al. 2017 draw from Tables 2 and 3, as claims that code decides.

§6.1 compares with printed scores of others, which says something of our runs only on the paper's own text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from common.report import claims as claim
from common.report.claims import Claim, Finding, Results, Verdict
from common.report.results import Result
from common.report.tables import flops, number
from common.score.significance import Difference, interval_difference, resample
from papers.vaswani2017.paper import PAPER
from papers.vaswani2017.table3 import BASE

Reported = Mapping[str, Any]
"""A part of reported.yaml."""
PAIRS = ("EN-DE", "EN-FR")
"""The language pairs of Table 2."""
MODELS = {"base": {"EN-DE": "base", "EN-FR": "base-enfr"}, "big": {"EN-DE": "big", "EN-FR": "big-enfr"}}
"""The paper's own rows of Table 2, and the systems behind their cells."""
MARGIN = 1.0
"""BLEU within which learned and fixed positions count as equal. The paper says "nearly identical" and gives no
number."""


def claims(reported: Reported) -> list[Claim]:
    """Return the paper's conclusions on its own models: §6.1 on Table 2, then §6.2 on Table 3."""
    return [*size_claims(reported), *published_claims(reported), *variation_claims(reported)]


def size_claims(reported: Reported) -> list[Claim]:
    """Return the claims on Table 2: the big model has the higher BLEU."""
    printed = reported["table2"]["rows"]

    def better(big: str, base: str) -> Callable[[Results], Finding]:
        """Make the rule, with the updates in the evidence: in the paper big makes three times as many as base."""

        def decide(runs: Results) -> Finding:
            verdict, evidence, difference = claim.better(big, base)(runs)
            return verdict, f"{evidence}; big made {runs[big].updates}, base {runs[base].updates}", difference

        return decide

    return [
        Claim(
            f"big-beats-base-{pair.lower()}",
            f"The big model beats the base model on {pair}",
            "§6.1, Table 2",
            (MODELS["big"][pair], MODELS["base"][pair]),
            better(MODELS["big"][pair], MODELS["base"][pair]),
            printed=f"{printed['big'][pair]} and {printed['base'][pair]}",
        )
        for pair in PAIRS
    ]


def published_claims(reported: Reported) -> list[Claim]:
    """Return the claims of §6.1 on earlier systems, whose scores Table 2 prints."""
    rows = reported["table2"]["rows"]
    earlier = {system: row for system, row in rows.items() if system not in MODELS}
    single = {system: row for system, row in earlier.items() if not system.endswith("-ensemble")}
    base_cost = Cost(1.0, "each of them", min(_column(earlier, "FLOPs EN-DE").values()))
    enfr_best = _best(single, "EN-FR")
    big_cost = Cost(0.25, "the best of them", single[enfr_best]["FLOPs EN-FR"])
    return [
        _beats_printed(
            "base-beats-published-en-de",
            "Even the base model beats every earlier model and ensemble on EN-DE, at a fraction of their training cost",
            ("base", rows["base"], earlier, "EN-DE"),
            cost=base_cost,
        ),
        _beats_printed(
            "big-beats-published-en-de",
            "The big model beats every earlier model and ensemble on EN-DE by more than 2 BLEU",
            ("big", rows["big"], earlier, "EN-DE"),
            above=2.0,
        ),
        _beats_printed(
            "big-beats-single-en-fr",
            "The big model beats every earlier single model on EN-FR, at under a quarter of the best one's cost",
            ("big-enfr", rows["big"], single, "EN-FR"),
            cost=big_cost,
        ),
    ]


def on_own_text(run: Result) -> bool:
    """Return whether a run was trained on all of the text that the paper's own recipe of the system names."""
    own = PAPER.recipe(run.system).to_dict()["data"]
    return all(run.recipe["data"].get(field) == own[field] for field in ("corpus", "parts", "first"))


@dataclass(frozen=True)
class Cost:
    """The training cost below which a claim wants ours to lie."""

    share: float
    whose: str
    printed: float
    """FLOPs, as printed."""


def _column(rows: Mapping[str, Reported], column: str) -> dict[str, float]:
    """Return the printed values of a column, by system."""
    return {system: row[column] for system, row in rows.items() if column in row}


def _best(rows: Mapping[str, Reported], pair: str) -> str:
    """Return the system with the highest printed BLEU."""
    scores = _column(rows, pair)
    return max(scores, key=scores.__getitem__)


def _beats_printed(
    identifier: str,
    statement: str,
    compared: tuple[str, Reported, Mapping[str, Reported], str],
    above: float = 0.0,
    cost: Cost | None = None,
) -> Claim:
    """Make the claim that a run of ours scores more than `above` BLEU above all printed scores of others.

    compared: our system, the paper's row of it, the others' rows, and the language pair.
    """
    system, row, others, pair = compared
    best = others[_best(others, pair)]

    def decide(runs: Results) -> Finding:
        """Compare the run's interval, and its training FLOPs by the paper's method, with what is printed."""
        run = runs[system]
        if not on_own_text(run):
            return "not run", f"needs all of the paper's own text, which `{system}` here did not read", None
        drawn = resample(run.all.counts)[0]
        difference = interval_difference(run.all.bleu - best[pair], drawn - best[pair])
        verdict, evidence = claim.beyond(difference, above), f"{claim.show(difference)} BLEU beside {best['label']}"
        if cost is None:
            return verdict, evidence, difference
        spent, limit = run.flops_by_time, cost.share * cost.printed
        cheap: Verdict = "undecided" if spent is None else "holds" if spent < limit else "fails"
        evidence += f"; {flops(spent) or 'unknown'} FLOPs against {flops(limit)}"
        return claim.all_of(verdict, cheap), evidence, difference

    rule = f"the interval of our score lies {f'more than {above:g} BLEU ' if above else ''}above every printed score"
    if cost:
        share = "" if cost.share == 1 else f"{cost.share:g} of "
        rule += f", and training time x rate is below {share}the printed FLOPs of {cost.whose}"
    figures = f"{row[pair]} and {best[pair]} ({best['label']})"
    return Claim(identifier, statement, "§6.1, Table 2", (system,), decide, f"{rule}.", figures)


def variation_claims(reported: Reported) -> list[Claim]:
    """Return the claims on Table 3, in the order of its rows."""
    printed = reported["table3"]["rows"]

    def beats(identifier: str, statement: str, better: str, worse: str) -> Claim:
        """Make the claim that one row has the higher BLEU than another."""
        figures = f"{printed[better]['BLEU']} and {printed[worse]['BLEU']}"

        def decide(runs: Results) -> Finding:
            """Decide by BLEU. Where there are several seeds, say how the development perplexity differs."""
            verdict, evidence, difference = claim.better(better, worse)(runs)
            of_perplexity = claim.compare_means(runs, better, worse, perplexity)
            return verdict, evidence + (f", {claim.show(of_perplexity)} PPL" if of_perplexity else ""), difference

        return Claim(identifier, statement, "§6.2, Table 3", (better, worse), decide, printed=figures)

    def hurts(identifier: str, statement: str, change: str) -> Claim:
        return beats(identifier, statement, BASE, change)

    def helps(identifier: str, statement: str, change: str) -> Claim:
        return beats(identifier, statement, change, BASE)

    return [
        hurts("heads-help", "Several heads beat a single one: the base model beats row (A) h = 1", "table3-A-h1"),
        hurts("too-many-heads-hurt", "Too many heads hurt: the base model beats row (A) h = 32", "table3-A-h32"),
        hurts("small-keys-hurt", "Smaller keys hurt: the base model beats row (B) d_k = 16", "table3-B-dk16"),
        hurts("half-keys-hurt", "Keys of half the size hurt: the base model beats row (B) d_k = 32", "table3-B-dk32"),
        hurts("depth-helps", "More layers help: the base model beats row (C) N = 2", "table3-C-N2"),
        by_perplexity(
            helps("more-depth-helps", "Still more layers help: row (C) N = 8 beats the base model", "table3-C-N8"),
            printed,
        ),
        hurts("width-helps", "A wider model helps: the base model beats row (C) d_model = 256", "table3-C-d256"),
        helps("more-width-helps", "Still more width helps: row (C) d_model = 1024 beats base", "table3-C-d1024"),
        hurts(
            "feed-forward-helps",
            "A wider feed-forward layer helps: the base model beats row (C) d_ff = 1024",
            "table3-C-ff1024",
        ),
        helps(
            "more-feed-forward-helps",
            "A still wider feed-forward layer helps: row (C) d_ff = 4096 beats the base model",
            "table3-C-ff4096",
        ),
        helps("big-is-better", "The big model, trained for longer, beats the base model", "table3-big"),
        hurts("dropout-helps", "Dropout helps: the base model beats row (D) P_drop = 0", "table3-D-drop0"),
        overfitting_claim(printed),
        smoothing_claim(printed),
        positions_claim(printed),
    ]


def by_perplexity(made: Claim, printed: Reported) -> Claim:
    """Let perplexity decide a claim on two rows, where the paper's own BLEU says the opposite of what it concludes."""
    better, worse = made.systems

    def decide(runs: Results) -> Finding:
        """Decide by perplexity, and say how BLEU differs."""
        verdict, difference, _ = _higher(runs, worse, better, perplexity)
        evidence = made.decide(runs)[1]
        if difference is None:
            evidence += f", {perplexity(runs[better]) - perplexity(runs[worse]):+.2f} PPL"
        return verdict, evidence, difference

    rule = (
        "the perplexity is lower (over the seeds if there are several, else by its one value). The paper's BLEU says "
        "the opposite of what it concludes. The rule was made when results with seeds had been seen."
    )
    figures = f"{made.printed}; PPL {printed[better]['PPL']} and {printed[worse]['PPL']}"
    return replace(made, decide=decide, criterion=rule, printed=figures)


def overfitting_claim(printed: Reported) -> Claim:
    """Return the claim of §6.2 on what dropout is for: without it the model fits its training text more closely."""
    plain = "table3-D-drop0"

    def gap(run: Result) -> float:
        """Return by how much unseen text is less likely than seen text, in nats per token."""
        return run.dev.nll_per_token - run.train.nll_per_token

    def decide(runs: Results) -> Finding:
        """Compare the two gaps."""
        verdict, difference, told = _higher(runs, plain, BASE, gap)
        return verdict, f"development minus training NLL: {told} nats per token without dropout", difference

    rule = "the gap is wider without dropout, over the seeds if there are several, else by its one value."
    figures = f"{printed[plain]['PPL']} and {printed[BASE]['PPL']} PPL"
    statement = "Dropout avoids over-fitting: without it, training and development likelihood lie further apart"
    return Claim("dropout-against-overfitting", statement, "§6.2, Table 3", (plain, BASE), decide, rule, figures)


def _higher(
    runs: Results, a: str, b: str, measure: Callable[[Result], float]
) -> tuple[Verdict, Difference | None, str]:
    """Decide whether a measure is higher for a than for b. Return the verdict, the difference, and it in words.

    Without several seeds there is no interval, and the one value decides.
    """
    difference = claim.compare_means(runs, a, b, measure)
    if difference is None:
        value = measure(runs[a]) - measure(runs[b])
        return "holds" if value > 0 else "fails", None, f"{value:+.3f}"
    told = f"{difference.value:+.3f} ({difference.low:+.3f} to {difference.high:+.3f})"
    return claim.beyond(difference, 0.0), difference, told


def perplexity(run: Result) -> float:
    """Return a run's perplexity on the development set."""
    return run.dev.perplexity


def smoothing_claim(printed: Reported) -> Claim:
    """Return the claim of §5.4: label smoothing raises perplexity and BLEU."""
    plain = "table3-D-ls0"

    def decide(runs: Results) -> Finding:
        """Compare BLEU and development perplexity with and without smoothing."""
        difference = claim.compare(runs, BASE, plain)
        unsure = _higher(runs, BASE, plain, perplexity)[0]
        means = (float(np.mean([perplexity(run) for run in runs[system].trainings])) for system in (BASE, plain))
        evidence = f"perplexity {' against '.join(map(number, means))}; {claim.show(difference)} BLEU"
        return claim.all_of(claim.beyond(difference, 0.0), unsure), evidence, difference

    figures = "; ".join(f"{printed[row]['PPL']} PPL, {printed[row]['BLEU']} BLEU" for row in (BASE, plain))
    rule = (
        "the smoothed model has the higher dev perplexity (over the seeds if there are several, else by its one value) "
        "and reliably the higher BLEU."
    )
    statement = "Label smoothing hurts perplexity but helps BLEU"
    return Claim("smoothing", statement, "§5.4, Table 3", (BASE, plain), decide, rule, figures)


def positions_claim(printed: Reported) -> Claim:
    """Return the claim of §3.5 and §6.2: learned position vectors do as well as sinusoids."""
    learned = "table3-E-learned"

    def decide(runs: Results) -> Finding:
        """Decide whether the two differ by less than MARGIN."""
        difference = claim.compare(runs, learned, BASE)
        return claim.within(difference, MARGIN), f"{claim.show(difference)} BLEU", difference

    rule = (
        f"the interval of the difference lies within {MARGIN:g} BLEU either side of 0; fails when it lies outside. "
        "The margin is ours."
    )
    figures = f"{printed[learned]['BLEU']} and {printed[BASE]['BLEU']}"
    statement = "Learned positions do nearly the same as sinusoids"
    return Claim("learned-positions", statement, "§3.5, §6.2, Table 3", (learned, BASE), decide, rule, figures)
