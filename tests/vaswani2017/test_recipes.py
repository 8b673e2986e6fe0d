"""The recipes against the paper's arithmetic and against the numbers it prints."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from common.contract import Batch, pad
from common.errors import UserError
from common.ids import EOS
from common.paper import Paper
from common.recipe import OWN_SCALE, changes_no_number, difference
from common.run.plan import describe, parameter_counts, plan, training_flops
from common.train.batching import minibatches
from common.yaml_files import read_yaml
from papers.vaswani2017.model import Transformer
from papers.vaswani2017.optim import learning_rate
from papers.vaswani2017.paper import PAPER

REPORTED: dict[str, Any] = read_yaml(PAPER.root / "reported.yaml")["tables"]
TRAINING: dict[str, Any] = read_yaml(PAPER.root / "reported.yaml")["training"]
ROWS: dict[str, dict[str, Any]] = REPORTED["table3"]["rows"]

# Counted by hand from the equations: V = 37,000 without attention biases, V = 40,960 without, V = 40,960 with.
TOTALS = {
    "base": (63_045_632, 65_073_152, 65_110_016),
    "big": (214_171_648, 218_226_688, 218_300_416),
    "table3-base": (63_045_632, 65_073_152, 65_110_016),
    "table3-A-h1": (63_045_632, 65_073_152, 65_110_016),
    "table3-A-h4": (63_045_632, 65_073_152, 65_110_016),
    "table3-A-h16": (63_045_632, 65_073_152, 65_110_016),
    "table3-A-h32": (63_045_632, 65_073_152, 65_110_016),
    "table3-B-dk16": (55_967_744, 57_995_264, 58_018_304),
    "table3-B-dk32": (58_327_040, 60_354_560, 60_382_208),
    "table3-C-N2": (33_644_544, 35_672_064, 35_684_352),
    "table3-C-N4": (48_345_088, 50_372_608, 50_397_184),
    "table3-C-N8": (77_746_176, 79_773_696, 79_822_848),
    "table3-C-d256": (26_816_512, 27_830_272, 27_848_704),
    "table3-C-d1024": (163_815_424, 167_870_464, 167_944_192),
    "table3-C-ff1024": (50_450_432, 52_477_952, 52_514_816),
    "table3-C-ff4096": (88_236_032, 90_263_552, 90_300_416),
    "table3-D-drop0": (63_045_632, 65_073_152, 65_110_016),
    "table3-D-drop2": (63_045_632, 65_073_152, 65_110_016),
    "table3-D-ls0": (63_045_632, 65_073_152, 65_110_016),
    "table3-D-ls2": (63_045_632, 65_073_152, 65_110_016),
    "table3-E-learned": (63_307_776, 65_335_296, 65_372_160),
    "table3-big": (214_171_648, 218_226_688, 218_300_416),
}


def total(name: str, *overrides: str) -> int:
    return sum(parameter_counts(PAPER, PAPER.recipe(name, overrides)).values())


@pytest.mark.parametrize(("name", "expected"), TOTALS.items())
def test_parameter_totals(name: str, expected: tuple[int, int, int]) -> None:
    padded = "vocabulary_size=40960"
    assert (total(name), total(name, padded), total(name, padded, "attention_bias=true")) == expected


@pytest.mark.parametrize(
    ("name", "vocabulary", "bias", "expected"),
    [
        ("base", 32_768, "false", 60_878_848), ("big", 32_768, "false", 209_838_080),
        ("base", 33_708, "false", 61_360_128), ("big", 33_708, "false", 210_800_640),
        ("base", 32_768, "true", 60_915_712), ("big", 32_768, "true", 209_911_808),
    ],
)  # fmt: skip
def test_totals_at_other_vocabularies(name: str, vocabulary: int, bias: str, expected: int) -> None:
    assert total(name, f"vocabulary_size={vocabulary}", f"attention_bias={bias}") == expected


def test_multi30k_model_has_the_size_of_its_source() -> None:
    """Wu et al. 2021, at their dictionaries' sizes; fairseq's attention has biases."""
    assert total("multi30k/base", "vocabulary_size=9712") == 2_562_048
    assert total("multi30k/base", "vocabulary_size=9712", "attention_bias=true") == 2_568_192
    assert total("multi30k/base-enfr", "vocabulary_size=9544", "attention_bias=true") == 2_546_688


def test_multi30k_at_full_length_is_trained_as_its_source_was() -> None:
    """Wu et al. 2021: 8,000 updates of 2 x 4,096 tokens, rate 0.005 after 2,000, mean of the last 10 epochs."""
    for suffix, epoch in (("", 56), ("-enfr", 58)):
        recipe, short = (PAPER.recipe(name.format(suffix)) for name in ("variants/base{}-wu2021", "multi30k/base{}"))
        peak = recipe.optimizer.factor * learning_rate(2000, recipe.model.d_model, recipe.optimizer.warmup_steps)
        assert peak == pytest.approx(0.005, rel=1e-3)
        assert (recipe.train.steps, recipe.batch.tokens, recipe.batch.accumulate) == (8000, 4096, 2)
        assert (recipe.train.checkpoint_every, recipe.evaluate.average) == (epoch, 10)
        assert (recipe.model, recipe.data, recipe.decode) == (short.model, short.data, short.decode)


def test_the_authors_vocabulary_and_biases_give_every_printed_total_but_big() -> None:
    """README.md "Open questions", on the parameter totals of Table 3."""
    printed = {system: row["params"] for system, row in ROWS.items() if "params" in row}
    counted = {system: round(TOTALS[system][2] / 1e6) for system in printed}
    assert len(printed) == 11
    assert [system for system in printed if counted[system] != printed[system]] == ["table3-big"]


def test_blocks_split_the_base_model() -> None:
    blocks = parameter_counts(PAPER, PAPER.recipe("base"))
    attention, feed_forward = 4 * 512 * 512, 2 * 512 * 2048 + 2048 + 512
    assert blocks == {
        "embedding, shared by source, target and softmax": 37_000 * 512,
        "encoder self-attention": 6 * attention,
        "encoder feed-forward": 6 * feed_forward,
        "encoder layer norms": 6 * 2 * 1024,
        "decoder self-attention": 6 * attention,
        "decoder attention to the source": 6 * attention,
        "decoder feed-forward": 6 * feed_forward,
        "decoder layer norms": 6 * 3 * 1024,
    }


@pytest.mark.parametrize("system", ROWS)
def test_table_3_rows_change_what_the_table_prints_and_nothing_else(system: str) -> None:
    homes = {"label_smoothing": "train", "steps": "train"}
    printed = {f"{homes.get(key, 'model')}.{key}": value for key, value in ROWS[system]["changes"].items()}
    values = PAPER.recipe(system).to_dict()
    for key, value in printed.items():
        section, name = key.split(".")
        assert values[section][name] == value
    changed = difference(PAPER.recipe(system), PAPER.recipe("base"))
    ours = {key: value for key, (value, _) in changed.items() if not changes_no_number(key)}
    unprinted = {"evaluate.average": 1, "evaluate.sets": ["newstest2013"]}
    if system == "table3-E-learned":
        unprinted["model.learned_positions"] = 256
    if system in ("table3-base", "table3-big"):
        unprinted["train.continues"] = system.removeprefix("table3-")
    if system == "table3-big":
        unprinted |= {f"train.{key}": values["train"][key] for key in ("checkpoint_every", "keep_checkpoints")}
    assert ours == {key: value for key, value in printed.items() if key != "model.N"} | unprinted | _layers(printed)


def _layers(printed: dict[str, Any]) -> dict[str, Any]:
    """Return N of a printed row if it is not base's. The row "big" of Table 3 prints N = 6 again."""
    return {"model.N": printed["model.N"]} if printed.get("model.N", 6) != 6 else {}


