"""Results read back, claims decided, sections written."""

from __future__ import annotations

import html
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from common.errors import UserError
from common.markdown import table
from common.report import claims
from common.report.claims import Claim, Outcome
from common.report.page import Figure, Section, write_section
from common.report.results import Result, export, read_results
from common.report.tables import (
    changes,
    closing_parts,
    other_text_notes,
    plain,
    provenance,
    text_label,
    text_of,
    time_notes,
    versus,
)
from common.result import Example, Start
from common.score.bleu import bleu
from common.score.significance import paired_bootstrap
from papers.bahdanau2014.paper import PAPER
from tests import made_results as made

RECIPE = PAPER.recipe("rnnsearch-50")
LENGTHS = [5, 6, 7, 8, 15, 16, 17, 18] * 8


def result(system: str, qualities, **changed) -> Result:
    columns = {"all": made.column(made.statistics(qualities), LENGTHS)}
    return Result(system, Path(), made.result(RECIPE, columns, **changed))


def by_length(short: float, long: float) -> list[float]:
    """A little spread around one quality for short and another for long sentences."""
    return [(short if length < 10 else long) + 0.04 * (index % 3 - 1) for index, length in enumerate(LENGTHS)]


def test_missing_folder_has_no_results(tmp_path):
    assert read_results(tmp_path / "nowhere") == {}


def test_results_are_unpacked(tmp_path):
    counts = made.statistics([0.5, 0.75, 1.0])
    made.write(tmp_path, "one", made.result(RECIPE, {"all": made.column(counts, [4, 9, 2])}, step=1200))
    (one,) = read_results(tmp_path).values()
    assert np.array_equal(one.all.counts, counts) and one.all.lengths.tolist() == [4, 9, 2]
    assert one.updates == "1,200 of 288,000 updates" and not one.complete
    assert one.epochs == 4.5 and one.pair == "EN-FR" and one.test_set == "made"
    assert one.flops_by_time == 7200.0 * 1e6
    assert one.column("no_unk") is None


def of(
    name: str, *overrides: str, pairs: int = 1000, test_set: str = "newstest2014", generated: bool = False
) -> Result:
    """Make a result of a recipe of Bahdanau et al. on a corpus `Half of it`."""
    sets = {test_set: made.scored({"all": made.column(made.statistics([0.5] * 64), LENGTHS)})}
    data = {"title": "Half of it", "train_used": {"pairs": pairs}}
    return Result(name, Path(), made.result(PAPER.recipe(name, overrides), sets, data=data, generated=generated))


REAL = "data.corpus=/elsewhere/wmt14-real.yaml"


@pytest.mark.parametrize("corpus", [(), (REAL,)])
def test_the_note_follows_text_and_sizes_and_no_name_of_a_corpus(corpus):
    """The official archive is other text too, if less of it is read; the paper's sizes are its sizes on any text."""
    small = {"a": of("europarl-small/rnnsearch-50", *corpus, pairs=170_839)}
    (note,) = other_text_notes(PAPER, small | {"b": of("europarl-small/rnnsearch-30", *corpus, pairs=110_466)})
    assert "other text, 110,466 to 170,839 pairs; the models are of other sizes. " in note
    assert "test sentences" not in note
    (note,) = other_text_notes(PAPER, {"a": of("europarl/rnnsearch-50", *corpus, pairs=837_000)})
    assert "trained on other text, 837,000 pairs. " in note and "sizes" not in note and "sentences" not in note
    assert other_text_notes(PAPER, {"a": of("rnnsearch-50", *corpus)}) == []
    label = "trained on europarl-v7: 170,839 pairs; tested on newstest2014; both from Half of it"
    assert text_of(small) == label and text_label(small) == f" ({label})"


def started(name: str, *rates: float, hardware: str = "a machine", last_threads: int = 1) -> Result:
    """Make a result whose training started at these GFLOP/s, on one thread and at last on `last_threads`."""
    result = of(name)
    environment = replace(made.MACHINE, hardware=hardware, threads=1)
    starts = tuple(
        Start(step=100 * k, time="", changed={}, data_sha256="", environment=environment, commit=None, dirty=False,
              matmul_flops_per_second=1e9 * rate) for k, rate in enumerate(rates)
    )  # fmt: skip
    starts = (*starts[:-1], replace(starts[-1], environment=replace(environment, threads=last_threads)))
    return replace(result, file=replace(result.file, training=replace(result.file.training, starts=starts)))


