"""The variants of the ambiguities: torch's unit against torch itself, the recipes, and the page from invented runs."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from common.contract import Batch, Seq2SeqModel, pad
from common.errors import UserError
from common.files import write_json
from common.ids import EOS, START
from common.recipe import difference
from common.report.results import Result, read_results
from common.report.variants import _verdict, corrected, lasting, reached_at
from common.result import Measured, read_result
from common.run.cli import main
from common.run.seeds import SEEDS, jobs_of
from common.score.significance import Difference
from common.typed import plain
from papers.bahdanau2014.ambiguities import BASE, SCALE
from papers.bahdanau2014.ambiguities.gru import TorchDecoderUnits, TorchEncoderUnits, TorchUnitsRNNsearch, UnitsConfig
from papers.bahdanau2014.ambiguities.page import BLEU, MEAN_LOSS, NLL
from papers.bahdanau2014.model import DecoderUnits, EncoderUnits, RNNsearch
from papers.bahdanau2014.paper import PAPER
from tests import made_results as made

SIZES = {"hidden": 5, "embedding": 3, "alignment": 7, "maxout": 4, "factored_size": 6}
FIELDS = {
    "authors-biases": "model.biases",
    "factored": "model.readout",
    "mean-loss": "train.loss",
    "r2": "model.step_order",
    "r3": "model.step_order",
    "torch-gru": "model.units",
}
WORDS = 11
BATCH = Batch(*pad([[4, 2, 9, 3, EOS], [8, EOS], [1, 10, 5, EOS]]), *pad([[7, 3, EOS], [5, 6, 2, 8, 1, EOS], [EOS]]))


def config(architecture: str = "search", biases: str = "paper", order: str = "R1") -> UnitsConfig:
    choices = {"architecture": architecture, "biases": biases, "step_order": order, "readout": "direct"}
    return UnitsConfig(units="torch", **choices, **SIZES)


def randomised(module: nn.Module) -> nn.Module:
    """The module in float64 without a zero parameter."""
    torch.manual_seed(7)
    module = module.double()
    for parameter in module.parameters():
        nn.init.normal_(parameter, 0.0, 0.6)
    return module


def torchs(units: nn.Module) -> nn.GRUCell:
    """torch.nn.GRUCell with the units' weights, in torch's order r, z, n; the decoder's input is [E y; c]."""
    n = len(units.U)
    W, b = {}, {}
    for gate in ("_r", "_z", ""):
        W[gate], b[gate] = getattr(units, f"W{gate}"), getattr(units, f"b{gate}")
        if hasattr(units, "C"):
            W[gate] = torch.cat([W[gate], getattr(units, f"C{gate}")], dim=1)
    cell = nn.GRUCell(W[""].shape[1], n).double()
    cell.load_state_dict(
        {
            "weight_ih": torch.cat(list(W.values())),
            "weight_hh": torch.cat([units.U_r, units.U_z, units.U]),
            "bias_ih": torch.cat(list(b.values())),
            "bias_hh": torch.cat([torch.zeros(2 * n), units.b_h]),
        }
    )
    return cell


@torch.no_grad()
def test_both_units_are_torchs():
    h, x, c = (torch.randn(4, size, dtype=torch.float64) for size in (5, 3, 10))
    encoder, decoder = randomised(TorchEncoderUnits(config())), randomised(TorchDecoderUnits(config()))
    torch.testing.assert_close(encoder(x, h), torchs(encoder)(x, h))
    torch.testing.assert_close(decoder(x, h, c), torchs(decoder)(torch.cat([x, c], dim=1), h))


@torch.no_grad()
def test_the_papers_unit_is_another_function_unless_nothing_is_reset():
    """With r = 1, z turned round and no bias after U the two are one. With another r for each unit they differ."""
    h, x = (torch.randn(4, size, dtype=torch.float64) for size in (5, 3))
    theirs, ours = randomised(TorchEncoderUnits(config())), randomised(EncoderUnits(config()))
    ours.load_state_dict({name: value for name, value in theirs.state_dict().items() if name != "b_h"})
    for name in ("W_z", "U_z", "b_z"):
        getattr(ours, name).neg_()
    theirs.b_h.zero_()
    for units in (ours, theirs):
        units.W_r.zero_()
        units.U_r.zero_()
        units.b_r.fill_(60.0)
    torch.testing.assert_close(ours(x, h), theirs(x, h))
    # An r that all units share would commute with U.
    for units in (ours, theirs):
        units.b_r.copy_(torch.tensor([0.0, 60.0, -60.0, 1.0, -1.0]))
    assert (ours(x, h) - theirs(x, h)).abs().max() > 0.05


