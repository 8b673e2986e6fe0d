"""The recipes against what the paper prints, and the parameter totals that follow from them."""

import re
import tarfile

import pytest
import torch

from common.contract import Batch, pad
from common.errors import UserError
from common.ids import EOS
from common.recipe import OWN_SCALE, difference
from common.run.plan import describe, plan, training_flops
from common.yaml_files import read_yaml
from papers.bahdanau2014.paper import PAPER

REPORTED = read_yaml(PAPER.root / "reported.yaml")["tables"]
TRAINED = ["rnnencdec-30", "rnnsearch-30", "rnnencdec-50", "rnnsearch-50", "rnnsearch-50-star"]


def total(parameters):
    return sum(parameter.numel() for parameter in parameters)


def on_meta(name, *overrides):
    with torch.device("meta"):
        return PAPER.build_model(PAPER.recipe(name, overrides))


@pytest.mark.parametrize(
    "overrides, search, encdec",
    [
        (["biases=none"], 80_401_000, 68_540_000),
        ([], 80_443_000, 68_578_000),
        (["biases=authors"], 80_437_240, 68_575_240),
        (["readout=factored", "biases=authors"], 84_349_101, 72_487_101),
        (["biases=none", "vocabulary_size=30001"], 80_402_740, 68_541_740),
        (["biases=none", "vocabulary_size=30002"], 80_404_480, 68_543_480),
    ],
)
def test_parameter_totals(overrides, search, encdec):
    assert total(on_meta("rnnsearch-50", *overrides).parameters()) == search
    assert total(on_meta("rnnencdec-50", *overrides).parameters()) == encdec


def test_parameters_by_block_of_the_equations():
    """Without biases, each block has exactly the matrices of App. A."""
    expected = {
        "source embedding": 620 * 30000,
        "encoder, forward": 3 * 1000 * 620 + 3 * 1000 * 1000,
        "encoder, backward": 3 * 1000 * 620 + 3 * 1000 * 1000,
        "alignment model": 1000 * 1000 + 1000 * 2000 + 1000,
        "initial state": 1000 * 1000,
        "target embedding": 620 * 30000,
        "decoder": 3 * 1000 * 620 + 3 * 1000 * 1000 + 3 * 1000 * 2000,
        "deep output": 1000 * (1000 + 620 + 2000),
        "softmax": 30000 * 500,
    }
    counts = dict.fromkeys(expected, 0)
    for name, parameter in on_meta("rnnsearch-50", "biases=none").named_parameters():
        counts[PAPER.block(name)] += parameter.numel()
    assert counts == expected


def test_length_limit_and_step_order_cost_no_parameters():
    for name, order in (("rnnsearch-30", "R1"), ("rnnsearch-50", "R2"), ("rnnsearch-50", "R3")):
        assert total(on_meta(name, f"step_order={order}").parameters()) == 80_443_000


def test_every_trained_system_has_a_recipe_and_both_tables_name_it():
    assert sorted(TRAINED) == [PAPER.recipe(name).system for name in PAPER.systems(OWN_SCALE)]
    assert list(REPORTED["table1"]["rows"]) == [*TRAINED, "moses"]
    assert sorted(REPORTED["table2"]["rows"]) == sorted(TRAINED)


def test_reported_rows_fill_their_columns():
    for table in REPORTED.values():
        for row in table["rows"].values():
            assert list(row) == ["label", *table["columns"]]


def test_reported_differences_that_the_paper_rests_on():
    """Sums over Table 1 and Table 2 that a copying error would change."""
    table1, table2 = REPORTED["table1"]["rows"], REPORTED["table2"]["rows"]
    gain = {cutoff: table1[f"rnnsearch-{cutoff}"]["All"] - table1[f"rnnencdec-{cutoff}"]["All"] for cutoff in (30, 50)}
    assert gain[30] == pytest.approx(7.57) and gain[50] == pytest.approx(8.93)
    assert sum(row["All"] for row in table1.values()) == pytest.approx(141.75)
    assert sum(row["No UNK"] for row in table1.values()) == pytest.approx(188.28)
    assert sum(row["hours"] for row in table2.values()) == 693
    assert sum(row["train_nll"] for row in table2.values()) == pytest.approx(176.2)
    assert sum(row["dev_nll"] for row in table2.values()) == pytest.approx(217.1)