def test_time_times_rate_needs_one_rate_and_one_number_of_threads():
    name = "europarl-small/rnnsearch-50"
    assert started(name, 100, 100).flops_by_time == started(name, 100, 120).flops_by_time == 7200.0 * 1e6
    assert of(name).flops_by_time == 7200.0 * 1e6
    assert started(name, 100, 100, last_threads=2).flops_by_time is None
    assert started(name, 100, 200).flops_by_time is None, "the machine had become faster when it was resumed"


def test_provenance_names_the_threads_of_all_starts():
    name = "europarl-small/rnnsearch-50"
    assert ", 1 thread, " in started(name, 100, 100).provenance
    assert ", 1, then 2 threads, " in started(name, 100, 100, last_threads=2).provenance
    assert ", 2 threads, " in started(name, 100, last_threads=2).provenance


def test_times_do_not_compare_where_the_machine_was_not_equally_fast():
    name = "europarl-small/rnnsearch-50"
    assert time_notes({"a": of(name)}) == time_notes({"a": started(name, 100), "b": started(name, 120, 110)}) == []
    assert time_notes({"a": started(name, 100), "b": started(name, 300, hardware="another")}) == []
    (note,) = time_notes({"a": started(name, 100), "b": started(name, 130)})
    assert "(a machine) multiplied float32 matrices at 100 to 130 GFLOP/s" in note and "within one" not in note
    (note,) = time_notes({"a": started(name, 36, 226), "b": started("europarl-small/rnnencdec-50", 200)})
    assert note.endswith("; within one training: RNNsearch-50 (36, 226).")


def test_the_note_says_so_of_other_test_sentences():
    (note,) = other_text_notes(PAPER, {"a": of("multi30k/rnnsearch-50", test_set="test_2016_flickr", pairs=28_294)})
    assert "the test sentences are others; the models were trained on other text, 28,294 pairs; " in note
    assert text_of({"a": of("multi30k/rnnsearch-50")}) == "Half of it"


def test_changed_parts_are_listed_for_finished_and_unfinished_alike():
    """A corpus given as a file is shown by its title. Its parts have the paper's names."""
    done = {"rnnsearch-50": of("europarl-small/rnnsearch-50", REAL)}
    rows = {row["recipe field"]: row for row in made.tables(closing_parts(PAPER, "europarl-small", done)[-1])[0]}
    assert (rows["`data.corpus`"]["here"], rows["`data.corpus`"]["systems"]) == ("Half of it", "rnnsearch-50")
    assert {rows[f"`data.{key}`"]["systems"] for key in ("parts", "shares", "in_domain")} == {"all"}
    assert "/elsewhere" not in closing_parts(PAPER, "europarl-small", done)[-1]
    foreign = closing_parts(PAPER, "multi30k", {})[-1]
    assert "`data.corpus`" in foreign and "`data.parts`" not in foreign


def test_systems_of_a_change_are_named_by_those_without_it_where_these_are_few():
    values = {"a": (1, 1, 1), "b": (1, 1, 1), "c": (1, 1, 0), "d": (1, 0, 0)}
    recipes = {name: (dict(zip("xyz", ours, strict=True)), {"x": 0, "y": 0, "z": 0}) for name, ours in values.items()}
    (rows,) = made.tables(changes(recipes))
    assert [row["systems"] for row in rows] == ["all", "all but d", "a, b"]


def test_trainings_against_other_references_are_named():
    """The eleventh word of the first sentence's reference is missing."""
    a, b = (replace(result(name, [0.5] * 64), path=Path(f"{name}-seed7.json")) for name in "ab")
    column = replace(b.all, statistics=(b.all.statistics[0].rsplit(" ", 1)[0] + " 10", *b.all.statistics[1:]))
    other = replace(b, file=replace(b.file, sets={"made": made.scored({"all": column})}))
    with pytest.raises(UserError, match="^b-seed7 and a-seed7 were scored against different references; score both"):
        claims.compare({"a": a, "b": other}, "a", "b")


OLD = "multi-bleu|nrefs:1|case:{}|tok:moses-escaped|split:no|quotes:no|smooth:none|version:sacrebleu-2.6.0"