@pytest.mark.parametrize("order", ["R1", "R2", "R3"])
@pytest.mark.parametrize("architecture", ["search", "encdec"])
def test_the_whole_model_has_torchs_units_in_every_place(architecture, order):
    """Its encoder is torch's GRU over whole sentences; step by step it gives the logits of `forward`."""
    model = randomised(TorchUnitsRNNsearch(config(architecture, order=order), WORDS))
    assert isinstance(model, Seq2SeqModel)
    assert not [type(part) for part in model.modules() if type(part) in (EncoderUnits, DecoderUnits)]
    with torch.no_grad():
        logits = model(BATCH)
        state, previous = model.encode(BATCH.source, BATCH.source_mask), torch.full((3,), START)
        for position in range(BATCH.target.shape[1]):
            step, state = model.step(previous, state)
            torch.testing.assert_close(step, logits[:, position])
            previous = BATCH.target[:, position]
        cell, h = torchs(model.encoder.forward_rnn), torch.zeros(1, 5, dtype=torch.float64)
        for word in model.encoder.embedding(BATCH.source[0]):
            h = cell(word.unsqueeze(0), h)
        states = model.encoder.forward_rnn.read(model.encoder.embedding(BATCH.source), BATCH.source_mask)
        torch.testing.assert_close(states[0, -1], h[0])
    model(BATCH)[BATCH.target_mask].log_softmax(-1).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_torchs_units_begin_as_the_papers_do():
    """The same distributions: orthogonal U, W and C of deviation 0.01, biases of zero; one vector more in each unit."""
    recipe = PAPER.recipe(f"{SCALE}/torch-gru")
    torch.manual_seed(1)
    model, base = PAPER.build_model(recipe), PAPER.build_model(PAPER.recipe(f"{SCALE}/{BASE}"))
    assert type(model) is TorchUnitsRNNsearch and isinstance(base, RNNsearch)
    more = set(dict(model.named_parameters())) - set(dict(base.named_parameters()))
    assert more == {"encoder.forward_rnn.b_h", "encoder.backward_rnn.b_h", "decoder.b_h"}
    for name, value in model.named_parameters():
        if name in more:
            assert not value.any()
        elif ".U" in name and "rnn" in name:
            torch.testing.assert_close(value @ value.T, torch.eye(len(value)), atol=1e-5, rtol=0)
        else:
            torch.testing.assert_close(value.std(), base.get_parameter(name).std(), rtol=0.1, atol=1e-9)
    unbiased = TorchUnitsRNNsearch(config(biases="authors"), WORDS)
    assert not [name for name, _ in unbiased.named_parameters() if name.endswith("b_h")]


def test_the_fast_program_refuses_torchs_units():
    with pytest.raises(UserError, match=r"`run.path` must be readable with model.units=torch"):
        PAPER.build_model(PAPER.recipe(f"{SCALE}/torch-gru", ["run.path=fast"]))


def test_a_recipe_keeps_its_hash_while_it_has_the_papers_unit():
    """Results were made before there was the field. Without it the hash is what it was."""
    recipe, other = PAPER.recipe("rnnsearch-50"), PAPER.recipe("rnnsearch-50", ["model.units=torch"])
    assert recipe.to_dict()["model"]["units"] == "paper" and recipe.sha256 != other.sha256
    assert recipe.sha256 == "c09045491d617918b82a2a714738ff02ea52ee184906406c5c443bd062cf9a80"


def test_every_recipe_changes_one_field_of_the_base():
    assert {name.rpartition("/")[2] for name in PAPER.systems(SCALE)} == {BASE, *FIELDS}
    base = PAPER.recipe(f"{SCALE}/{BASE}")
    for system, key in FIELDS.items():
        changed = difference(PAPER.recipe(f"{SCALE}/{system}"), base)
        assert list(changed) == [key, *(["run.path"] if system == "torch-gru" else [])]


