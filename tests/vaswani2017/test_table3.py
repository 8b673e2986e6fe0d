"""Table 3 on Multi30k with seeds: the recipes against the paper's proportions and a formula of their parameters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from common.recipe import changes_no_number, difference
from common.report import claims
from common.report.page import Section
from common.report.results import read_results
from common.result import Likelihood
from common.run.plan import parameter_counts
from common.run.seeds import SEEDS, jobs_of
from common.yaml_files import read_yaml
from papers.vaswani2017.claims import variation_claims
from papers.vaswani2017.paper import PAPER
from papers.vaswani2017.table3 import BASE, SCALE
from tests import made_results as made

PRINTED = read_yaml(PAPER.root / "reported.yaml")["tables"]["table3"]
ROWS, PAPERS = PRINTED["rows"], PRINTED["base"]
LAYERS, WIDTH = Fraction(1, 2), Fraction(1, 8)
FACTORS = {"N": LAYERS, "d_model": WIDTH, "d_ff": WIDTH, "d_k": WIDTH, "d_v": WIDTH}
"""How much smaller each size is here. Numbers of heads, dropout and label smoothing are the paper's."""


def values(system: str) -> dict[str, object]:
    recipe = PAPER.recipe(f"{SCALE}/{system}").to_dict()
    return {**recipe["model"], **{key: recipe["train"][key] for key in ("label_smoothing", "steps")}}


def scaled(key: str, printed: object) -> object:
    """Return a value of the paper's table in this scale's proportion."""
    if key == "steps":
        return printed / PAPERS["steps"] * values(BASE)["steps"]
    return printed * FACTORS[key] if key in FACTORS else printed


def test_there_is_a_recipe_for_every_row() -> None:
    assert {name.rpartition("/")[2] for name in PAPER.systems(SCALE)} == set(ROWS) and len(ROWS) == 20


def test_the_base_has_the_papers_proportions() -> None:
    ours = values(BASE)
    for key in PAPERS:
        assert ours[key] == scaled(key, PAPERS[key]), key
    assert ours["h"] * ours["d_k"] == ours["d_model"] and ours["d_ff"] == 4 * ours["d_model"]


@pytest.mark.parametrize("system", [system for system in ROWS if system != BASE])
def test_a_row_changes_what_its_own_changes_and_in_proportion(system: str) -> None:
    """It differs from the base here in the fields in which the paper's row differs from the paper's base."""
    recipe = PAPER.recipe(f"{SCALE}/{system}")
    assert (recipe.system, recipe.reproduces, recipe.title) == (system, system, ROWS[system]["label"])
    changed = difference(recipe, PAPER.recipe(f"{SCALE}/{BASE}"))
    printed = {key: value for key, value in ROWS[system]["changes"].items() if value != PAPERS.get(key)}
    for key, value in printed.items():
        assert values(system)[key] == scaled(key, value), key
    also = {"learned_positions"} if system == "table3-E-learned" else set()
    also |= {"checkpoint_every"} if "steps" in printed else set()
    assert {key.partition(".")[2] for key in changed} == set(printed) | also
    assert not any(map(changes_no_number, changed))


@pytest.mark.parametrize("system", ROWS)
def test_parameters_are_those_of_the_equations(system: str) -> None:
    """Counted from §3 for the row's letters: embedding, projections of 3 N attentions, 2 N networks, 5 N norms."""
    recipe = PAPER.recipe(f"{SCALE}/{system}")
    c, V = recipe.model, recipe.text.vocabulary_size
    attention = 2 * c.d_model * c.h * c.d_k + 2 * c.d_model * c.h * c.d_v
    network = 2 * c.d_model * c.d_ff + c.d_ff + c.d_model
    positions = 2 * c.learned_positions * c.d_model if c.positions == "learned" else 0
    expected = V * c.d_model + c.N * (3 * attention + 2 * network + 5 * 2 * c.d_model) + positions
    assert sum(parameter_counts(PAPER, recipe).values()) == expected


