"""The page of every committed score: its commands train what the results say, and its tolerance is of the seeds."""

from __future__ import annotations

import re
import shlex

import numpy as np
import pytest

from common.recipe import unlike
from common.report.results import read_results
from common.result import ScoredSet
from common.score.parses import score_parses
from papers.lineage import PAPERS, cells
from tests import made_results as made
from tests.common.score.test_parses import BRACKETS, SENTENCES

COMMAND = re.compile(r"^python -m papers\.(\w+) train (.*?)(  # then .*)?$", re.MULTILINE)


def test_is_of_the_committed_results():
    assert cells.PAGE.read_text(encoding="utf-8") == cells.page(), "run: python -m papers.lineage readme"


def test_each_command_trains_what_its_row_shows():
    """Command by command: seed and fields are the result's, or the line says which differ. What a training continues
    comes before it.
    """
    commands = COMMAND.findall(cells.page())
    runs = {
        (name, run.name, run.seed): run
        for name, paper in PAPERS.items()
        for folder in sorted((paper.root / "results").glob("*/"))
        for result in read_results(folder).values()
        for run in result.trainings
    }
    assert len(commands) == len(runs) > 20
    trained = set()
    for paper, words, then in commands:
        name, *overrides = shlex.split(words)
        recipe = PAPERS[paper].recipe(name, [word for word in overrides if "$" not in word])
        run = runs.pop((paper, recipe.name, recipe.train.seed))
        other = {*unlike(run.recipe, recipe.to_dict())}
        corpus = {"data.corpus"} if any(word.startswith("data.corpus=$PAPERS_MIRROR/") for word in overrides) else set()
        assert other - corpus == set(re.findall(r"([\w.]+)=", then))
        assert not recipe.train.continues or (paper, f"{recipe.scale}/{recipe.train.continues}") in trained
        trained.add((paper, recipe.name))


def test_a_parser_is_shown_by_its_brackets(tmp_path):
    """Those of all its test sets. Its BLEU compares lines of symbols, which says nothing of trees."""
    columns = {"all": made.column(made.statistics([0.5, 0.5]), [4, 2])}
    right, wrong = (
        ScoredSet(columns=columns, longest=(made.LONG,), parses=score_parses(SENTENCES, BRACKETS, outputs, [], ""))
        for outputs in (BRACKETS, ["S DT NN VBZ . /S", "S PRP VBZ /S"])
    )
    recipe = PAPERS["vaswani2017"].recipe("parsing/craft")
    for name, second, f1 in (("one", right, "F1 100.00 (100.00 to 100.00)"), ("two", wrong, "F1 80.00 (")):
        sets = dict(zip(recipe.evaluate.sets[:2], (right, second), strict=True))
        made.write(tmp_path / name, "craft", made.result(recipe, sets))
        (result,) = read_results(tmp_path / name).values()
        shown = dict(zip(cells.HEADER, cells.row(result, None), strict=True))
        assert shown["BLEU (95%)"].startswith(f1) and shown["test set"] == "all 2"


@pytest.mark.parametrize("seeds", [(1,), (1, 2, 3)])
def test_the_tolerance_is_student_s_interval_of_one_more_training(tmp_path, seeds):
    """Of a difference of two single trainings, whose variance is twice that of one."""
    lengths = [5, 7, 9, 11] * 20
    paper, found = PAPERS["bahdanau2014"], []
    for seed in seeds:
        counts = made.statistics([0.5 + 0.01 * seed] * len(lengths))
        recipe = paper.recipe("demo/rnnsearch-50", [f"train.seed={seed}"])
        made.write(tmp_path, f"rnnsearch-50-seed{seed}", made.result(recipe, {"all": made.column(counts, lengths)}))
    (result,) = read_results(tmp_path).values()
    spread = cells.spread_of(result, [result])
    tolerance = cells.row(result, spread)[cells.HEADER.index("another seed")]
    found = [run.all.bleu for run in result.trainings]
    if len(seeds) == 1:
        assert tolerance == ""
    else:
        quantile = 4.303  # of Student's t with 2 degrees of freedom, two-sided 95%
        assert float(tolerance[1:]) == pytest.approx(quantile * np.sqrt(2) * np.std(found, ddof=1), rel=0.03)
