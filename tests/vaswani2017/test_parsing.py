"""The parser of section 6.3: its recipes, Table 4, and one that is trained, scored and used."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest

from common.errors import UserError
from common.files import write_whole
from common.recipe import changes_no_number, difference
from common.report.results import read_results
from common.result import Example, ScoredSet
from common.run.evaluate import evaluate_run
from common.run.folder import average_run, load_run, train_run
from common.run.plan import parameter_counts, plan
from common.score.parses import Parses, score_parses
from common.yaml_files import read_yaml
from papers.vaswani2017 import parsing, tables
from papers.vaswani2017.paper import PAPER
from tests import made_results as made
from tests.common.score.test_parses import BRACKETS, SENTENCES
from tests.common.trees.made import PHRASES

PRINTED = read_yaml(PAPER.root / "reported.yaml")["tables"]["table4"]
WSJ, SEMI, CRAFT = (PAPER.recipe(f"parsing/{name}") for name in ("wsj", "semi", "craft"))
OURS = "F1: ours (95%)"

OUTPUTS = ["S NP DT NN /NP VP VBZ NN /VP /S", "S NP PRP /NP VP VBP"]


def score(outputs: list[str]) -> Parses:
    return score_parses(SENTENCES, BRACKETS, outputs, PHRASES, "made")


def changed(ours, theirs) -> set[str]:
    return {key for key in difference(ours, theirs) if not changes_no_number(key)}


def test_the_papers_recipes_are_section_6_3():
    for recipe, size, kind in ((WSJ, 16_000, "joint_words"), (SEMI, 32_000, "wordpieces")):
        assert (recipe.model.N, recipe.model.d_model, recipe.model.h * recipe.model.d_k) == (4, 1024, 1024)
        assert (recipe.text.vocabulary_size, recipe.text.segmentation) == (size, kind)
        assert (recipe.decode.beam, recipe.decode.alpha, recipe.decode.max_extra) == (21, 0.3, 300)
        assert (recipe.evaluate.sets, recipe.data.valid) == (("wsj-23",), ("wsj-22",))
    unchanged = {"model.d_ff", "model.h", "train.label_smoothing", "train.loss", "batch.tokens", "optimizer.beta2"}
    assert not unchanged & changed(WSJ, PAPER.recipe("base"))  # "all other parameters remained unchanged"


def test_craft_differs_in_size_and_text_only():
    sizes = {f"model.{key}" for key in ("d_model", "d_ff", "h", "d_k", "d_v", "P_drop", "attention_dropout")}
    amount = {"batch.max_length", "batch.tokens", "train.steps", "train.checkpoint_every"}
    schedule = {"optimizer.warmup_steps", "optimizer.factor"}
    text = {"data.corpus", "data.parts", "data.valid", "evaluate.sets", "text.vocabulary_size"}
    estimate = {f"estimate.{key}" for key in ("pairs", "source_tokens", "target_tokens")}
    assert changed(CRAFT, WSJ) <= sizes | amount | schedule | text | estimate
    assert (len(CRAFT.data.valid), len(CRAFT.evaluate.sets)) == (5, 10)


def test_a_plan_needs_no_treebank():
    """The paper's parser has 16,384,000 weights in its embeddings; the rest is by the formulas of Table 3's counts."""
    attention, feed_forward, norm = 4 * 1024 * 1024, 2 * 1024 * 2048 + 2048 + 1024, 2 * 1024
    layers = 4 * (3 * attention + 2 * feed_forward + 5 * norm)
    assert sum(parameter_counts(PAPER, WSJ).values()) == 16_000 * 1024 + layers
    assert plan(PAPER, CRAFT)["data"]["pairs"] == 25_352


@pytest.fixture
def results(tmp_path) -> Path:
    """A run on CRAFT with two test sets, one output repaired, and a run of a translator, which no table shows."""
    columns = {"all": made.column(made.statistics([0.5, 0.5]), [4, 2])}
    sets = {
        name: ScoredSet(columns=columns, longest=(made.LONG,), parses=score(outputs))
        for name, outputs in (("one", OUTPUTS), ("other", ["S DT NN VBZ . /S", "S PRP VBZ /S"]))
    }
    made.write(tmp_path / "results", "craft", made.result(CRAFT, sets))
    return tmp_path / "results"


def test_table_4_without_a_run_shows_the_papers_numbers(tmp_path):
    text = tables.build_tables(PAPER, "parsing", tmp_path / "none", tmp_path).markdown
    rows = made.cells(text, "## Table 4")
    assert [(row["parser"], float(row["F1: paper, WSJ section 23"])) for row in rows] == [
        (row["label"], row["F1"]) for row in PRINTED["rows"].values()
    ]
    assert not any(row[OURS] for row in rows) and "No run stands behind this table yet" in text


def test_our_parsers_have_rows_of_their_own_and_no_difference(results, tmp_path):
    text = tables.build_tables(PAPER, "parsing", results, tmp_path).markdown
    rows = made.cells(text, "## Table 4")
    own = [row for row in rows if row[OURS]]
    assert len(rows) == len(PRINTED["rows"]) + 2 and [row["parser"] for row in own] == [
        CRAFT.title,
        "right-branching trees",
    ]
    assert not any(row["F1: paper, WSJ section 23"] for row in own)
    assert not any("difference" in name for table in made.tables(text) for row in table for name in row)
    matched, gold, test = 3 + 3 + 1 + 1, 4 * 3, 3 + 3 + 1 + 1  # two right trees, and two of one bracket each
    assert own[0][OURS].startswith(f"{200 * matched / (gold + test):.2f} (")
    (row,) = made.cells(text, "## What the parsers wrote")
    assert (row["sentences"], row["repaired"], row["places"]) == ("4", "1 (25.0%)", "unclosed 2")
    assert row["dev perplexity"] == "3.62"
    assert (row["recall"], row["precision"]) == (f"{100 * matched / gold:.2f}", f"{100 * matched / test:.2f}")
    shown = {row["recipe field"].strip("`") for row in made.cells(text, "## What these recipes change")}
    assert {"model.d_model", "data.corpus", "batch.tokens"} <= shown


def test_what_section_6_3_concludes_needs_its_own_trees(results, tmp_path):
    """On made trees every bracket of a parser is right, F1 100, or none is. CRAFT decides nothing."""
    made.write(tmp_path / "none", "craft", made.result(CRAFT, {"one": read_results(results)["craft"].file.sets["one"]}))
    columns = {"all": made.column(made.statistics([0.5, 0.5]), [4, 2])}
    for folder, outputs in (("right", BRACKETS), ("wrong", ["S DT NN VBZ . /S", "S PRP VBZ /S"])):
        sets = {"wsj-23": ScoredSet(columns=columns, longest=(made.LONG,), parses=score(outputs))}
        made.write(tmp_path / folder, "wsj", made.result(WSJ, sets))

    def verdicts(folder: str) -> list[str]:
        claims = tables.build_tables(PAPER, "parsing", tmp_path / folder, tmp_path / "out").claims
        return [outcome.verdict for outcome in claims]

    assert verdicts("none") == ["not run", "not run"]
    assert (verdicts("right"), verdicts("wrong")) == (["holds", "not run"], ["fails", "not run"])


def test_dropout_is_chosen_on_the_development_set(results, tmp_path):
    """The parser of the lower perplexity there is chosen, though its F1 is lower. One parser leaves no choice."""
    assert "chose the dropout" not in tables.build_tables(PAPER, "parsing", results, tmp_path).markdown
    file, drop2 = read_results(results)["craft"].file, PAPER.recipe("parsing/craft-drop2")
    columns = {"all": made.column(made.statistics([0.5, 0.5]), [4, 2])}
    worse = ScoredSet(columns=columns, longest=(made.LONG,), parses=score(["S DT NN VBZ . /S", "S PRP VBZ /S"]))
    for by, chosen in ((0.1, "0.1 (`craft`)"), (-0.1, "0.2 (`craft-drop2`)")):
        dev = dataclasses.replace(file.training.dev, nll_per_token=file.training.dev.nll_per_token + by)
        other = made.result(drop2, {"one": worse})
        other = dataclasses.replace(other, training=dataclasses.replace(other.training, dev=dev))
        made.write(results, "craft-drop2", other)
        text = tables.build_tables(PAPER, "parsing", results, tmp_path).markdown
        assert re.search(rf"By perplexity there, of 2 parsers of .*, it is {re.escape(chosen)}\.", text)


def test_a_kept_result_reads_its_parses_back(results):
    scored = read_results(results)["craft"].file.sets["one"]
    assert scored.parses == score(OUTPUTS)


def reading(symbols: str, heads: np.ndarray) -> Example:
    """An example over `the cat sleeps` with attention (N, h, symbols and the end, words and the end)."""
    words, written = ("the", "cat", "sleeps", "</s>"), (*symbols.split(), "</s>")
    return Example(line="the cat sleeps", source=words, target=written, attention={"source": heads.tolist()})


def test_the_drawn_head_looks_most_at_the_word_whose_tag_is_written(results, tmp_path):
    """Of 2 x 3 heads, one gives 0.9 to each word at its tag; another gives all to the word before, which is no rule."""
    heads = np.full((2, 3, 9, 4), 0.1)
    for word, tag in enumerate((2, 3, 6)):  # S NP DT NN /NP VP VBZ /VP
        heads[1, 0, tag] = np.eye(4)[word - 1]
        heads[0, 2, tag, word] = 0.9
    no_tree = reading("S NP DT NN /NP VP VBZ /VP", heads)
    tree = reading("S NP DT NN /NP VP VBZ /VP /S", np.concatenate([heads, heads[:, :, -1:]], axis=2))
    file = made.result(CRAFT, {"one": read_results(results)["craft"].file.sets["one"]})
    made.write(tmp_path / "both", "craft", file, [no_tree, tree])
    section = tables.build_tables(PAPER, "parsing", tmp_path / "both", tmp_path)
    (figure,) = section.figures
    assert "layer 1 of 2, head 3:" in figure.caption and "0.90 on average" in figure.caption
    assert "(S (NP (DT the) (NN cat)) (VP (VBZ sleeps)))" in section.markdown
    made.write(tmp_path / "first", "craft", file, [no_tree])
    assert not tables.build_tables(PAPER, "parsing", tmp_path / "first", tmp_path).figures


TREEBANK = "".join(
    f"( (S (NP-SBJ (DT the) (NN {noun})) (VP (VBZ {verb}) (NP (-NONE- *))) (. .)))\n"
    for noun in ("cat", "dog", "bird", "fish")
    for verb in ("sleeps", "runs", "sings")
)


def test_a_parser_is_trained_scored_and_used(tmp_path):
    """Twelve trees and twelve updates: whatever it writes becomes a tree over all words, and every one is counted."""
    write_whole(tmp_path / "tiny.mrg", TREEBANK)
    sides = "{words: tiny.mrg words, brackets: tiny.mrg brackets}"
    write_whole(tmp_path / "tiny.yaml", f"title: tiny\ntrain: {sides}\nvalid: {sides}\ntest: {sides}\n")
    sizes = "model.N=1 d_model=16 d_ff=16 h=2 d_k=8 d_v=8 vocabulary_size=40 warmup_steps=4 steps=12 checkpoint_every=6"
    rest = "keep_checkpoints=2 evaluate.average=2 batch.tokens=40 decode.beam=3 decode.max_extra=5"
    often = "log_every=6 state_every=6 validate_every=6"
    text = f"data.corpus={tmp_path / 'tiny.yaml'} data.valid=[] evaluate.sets=[test]"
    recipe = PAPER.recipe("parsing/craft", f"{sizes} {rest} {often} {text}".split())
    run, said = tmp_path / "run", []
    train_run(PAPER, recipe, run, tmp_path / "runs", said.append)
    average_run(run, 2)
    result = evaluate_run(PAPER, run, tmp_path / "runs", said.append)
    parses = result.sets["test"].parses
    assert len(parses.parser.labelled) == 12 and parses.words == 12 * 4
    assert {row.split()[1] for row in parses.parser.labelled} == {"3"}  # S, NP, VP; the trace is gone
    trees = [*parsing.parse(load_run(PAPER, run), ["the cat ( sleeps", "", "f(x)"])]
    assert [tree and tree.words for tree, _ in trees] == [["the", "cat", "-LRB-", "sleeps"], None, ["f-LRB-x-RRB-"]]


def test_a_translator_is_no_parser(tmp_path):
    class Run:
        path, recipe = tmp_path, PAPER.recipe("demo/base")

    with pytest.raises(UserError, match="demo/base is no parser"):
        next(parsing.parse(Run(), ["a cat"]))