def test_sizes_come_in_the_papers_order() -> None:
    """A row without a printed size has the base's. Only learned positions add two tables."""
    size = {system: sum(parameter_counts(PAPER, PAPER.recipe(f"{SCALE}/{system}")).values()) for system in ROWS}
    for system in ROWS:
        if "params" not in ROWS[system] and system != "table3-E-learned":
            assert size[system] == size[BASE], system
    order = sorted((system for system in ROWS if "params" in ROWS[system]), key=lambda one: ROWS[one]["params"])
    assert sorted(order, key=size.__getitem__) == order


def test_every_row_is_trained_with_every_seed_one_seed_after_the_other(tmp_path: Path) -> None:
    jobs = jobs_of(PAPER, SCALE, tmp_path, [], [], SEEDS)
    assert [job.recipe.train.seed for job in jobs] == [seed for seed in SEEDS for _ in ROWS]
    assert {job.run.name for job in jobs} == {f"{system}-seed{seed}" for system in ROWS for seed in SEEDS}


# The page --------------------------------------------------------------------------------------------------------

LENGTHS = [5, 7, 9, 11] * 50
QUALITY = {
    BASE: 0.60,
    "table3-A-h1": 0.52,
    "table3-A-h32": 0.60,
    "table3-B-dk16": 0.59,
    "table3-C-N8": 0.58,
    "table3-C-d1024": 0.68,
    "table3-D-drop0": 0.55,
    "table3-D-ls0": 0.55,
    "table3-E-learned": 0.60,
    "table3-big": 0.55,
}


def write_runs(folder: Path, seeds: Sequence[int] = SEEDS, **changed: float) -> Path:
    """Trainings of some rows. A seed moves a score a little. Without smoothing, and with N = 8, perplexity is lower."""
    for system, quality in {**QUALITY, **changed}.items():
        for seed in seeds:
            recipe = PAPER.recipe(f"{SCALE}/{system}", [f"train.seed={seed}"])
            draws = np.random.default_rng(9).uniform(-0.2, 0.2, len(LENGTHS))
            columns = {"all": made.column(made.statistics(draws + quality + 0.002 * seed), LENGTHS)}
            sharper = 5 if system in ("table3-D-ls0", "table3-C-N8") else 0
            file = made.result(recipe, columns, perplexity=10 / quality - sharper + 0.01 * seed)
            seen = 1.0 if system == "table3-D-drop0" else 2.0
            train = Likelihood(nll_per_token=seen, nll_per_sentence=1.0, perplexity=1.0)
            made.write(folder, f"{system}-seed{seed}", replace(file, training=replace(file.training, train=train)))
    return folder


def build(folder: Path, out: Path) -> Section:
    return PAPER.build_tables(SCALE, folder, out)


def test_verdicts_come_from_all_seeds(tmp_path: Path) -> None:
    section = build(write_runs(tmp_path / "results"), tmp_path / "out")
    runs = read_results(tmp_path / "results")
    found = {outcome.claim.id: outcome for outcome in section.claims}
    assert {name: outcome.verdict for name, outcome in found.items() if outcome.verdict != "not run"} == {
        "heads-help": "holds",
        "too-many-heads-hurt": "undecided",  # the same scores
        "small-keys-hurt": "holds",
        "more-depth-helps": "holds",  # by perplexity, as in the paper, whose BLEU is lower too
        "more-width-helps": "holds",
        "big-is-better": "fails",
        "dropout-helps": "holds",
        "dropout-against-overfitting": "holds",
        "smoothing": "holds",
        "learned-positions": "holds",
    }
    assert found["more-depth-helps"].difference.low > 0 > claims.compare(runs, "table3-C-N8", BASE).high
    assert "over seeds and test sentences" in section.markdown and "paired bootstrap" not in section.markdown
    ours, theirs = (np.mean([run.all.bleu for run in runs[name].trainings]) for name in (BASE, "table3-A-h1"))
    assert found["heads-help"].difference.value == pytest.approx(ours - theirs)


