"""Both papers at equal cost: recipes that differ in what they declare, budgets, and the page from made results."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import chain
from pathlib import Path

import pytest

from benchmarks.equal_cost import main as measure
from common.errors import UserError
from common.files import write_json
from common.recipe import Recipe, difference
from common.report.claims import Outcome
from common.report.results import Result
from common.result import Environment, Measured, Reached, Training, read_starts
from common.run.folder import read_recipe, settled, train_run, write_recipe
from common.typed import plain
from papers.lineage import PAPERS, equal_cost, same_data
from papers.lineage.equal_cost import BUDGETS, SCALES, SYSTEMS, YARDSTICK, at, flops_of, read_rates, recipe_of
from papers.lineage.pages import build_page
from tests import made_results as made

ALL = sorted({at(system, budget) for systems in SYSTEMS.values() for system in systems.values() for budget in BUDGETS})
each_scale = pytest.mark.parametrize("scale", SCALES)
VOCABULARY = {"data.clean_tokens", "text.segmentation", "text.vocabulary_size", "batch.max_length"}
"""Fields that make words of sub-words, on the same pairs."""
LENGTHS_OF = {"estimate.source_tokens", "estimate.target_tokens"}


def changed(scale: str, a: str, b: str) -> set[str]:
    return set(difference(recipe_of(a, scale), recipe_of(b, scale)))


@each_scale
def test_the_folders_hold_these_systems_and_no_other(scale):
    found = {f"{name}/{Path(system).name}" for name, paper in PAPERS.items() for system in paper.systems(scale)}
    assert found == set(ALL)


@each_scale
def test_systems_differ_in_what_they_declare(scale):
    words, pieces = SYSTEMS["words"], SYSTEMS["sub-words"]
    for systems in (words, pieces):
        found = changed(scale, systems["RNNencdec-50"], systems["RNNsearch-50"])
        assert found - {"train.continues"} == {"model.architecture", "train.steps"}
    for model in words:
        allowed = VOCABULARY | LENGTHS_OF | {"train.steps", "evaluate.no_unk"}
        assert VOCABULARY <= changed(scale, words[model], pieces[model]) - {"train.continues"} <= allowed
    for system in chain(words.values(), pieces.values()):
        if system != YARDSTICK:
            assert changed(scale, at(system, "equal time"), system) == {"train.steps", "train.continues"}
            pair = (recipe_of(system, scale), recipe_of(at(system, "equal time"), scale))
            shorter, longer = sorted(pair, key=lambda recipe: recipe.train.steps)
            assert (shorter.train.continues, longer.train.continues) == (None, shorter.system)


@each_scale
def test_finished_runs_of_europarl_can_be_carried_on(scale):
    """RNNsearch-50 is its run there, RNNencdec-50 goes on from it."""
    paper, there = PAPERS["bahdanau2014"], scale.replace("-same", "")
    assert difference(recipe_of(YARDSTICK, scale), paper.recipe(f"{there}/rnnsearch-50")) == {}
    longer, shorter = recipe_of("bahdanau2014/rnnencdec-50", scale), paper.recipe(f"{there}/rnnencdec-50")
    assert set(difference(longer, shorter)) == {"train.steps"} and longer.train.steps > shorter.train.steps


def test_a_copied_run_takes_the_name_of_its_new_recipe(tmp_path):
    """The finished RNNsearch-50 of europarl-small is not trained again, and belongs to the copy's recipe."""
    paper, own = PAPERS["bahdanau2014"], settled(recipe_of(YARDSTICK, "europarl-same-small"))
    there = settled(paper.recipe("europarl-small/rnnsearch-50"))
    write_recipe(tmp_path, there)
    steps, known = (
        there.train.steps,
        {"environment": made.MACHINE, "data_sha256": "0" * 64, "commit": None, "dirty": False},
    )
    ended = Training(progress=Reached(step=steps, epoch=3, seconds=7200.0), **known)
    write_json(tmp_path / "training.json", plain(ended))
    assert train_run(paper, own, tmp_path, tmp_path / "runs", print) == steps
    assert read_recipe(paper, tmp_path) == own and own.name == "europarl-same-small/rnnsearch-50"
    assert [start.changed for start in read_starts(tmp_path)] == [{}]
    assert train_run(paper, own, tmp_path, tmp_path / "runs", print) == steps
    assert len(read_starts(tmp_path)) == 1, "nothing to note the second time"


