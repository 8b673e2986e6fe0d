"""Tables, figures and claims of Vaswani et al. 2017, from no results and from invented ones."""

from __future__ import annotations

import functools
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from common.result import Example
from common.score.bleu import bleu
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
COST = ["updates", "hours", "FLOPs: time x rate", "FLOPs: counted"]


def attention(words: int = 6, layers: int = 3, heads: int = 2) -> Example:
    generator = np.random.default_rng(1)
    weights = generator.dirichlet(np.full(words, 0.3), size=(layers, heads, words)).tolist()
    names = (*(f"w${letter}$_$" for letter in "abcdefgh"[: words - 1]), "</s>")
    maps = {"encoder": weights, "decoder": weights, "source": weights}
    return Example(line="x", source=names, target=names, attention=maps)


def values(system: str, quality: float | None = None, **changed):
    index = list(QUALITY).index(system) if system in QUALITY else 0
    spread = [
        (QUALITY.get(system, 0.5) if quality is None else quality) + 0.02 * (k % 3 - 1) for k in range(len(LENGTHS))
    ]
    return made.result(
        PAPER.recipe(system), {"all": made.column(made.statistics(spread), LENGTHS, 60.06 + index)}, **changed
    )


@pytest.fixture
def folder(tmp_path) -> Path:
    """Some of the paper's systems."""
    results = tmp_path / "results"
    for system in QUALITY:
        changed = {"perplexity": 2.25} if system == "table3-D-ls0" else {}
        made.write(results, system, values(system, **changed), [attention()])
    return results


def build(results: Path, out: Path, scale: str = "wmt14"):
    return tables.build_tables(PAPER, scale, results, out)


def test_without_results_the_papers_numbers_stand_there(tmp_path):
    section = build(tmp_path / "nothing", tmp_path)
    rows = made.cells(section.markdown, "## Table 2: BLEU")
    assert [row["model"] for row in rows] == list(TABLE2)
    for row in rows:
        for name, key in (("paper", "EN-DE"), ("paper 2", "EN-FR")):
            assert (float(row[name]) if row[name] else None) == TABLE2[row["model"]].get(key)
    costs = made.cells(section.markdown, "## Table 2: training")
    assert {float(row["FLOPs: paper"]) for row in costs if row["languages"] == "EN-DE"} == {
        row["FLOPs EN-DE"] for row in TABLE2.values() if "FLOPs EN-DE" in row
    }
    rows = made.cells(section.markdown, "## Table 3")
    assert len(rows) == len(TABLE3)
    for row, printed in zip(rows, TABLE3.values(), strict=True):
        assert (float(row["PPL: paper"]), float(row["BLEU: paper"])) == (printed["PPL"], printed["BLEU"])
        assert row["parameters: paper"] == (f"{printed['params']} M" if "params" in printed else "")


def test_each_number_stands_in_its_own_column(folder, tmp_path):
    section = build(folder, tmp_path / "out")
    rows = {row["model"]: row for row in made.cells(section.markdown, "## Table 2: BLEU")}
    base, big = rows[BASE], rows[BIG]
    assert base["EN-DE: ours (95%)"].startswith("60.06 (") and base["EN-FR: ours (95%)"].startswith("61.06 (")
    assert big["EN-DE: ours (95%)"].startswith("62.06 (") and big["EN-FR: ours (95%)"] == "" == big["difference 2"]
    assert float(base["difference"]) == pytest.approx(60.06 - TABLE2[BASE]["EN-DE"], abs=0.006)
    assert "`wmt14/base`" in base["the runs behind it"] and "`wmt14/base-enfr`" in base["the runs behind it"]
    others = [row for row in rows.values() if row not in (base, big)]
    assert others and all(row[name] == "" for row in others for name in OURS2)


def test_training_cost_by_both_methods(folder, tmp_path):
    rows = made.cells(build(folder, tmp_path).markdown, "## Table 2: training")
    ours = {row["languages"]: row for row in rows if row["model"] == BASE}
    assert [ours["EN-DE"][name] for name in COST] == ["100,000", "2", "7.2e9", "7.8e9"]
    assert float(ours["EN-DE"]["FLOPs: paper"]) == 3.3e18