@pytest.mark.parametrize("name", TRAINED)
def test_recipes_hold_the_papers_values(name):
    recipe = PAPER.recipe(name)
    assert recipe.title == REPORTED["table1"]["rows"][name]["label"]
    assert recipe.train.steps == round(REPORTED["table2"]["rows"][name]["updates"] * 1e5)
    assert recipe.batch.max_length == int(name.split("-")[1])
    assert recipe.model.architecture == ("search" if "search" in name else "encdec")
    model = recipe.model
    assert (model.hidden, model.embedding, model.alignment, model.maxout) == (1000, 620, 1000, 500)
    assert (model.step_order, model.readout, model.biases) == ("R1", "direct", "paper")
    assert (recipe.optimizer.rho, recipe.optimizer.epsilon, recipe.optimizer.clip_norm) == (0.95, 1e-6, 1.0)
    assert (recipe.batch.sentences, recipe.batch.pool, recipe.batch.shuffle) == (80, 20, False)
    assert (recipe.train.loss, recipe.train.label_smoothing, recipe.text.vocabulary_size) == ("sum", 0.0, 30000)
    assert (recipe.decode.beam, recipe.decode.length_penalty, recipe.decode.search) == (10, "none", "shrinking")
    assert recipe.train.continues == ("rnnsearch-50" if name == "rnnsearch-50-star" else None)


@pytest.mark.parametrize("name", TRAINED)
def test_plan_shows_the_papers_hours_apart_from_ours(name):
    """They are those of reported.yaml, and our estimates at the card's own rates are close to them."""
    row = REPORTED["table2"]["rows"][name]
    values = plan(PAPER, PAPER.recipe(name))
    expected = {"system": name, "hours": row["hours"], "hardware": f"1x NVIDIA {row['gpu']}", "source": "Table 2"}
    assert values["reported_by_the_paper"] == expected
    assert values["hours"]["1x NVIDIA Quadro K6000, by Table 2"] == pytest.approx(row["hours"], rel=0.15)
    text = describe(values)
    assert f"Reported hours, the paper's and not ours, of its {name} (Table 2)\n  1x NVIDIA {row['gpu']}" in text
    assert text.endswith(f" {row['hours']} h")
    assert ("rnnsearch-50 stands in where rnnencdec-50 was not measured" in text) == ("encdec" in name)
    h200 = "1x NVIDIA H200, uncompiled"
    assert values["hours_on_8_assumed"][h200] == values["hours"][h200] / 8
    assert "on eight of them, assumed to divide the work perfectly; not measured" in text


def test_one_rate_does_not_fit_both_architectures():
    """At RNNsearch-50's rate RNNencdec-50 would take 1.58 times the hours of Table 2, as paper.py says."""
    rates = PAPER.hardware["1x NVIDIA Quadro K6000, by Table 2"]
    for name, rate in rates.items():
        recipe = PAPER.recipe(name)
        flops, hours = training_flops(PAPER, recipe) * recipe.train.steps, REPORTED["table2"]["rows"][name]["hours"]
        assert flops / rate / 3600 == pytest.approx(hours, rel=0.02)
    assert flops / rates["rnnsearch-50"] / 3600 / hours == pytest.approx(1.58, abs=0.01)


def test_plan_of_a_small_model_reports_nothing_and_warns():
    values = plan(PAPER, PAPER.recipe("demo/rnnsearch-50"))
    assert values["reported_by_the_paper"] is None
    assert values["hours_notes"] == [
        "far smaller than rnnsearch-50, a model keeps no hardware as busy: these hours are too few"
    ]
    assert "Reported" not in describe(values)


def test_plan_of_a_continued_run_says_which_updates_it_counts():
    assert "those of rnnsearch-50 included" in describe(plan(PAPER, PAPER.recipe("rnnsearch-50-star")))


