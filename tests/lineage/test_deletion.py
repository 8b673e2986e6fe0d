"""The steps from RNNsearch to the Transformer: the two ends are the papers' models, and each step does what it says."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from common.contract import Batch, Seq2SeqModel, pad
from common.ids import EOS
from common.recipe import difference
from common.report.results import read_results
from common.run.seeds import jobs_of
from papers.bahdanau2014.model import Annotations, RNNsearch
from papers.lineage.deletion import SCALE
from papers.lineage.deletion.model import STEPS, Between, ModelConfig, ScaledDotProduct, build_model
from papers.lineage.deletion.paper import PAPER
from papers.lineage.deletion.tables import CHANGES, from_before
from papers.vaswani2017.model import Transformer, sinusoids
from tests import made_results as made

WORDS = 11
BATCH = Batch(*pad([[4, 2, 9, 3, EOS], [8, EOS], [7, 10, 5, EOS]]), *pad([[7, 3, EOS], [5, 6, 2, 8, 4, EOS], [EOS]]))
each_step = pytest.mark.parametrize("step", STEPS)


def config(step: str) -> ModelConfig:
    return ModelConfig(step=step, d_model=8, h=2, d_ff=12, N=2)


def model_of(step: str) -> nn.Module:
    """The model of a step in float64, without a zero parameter."""
    torch.manual_seed(7)
    model = build_model(config(step), WORDS).double().eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, 0.0, 0.6)
    return model


def test_the_ends_are_the_models_of_the_papers():
    for step, made_of in (("rnnsearch", RNNsearch), ("transformer", Transformer)):
        torch.manual_seed(3)
        ours = build_model(config(step), WORDS)
        torch.manual_seed(3)
        paper_s = made_of(config(step).bahdanau if step == "rnnsearch" else config(step).vaswani, WORDS)
        assert type(ours) is made_of and torch.equal(ours(BATCH), paper_s(BATCH))


@each_step
def test_word_by_word_is_the_same_as_all_at_once(step):
    model = model_of(step)
    assert isinstance(model, Seq2SeqModel)
    state, logits = model.encode(BATCH.source, BATCH.source_mask), []
    for previous in BATCH.previous.unbind(1):
        next_word, state = model.step(previous, state)
        logits.append(next_word)
    torch.testing.assert_close(torch.stack(logits, 1), model(BATCH))


@each_step
def test_padding_changes_nothing(step):
    model, alone = model_of(step), Batch(*pad([[8, EOS]]), *pad([[5, 6, 2, 8, 4, EOS]]))
    torch.testing.assert_close(model(alone)[0], model(BATCH)[1])


@each_step
def test_every_parameter_has_a_gradient(step):
    model = model_of(step)
    model(BATCH).square().mean().backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []


@each_step
def test_words_have_places_where_there_is_recurrence_or_positions(step):
    """With neither, the order of the source changes no prediction."""
    model, moved = model_of(step), torch.tensor([3, 1, 0, 2, 4])
    one = Batch(*(side[:1] for side in BATCH.tensors))
    other = Batch(one.source[:, moved], one.source_mask, one.target, one.target_mask)
    same = torch.allclose(model(one), model(other), atol=1e-9)
    assert same == (step in ("no-recurrence", "self-attention"))


@each_step
def test_a_word_before_the_last_counts_except_without_anything_that_mixes(step):
    model, target = model_of(step), BATCH.target.clone()
    target[1, 0] = 9  # y_1 of the second sentence: y_2 may always depend on it
    other = Batch(BATCH.source, BATCH.source_mask, target, BATCH.target_mask)
    moved = ((model(other) - model(BATCH))[1].abs().amax(-1) > 1e-9).tolist()
    assert moved == [False, True, *[step != "no-recurrence"] * 4]


@torch.no_grad()
def test_scaled_dot_product_by_hand():
    model = model_of("dot-product")
    align = model.align
    assert isinstance(align, ScaledDotProduct) and "v_a" not in dict(align.named_parameters())
    s, h = torch.randn(2, 8).double(), torch.randn(2, 3, 16).double()
    source = align.prepare(h, torch.tensor([[True] * 3, [True, True, False]]))
    assert isinstance(source, Annotations)
    c, alpha = align(s, source)
    for row, seen in ((0, 3), (1, 2)):
        query = align.W_a @ s[row]
        products = [float(query @ (align.U_a @ h[row, j] + align.b_a)) / math.sqrt(8) for j in range(seen)]
        weights = [math.exp(product) / sum(map(math.exp, products)) for product in products]
        torch.testing.assert_close(alpha[row, :seen], torch.tensor(weights).double())
        torch.testing.assert_close(c[row], sum(weight * h[row, j] for j, weight in enumerate(weights)))


def by_hand(model: Between, source: list[int], before: list[int], heads: int) -> Tensor:
    """The logits after the words `before`, of the step `residuals`, one vector at a time."""
    d = model.d

    def attend(module: nn.Module, queries: list[Tensor], keys: list[Tensor]) -> list[Tensor]:
        size, found = d // heads, []
        for x in queries:
            parts = []
            for head in range(heads):
                own = slice(head * size, (head + 1) * size)
                q, matrices = module.W_Q.weight[own] @ x, (module.W_K.weight[own], module.W_V.weight[own])
                scores = torch.stack([q @ (matrices[0] @ key) / math.sqrt(size) for key in keys]).exp()
                parts.append(sum(w * (matrices[1] @ key) for w, key in zip(scores / scores.sum(), keys, strict=True)))
            found.append(module.W_O.weight @ torch.cat(parts))
        return found

    def joined(norm: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        z = x + y
        z = (z - z.mean()) / (z.var(unbiased=False) + 1e-6).sqrt()
        return z * norm.norm.weight + norm.norm.bias

    table = sinusoids(10, d)
    x = [math.sqrt(d) * model.source_embedding.E[word] + table[i] for i, word in enumerate(source)]
    h = [joined(model.source_norm, *pair) for pair in zip(x, attend(model.source_mixing, x, x), strict=True)]
    Ey = [torch.zeros(d).double(), *(model.target_embedding.E[word] for word in before)]
    y = [math.sqrt(d) * vector + table[i] for i, vector in enumerate(Ey)]
    s = joined(model.target_norm, y[-1], attend(model.target_mixing, y[-1:], y)[0])
    c = joined(model.align_norm, s, attend(model.align, [s], h)[0])
    out = model.readout
    t = out.U_o @ s + out.V_o @ Ey[-1] + out.C_o @ c + out.b_o
    return out.W_o @ torch.maximum(t[0::2], t[1::2]) + out.b_softmax


def test_the_step_with_all_parts_but_the_last_by_hand():
    model = model_of("residuals")
    logits = model(BATCH)[0]
    assert isinstance(model, Between)
    for t, before in enumerate(([], [7], [7, 3])):
        torch.testing.assert_close(logits[t], by_hand(model, [4, 2, 9, 3, EOS], before, heads=2))


@each_step
def test_attention_is_a_distribution_over_the_source(step):
    for maps, source, target in zip(PAPER.attention(model_of(step), BATCH), (5, 2, 4), (3, 6, 1), strict=True):
        assert maps["source"].shape == (target, source)
        torch.testing.assert_close(maps["source"].sum(-1), torch.ones(target).double())


def test_recipes_are_the_steps_in_order_and_differ_in_nothing_else():
    recipes = [PAPER.recipe(name) for name in PAPER.systems(SCALE)]
    assert tuple(recipe.model.step for recipe in recipes) == STEPS == tuple(CHANGES)
    assert all(set(difference(recipe, recipes[0])) == {"model.step"} for recipe in recipes[1:])


def invent_runs(folder: Path, seeds: list[int], apart: dict[str, float]) -> None:
    """Write results of all steps. apart: by how much two seeds differ, for steps where it is not 0.01."""
    for job in jobs_of(PAPER, SCALE, Path("runs"), [], [], seeds):
        step = job.recipe.model.step
        quality = 0.2 + 0.08 * STEPS.index(step) + apart.get(step, 0.01) * job.recipe.train.seed
        columns = {"all": made.column(made.statistics([quality] * 30), [4] * 30)}
        made.write(folder, job.run.name, made.result(job.recipe, columns))


def test_a_step_whose_seeds_lie_apart_widens_its_own_differences_alone(tmp_path):
    invent_runs(tmp_path, [1, 2, 3], {"positions": 0.1})
    runs, names = read_results(tmp_path), [system.rpartition("/")[2] for system in PAPER.systems(SCALE)]
    found = [from_before(runs, name, before) for before, name in pairwise(names)]
    widths = dict(zip(STEPS[1:], (one.high - one.low for one in found), strict=True))
    wide = {widths.pop("positions"), widths.pop("heads")}
    assert min(wide) > 4 * max(widths.values())


def test_the_page_from_invented_runs(tmp_path):
    invent_runs(tmp_path / "runs", [1, 2], {})
    section = PAPER.build_tables(SCALE, tmp_path / "runs", tmp_path / "page")
    assert len(read_results(tmp_path / "runs")) == len(STEPS)
    rows = [line for line in section.markdown.splitlines() if line.startswith("| ") and "| 123,400,000 |" in line]
    assert [change in row for change, row in zip(CHANGES.values(), rows, strict=True)] == [True] * len(STEPS)
    assert all("**" in row for row in rows[1:]) and "**" not in rows[0], "each step but the first has a verdict"
    assert "(95%)" in section.markdown and (tmp_path / "page" / "figures" / "ladder.png").is_file()
