"""The page of both papers on the same text, from invented results of both."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.errors import UserError
from common.report.results import read_results
from common.result import ResultFile
from common.score.bleu import bleu
from papers.lineage import PAPERS, front, report, same_data
from papers.lineage.__main__ import main
from tests import made_results as made
from tests.conftest import TINY

LENGTHS = [5, 9, 14] * 20
QUALITY = {
    "bahdanau2014": {"rnnencdec-50": 0.4, "rnnsearch-50": 0.5},
    "vaswani2017": {"base": 0.8, "base-enfr": 0.9, "big-enfr": 0.85},
}


def values(
    paper: str, system: str, lengths: list[int] = LENGTHS, words: Sequence[str] = (), **changed: Any
) -> ResultFile:
    spread = [QUALITY[paper].get(system, 0.5) + 0.02 * (k % 3 - 1) for k in range(len(lengths))]
    columns = {"all": made.column(made.statistics(spread), lengths)}
    return made.result(PAPERS[paper].recipe(f"demo/{system}", words), columns, **changed)


@pytest.fixture
def runs(tmp_path) -> Path:
    """Runs of both papers, in a clone whose own folder has the name of one of them."""
    runs = tmp_path / "vaswani2017" / "clone" / "runs"
    for paper, systems in QUALITY.items():
        for system in systems:
            cost = {"flops_counted": 8_880_000_000} if paper == "bahdanau2014" else {}
            made.write(runs / "demo" / paper, system, values(paper, system, **cost))
    return runs


def build(runs: Path, out: Path):
    return same_data.build_tables(same_data.folders("demo", runs), out)


def test_a_table_has_all_systems_of_both_papers_on_one_test_set(runs, tmp_path):
    section = build(runs, tmp_path / "out")
    (table,) = [rows for rows in made.tables(section.markdown) if "sacreBLEU" in rows[0]]
    assert "## EN-FR on made (generated text)" in section.markdown, "only one paper has EN-DE"
    assert [(row["paper"], row["the run behind it"].split("`")[1]) for row in table] == [
        ("bahdanau2014", "demo/rnnencdec-50"),
        ("bahdanau2014", "demo/rnnsearch-50"),
        ("vaswani2017", "demo/base-enfr"),
        ("vaswani2017", "demo/big-enfr"),
    ]
    scored = values("bahdanau2014", "rnnsearch-50").sets["made"].columns["all"]
    row = table[1]
    assert row["BLEU by the paper's metric (95%)"].startswith(f"{scored.bleu:.2f} (")
    assert row["sacreBLEU"] == f"{scored.sacrebleu:.2f}" and row["parameters"] == "123,400,000"
    assert (row["FLOPs: counted"], row["hours"]) == ("8.9e9", "2")
    assert (tmp_path / "out" / "tables.md").read_text(encoding="utf-8") == section.markdown + "\n"


def test_of_several_seeds_the_scores_are_means(runs, tmp_path):
    """The row on the front page has the same mean and says how many seeds it is of."""
    folder = runs / "demo" / "vaswani2017"
    counts = [made.statistics([quality] * len(LENGTHS)) for quality in (0.9, 0.6, 0.7)]
    for seed, one in enumerate(counts, 1):
        columns = {"all": made.column(one, LENGTHS)}
        recipe = PAPERS["vaswani2017"].recipe("demo/base-enfr", [f"train.seed={seed}"])
        made.write(folder, "base-enfr" if seed == 1 else f"base-enfr-seed{seed}", made.result(recipe, columns))
    (table,) = [rows for rows in made.tables(build(runs, tmp_path / "out").markdown) if "sacreBLEU" in rows[0]]
    mean = np.mean([bleu(one) for one in counts])
    assert table[2]["BLEU by the paper's metric (95%)"].startswith(f"{mean:.2f} (")
    assert table[2]["sacreBLEU"] == f"{mean + 0.0625:.2f}" and "3 seeds" in table[2]["the run behind it"]
    results = read_results(folder)
    row = dict(zip(front.HEADER, front.row("vaswani2017", results, results["base-enfr"]), strict=True))
    assert row["BLEU here (95%)"] == table[2]["BLEU by the paper's metric (95%)"]
    assert row["trained here"].startswith("3 seeds, ")


def test_the_transformer_beats_the_recurrent_model_if_it_is_better_for_less(runs, tmp_path):
    (outcome,) = build(runs, tmp_path / "out").claims
    assert outcome.verdict == "holds" and outcome.difference.low > 0 and "7.8e9 against 8.9e9 FLOPs" in outcome.evidence
    assert outcome.claim.systems == ("vaswani2017/base-enfr", "bahdanau2014/rnnsearch-50")
    (record,) = json.loads((tmp_path / "out" / "claims.json").read_text(encoding="utf-8"))
    assert record["id"] == "beats-recurrent-en-fr" and record["verdict"] == "holds"


def test_better_at_more_cost_fails(runs, tmp_path):
    dear = values("vaswani2017", "base-enfr", flops_counted=9_990_000_000)
    made.write(runs / "demo" / "vaswani2017", "base-enfr", dear)
    (outcome,) = build(runs, tmp_path / "out").claims
    assert outcome.verdict == "fails" and outcome.difference.low > 0


def test_other_sentences_under_the_same_name_are_not_the_same_text(runs, tmp_path):
    for system in ("base-enfr", "big-enfr"):
        other = values("vaswani2017", system, lengths=[5, 9, 15] * 20)
        made.write(runs / "demo" / "vaswani2017", system, other)
    section = build(runs, tmp_path / "out")
    assert "sacreBLEU |" not in section.markdown and [outcome.verdict for outcome in section.claims] == ["not run"]


def test_the_same_sentences_in_other_tokens_are_the_same_text(runs, tmp_path):
    """The two papers' tokenisers cut some sentences into different numbers of words. The untokenised text decides."""
    data = made.result(PAPERS["vaswani2017"].recipe("demo/base"), {"all": made.column(made.statistics([1]), [1])}).data
    for paper, system, last in (("bahdanau2014", "rnnsearch-50", 14), ("vaswani2017", "base-enfr", 15)):
        for name, sha256 in (("same", "a"), ("other", f"b{last}")):
            told = {**data, "outputs": {"made.source": {"sha256": sha256}, "made.source.tok": {"sha256": f"c{last}"}}}
            file = values(paper, system, lengths=[5, 9, last] * 20, data=told)
            made.write(tmp_path / name / paper, system, file)
    same, other = (
        same_data.read_runs({paper: tmp_path / name / paper for paper in PAPERS}) for name in ("same", "other")
    )
    assert [set(group) for group in same_data.shared_sets(same)] == [set(same)] and same_data.shared_sets(other) == []