@each_scale
def test_all_read_the_same_text_and_are_scored_alike(scale):
    """The same pairs, tokens, development and test set. Those with the same vocabulary share one preparation."""

    def scored(recipe: Recipe):
        data, text = recipe.data, recipe.text
        return (
            (data.corpus, data.source, data.target, data.parts, data.first, data.shares, data.valid),
            (text.tokeniser, text.lowercase, recipe.evaluate.metric, recipe.evaluate.sets),
        )

    recipes = {key: recipe_of(key, scale) for key in ALL}
    assert len({scored(recipe) for recipe in recipes.values()}) == 1
    pieces = [recipes[key] for key in SYSTEMS["sub-words"].values()]
    assert all((recipe.data, recipe.text) == (pieces[0].data, pieces[0].text) for recipe in pieces)
    limits = {recipe.data.clean_tokens or recipe.batch.max_length for recipe in recipes.values()}
    assert limits == {50}, "in words on either side, by one field or the other"
    assert not any(recipe.data.clean_ratio for recipe in recipes.values())


@each_scale
def test_equal_flops_are_equal(scale):
    budget = flops_of(YARDSTICK, scale) * recipe_of(YARDSTICK, scale).train.steps
    for system in chain(*(systems.values() for systems in SYSTEMS.values())):
        assert flops_of(system, scale) * recipe_of(system, scale).train.steps == pytest.approx(budget, rel=0.01), system


measured = pytest.mark.skipif(not equal_cost.RATES.is_file(), reason="benchmarks.equal_cost was not run yet")


@measured
def test_equal_time_is_equal_by_the_measured_rates():
    scale = "europarl-same-small"
    rates = read_rates(scale)
    budget = rates[YARDSTICK] * recipe_of(YARDSTICK, scale).train.steps
    for system in chain(*(systems.values() for systems in SYSTEMS.values())):
        longer = recipe_of(at(system, "equal time"), scale)
        assert rates[system] * longer.train.steps == pytest.approx(budget, rel=0.01), system


def test_equal_time_at_full_size_is_that_of_the_measured_gpu():
    """By the float32 rates of benchmarks/results/gpu.json, as the recipes say.

    They are of words. Between two words an RNN leaves the GPU waiting, so its time grows with their number.
    """
    scale = "europarl-same"
    rows = json.loads((equal_cost.RATES.parent / "gpu.json").read_text(encoding="utf-8"))["rows"]
    rates = {row["system"]: row["flops_per_second"] for row in rows if row.get("precision") == "float32"}

    def length(key: str) -> float:
        estimate = recipe_of(key, scale).estimate
        return estimate.source_tokens + estimate.target_tokens

    def seconds(model: str, key: str) -> float:
        """Of an update."""
        if model == "Transformer":
            return flops_of(key, scale) / rates["vaswani2017/base"]
        words = SYSTEMS["words"][model]
        return flops_of(words, scale) / rates[words] * length(key) / length(words)

    budget = seconds("RNNsearch-50", YARDSTICK) * recipe_of(YARDSTICK, scale).train.steps
    for systems in SYSTEMS.values():
        for model, system in systems.items():
            updates = recipe_of(at(system, "equal time"), scale).train.steps
            assert seconds(model, system) * updates == pytest.approx(budget, rel=0.01), system


LENGTHS = [5, 9, 14, 30] * 20
QUALITY = {"RNNencdec-50": 0.4, "RNNsearch-50": 0.5, "Transformer": 0.6}


@pytest.fixture
def runs(tmp_path) -> Path:
    """Made runs of all systems: better with sub-words and with more time, and RNNencdec-50 worse on long sentences."""
    scale = SCALES[0]
    for vocabulary, systems in SYSTEMS.items():
        for model, system in systems.items():
            for key in {at(system, budget) for budget in BUDGETS}:
                quality = QUALITY[model] + 0.1 * (vocabulary == "sub-words") + 0.05 * key.endswith("-time")
                fall = 0.2 if model == "RNNencdec-50" else 0.0
                spread = [quality + 0.02 * (k % 3 - 1) - fall * (n > 9) for k, n in enumerate(LENGTHS)]
                recipe = recipe_of(key, scale)
                points = range(400, recipe.train.steps, 400)
                curve = tuple(Measured(step=step, dev_nll_per_token=5 - quality + 400 / step) for step in points)
                counted = flops_of(system, scale) * recipe.train.steps
                columns = {"all": made.column(made.statistics(spread), LENGTHS)}
                file = made.result(recipe, columns, flops_counted=counted)
                file = replace(file, training=replace(file.training, dev_curve=curve))
                paper, name = key.split("/")
                made.write(tmp_path / scale / paper, name, file)
    return tmp_path