def test_base_is_the_papers_and_every_row_of_tables_2_and_3_has_a_recipe() -> None:
    values = PAPER.recipe("base").to_dict()
    flat = {**values["model"], **values["train"]}
    assert {key: flat[key] for key in REPORTED["table3"]["base"]} == REPORTED["table3"]["base"]
    table2 = {"base", "base-enfr", "big", "big-enfr"}
    assert {PAPER.recipe(name).system for name in PAPER.systems(OWN_SCALE)} == table2 | set(ROWS)
    assert set(TOTALS) == {"base", "big"} | set(ROWS)
    assert PAPER.recipe("big-enfr").model.P_drop == 0.1
    enfr = difference(PAPER.recipe("big-enfr"), PAPER.recipe("base-enfr"))
    assert {key.split(".")[0] for key in enfr} == {"model", "train", "evaluate", "run"}


@pytest.mark.parametrize("scale", ["demo", "multi30k"])
def test_small_scales_keep_the_papers_names_and_row_changes(scale: str) -> None:
    """Each stands for a recipe of the paper's size. A row of Table 3 differs from its own base in the same keys."""
    for name in PAPER.systems(scale):
        system = name.partition("/")[2]
        assert PAPER.recipe(name).run.threads == 1
        if system in ROWS and system != "table3-base":
            small = set(difference(PAPER.recipe(name), PAPER.recipe(f"{scale}/table3-base")))
            large = set(difference(PAPER.recipe(system), PAPER.recipe("table3-base"))) - {"train.continues"}
            assert small == large, name
    own = {PAPER.recipe(name).system for name in PAPER.systems(OWN_SCALE)}
    assert {PAPER.recipe(name).system for name in PAPER.systems(scale)} <= own