def test_without_results_of_one_paper_there_is_no_page(runs, tmp_path, command):
    with pytest.raises(UserError, match="no results of bahdanau2014"):
        same_data.build_tables({**same_data.folders("demo", runs), "bahdanau2014": tmp_path}, tmp_path / "out")
    done = command("papers.lineage", "tables", "--scale", "wmt14", "--runs", runs, check=2)
    assert "no results of" in done.stderr and done.stderr.count("\n") == 1
    assert not (runs / "wmt14").exists()


def test_one_paper_alone_reports_the_page_too_once_the_other_has_run(runs, tmp_path):
    own = PAPERS["vaswani2017"]
    titles = [chapter.section.title for chapter in report.build([own], "demo", runs)]
    assert titles == [own.title, same_data.TITLE]
    (runs / "demo" / "bahdanau2014").rename(tmp_path / "elsewhere")
    titles = [chapter.section.title for chapter in report.build([own], "demo", runs)]
    assert titles == [own.title]


def test_the_readme_is_of_committed_results_and_has_a_block(tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["readme", "--runs", str(tmp_path)])
    assert ended.value.code == 2 and "readme takes no --scale and no --runs" in capsys.readouterr().err
    (tmp_path / "README.md").write_text("No block.\n")
    with pytest.raises(UserError, match="README.md: has no lines `<!-- results: "):
        front.write(tmp_path / "README.md", "| a table |")


def test_the_page_is_rebuilt_from_runs_by_its_command(runs, command):
    printed = command("papers.lineage", "tables", "--runs", runs).stdout
    assert printed == (runs / "demo" / "lineage" / "tables.md").read_text(encoding="utf-8")


def test_the_suite_reports_the_page(tmp_path, command):
    """Every system has already run, so nothing is trained."""
    words = [*TINY, "evaluate.average=1"]
    for name, paper in PAPERS.items():
        for recipe in (paper.recipe(recipe, words) for recipe in paper.systems("demo")):
            made.write(tmp_path / "demo" / name, recipe.system, values(name, recipe.system, words=words))
            made.write_training(tmp_path / "demo" / name / recipe.system, recipe)
    printed = command("papers", "demo", "all", "--runs", tmp_path, *words).stdout
    assert not list(tmp_path.glob("demo/*/*/checkpoints"))
    assert "claims  lineage: " in printed and len(printed.splitlines()) <= 24
    page = Path(re.search(r"(?m)^report  (\S+)$", printed)[1]).read_text(encoding="utf-8")
    assert f"<h2>{same_data.TITLE}</h2>" in page and "The Transformer beats the recurrent RNNsearch-50" in page
    assert (tmp_path / "demo" / "lineage" / "claims.json").is_file()