def test_the_page_has_a_table_for_each_vocabulary_and_budget(runs, tmp_path):
    section = build_page(SCALES[0], runs, tmp_path / "out")
    for vocabulary, systems in SYSTEMS.items():
        for budget in BUDGETS:
            rows = made.cells(section.markdown, f"## {vocabulary.capitalize()}, {budget}\n")
            assert [row["model"] for row in rows] == list(systems)
            for row in rows:
                recipe = recipe_of(at(systems[row["model"]], budget), SCALES[0])
                assert row["updates"] == f"{recipe.train.steps:,}" and f"`{recipe.name}`" in row["the run behind it"]
            differences = [row["minus RNNsearch-50 (95%)"] for row in rows]
            assert [text[:1] for text in differences] == ["-", "", "+"]
    rows = made.cells(section.markdown, "## Sub-words against words")
    assert all(cell.startswith("+") for row in rows for name, cell in row.items() if name != "model")
    assert "3.6e14 FLOPs counted and 2.00 hours" in section.markdown, "made runs of a machine that was not measured"
    assert [figure.name for figure in section.figures] == ["bleu-by-length", "curves"]
    assert (tmp_path / "out" / "tables.md").read_text(encoding="utf-8") == section.markdown + "\n"


def test_the_note_has_the_unknown_words_of_both_lists(runs, tmp_path):
    for key, rates in ((YARDSTICK, (0.0919, 0.10141)), ("vaswani2017/base-enfr-words", (0.1062, 0.10184))):
        path = runs / SCALES[0] / key / "result.json"
        values = json.loads(path.read_text(encoding="utf-8"))
        values["data"]["counts"] = {"valid": dict(zip(("source_unk_rate", "target_unk_rate"), rates, strict=True))}
        write_json(path, values)
    section = build_page(SCALES[0], runs, tmp_path / "out")
    told = "10.14% and 9.19% to RNNsearch-50; 10.18% and 10.62% to Transformer"
    assert f"unknown as RNNsearch-50's two lists do (French and English words unknown: {told})." in section.markdown
    assert "RNNsearch-50's two lists do." not in section.markdown


def decided(runs: Path, out: Path) -> dict[str, Outcome]:
    return {outcome.claim.id: outcome for outcome in build_page(SCALES[0], runs, out).claims}


def test_claims_are_decided_for_each_vocabulary_and_budget(runs, tmp_path):
    outcomes = decided(runs, tmp_path / "out")
    assert len(outcomes) == 2 * 2 * 2 + 2 * 4
    beaten = [outcome for name, outcome in outcomes.items() if "with-length" not in name]
    assert {outcome.verdict for outcome in beaten} == {"holds"}
    assert {outcome.evidence.partition("; ")[2] for outcome in beaten} == {"FLOPs x1.00", "time x1.00"}
    assert outcomes["attention-words-time"].claim.systems == (YARDSTICK, "bahdanau2014/rnnencdec-50-time")
    assert all("differs by more than 5%" in outcome.claim.criterion for outcome in beaten)
    assert "GNMT" in outcomes["transformer-words-flops"].claim.criterion


def test_length_is_decided_by_what_each_paper_says_of_it(runs, tmp_path):
    """Figure 2 of 2014 is of the RNNs, and says that RNNsearch-50 does not fall. No made sentence has 40 words."""
    outcomes = decided(runs, tmp_path / "out")
    for vocabulary, systems in SYSTEMS.items():
        encdec, search, transformer = (
            outcomes[f"{name}-with-length-{vocabulary}"]
            for name in ("encdec-falls", "search-keeps", "transformer-falls")
        )
        assert (encdec.verdict, search.verdict) == ("holds", "holds") and transformer.verdict != "holds"
        assert search.claim.statement.startswith("RNNsearch-50 falls by less than a third of")
        steady = outcomes[f"search-steady-with-length-{vocabulary}"]
        assert steady.verdict == "undecided" and steady.evidence == "0 sentences of 40 words or more"
        assert search.claim.systems == (systems["RNNsearch-50"], systems["RNNencdec-50"])
        assert transformer.claim.systems == (systems["Transformer"],)
        assert encdec.claim.source == search.claim.source == "Bahdanau et al. 2014, §5.1, Figure 2"
        assert transformer.claim.source == "neither paper"


def test_without_equal_cost_nothing_beats_another(runs, tmp_path):
    """RNNencdec-50 at equal FLOPs has used a tenth more, and the Transformer at equal time a tenth less."""
    for key, field, factor in (
        ("bahdanau2014/rnnencdec-50", "flops_counted", 1.1),
        ("vaswani2017/base-enfr-words-time", "seconds", 0.9),
    ):
        path = runs / SCALES[0] / key / "result.json"
        values = json.loads(path.read_text(encoding="utf-8"))
        place = values if field == "flops_counted" else values["training"]["progress"]
        place[field] = type(place[field])(place[field] * factor)
        write_json(path, values)
    outcomes = decided(runs, tmp_path / "out")
    undecided = {name: outcome.evidence for name, outcome in outcomes.items() if outcome.verdict == "undecided"}
    assert undecided.pop("attention-words-flops").endswith("; FLOPs x0.91")
    assert undecided.pop("transformer-words-time").endswith("; time x0.90")
    assert not [name for name in undecided if "with-length" not in name]