def test_each_claim_is_decided_by_a_score_that_the_paper_prints_in_its_favour() -> None:
    """Claims of two rows and no rule of their own are by BLEU; that on eight layers is by perplexity."""
    for claim in variation_claims({"table3": PRINTED}):
        better, worse = (ROWS[system] for system in claim.systems)
        if not claim.criterion:
            assert better["BLEU"] > worse["BLEU"], claim.id
        elif claim.id == "more-depth-helps":
            assert better["PPL"] < worse["PPL"] and better["BLEU"] < worse["BLEU"]


def test_rows_stand_in_the_papers_order_with_its_numbers(tmp_path: Path) -> None:
    section = build(write_runs(tmp_path / "results"), tmp_path / "out")
    for heading, key in (("## Table 3: BLEU", "BLEU"), ("## Table 3: perplexity", "PPL")):
        rows = {row["variant"]: row for row in made.cells(section.markdown, heading)}
        assert list(rows) == [ROWS[system]["label"] for system in ROWS if system in QUALITY]
        assert [float(row["paper"]) for row in rows.values()] == [ROWS[name][key] for name in ROWS if name in QUALITY]
        assert rows["(A) h = 1"]["changes"] == "h = 1, d_k = 64, d_v = 64" and rows["base"]["changes"] == ""
        assert all(len(row["by seed"].split(", ")) == 3 for row in rows.values())
    there = ROWS["table3-A-h1"]["PPL"] - ROWS[BASE]["PPL"]
    assert float(rows["(A) h = 1"]["difference there"]) == pytest.approx(there, abs=0.005)
    assert "Of table3-C-N2 there are 0 seeds yet." in section.notes
    assert (tmp_path / "out" / "figures" / "differences.png").read_bytes().startswith(b"\x89PNG")


def test_a_table_of_unequal_seeds_is_a_table(tmp_path: Path) -> None:
    """The suite makes every row with the first seed before any with the second: a page in between has both."""
    folder = write_runs(tmp_path / "results", seeds=(1,))
    recipe = PAPER.recipe(f"{SCALE}/{BASE}", ["train.seed=2"])
    columns = {"all": made.column(made.statistics([0.61] * len(LENGTHS)), LENGTHS)}
    assert not build(folder, tmp_path / "out").figures, "one seed of each has no interval over seeds"
    made.write(folder, f"{BASE}-seed2", made.result(recipe, columns))
    section = build(folder, tmp_path / "out")
    assert section.figures and "Of table3-A-h1 there is one seed yet." in section.notes
    outcome = next(outcome for outcome in section.claims if outcome.claim.id == "heads-help")
    assert outcome.difference.high - outcome.difference.low > 10, "two seeds of one row leave one degree of freedom"


def test_a_training_that_failed_widens_the_intervals_of_its_own_length_only(tmp_path: Path) -> None:
    """Big makes three times as many updates as the others, so one of its trainings says nothing of their spread."""
    folder = write_runs(tmp_path / "results")
    recipe = PAPER.recipe(f"{SCALE}/table3-big", ["train.seed=2"])
    columns = {"all": made.column(made.statistics([0.2] * len(LENGTHS)), LENGTHS)}
    made.write(folder, "table3-big-seed2", made.result(recipe, columns, perplexity=50.0))
    section = build(folder, tmp_path / "out")
    found = {outcome.claim.id: outcome.verdict for outcome in section.claims}
    assert (found["heads-help"], found["more-width-helps"], found["big-is-better"]) == ("holds", "holds", "undecided")
    runs = read_results(folder)
    one, other = (claims.compare(runs, *pair) for pair in ((BASE, "table3-big"), ("table3-big", BASE)))
    assert one.low == pytest.approx(-other.high, rel=0.03) and one.low < -20 < 20 < one.high
    (figure,) = section.figures
    assert "Dotted" in figure.caption
    assert "Dotted" not in build(write_runs(tmp_path / "whole"), tmp_path / "out").figures[0].caption


def test_without_results_the_page_says_so(tmp_path: Path) -> None:
    section = build(tmp_path / "nothing", tmp_path / "out")
    assert {outcome.verdict for outcome in section.claims} == {"not run"}
    assert section.markdown.count("No run stands behind this table yet.") == 3
