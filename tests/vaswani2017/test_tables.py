"""Tables, figures and claims of Vaswani et al. 2017, from no results and from made ones."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from common.recipe import difference
from papers.vaswani2017 import figures, tables
from papers.vaswani2017.paper import PAPER
from tests import made_results as made

REPORTED = yaml.safe_load((PAPER.root / "reported.yaml").read_text(encoding="utf-8"))["tables"]
TABLE2 = {row["label"]: row for row in REPORTED["table2"]["rows"].values()}
TABLE3 = REPORTED["table3"]["rows"]
BASE, BIG = "Transformer (base model)", "Transformer (big)"
QUALITY = {
    "base": 0.85,
    "base-enfr": 0.9,
    "big": 0.92,
    "table3-base": 0.85,
    "table3-A-h1": 0.8,
    "table3-D-ls0": 0.82,
    "table3-D-drop0": 0.7,
    "table3-E-learned": 0.85,
}
LENGTHS = [5, 9, 14] * 20
OURS2 = ["EN-DE: ours (95%)", "EN-FR: ours (95%)", "difference", "difference 2", "the runs behind it"]
OURS3 = ["PPL: ours", "BLEU: ours (95%)", "difference", "parameters: ours", "the run behind it"]
COST = ["updates", "hours", "FLOPs: time x rate", "FLOPs: counted"]


def attention(words: int = 6, layers: int = 3, heads: int = 2) -> dict:
    generator = np.random.default_rng(1)
    weights = generator.dirichlet(np.full(words, 0.3), size=(layers, heads, words)).tolist()
    names = [*(f"w${letter}$_$" for letter in "abcdefgh"[: words - 1]), "</s>"]
    return {
        "line": "x",
        "source": names,
        "target": names,
        "attention": {"encoder": weights, "decoder": weights, "source": weights},
    }


def values(system: str, quality: float | None = None, **changed):
    index = list(QUALITY).index(system) if system in QUALITY else 0
    spread = [
        (QUALITY.get(system, 0.5) if quality is None else quality) + 0.02 * (k % 3 - 1) for k in range(len(LENGTHS))
    ]
    return made.values(
        PAPER.recipe(system), {"all": made.column(made.statistics(spread), LENGTHS, 60.06 + index)}, **changed
    )


@pytest.fixture
def folder(tmp_path) -> Path:
    """Some systems, and the other paper's recurrent run beside them."""
    results = tmp_path / "demo" / "vaswani2017"
    for system in QUALITY:
        changed = {"perplexity": 2.25} if system == "table3-D-ls0" else {}
        made.write(results, system, values(system, **changed), [attention()])
    recurrent = values("base-enfr", quality=0.5, flops_counted=8.88e9, title="RNNsearch-50")
    made.write(tmp_path / "demo" / "bahdanau2014", "rnnsearch-50", recurrent)
    return results


def build(results: Path, out: Path, scale: str = "wmt14"):
    return tables.build_tables(PAPER, scale, results, out)


def test_without_results_our_columns_are_empty_and_the_papers_are_full(tmp_path):
    section = build(tmp_path / "vaswani2017", tmp_path)
    rows = made.cells(section.markdown, "## Table 2: BLEU")
    assert [row["model"] for row in rows] == list(TABLE2) and all(row[name] == "" for row in rows for name in OURS2)
    for row in rows:
        for name, key in (("paper", "EN-DE"), ("paper 2", "EN-FR")):
            assert (float(row[name]) if row[name] else None) == TABLE2[row["model"]].get(key)
    costs = made.cells(section.markdown, "## Table 2: training")
    assert all(row[name] == "" for row in costs for name in COST)
    assert {float(row["FLOPs: paper"]) for row in costs if row["languages"] == "EN-DE"} == {
        row["FLOPs EN-DE"] for row in TABLE2.values() if "FLOPs EN-DE" in row
    }
    rows = made.cells(section.markdown, "## Table 3")
    assert len(rows) == len(TABLE3) and all(row[name] == "" for row in rows for name in OURS3)
    for row, printed in zip(rows, TABLE3.values(), strict=True):
        assert (float(row["PPL: paper"]), float(row["BLEU: paper"])) == (printed["PPL"], printed["BLEU"])
        assert row["parameters: paper"] == (f"{printed['params']} M" if "params" in printed else "")
    assert {outcome.verdict for outcome in section.claims} == {"not run"} and not section.figures