def test_the_papers_own_trainings_are_counted_too(tmp_path):
    """By hand: 6 FLOPs for each parameter and token that uses it, and the attention's scores left out.

    V = 37,000 and 25,000 tokens on either side. The encoder reads the source; decoder and softmax, the target.
    """
    rows = made.cells(build(tmp_path / "nothing", tmp_path).markdown, "## Table 2: training")
    counted = {(row["model"], row["languages"]): row["the paper's, counted"] for row in rows}
    assert {label for (label, _), value in counted.items() if value} == {BASE, BIG}
    for label, layers, softmax, updates in (
        (BASE, 6 * (3_145_728 + 4_194_304), 37_000 * 512, 100_000),
        (BIG, 6 * (12_582_912 + 16_777_216), 37_000 * 1024, 300_000),
    ):
        by_hand = 6 * 25_000 * (layers + softmax) * updates
        assert float(counted[label, "EN-DE"]) == pytest.approx(by_hand, rel=0.03)
        assert 0.25 < float(counted[label, "EN-DE"]) / TABLE2[label]["FLOPs EN-DE"] < 0.45
        assert float(counted[label, "EN-FR"]) < float(counted[label, "EN-DE"]), "it has the smaller vocabulary"


def test_the_rate_is_that_of_the_machine_that_trained(folder, tmp_path):
    """The rate of the machine that scored an older run is not its own: its cell is empty, and a note says so."""
    made.write(folder, "base", values("base", rate=5e6))
    made.write(folder, "big", values("big", rate=None, matmul_flops_per_second=1e6))
    text = build(folder, tmp_path).markdown
    rates = {
        (row["model"], row["languages"]): row["FLOPs: time x rate"]
        for row in made.cells(text, "## Table 2: training")
        if row["updates"]
    }
    assert rates == {(BASE, "EN-DE"): "3.6e10", (BASE, "EN-FR"): "7.2e9", (BIG, "EN-DE"): ""}
    assert "(a cell is empty for a run from before that, or one that was trained at several rates)" in text


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
    missing = next(note for note in section.notes if "`table3-B-dk16`" in note)
    assert "`table3-A-h1`" not in missing
    assert len(made.cells(build(folder, tmp_path / "all").markdown, "## Table 3")) == len(TABLE3)


def test_claims_are_decided_by_the_sentences(folder, tmp_path):
    outcomes = {outcome.claim.id: outcome for outcome in build(folder, tmp_path / "out").claims}
    held = {name for name, outcome in outcomes.items() if outcome.verdict == "holds"}
    assert held == {
        "big-beats-base-en-de",
        "base-beats-published-en-de",
        "big-beats-published-en-de",
        "heads-help",
        "dropout-helps",
        "smoothing",
        "learned-positions",
    }
    assert outcomes["depth-helps"].verdict == outcomes["big-beats-base-en-fr"].verdict == "not run"


@pytest.mark.parametrize(
    ("above", "rate", "scale", "base", "big"),
    [
        (10.0, 1e6, "wmt14", "holds", "holds"),
        (10.0, 2e15, "wmt14", "fails", "holds"),  # 7,200 s at this rate: 1.44e19 FLOPs, and ConvS2S had 9.6e18
        (10.0, None, "wmt14", "undecided", "holds"),
        (1.0, 1e6, "wmt14", "holds", "fails"),
        (2.0, 1e6, "wmt14", "holds", "undecided"),
        (0.0, 1e6, "wmt14", "undecided", "fails"),
        (-10.0, 1e6, "wmt14", "fails", "fails"),
        (10.0, 1e6, "demo", "not run", "not run"),
    ],
)
def test_claims_on_printed_scores_of_others(above, rate, scale, base, big, tmp_path):
    """They are decided on the paper's own text only, by the interval and by training time x rate."""
    others = [row for name, row in REPORTED["table2"]["rows"].items() if name not in ("base", "big")]
    best = max(row["EN-DE"] for row in others if "EN-DE" in row)
    counts = near(best + above)
    for system in ("base", "big"):
        columns = {"all": made.column(counts, LENGTHS * 10, best + above)}
        made.write(tmp_path / "results", system, made.result(PAPER.recipe(f"{scale}/{system}"), columns, rate=rate))
    outcomes = {outcome.claim.id: outcome for outcome in build(tmp_path / "results", tmp_path, scale).claims}
    found = (outcomes[f"{name}-beats-published-en-de"] for name in ("base", "big"))
    assert [outcome.verdict for outcome in found] == [base, big]
    assert outcomes["big-beats-single-en-fr"].verdict == "not run"