def test_every_recipe_is_trained_with_every_seed(tmp_path):
    jobs = jobs_of(PAPER, SCALE, tmp_path, [], ["train.steps=20"], SEEDS)
    assert {(job.recipe.system, job.recipe.train.seed) for job in jobs} == {
        (system, seed) for system in (BASE, *FIELDS) for seed in SEEDS
    }
    assert len({job.run for job in jobs}) == len(jobs) and {job.recipe.train.steps for job in jobs} == {20}
    assert "train.seed=3" in jobs[-1].command(tmp_path) and jobs[-1].label.endswith("-seed3")
    assert {job.recipe.run.device for job in jobs} == {"cpu"}


# The page --------------------------------------------------------------------------------------------------------

LENGTHS = [5, 7, 9, 11] * 50
VERDICT = "verdict here, after 7,260 updates"
QUALITY = {BASE: 0.60, "r2": 0.60, "r3": 0.70, "torch-gru": 0.52}


def curve(quality: float, steps: int) -> tuple[Measured, ...]:
    """A straight line from 5 nats down to 2.6 - quality."""
    nats = np.interp(range(0, steps + 1, steps // 10), [0, steps], [5, 2.6 - quality])
    return tuple(Measured(step=k * (steps // 10), dev_nll_per_token=float(value)) for k, value in enumerate(nats))


def write_runs(folder: Path, seeds: tuple[int, ...] = SEEDS, spread: float = 0.002, **changed: float) -> Path:
    """Trainings of four recipes: r2 is the base again, r3 is better and torch's unit worse. Seeds move all a little."""
    for system, quality in {**QUALITY, **changed}.items():
        for seed in seeds:
            recipe = PAPER.recipe(f"{SCALE}/{system}", [f"train.seed={seed}"])
            draws = np.random.default_rng(9).uniform(-0.2, 0.2, len(LENGTHS))
            columns = {"all": made.column(made.statistics(draws + quality + spread * seed), LENGTHS)}
            values = made.result(recipe, columns, perplexity=10 / quality + 0.01 * seed)
            values = replace(values, training=replace(values.training, dev_curve=curve(quality, recipe.train.steps)))
            made.write(folder, f"{system}-seed{seed}", values)
    return folder


def rows(markdown: str, heading: str) -> dict[str, dict[str, str]]:
    return {row["changes"] or BASE: row for row in made.cells(markdown, heading)}


def test_verdicts_follow_the_scores(tmp_path):
    section = PAPER.build_tables(SCALE, write_runs(tmp_path / "results"), tmp_path)
    found = rows(section.markdown, "## BLEU")
    assert list(found) == [BASE, "`model.step_order: R2`", "`model.step_order: R3`", "`model.units: torch`"]
    assert found[BASE][VERDICT] == found[BASE]["difference (95%)"] == ""
    assert found["`model.step_order: R2`"][VERDICT] == "**no difference seen**"
    assert found["`model.step_order: R3`"][VERDICT] == "**matters: better**"
    assert found["`model.units: torch`"][VERDICT] == "**matters: worse**"
    likelihood = rows(section.markdown, "## Likelihood")
    assert [row[VERDICT] for row in likelihood.values()] == [row[VERDICT] for row in found.values()]
    assert likelihood["`model.step_order: R3`"]["difference (95%)"].startswith("-")
    assert "No run yet of authors-biases, factored, mean-loss." in section.markdown
    assert (tmp_path / "figures" / "differences.png").read_bytes().startswith(b"\x89PNG")


def test_curves_say_when_the_base_was_where_a_variant_ended(tmp_path):
    """On a line from 5 to 2 nats in 7,260 updates the base has 2.08, where torch's unit ends, 193.6 before its end."""
    section = PAPER.build_tables(SCALE, write_runs(tmp_path / "results"), tmp_path)
    assert [figure.name for figure in section.figures] == ["differences", "curves"]
    found = {row["variant"]: row for row in made.cells(section.markdown, "## Learning curves")}
    assert [row["updates at which the base had it"] for row in found.values()] == ["", "7,260", "-", "7,066"]
    falls = [row["change in the last tenth"] for row in found.values()]
    assert falls == ["-0.300", "-0.300", "-0.310", "-0.292"]
    assert "96 units, sentences of up to 25 words, Adadelta's step x 4, after 7,260 updates" in section.markdown
    assert "NLL changed by -0.31 to -0.29" in section.markdown


@pytest.mark.parametrize("spread, possible", [(0.002, "can"), (0.03, "cannot")])
def test_the_page_says_whether_no_difference_could_be_seen(tmp_path, spread, possible):
    folder = write_runs(tmp_path / "results", spread=spread)
    text = PAPER.build_tables(SCALE, folder, tmp_path).markdown
    own = np.array([scores(folder, system) for system in QUALITY])
    pooled = np.sqrt(((own - own.mean(1, keepdims=True)) ** 2).sum() / 8)
    (width,) = re.findall(rf"an interval of ±([\d.]+) BLEU \(`no difference seen` {possible} come out\)", text)
    assert float(width) == pytest.approx(2.306 * pooled * np.sqrt(2 / 3), rel=0.03), "Student's t of 8 degrees, 97.5%"


def test_the_first_of_several_crossings_counts():
    """A curve that rises again between two measurements had the value the first time."""
    nats = [4.0, 3.0, 3.5, 2.0]
    points = tuple(Measured(step=100 * k, dev_nll_per_token=value) for k, value in enumerate(nats, start=1))
    file = made.result(PAPER.recipe(f"{SCALE}/{BASE}"), {"all": made.column(made.statistics([0.5]), [9])})
    base = Result(BASE, Path(), replace(file, training=replace(file.training, dev_curve=points)))
    assert reached_at(base, 3.25) == pytest.approx(175) and reached_at(base, 3.0) == 200
    assert reached_at(base, 2.0) == 400 and reached_at(base, 1.9) is None


def test_the_mean_loss_is_not_said_to_be_one_change(tmp_path):
    folder = write_runs(tmp_path / "results", **{MEAN_LOSS: 0.5})
    path = folder / f"{MEAN_LOSS}-seed1" / "result.json"
    values = read_result(path)
    reached = replace(values.training.progress, target_tokens=1180 * 7260)
    write_json(path, plain(replace(values, training=replace(values.training, progress=reached))))
    text = PAPER.build_tables(SCALE, folder, tmp_path).markdown
    assert "Mean loss divides the gradient by the words of a minibatch, 1,180 here." in text


@pytest.mark.parametrize(
    "name, system, words, told",
    [
        ("r2-seed2", "r2", ["train.seed=2", "train.steps=3630"], "seed1/result.json: train.steps is 7260, and 3630 in"),
        ("r2-seed4", "r2", ["train.seed=1"], "of seed 1, as .*; move one of them away"),
        ("r3-seed1", "r3", ["train.seed=1", "data.first=500"], "data.first is not what ambiguities/r3 makes of base"),
        ("r3-seed1", "r3", ["train.seed=1", "model.step_order=R1"], "model.step_order is not what .*: the same; train"),
    ],
)  # fmt: skip
def test_trainings_that_differ_in_more_than_they_say_are_refused(name, system, words, told, tmp_path):
    folder = write_runs(tmp_path, seeds=(1,))
    columns = {"all": made.column(made.statistics([0.5] * len(LENGTHS)), LENGTHS)}
    made.write(folder, name, made.result(PAPER.recipe(f"{SCALE}/{system}", words), columns))
    with pytest.raises(UserError, match=told):
        PAPER.build_tables(SCALE, folder, tmp_path / "out")


def test_means_and_differences_are_those_of_the_runs(tmp_path):
    folder = write_runs(tmp_path / "results")
    cells = rows(PAPER.build_tables(SCALE, folder, tmp_path).markdown, "## BLEU")["`model.step_order: R3`"]
    own, base = scores(folder, "r3"), scores(folder, BASE)
    assert cells["by seed"] == ", ".join(f"{score:.2f}" for score in own)
    assert cells["BLEU, mean (95%)"].startswith(f"{sum(own) / 3:.2f} (")
    assert cells["difference (95%)"].startswith(f"{(sum(own) - sum(base)) / 3:+.2f} (")


def test_the_best_checkpoint_counts_wherever_it_is(tmp_path):
    """R2's trainings dip to 1.5, 1.6 and 1.7 nats half-way and end where the base does, which is at its best there."""
    folder = write_runs(tmp_path / "results")
    for seed in SEEDS:
        path = folder / f"r2-seed{seed}" / "result.json"
        values = read_result(path)
        points = list(values.training.dev_curve)
        points[5] = replace(points[5], dev_nll_per_token=1.4 + 0.1 * seed)
        write_json(path, plain(replace(values, training=replace(values.training, dev_curve=tuple(points)))))
    text = PAPER.build_tables(SCALE, folder, tmp_path).markdown
    row = rows(text, "## Likelihood at each training's best checkpoint")["`model.step_order: R2`"]
    assert row["by seed"] == "1.500, 1.600, 1.700" and row["difference (95%)"].startswith("-0.400 (")
    assert row["verdict here, at the best checkpoint"] == "**matters: better**"
    assert made.cells(text, "## Learning curves")[1]["after updates, by seed"] == "3,630, 3,630, 3,630"
    assert "added after the results were seen: " in text.partition("## BLEU")[0]


def test_a_difference_is_told_without_the_training_that_it_leans_on(tmp_path):
    folder = write_runs(tmp_path / "results")
    told = PAPER.build_tables(SCALE, folder, tmp_path).markdown.partition("## BLEU")[0]
    mean = np.mean(scores(folder, BASE))
    assert f"without its seed 3 {np.mean(scores(folder, 'r3')[:2]) - mean:+.2f} (" in told, "of the better, the best"
    assert f"without its seed 1 {np.mean(scores(folder, 'torch-gru')[1:]) - mean:+.2f} (" in told


def test_so_many_comparisons_leave_less():
    """p is one-sided in a Difference, and near 1 where a is worse."""
    worse = Difference(-4.2, -7.4, -0.9, 0.992)
    assert corrected(worse) == pytest.approx(0.016) and corrected(worse, 6) == pytest.approx(0.096)
    assert [lasting(worse, count) for count in (1, 3, 4)] == [True, True, False]
    assert [_verdict(BLEU, worse, count) for count in (1, 6)] == [
        "matters: worse",
        "matters: worse, not when corrected",
    ]
    assert corrected(Difference(0.1, -1.0, 1.2, 0.4), 6) == 1


def scores(folder: Path, system: str) -> list[float]:
    results = read_results(folder)
    assert [run.seed for run in results[system].trainings] == [*SEEDS]
    return [run.all.bleu for run in results[system].trainings]


def test_a_wide_interval_is_undecided():
    wide = Difference(0.4, -1.7, 2.25, 0.3)
    assert BLEU.verdict(wide) == "undecided within ±2.25"
    assert NLL.verdict(Difference(-0.2, -0.3, -0.1, 1.0)) == "matters: better"


def test_what_is_smaller_than_the_margin_does_not_matter():
    """Whether it is seen or not. An interval that leaves the margin on one side matters."""
    assert BLEU.verdict(Difference(0.4, 0.1, 0.7, 1.0)) == "seen, but smaller than ±1"
    assert NLL.verdict(Difference(0.03, 0.02, 0.04, 1.0)) == "seen, but smaller than ±0.05"
    assert BLEU.verdict(Difference(0.1, -0.4, 0.6, 0.6)) == "no difference seen"
    assert BLEU.verdict(Difference(-0.7, -1.2, -0.2, 1.0)) == "matters: worse"


@pytest.mark.parametrize("word", ["train.seed=7", "seed=7"])
def test_a_seed_of_ones_own_is_refused(word, tmp_path, capsys):
    assert main(PAPER, ["seeds", "--scale", SCALE, word, "--runs", str(tmp_path)]) == 2
    assert f"{word}: every training is made with the seeds 1, 2, 3" in capsys.readouterr().err
    assert not [*tmp_path.iterdir()]


def test_one_seed_alone_has_no_interval_and_nothing_has_no_table(tmp_path):
    section = PAPER.build_tables(SCALE, write_runs(tmp_path / "one", seeds=(2,)), tmp_path / "a")
    assert {row["difference (95%)"] for row in rows(section.markdown, "## BLEU").values()} == {""}
    assert [figure.name for figure in section.figures] == ["curves"]
    empty = PAPER.build_tables(SCALE, tmp_path / "nothing", tmp_path / "b").markdown
    assert "No run stands behind this table yet." in empty and "No run yet of authors-biases, base, " in empty