def test_english_french_demo_differs_from_the_other_by_language_alone() -> None:
    for size in ("base", "big"):
        keys = set(difference(PAPER.recipe(f"demo/{size}-enfr"), PAPER.recipe(f"demo/{size}")))
        assert {"data.target"} <= keys <= {
            "data.target", "estimate.source_tokens", "estimate.target_tokens", "text.vocabulary_size",
            "evaluate.metric", "model.P_drop",
        }  # fmt: skip


def test_data_of_both_languages_and_of_the_variant() -> None:
    base, variant, french = (PAPER.recipe(name) for name in ("base", "variants/base-wmt14", "base-enfr"))
    assert set(difference(variant, base)) == {"data.parts"}
    assert set(base.data.parts) ^ set(variant.data.parts) == {"news-commentary-v9", "news-commentary-v11"}
    assert (base.data.clean_tokens, base.text.bpe_merges, base.data.valid) == (80, 32_000, ("newstest2013",))
    assert (french.text.segmentation, french.text.vocabulary_size, len(french.data.parts)) == ("wordpieces", 32_000, 5)
    assert PAPER.recipe("big-enfr").data == french.data and PAPER.recipe("big").data == base.data
    assert all(r.text.tokeniser == "moses-2016" and not r.data.shares for r in (base, variant, french))


@pytest.mark.parametrize("path", sorted((PAPER.root / "recipes").rglob("*.yaml")), ids=lambda path: path.stem)
def test_averaged_checkpoints_are_kept_and_lie_evenly(path: Path) -> None:
    """They lie evenly up to the end, except that Wu et al. 2021 stop between two epochs. Their recipes say so."""
    train, average = (recipe := PAPER.recipe(str(path))).train, recipe.evaluate.average
    written = sorted({*range(train.checkpoint_every, train.steps + 1, train.checkpoint_every), train.steps})
    averaged = written[-average:]
    assert len(averaged) == average <= train.keep_checkpoints
    if path.stem.endswith("wu2021"):
        text, gap = path.read_text(encoding="utf-8"), averaged[-1] - averaged[-2]
        assert f" {gap} updates after" in text
    else:
        assert len({after - before for before, after in pairwise(averaged)}) <= 1


def test_checkpoints_are_about_ten_minutes_apart() -> None:
    """§6.1, at the hours of §5.2."""
    for system, row in TRAINING["rows"].items():
        minutes = 60 * row["hours"] / row["updates"] * PAPER.recipe(system).train.checkpoint_every
        assert minutes == pytest.approx(10, abs=1.1)


def test_a_minibatch_in_parts_has_the_size_of_the_whole_and_other_company() -> None:
    """base.yaml says of `accumulate`: 5 x 5,000 positions hold as many tokens as 25,000, of several lengths."""
    source, target = np.random.default_rng(1).integers(5, 61, (2, 30_000))
    longer, batching = np.maximum(source, target), PAPER.recipe("base").batch
    tokens, spread = [], []
    for parts, size in ((1, 25_000), (5, 5_000)):
        cuts = minibatches(source, target, replace(batching, tokens=size), seed=1, epoch=0)
        updates = [np.concatenate(cuts[start : start + parts]) for start in range(0, len(cuts) - parts, parts)]
        tokens.append(np.mean([target[update].sum() for update in updates]))
        spread.append(np.mean([np.ptp(longer[update]) for update in updates]))
    assert tokens[1] == pytest.approx(tokens[0], rel=0.05)
    assert spread[1] > 5 * spread[0]


