"""The scales of reproduce.sh: what each trains, what it says beforehand, and what it refuses."""

import re
from pathlib import Path

import pytest
import torch

from common.recipe import difference
from papers.__main__ import main
from papers.lineage import PAPERS


@pytest.mark.skipif(torch.cuda.is_available(), reason="only without a GPU is it refused")
def test_models_for_a_gpu_are_refused_without_one(tmp_path, capsys):
    """What they take is said first, `--small` is the cure, and nothing is downloaded."""
    assert main(["europarl", "--runs", str(tmp_path / "runs")]) == 2
    said = capsys.readouterr()
    assert said.out.count("Estimated hours") == 5
    hours = [float(row.replace(",", "")) for row in re.findall(r"2 CPU cores .* ([\d.,]+) h\n", said.out)]
    # RNNsearch-50 comes first. The updates of the star, which is second, have RNNsearch-50's among them.
    assert hours[1] == pytest.approx(2 * hours[0], rel=0.01)
    assert hours[-1] == pytest.approx(sum(hours[:-1]) - hours[0], rel=0.01)
    assert "Disk" in said.out and "2 CPU cores" in said.out
    assert said.err.startswith("reproduce: europarl: no GPU is here") and said.err.count("\n") == 1
    assert "--small" in said.err and not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["europarl", "vaswani2017", "--small"], "vaswani2017 has no recipes for scale `europarl-small`"),
        (["multi30k", "--small"], "--small is for europarl and europarl-same; multi30k has one size"),
    ],
)
def test_sizes_and_papers_that_a_scale_lacks_are_refused(words, says, tmp_path, capsys):
    try:
        status = main([*words, "--runs", str(tmp_path)])
    except SystemExit as left:  # argparse's way
        status = left.code
    assert status == 2 and says in capsys.readouterr().err.splitlines()[-1]
    assert not list(tmp_path.iterdir())


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