def signed(name: str, signature: str, target: str = "fr", **text) -> Result:
    """Make a result whose columns have that signature, of RECIPE with another target or other fields of `text`."""
    recipe = replace(RECIPE, data=replace(RECIPE.data, target=target), text=replace(RECIPE.text, **text))
    column = made.column(made.statistics([0.5] * 64), LENGTHS)
    signatures = {"all": signature, "no_unk": signature.replace("|case", "|subset:no-unk|case")}
    columns = {key: replace(column, signature=written) for key, written in signatures.items()}
    return Result(name, Path(), made.result(recipe, columns))


def test_old_signatures_are_told_language_year_and_casing_by_the_recipe():
    french = signed("a", OLD.format("mixed")).all
    assert french.signature == OLD.format("mixed").replace("moses-", "moses-2014-fr-")
    german = signed("b", OLD.format("lc-ascii"), target="de", lowercase=True, tokeniser="moses-2016").all
    assert german.signature == OLD.format("lc-before-tok").replace("moses-", "moses-2016-de-")
    now = OLD.format("mixed").replace("moses-", "moses-2016-de-")
    assert signed("c", now).all.signature == now, "a signature that says it is left as it is"


def test_every_score_of_a_table_has_its_signature_under_it():
    now = OLD.format("mixed").replace("moses-", "moses-2014-fr-")
    printed = provenance({"a": signed("a", now)})
    assert f"`{now}`" in printed and f"`{now.replace('|case', '|subset:no-unk|case')}`" in printed


def test_a_claim_says_where_two_scores_differ_by_themselves():
    runs = {"a": signed("a", OLD.format("mixed")), "b": signed("b", OLD.format("mixed"), tokeniser="moses-2016")}
    (outcome,) = claims.evaluate([Claim("x", "x", "x", ("a", "b"), claims.better("a", "b"))], runs)
    assert outcome.evidence.endswith("BLEU; scored differently: tok:moses-2014-fr-escaped, tok:moses-2016-fr-escaped")
    runs["b"] = signed("b", OLD.format("mixed").replace("2.6.0", "2.7.0"))
    (outcome,) = claims.evaluate([Claim("x", "x", "x", ("a", "b"), claims.better("a", "b"))], runs)
    assert outcome.evidence.endswith("BLEU")


@pytest.mark.parametrize("content", ["{", "[]", '{"recipe": "x"}', "\xff"])
def test_damaged_result_is_named(tmp_path, content):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "result.json").write_text(content, encoding="latin-1")
    with pytest.raises(UserError, match="run/result.json"):
        read_results(tmp_path)


def test_exported_results_read_the_same(tmp_path):
    maps = (Example(line="A", source=("a",), target=("b",), attention={"source": [[1.0]]}),)
    first = made.result(RECIPE, {"all": made.column(made.statistics([0.5]), [3])})
    made.write(tmp_path / "runs", "one", first, maps)
    written = export(tmp_path / "runs", tmp_path / "kept")
    assert [path.name for path in written] == ["one.json", "one.attention.json"]
    (tmp_path / "kept" / "claims.json").write_text("[]")
    before, after = (read_results(tmp_path / folder)["one"] for folder in ("runs", "kept"))
    assert after.file == before.file and after.attention == before.attention == maps
    (tmp_path / "runs" / "one" / "attention.json").unlink()
    assert [path.name for path in export(tmp_path / "runs", tmp_path / "kept")] == ["one.json"]
    assert read_results(tmp_path / "kept")["one"].attention == (), "the maps of an earlier export are gone"
    made.write(tmp_path / "kept", "one", replace(first, title="newer"))
    assert read_results(tmp_path / "kept")["one"].title == "newer", "a run folder comes before the committed file"


def seeded(folder: Path, name: str, seed: int, quality: float = 0.5, recipe: str = "rnnsearch-50") -> None:
    columns = {"all": made.column(made.statistics([quality, quality + 0.1] * 32), LENGTHS)}
    made.write(folder, name, made.result(PAPER.recipe(recipe, [f"train.seed={seed}"]), columns))