def test_each_number_stands_in_its_own_column(folder, tmp_path):
    section = build(folder, tmp_path / "out")
    rows = {row["model"]: row for row in made.cells(section.markdown, "## Table 2: BLEU")}
    base, big = rows[BASE], rows[BIG]
    assert base["EN-DE: ours (95%)"].startswith("60.06 (") and base["EN-FR: ours (95%)"].startswith("61.06 (")
    assert big["EN-DE: ours (95%)"].startswith("62.06 (") and big["EN-FR: ours (95%)"] == "" == big["difference 2"]
    assert float(base["difference"]) == pytest.approx(60.06 - TABLE2[BASE]["EN-DE"], abs=0.006)
    assert "`base`" in base["the runs behind it"] and "`base-enfr`" in base["the runs behind it"]
    recurrent = rows["RNNsearch-50 (ours, same data)"]
    assert recurrent["EN-FR: ours (95%)"].startswith("61.06 (") and recurrent["paper"] == recurrent["paper 2"] == ""
    others = [row for name, row in rows.items() if row not in (base, big, recurrent)]
    assert others and all(row[name] == "" for row in others for name in OURS2)


def test_training_cost_by_both_methods(folder, tmp_path):
    rows = made.cells(build(folder, tmp_path).markdown, "## Table 2: training")
    ours = {row["languages"]: row for row in rows if row["model"] == BASE}
    assert [ours["EN-DE"][name] for name in COST] == ["100,000", "2", "7.2e9", "7.8e9"]
    assert float(ours["EN-DE"]["FLOPs: paper"]) == 3.3e18
    recurrent = next(row for row in rows if row["model"].startswith("RNNsearch-50"))
    assert recurrent["FLOPs: counted"] == "8.9e9" and recurrent["FLOPs: paper"] == ""


def test_table3_shows_the_rows_that_were_run(folder, tmp_path):
    section = build(folder, tmp_path / "out", "demo")
    rows = made.cells(section.markdown, "## Table 3")
    assert [row["here"] for row in rows] == [
        "",
        "h = 1, d_k = 512, d_v = 512",
        "P_drop = 0.0",
        "label_smoothing = 0.0",
        "positions = learned",
    ]
    row = rows[0]
    assert row["PPL: ours"] == "3.62" and row["parameters: ours"] == "123 M"
    assert "`table3-B-dk16`" in section.notes[-1] and "`table3-A-h1`" not in section.notes[-1]
    assert len(made.cells(build(folder, tmp_path / "all").markdown, "## Table 3")) == len(TABLE3)


def test_no_printed_number_leaks_into_our_columns(folder, tmp_path):
    """Change every printed number: nothing of ours may move."""
    root = tmp_path / "paper"
    root.mkdir()
    (root / "recipes").symlink_to(PAPER.root / "recipes")
    text = (PAPER.root / "reported.yaml").read_text(encoding="utf-8")
    (root / "reported.yaml").write_text(re.sub(r"\b\d+\.\d+\b", "3.21", text), encoding="utf-8")
    before = build(folder, tmp_path / "a")
    after = tables.build_tables(replace(PAPER, root=root), "wmt14", folder, tmp_path / "b")
    parts = (
        ("## Table 2: BLEU", [OURS2[0], OURS2[1], OURS2[4]]),
        ("## Table 2: training", COST),
        ("## Table 3", [OURS3[0], OURS3[1], OURS3[3], OURS3[4]]),
        ("## Claims", ["verdict", "evidence here"]),
    )
    for heading, columns in parts:
        pairs = zip(made.cells(before.markdown, heading), made.cells(after.markdown, heading), strict=True)
        assert all(old[name] == new[name] for old, new in pairs for name in columns), heading
    assert {row["PPL: paper"] for row in made.cells(after.markdown, "## Table 3")} == {"3.21"}


