"""The verb `seeds`: which trainings it makes, in which order, and what it refuses."""

from __future__ import annotations

import pytest

from common.errors import UserError
from common.run.cli import main
from common.run.seeds import jobs_of
from papers.vaswani2017.paper import PAPER


def test_systems_and_seeds_are_chosen(tmp_path):
    """All systems have the first seed before any has the second, and each its own folder."""
    jobs = jobs_of(PAPER, "multi30k", tmp_path, ["base", "base-enfr"], ["train.steps=9400"], [2, 3])
    assert [job.run.relative_to(tmp_path).as_posix() for job in jobs] == [
        f"multi30k/vaswani2017/{system}-seed{seed}" for seed in (2, 3) for system in ("base", "base-enfr")
    ]
    assert [job.recipe.train.seed for job in jobs] == [2, 2, 3, 3]
    assert {job.recipe.train.steps for job in jobs} == {9400}
    assert jobs[0].label == "base-seed2" and "train.seed=2" in jobs[0].command(tmp_path)


def test_without_names_all_systems_of_the_scale_are_trained(tmp_path):
    jobs = jobs_of(PAPER, "multi30k", tmp_path, [], [], [1])
    assert [job.recipe.name for job in jobs] == PAPER.systems("multi30k")


def test_an_unknown_system_and_a_seed_of_ones_own_are_refused(tmp_path):
    with pytest.raises(UserError, match="multi30k has no system bas; it has base, base-enfr"):
        jobs_of(PAPER, "multi30k", tmp_path, ["bas"], [], [1])
    with pytest.raises(UserError, match="seed=4: every training is made with the seeds 1, 2; leave it out"):
        jobs_of(PAPER, "multi30k", tmp_path, [], ["seed=4"], [1, 2])


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--scale", "multi30k", "--seeds", "1,1"], "1,1 is no list of different numbers such as 1,2,3"),
        (["--scale", "multi30k", "--seeds", "one"], "one is no list of different numbers"),
        (["--scale", "nowhere"], "invalid choice: 'nowhere'"),
        (["base"], "the following arguments are required: --scale"),
        (["--scale", "multi30k", "base", "--colour"], "unrecognized arguments: --colour"),
        (["--scale", "multi30k", "train.steps=5", "bas", "--slots", "1"], "multi30k has no system bas"),
    ],
)
def test_what_the_command_line_refuses(words, says, tmp_path, capsys):
    try:
        status = main(PAPER, ["seeds", *words, "--runs", str(tmp_path)])
    except SystemExit as left:  # argparse's way
        status = left.code
    assert status == 2 and says in capsys.readouterr().err.splitlines()[-1]
    assert not list(tmp_path.iterdir())