def test_trainings_with_several_seeds_are_one_system(tmp_path):
    """The smallest seed stands for it. One may go by the system's name, and precedes one that names its seed."""
    for name, seed in (("a-seed3", 3), ("a-seed2", 2), ("b-seed10", 10), ("b", 2), ("b-seed2", 2), ("c-seeds", 1)):
        seeded(tmp_path / "runs", name, seed)
    found = read_results(tmp_path / "runs")
    assert {name: [run.seed for run in result.trainings] for name, result in found.items()} == {
        "a": [2, 3], "b": [2, 10], "c-seeds": [1],
    }  # fmt: skip
    assert [run.label for run in found["b"].trainings] == ["b", "b-seed10"]
    assert all(run.system == name for name, result in found.items() for run in result.trainings)
    assert all(line in provenance(found) for line in ("seed 3, commit", "seed 10, commit"))
    written = export(tmp_path / "runs", tmp_path / "kept")
    assert {path.name for path in written} == {f"{name.name}.json" for name in (tmp_path / "runs").iterdir()}
    again = read_results(tmp_path / "kept")
    assert [run.label for run in again["a"].trainings] == ["a-seed2", "a-seed3"]
    assert again["a"].beside("attention") == tmp_path / "kept" / "a-seed2.attention.json"


def test_seeds_of_two_recipes_are_refused(tmp_path):
    seeded(tmp_path, "a-seed1", 1)
    seeded(tmp_path, "a-seed2", 2, recipe="rnnsearch-30")
    with pytest.raises(
        UserError, match=r"a-seed1/result.json: of recipe wmt14/rnnsearch-50, and .* rename one of them"
    ):
        read_results(tmp_path)


def test_seeds_may_differ_in_estimates_and_in_nothing_that_sets_a_number(tmp_path):
    columns = {"all": made.column(made.statistics([0.5] * 64), LENGTHS)}
    for name, changed in (("a-seed1", []), ("a-seed2", ["estimate.source_tokens=9"])):
        recipe = PAPER.recipe("rnnsearch-50", [f"train.seed={name[-1]}", *changed])
        made.write(tmp_path, name, made.result(recipe, columns))
    assert [run.seed for run in read_results(tmp_path)["a"].trainings] == [1, 2]
    recipe = PAPER.recipe("rnnsearch-50", ["train.seed=2", "batch.sentences=9"])
    made.write(tmp_path, "a-seed2", made.result(recipe, columns))
    with pytest.raises(UserError, match=r"batch\.sentences is"):
        read_results(tmp_path)


def test_a_comparison_is_of_means_once_a_system_has_two_seeds(tmp_path):
    for seed in (1, 2, 3):
        seeded(tmp_path, f"a-seed{seed}", seed, 0.50 + 0.01 * seed)
    seeded(tmp_path, "b", 1, 0.4)
    runs = read_results(tmp_path)
    scores = [run.all.bleu for run in runs["a"].trainings]
    difference = claims.compare(runs, "a", "b")
    assert difference.value == pytest.approx(np.mean(scores) - runs["b"].all.bleu)
    # The spread of a alone, of two degrees, in a mean of three and a single training: 4.303 x sd x sqrt(1/3 + 1).
    half = 4.303 * np.std(scores, ddof=1) * (4 / 3) ** 0.5
    assert (difference.high - difference.low) / 2 > half
    alone = {name: replace(result, others=()) for name, result in runs.items()}
    assert claims.compare(alone, "a", "b") == paired_bootstrap(runs["a"].all.counts, runs["b"].all.counts)
    assert claims.compare_means(alone, "a", "b", lambda run: run.all.bleu) is None
    likelihood = claims.compare_means(runs, "a", "b", lambda run: run.all.bleu)
    assert (likelihood.high - likelihood.low) / 2 == pytest.approx(half, rel=0.03)


def test_seeds_of_another_text_say_nothing(tmp_path):
    """The spread is pooled over systems of the same languages, test set and corpus."""
    for seed in (1, 2):
        seeded(tmp_path, f"a-seed{seed}", seed, 0.50 + 0.01 * seed)
    seeded(tmp_path, "b", 1)
    runs = read_results(tmp_path)
    other = replace(runs["a"], file=replace(runs["a"].file, data={"title": "other", "train_used": {"pairs": 1}}))
    assert claims.spread_of(runs, "b", lambda run: run.all.bleu).degrees == 1
    assert claims.spread_of({**runs, "a": other}, "b", lambda run: run.all.bleu) is None