def test_claims_are_decided_by_the_sentences_and_the_cost(folder, tmp_path):
    outcomes = {outcome.claim.id: outcome for outcome in build(folder, tmp_path / "out").claims}
    held = {name for name, outcome in outcomes.items() if outcome.verdict == "holds"}
    assert held == {
        "beats-recurrent-en-fr",
        "big-beats-base-en-de",
        "heads-help",
        "dropout-helps",
        "smoothing",
        "learned-positions",
    }
    assert outcomes["depth-helps"].verdict == outcomes["big-beats-base-en-fr"].verdict == "not run"


def test_beating_the_recurrent_model_at_more_cost_fails(folder, tmp_path):
    made.write(tmp_path / "dear" / "vaswani2017", "base-enfr", values("base-enfr", flops_counted=9.99e9))
    made.write(tmp_path / "dear" / "bahdanau2014", "rnnsearch-50", values("base-enfr", quality=0.5))
    section = build(tmp_path / "dear" / "vaswani2017", tmp_path / "out")
    assert section.claims[0].verdict == "fails" and section.claims[0].difference.low > 0


def test_figures_draw_the_layer_before_the_last(folder, tmp_path):
    assert [figures.chosen_layer(layers) for layers in (6, 4, 3, 2, 1)] == [4, 2, 1, 1, 0]
    section = build(folder, tmp_path / "out")
    assert [figure.title[:8] for figure in section.figures] == ["Figure 3", "Figure 4", "Figure 5"]
    for figure in section.figures:
        assert figure.png.startswith(b"\x89PNG") and f"(figures/{figure.name}.png)" in section.markdown
        assert "layer 2 of 3" in figure.caption


@pytest.mark.parametrize(("words", "heads", "drawn"), [(1, 2, 3), (2, 1, 1)])
def test_figures_of_the_smallest_sentences(folder, words, heads, drawn, tmp_path):
    made.write(tmp_path / "small", "base", values("base"), [attention(words, 1, heads)])
    assert len(build(tmp_path / "small", tmp_path / "out").figures) == drawn


def test_other_peoples_figures_stand_beside_ours(tmp_path):
    result = values("base", step=4321)
    result["sets"] = {"test_2016_flickr": result["sets"]["made"], "another": result["sets"]["made"]}
    made.write(tmp_path, "base", result)
    text = build(tmp_path, tmp_path / "out", "multi30k").markdown
    (row,) = made.cells(text, "## Beside others on the same text")
    assert row["set"] == "test_2016_flickr" and row["BLEU: ours (95%)"].startswith("60.06 (")
    assert (row["theirs"], row["difference"]) == ("41.02", "+19.04")
    assert "4,321 of 100,000 updates" in row["the run behind it"]
    assert "41.02" not in build(tmp_path, tmp_path / "out", "wmt14").markdown


def test_entropy_of_attention():
    assert figures.entropy(np.array([[1.0, 0.0], [0.5, 0.5]])) == pytest.approx([0.0, np.log(2)])


@pytest.mark.parametrize("scale", ["demo", "multi30k"])
def test_everything_a_scale_changes_is_printed(scale, tmp_path):
    text = build(tmp_path / "nothing", tmp_path, scale).markdown
    shown = {row["recipe field"].strip("`") for row in made.cells(text, "## What these recipes change")}
    for name in PAPER.systems(scale):
        recipe = PAPER.recipe(name)
        if recipe.system in PAPER.systems("wmt14"):
            hidden = {*tables.report.NOT_SHOWN, *tables.report.OF_THE_CORPUS}
            assert set(difference(recipe, PAPER.recipe(recipe.system))) - hidden <= shown