def test_a_missing_run_leaves_its_cells_empty(runs, tmp_path):
    gone = runs / SCALES[0] / "vaswani2017" / "base-enfr-words-time"
    (gone / "result.json").unlink()
    section = build_page(SCALES[0], runs, tmp_path / "out")
    row = made.cells(section.markdown, "## Words, equal time\n")[2]
    assert row["model"] == "Transformer" and set(row.values()) == {"Transformer", ""}
    assert "not run" in {outcome.verdict for outcome in section.claims}


def test_without_the_yardstick_there_is_no_page(runs, tmp_path):
    (runs / SCALES[0] / "bahdanau2014" / "rnnsearch-50" / "result.json").unlink()
    with pytest.raises(UserError, match="no result of rnnsearch-50 beside one of the Transformer; train both"):
        equal_cost.build_tables(same_data.folders(SCALES[0], runs), tmp_path / "out")


@pytest.mark.parametrize("word", ["model.hidden=64", "europarl"])
def test_only_the_systems_themselves_are_measured(word, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        measure(["--runs", str(tmp_path), word, "--out", str(tmp_path / "rates.json")])
    assert ended.value.code == 2 and f"{word}: only data.corpus=FILE can be given" in capsys.readouterr().err
    assert not [*tmp_path.iterdir()]


@measured
def test_rates_are_of_one_scale_and_kind_of_machine():
    small, full = SCALES
    machine = json.loads(equal_cost.RATES.read_text(encoding="utf-8"))["environment"]["hardware"]
    assert read_rates(small, machine) == read_rates(small) and read_rates(small, "another machine") == {}
    assert set(read_rates(small)) == {system for systems in SYSTEMS.values() for system in systems.values()}
    assert read_rates(full) == read_rates(full, machine) == {}


@measured
def test_hours_are_measured_ones_where_recipe_and_machine_were_measured():
    machine = json.loads(equal_cost.RATES.read_text(encoding="utf-8"))["environment"]["hardware"]
    for scale in SCALES:
        file = made.result(recipe_of(YARDSTICK, scale), {"all": made.column(made.statistics([0.5]), [9])})
        own = Environment(**{**plain(made.MACHINE), "hardware": machine})
        there = Result("rnnsearch-50", Path(), replace(file, training=replace(file.training, environment=own)))
        rate = read_rates(scale).get(YARDSTICK, there.seconds / there.step)
        assert equal_cost.hours({YARDSTICK: there}, YARDSTICK, 100) == pytest.approx(100 * rate / 3600)
        elsewhere = Result("rnnsearch-50", Path(), file)
        assert equal_cost.hours({YARDSTICK: elsewhere}, YARDSTICK, elsewhere.step) == pytest.approx(2.0)


@measured
@pytest.mark.parametrize(
    "words, hardware, by_rate",
    [
        (["train.steps=9000", "data.corpus=/elsewhere/half.yaml", "run.threads=2"], None, True),
        (["model.hidden=200"], None, False),
        ([], "a machine", False),
    ],
)
def test_one_run_that_was_not_measured_gives_all_their_wall_time(words, hardware, by_rate):
    """Measured rates and wall time do not compare. Other updates, files and threads leave a recipe what it is."""
    machine = json.loads(equal_cost.RATES.read_text(encoding="utf-8"))["environment"]["hardware"]
    key, scale = "bahdanau2014/rnnencdec-50", SCALES[0]

    def trained(key: str, hardware: str, words: list[str]) -> Result:
        name = key.split("/")[1]
        recipe = PAPERS["bahdanau2014"].recipe(f"{scale}/{name}", words)
        file = made.result(recipe, {"all": made.column(made.statistics([0.5]), [9])})
        environment = replace(made.MACHINE, hardware=hardware)
        return Result(name, Path(), replace(file, training=replace(file.training, environment=environment)))

    group = {YARDSTICK: trained(YARDSTICK, machine, []), key: trained(key, hardware or machine, words)}
    rate = read_rates(scale)[YARDSTICK] / 3600
    assert equal_cost.hours(group, YARDSTICK, 8000) == pytest.approx(8000 * rate if by_rate else 2.0)