def test_systems_that_train_for_longer_or_shorter_have_each_their_own_spread(tmp_path):
    """Welch's: squared errors of the means 2/3 and 200/3, so 202/3 of nearly 2 degrees, whichever comes first."""
    for seed in (1, 2, 3):
        seeded(tmp_path, f"a-seed{seed}", seed)
        seeded(tmp_path, f"b-seed{seed}", seed)
    runs = read_results(tmp_path)
    recipe = runs["b"].recipe | {"train": runs["b"].recipe["train"] | {"steps": 7}}
    runs = {"a": runs["a"], "b": replace(runs["b"], file=replace(runs["b"].file, resolved_recipe=recipe))}

    def measure(run: Result) -> float:
        return run.seed * (2**0.5 if run.label.startswith("a") else 200**0.5)

    spread, back = (claims.spread_between(runs, *pair, measure) for pair in (("a", "b"), ("b", "a")))
    assert spread.deviation**2 * (2 / 3) == pytest.approx(202 / 3)
    assert spread.degrees == pytest.approx(202**2 / (2**2 / 2 + 200**2 / 2))
    assert (back.deviation, back.degrees) == (pytest.approx(spread.deviation), pytest.approx(spread.degrees))
    alone = {**runs, "b": replace(runs["b"], others=())}
    assert claims.spread_between(alone, "b", "a", measure) == claims.spread_of(alone, "a", measure)


def test_a_claim_names_each_unfinished_seed(tmp_path):
    for seed in (1, 2):
        seeded(tmp_path, f"a-seed{seed}", seed)
    columns = {"all": made.column(made.statistics([0.3, 0.4] * 32), LENGTHS)}
    made.write(tmp_path, "b-seed1", made.result(PAPER.recipe("rnnsearch-50"), columns))
    made.write(tmp_path, "b-seed2", made.result(PAPER.recipe("rnnsearch-50", ["train.seed=2"]), columns, step=7))
    (outcome,) = claims.evaluate([Claim("x", "x", "x", ("a", "b"), claims.better("a", "b"))], read_results(tmp_path))
    assert "unfinished: b-seed2 at 7 of 288,000 updates" in outcome.evidence


def test_better_needs_an_interval_beyond_zero():
    high, low = result("high", [0.9, 0.8] * 32), result("low", [0.5, 0.6] * 32)
    runs = {"high": high, "low": low, "same": result("same", [0.5, 0.6] * 32)}

    def verdict(a: str, b: str) -> Outcome:
        return claims.evaluate([Claim("x", "x", "x", (a, b), claims.better(a, b))], runs)[0]

    assert verdict("high", "low").verdict == "holds" and verdict("low", "high").verdict == "fails"
    assert verdict("same", "low").verdict == "undecided"
    assert (verdict("high", "absent").verdict, verdict("high", "absent").evidence) == ("not run", "needs absent")
    assert verdict("high", "low").difference.value == pytest.approx(bleu(high.all.counts) - bleu(low.all.counts))


def test_claims_on_other_references_or_unfinished_runs_say_so():
    other = made.column(made.statistics([0.5] * 64, words=12), LENGTHS)
    runs = {"a": result("a", [0.9] * 64), "b": Result("b", Path(), made.result(RECIPE, {"all": other}))}
    (outcome,) = claims.evaluate([Claim("x", "x", "x", ("a", "b"), claims.better("a", "b"))], runs)
    assert outcome.verdict == "undecided" and "not comparable" in outcome.evidence
    runs = {"a": result("a", [0.9, 0.8] * 32, step=77), "b": result("b", [0.5, 0.6] * 32)}
    (outcome,) = claims.evaluate([Claim("x", "x", "x", ("a", "b"), claims.better("a", "b"))], runs)
    assert outcome.verdict == "holds" and "unfinished: a at 77 of 288,000 updates" in outcome.evidence


def test_bounds_and_margins():
    inside, above, across = (
        claims.Difference(0, low, high, 0.5) for low, high in ((-0.5, 0.5), (1.5, 2.5), (0.5, 1.5))
    )
    assert [claims.beyond(d, 1.0) for d in (inside, above, across)] == ["fails", "holds", "undecided"]
    assert [claims.within(d, 1.0) for d in (inside, above, across)] == ["holds", "fails", "undecided"]
    assert claims.all_of("holds", "undecided", "fails") == "fails" and claims.all_of("holds", "holds") == "holds"