def test_part_of_the_papers_text_refutes_nothing(tmp_path):
    """The recipes of Europarl name the paper's corpus, too, and one of its five parts."""
    columns = {"all": made.column(near(60.0), LENGTHS * 10, 60.0)}
    made.write(tmp_path / "results", "big-enfr", made.result(PAPER.recipe("europarl/big-enfr"), columns, rate=1e6))
    outcomes = {outcome.claim.id: outcome for outcome in build(tmp_path / "results", tmp_path, "europarl").claims}
    assert outcomes["big-beats-single-en-fr"].verdict == "not run"


@functools.cache
def near(score: float) -> np.ndarray:
    """Statistics of many like sentences whose BLEU is within half a point of a score, found by halving."""
    low, high = 0.15, 0.7
    for _ in range(9):
        middle = (low + high) / 2
        counts = made.statistics(np.linspace(middle - 0.05, middle + 0.05, len(LENGTHS) * 10))
        low, high = (middle, high) if bleu(counts) < score else (low, middle)
    assert abs(bleu(counts) - score) < 0.5
    return counts


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


@pytest.fixture
def tiny(tmp_path) -> Path:
    """`transformer_tiny` on Multi30k: ten epochs of it, and the training of Wu et al. 2021."""
    for index, name in enumerate(
        ["multi30k/base", "multi30k/base-enfr", "variants/base-wu2021", "variants/base-enfr-wu2021"]
    ):
        column = made.column(made.statistics([0.5] * len(LENGTHS)), LENGTHS, 60.06 + index)
        sets = {name: made.scored({"all": column}) for name in ("test_2016_flickr", "another")}
        made.write(tmp_path / "tiny", name.rpartition("/")[2], made.result(PAPER.recipe(name), sets))
    return tmp_path / "tiny"


def test_another_model_stands_in_a_row_of_its_own(tiny, tmp_path):
    text = build(tiny, tmp_path / "out", "multi30k").markdown
    rows = {row["model"]: row for row in made.cells(text, "## Table 2: BLEU")}
    assert all(not rows[label][name] for label in (BASE, BIG) for name in OURS2 if name in rows[label])
    for label, scores in (
        ("Transformer (tiny)", (60.06, 61.06)),
        ("Transformer (tiny), as Wu et al. 2021", (62.06, 63.06)),
    ):
        shown = [rows[label][f"{pair}: ours (95%)"] for pair in tables.PAIRS]
        assert [cell.split(" (")[0] for cell in shown] == [f"{score:.2f}" for score in scores]
    costs = made.cells(text, "## Table 2: training")
    assert not [row for row in costs if row["model"] in (BASE, BIG) and row["updates"]]
    assert [row["updates"] for row in costs if row["model"] == "Transformer (tiny)"] == ["4,700", "4,700"]
    rows = {row["row"]: row for row in made.cells(text, "## Table 3")}
    assert list(rows) == ["Transformer (tiny)", "Transformer (tiny), as Wu et al. 2021"]
    assert rows["Transformer (tiny)"]["here"].startswith("N = 4, d_model = 128, d_ff = 256, h = 4, ")
    assert rows["Transformer (tiny)"]["PPL: paper"] == rows["Transformer (tiny)"]["BLEU: paper"] == ""


def test_only_the_papers_own_systems_stand_in_its_rows(folder, tmp_path):
    """A recipe that extends `base` and keeps its title is not the paper's base model."""
    made.write(folder, "mine", replace(values("base", quality=0.1), recipe="mine"))
    rows = {row["model"]: row for row in made.cells(build(folder, tmp_path).markdown, "## Table 2: BLEU")}
    assert "`mine`" not in rows[BASE]["the runs behind it"] and "`wmt14/base`" in rows[BASE]["the runs behind it"]
    assert rows[f"{BASE}, `mine`"]["the runs behind it"].startswith("`mine`")
    assert rows[f"{BASE}, `mine`"]["paper"] == rows[f"{BASE}, `mine`"]["difference"] == ""