def test_readme_says_what_is_not_reproduced() -> None:
    """It names the printed table without a recipe, and what the authors' code has beside the paper."""
    text = (PAPER.root / "README.md").read_text(encoding="utf-8").partition("## Not reproduced")[2]
    assert "Table 4" in text and "d_ff = 8192" in text and PAPER.recipe("big-enfr").model.d_ff == 4096


def test_plan_shows_the_papers_hours_apart_from_ours() -> None:
    """`plan` shows the hours of base and big in both languages, as in reported.yaml, and of no other row of Table 3."""
    reported = {system: row["hours"] for row in TRAINING["rows"].values() for system in row["systems"]}
    assert reported == {"base": 12, "base-enfr": 12, "table3-base": 12, "big": 84, "big-enfr": 84, "table3-big": 84}
    for system in ("base", "big-enfr", "table3-big", "table3-A-h1", "demo/base"):
        values = plan(PAPER, PAPER.recipe(system))
        found, text = values["reported_by_the_paper"], describe(values)
        if system in reported:
            expected = {"system": system, "hours": reported[system], "hardware": "8x NVIDIA P100"}
            assert found == {**expected, "source": "section 5.2"} and text.endswith(f" {reported[system]} h")
            assert f"Reported hours, the paper's and not ours, of its {system} (section 5.2)" in text
            assert values["hours"]["8x NVIDIA P100, by section 5.2"] == pytest.approx(reported[system], rel=0.1)
        else:
            assert found is None and "Reported" not in text


def test_one_rate_does_not_fit_both_sizes() -> None:
    """As papers/vaswani2017/paper.py says: by base's rate big would take 1.43 times the hours of §5.2."""
    rates = PAPER.hardware["8x NVIDIA P100, by section 5.2"]
    for name, rate in rates.items():
        recipe, hours = PAPER.recipe(name), TRAINING["rows"][name]["hours"]
        flops = training_flops(PAPER, recipe) * recipe.train.steps
        assert flops / rate / 3600 == pytest.approx(hours, rel=0.02)
    assert flops / rates["base"] / 3600 / hours == pytest.approx(1.43, abs=0.01)
    notes = {system: plan(PAPER, PAPER.recipe(system))["hours_notes"] for system in ("base", "table3-C-d1024")}
    assert notes["base"] == [] and notes["table3-C-d1024"][0].startswith("base stands in where big was not measured")


@pytest.mark.parametrize(
    "override",
    ["N=0", "d_model=511", "P_drop=1.0", "h=two", "positions=rotary", "positions=learned", "learned_positions=9"],
)
def test_values_out_of_range_are_refused_by_name(override: str) -> None:
    key = "learned_positions" if override == "positions=learned" else override.partition("=")[0]
    with pytest.raises(UserError, match=key):
        PAPER.recipe("base", [override])


def test_attention_of_a_batch_comes_sentence_by_sentence_without_padding() -> None:
    recipe = PAPER.recipe("base", ["N=2", "d_model=8", "h=3", "d_k=2", "d_v=4", "d_ff=5", "vocabulary_size=11"])
    torch.manual_seed(0)
    model = Transformer(recipe.model, recipe.text.vocabulary_size).eval()
    sources, targets = [[3, 4, 5, EOS], [6, EOS]], [[7, EOS], [8, 9, 10, 3, EOS]]
    assert isinstance(PAPER, Paper)
    for attention, source, target in zip(
        PAPER.attention(model, Batch(*pad(sources), *pad(targets))), sources, targets, strict=True
    ):
        shapes = {name: tuple(weights.shape) for name, weights in attention.items()}
        S, T = len(source), len(target)
        assert shapes == {"encoder": (2, 3, S, S), "decoder": (2, 3, T, T), "source": (2, 3, T, S)}
        for weights in attention.values():
            sums = weights.sum(-1)
            torch.testing.assert_close(sums, torch.ones_like(sums), atol=1e-6, rtol=0)