@pytest.mark.parametrize(("long", "sign"), [(0.88, 1), (0.5, -1)])
def test_change_beyond_share_compares_two_falls(long, sign):
    """A system that hardly falls stays well below a third of another's fall. One that falls as much does not."""
    ours, theirs = result("ours", by_length(0.9, long)), result("theirs", by_length(0.8, 0.4))
    difference = claims.change_beyond_share(*claims.halves(ours, theirs), 1 / 3)
    halves = [
        bleu(one.all.counts[one.all.lengths > 11]) - bleu(one.all.counts[one.all.lengths < 11])
        for one in (ours, theirs)
    ]
    assert difference.value == pytest.approx(halves[0] - halves[1] / 3)
    assert difference.low <= difference.value <= difference.high
    assert min(difference.low * sign, difference.high * sign) > 0


def rendered(markdown: str) -> str:
    return MarkdownIt("commonmark", {"html": False}).enable("table").render(markdown)


words = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=8)


@given(st.lists(words, min_size=1, max_size=6).map(" ".join))
def test_free_text_survives_markdown(text):
    page = rendered(table(["text"], [[plain(text)]]))
    assert html.unescape(re.search("<td>(.*)</td>", page, re.DOTALL)[1]).split() == text.split()


def test_tables_line_up_and_keep_their_cells():
    text = table(["name", "value"], [["a|b", "1"], ["c", "22.50"]], right=(1,))
    assert len({len(line) for line in text.split("\n")}) == 1
    assert re.findall("<td.*?>(.*?)</td>", rendered(text)) == ["a|b", "1", "c", "22.50"]


def test_versus_is_empty_without_both():
    assert versus(None, 3.0) == versus(3.0, None) == "" and versus(3.0, 1.5) == "+1.50"


def test_changes_are_merged_over_systems():
    paper = {"name": "a", "model": {"n": 1000}, "train": {"steps": 10}, "run": {"threads": 1}}
    small = {"name": "demo/a", "model": {"n": 64}, "train": {"steps": 10}, "run": {"threads": 2}}
    longer = {"name": "demo/b", "model": {"n": 64}, "train": {"steps": 2000}, "run": {"threads": 2}}
    rows = made.cells(changes({"a": (small, paper), "b": (longer, paper)}), "|")
    assert [list(row.values()) for row in rows] == [
        ["`model.n`", "1,000", "64", "all"],
        ["`train.steps`", "10", "2,000", "b"],
    ]
    assert "own" in changes({"a": (paper, paper)})


def test_which_program_ran_is_no_change():
    """`run.path` changes the speed only. Results from before this field do not have it."""
    paper = {"run": {"device": "auto", "path": "fast"}}
    assert "own" in changes(
        {"a": ({"run": {"device": "auto", "path": "readable"}}, paper), "b": ({"run": {"device": "cpu"}}, paper)}
    )


def test_what_is_taken_of_one_corpus_says_nothing_of_another():
    paper = {"data": {"corpus": "wmt14", "target": "fr", "parts": ["a", "b"]}}
    other = {"data": {"corpus": "demo", "target": "de", "parts": []}}
    less = {"data": {"corpus": "wmt14", "target": "fr", "parts": ["a"]}}
    rows = made.cells(changes({"other": (other, paper), "less": (less, paper)}), "|")
    assert [row["recipe field"] for row in rows] == ["`data.corpus`", "`data.target`", "`data.parts`"]
    assert [row["systems"] for row in rows] == ["other", "other", "less"]


def section(text: str = "# T\n\n| a | b |\n| - | - |\n| 1 | 2 |\n\n![f](figures/f.png)") -> Section:
    claim = Claim("id", "says", "§1", ("a",), lambda runs: ("holds", "", None))
    outcome = Outcome(claim, "holds", "+1", claims.Difference(1.0, 0.5, 1.5, 0.0))
    return Section("T", text, [Figure("f", "f", "c", b"\x89PNG picture")], [outcome], [])


def test_section_on_disk(tmp_path):
    write_section(section(), tmp_path)
    assert (tmp_path / "figures" / "f.png").read_bytes() == b"\x89PNG picture"
    assert (tmp_path / "tables.md").read_text() == section().markdown + "\n"
    (record,) = json.loads((tmp_path / "claims.json").read_text())
    assert record["verdict"] == "holds" and record["difference"]["low"] == 0.5
