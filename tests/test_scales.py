"""The scales of reproduce.sh: what each trains, what it says beforehand, and what it refuses."""

import re
from pathlib import Path

import pytest
import torch

from common.errors import UserError
from common.recipe import difference
from papers.__main__ import chosen, main
from papers.lineage import PAPERS

APART = ("name", "run", "estimate")
"""Sections of a recipe that change no number of a training."""


@pytest.mark.skipif(torch.cuda.is_available(), reason="only without a GPU is it refused")
@pytest.mark.parametrize(("paper", "systems"), [("bahdanau2014", 5), ("vaswani2017", 2)])
def test_models_for_a_gpu_are_refused_without_one(paper, systems, tmp_path, capsys):
    """What they take is said first, `--small` is the cure, and nothing is downloaded."""
    assert main(["europarl", paper, "--runs", str(tmp_path / "runs")]) == 2
    said = capsys.readouterr()
    assert said.out.count("Estimated hours") == systems and f"All {systems} systems of {paper}" in said.out
    *each, together = (float(row.replace(",", "")) for row in re.findall(r"2 CPU cores .* ([\d.,]+) h\n", said.out))
    if paper == "bahdanau2014":
        # RNNsearch-50 comes first. The updates of the star, which is second, have RNNsearch-50's among them.
        assert each[1] == pytest.approx(2 * each[0], rel=0.01)
        each = each[1:]
    assert together == pytest.approx(sum(each), rel=0.01)
    assert "Disk" in said.out and "2 CPU cores" in said.out
    assert said.err.startswith("reproduce: europarl: no GPU is here") and said.err.count("\n") == 1
    assert "--small" in said.err and not (tmp_path / "runs").exists()


def test_a_size_that_a_scale_lacks_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit) as left:
        main(["multi30k", "--small", "--runs", str(tmp_path)])
    said = capsys.readouterr().err.splitlines()[-1]
    assert left.value.code == 2 and "--small is for europarl and europarl-same; multi30k has one size" in said
    assert not list(tmp_path.iterdir())


def test_a_paper_that_a_scale_lacks_is_refused():
    with pytest.raises(UserError, match="vaswani2017 has no recipes for scale `ambiguities`"):
        chosen(["vaswani2017"], "ambiguities")


def test_the_small_scale_is_the_same_five_systems():
    """Each differs from the system of its name in size, amount and machine only, as D13 says."""
    paper = PAPERS["bahdanau2014"]
    names = [paper.systems(scale) for scale in ("wmt14", "europarl", "europarl-small")]
    assert [[Path(name).name for name in scale] for scale in names] == [[Path(name).name for name in names[0]]] * 3
    sizes = {f"model.{key}" for key in ("hidden", "embedding", "alignment", "maxout")}
    amount = {f"train.{key}" for key in ("steps", "checkpoint_every", "keep_checkpoints")}
    text = {"data.parts", "data.shares", "data.in_domain"}
    small = sizes | {"optimizer.step_size", "data.first", "text.vocabulary_size"}
    for own, europarl, smaller in zip(*names, strict=True):
        recipes = [paper.recipe(name) for name in (own, europarl, smaller)]
        for recipe, allowed in ((recipes[1], amount | text), (recipes[2], amount | text | small)):
            changed = {key for key in difference(recipes[0], recipe) if not key.startswith(("run.", "estimate."))}
            assert changed - {"name"} <= allowed
        assert recipes[2].run.device == "cpu"


def test_table_2_of_2017_is_the_same_two_systems():
    """English-French, base and big. Each differs from the paper's own in text, amount, size and machine only (D9)."""
    paper = PAPERS["vaswani2017"]
    amount = {"data.parts", "train.steps", "train.checkpoint_every"}
    sizes = {f"model.{key}" for key in ("d_model", "d_ff", "h", "d_k", "d_v")}
    small = sizes | {"data.first", "text.vocabulary_size", "batch.tokens"}
    for scale, allowed in (("europarl", amount), ("europarl-small", amount | small)):
        base, big = (paper.recipe(name) for name in paper.systems(scale))
        for recipe in (base, big):
            changed = {key for key in difference(recipe, paper.recipe(recipe.system)) if key.split(".")[0] not in APART}
            assert changed == allowed
        assert (base.system, big.system) == ("base-enfr", "big-enfr")
        assert (base.data, base.text, base.batch) == (big.data, big.text, big.batch)
        for key in ("d_model", "d_ff", "h"):
            assert getattr(big.model, key) == 2 * getattr(base.model, key)
        assert big.model.d_k == big.model.d_v == base.model.d_k and big.model.N == base.model.N == 6
        assert base.data.first == PAPERS["bahdanau2014"].recipe(f"{scale}/rnnsearch-50").data.first
    assert base.run.device == big.run.device == "cpu" and base.run.threads == 1