def test_other_peoples_figures_are_named_as_theirs(tiny, tmp_path):
    text = build(tiny, tmp_path / "out", "multi30k").markdown
    rows = {row["model"]: row for row in made.cells(text, "## Table 2: BLEU")}
    followed = rows["Transformer (tiny), as Wu et al. 2021"]
    assert followed["paper, else as named"] == "41.02 (Wu et al. 2021, published log)"
    assert followed["paper, else as named 2"] == "61.80 (Wu et al. 2021, from memory)"
    own = rows["Transformer (tiny)"]
    assert own["paper, else as named"] == own["paper, else as named 2"] == ""
    rows = made.cells(text, "## Beside others on the same text")
    beside = {(row["model"], row["languages"]): row for row in rows}
    assert len(beside) == len(rows) == 4 and {row["set"] for row in rows} == {"test_2016_flickr"}
    row = beside["Transformer (tiny)", "EN-DE"]
    assert (row["theirs"], row["known from"], row["difference"]) == ("41.02", "published log", "+19.04")
    assert beside["Transformer (tiny)", "EN-FR"]["known from"] == "from memory"
    assert {row["by seed"] for row in rows} == {""} and "the spread over seeds" not in text
    assert "## Beside others" not in build(tiny, tmp_path / "out", "wmt14").markdown


def test_the_anchor_with_seeds_has_their_mean_and_a_wider_interval(tiny, tmp_path):
    """Tables 2 and 3 have it too. The lines under them name all trainings."""
    first = build(tiny, tmp_path / "one", "multi30k").markdown
    for seed, quality in ((2, 0.53), (3, 0.56)):
        recipe = PAPER.recipe("multi30k/base", [f"train.seed={seed}"])
        sets = {"test_2016_flickr": made.scored({"all": made.column(made.statistics([quality] * 60), LENGTHS)})}
        made.write(tiny, f"base-seed{seed}", made.result(recipe, sets, perplexity=5.125))
    text = build(tiny, tmp_path / "out", "multi30k").markdown
    rows = {(row["model"], row["languages"]): row for row in made.cells(text, "## Beside others on the same text")}
    row = rows["Transformer (tiny)", "EN-DE"]
    scores = [float(score) for score in row["by seed"].split(", ")]
    counts = [made.statistics([quality] * 60) for quality in (0.5, 0.53, 0.56)]
    assert scores == [60.06, *(pytest.approx(bleu(one), abs=0.005) for one in counts[1:])]
    mean, low, high = (float(part) for part in re.findall(r"[\d.]+", row["BLEU: ours (95%)"]))
    assert mean == pytest.approx(np.mean([bleu(one) for one in counts]), abs=0.005)
    # The sentences are all alike, so only the seeds are in it: Student's t of two degrees, 4.303 errors of the mean.
    half = 4.303 * np.std([60.06, *scores[1:]], ddof=1) / 3**0.5
    assert (high - low) / 2 == pytest.approx(half, rel=0.05)
    assert float(row["difference"]) == pytest.approx(mean - 41.02, abs=0.011)
    assert rows["Transformer (tiny)", "EN-FR"]["by seed"] == ""
    for heading, label, ours in (
        ("## Table 2: BLEU", "model", "EN-DE: ours (95%)"),
        ("## Table 3", "row", "BLEU: ours (95%)"),
    ):
        own, other = (shown for shown in made.cells(text, heading) if shown[label].startswith("Transformer (tiny)"))
        assert own[ours] == row["BLEU: ours (95%)"] and "`multi30k/base`, 3 seeds, 4,700 updates" in str(own)
        assert other == made.cells(first, heading)[-1], "one seed is as before"
    assert (own["PPL: ours"], other["PPL: ours"]) == ("4.62", "3.62")
    assert "the cost is the first's" in text and "the cost is the first's" not in first
    assert "intervals (95%) as the notes say" in text and "Of several seeds, scores are means" in text
    assert text.count("seed 2, commit") == 2 and "| `base-seed3` " in text