def test_figure_3_has_the_papers_four_sentences():
    """(a) is the paper's own; (b) to (d) are of the test set."""
    for name in TRAINED:
        assert len(PAPER.recipe(name).run.examples) == 4
    assert PAPER.recipe("rnnsearch-50").run.examples[3].endswith('family," the man said.')


def test_figure_3_b_to_d_are_test_sentences(mirror):
    archive = mirror / "wmt14-real" / "test-full.tgz"
    if not archive.is_file():
        pytest.skip("no real newstest2014 in the mirror")
    with tarfile.open(archive) as files:
        source = files.extractfile("test-full/newstest2014-fren-src.en.sgm")
        lines = re.findall(r"<seg[^>]*>(.*?)</seg>", source.read().decode("utf-8"))
    assert all(lines.count(sentence) == 1 for sentence in PAPER.recipe("rnnsearch-50").run.examples[1:])


def test_shares_of_the_selection_leave_the_papers_words():
    """Section 4.1: Europarl 61M words, news commentary 5.5M, UN 421M, crawled corpora 90M and 272.5M; 348M are kept."""
    data = PAPER.recipe("rnnsearch-50").data
    millions = {"europarl-v7": 61, "news-commentary-v9": 5.5, "undoc-2000": 421, "commoncrawl": 90, "giga-fren": 272.5}
    shares = dict(zip(data.parts, data.shares, strict=True))
    assert sum(shares[name] * words for name, words in millions.items()) == pytest.approx(348, abs=0.5)
    assert sum(millions.values()) == 850
    assert (
        data.valid == ("newstest2012", "newstest2013") and PAPER.recipe("rnnsearch-50").text.tokeniser == "moses-2014"
    )


@pytest.mark.parametrize("folder", ["", "demo/"])
def test_rows_of_table_1_differ_in_nothing_else(folder):
    """They differ in architecture, length limit (with the mean lengths that follow from it) and updates.

    RNNsearch-50* continues RNNsearch-50.
    """
    allowed = {"model.architecture", "batch.max_length", "estimate.source_tokens", "estimate.target_tokens"}
    allowed |= {"train.steps", "train.continues"}
    reference = PAPER.recipe(f"{folder}rnnsearch-50")
    for name in TRAINED:
        assert set(difference(PAPER.recipe(f"{folder}{name}"), reference)) <= allowed


def test_demo_compares_equals():
    """Both models train on the same pairs for as many updates. Their length limits have the proportion of 30 to 50."""
    demo = {name: PAPER.recipe(f"demo/{name}") for name in TRAINED}
    for cutoff in (30, 50):
        search, encdec = demo[f"rnnsearch-{cutoff}"], demo[f"rnnencdec-{cutoff}"]
        assert set(difference(search, encdec)) == {"model.architecture"}
    assert demo["rnnsearch-30"].batch.max_length / demo["rnnsearch-50"].batch.max_length == 30 / 50
    assert demo["rnnsearch-50-star"].train.steps > demo["rnnsearch-50"].train.steps
    assert demo["rnnsearch-50-star"].train.continues == "rnnsearch-50"


def test_attention_of_a_batch_is_one_matrix_per_sentence():
    small = ["hidden=6", "embedding=3", "alignment=4", "maxout=2", "vocabulary_size=9"]
    batch = Batch(*pad([[2, 3, 4, EOS], [5, EOS]]), *pad([[6, EOS], [7, 8, 2, EOS]]))
    maps = PAPER.attention(PAPER.build_model(PAPER.recipe("rnnsearch-50", small)), batch)
    assert [{name: tuple(weights.shape) for name, weights in one.items()} for one in maps] == [
        {"source": (2, 4)},
        {"source": (4, 2)},
    ]
    for one in maps:
        assert one["source"].sum(1).tolist() == pytest.approx([1.0] * len(one["source"]))
    assert PAPER.attention(PAPER.build_model(PAPER.recipe("rnnencdec-50", small)), batch) == []


@pytest.mark.parametrize("override", ["hidden=0", "maxout=-1", "architecture=gru", "step_order=R4", "biases=some"])
def test_values_out_of_range_are_refused(override):
    with pytest.raises(UserError, match=f"model.{override.partition('=')[0]}"):
        PAPER.recipe("rnnsearch-50", [override])
