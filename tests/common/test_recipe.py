"""Recipes: inheritance, overrides, and every way a reader can get one wrong."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from common.errors import UserError
from common.recipe import current, difference, load_recipe, recipe_from_dict
from common.yaml_files import read_yaml


@dataclass(frozen=True)
class Model:
    width: int
    kind: str


@dataclass(frozen=True)
class Optimizer:
    epsilon: float
    nesterov: bool = False


SECTIONS = {"model": Model, "optimizer": Optimizer}
BASE = """
title: Base
reproduces: base
model: {width: 8, kind: plain}
optimizer: {epsilon: 1.0e-9}
data: {corpus: demo, source: en, target: fr}
text: {tokeniser: moses-2014, lowercase: false, segmentation: words, bpe_merges: null, vocabulary_size: 100}
batch: {max_length: 50, pool: 20, sentences: 80, tokens: null, shuffle: false, accumulate: 1}
train:
  steps: 100
  loss: sum
  label_smoothing: 0.0
  seed: 1
  precision: float32
  checkpoint_every: 50
  keep_checkpoints: 2
decode:
  beam: 10
  length_penalty: none
  alpha: 0.0
  search: shrinking
  max_factor: 3.0
  max_extra: 0
  min_factor: 0.5
  suppress_unk: false
  retry: true
evaluate: {average: 1, sets: [test], metric: tokenised, no_unk: true}
run: {device: auto, threads: 1, log_every: 10, validate_every: 50, state_every: 50}
estimate: {pairs: 1000, source_tokens: 20, target_tokens: 21.5}
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "base.yaml").write_text(BASE)
    return tmp_path


def load(root: Path, reference: str = "base", *overrides: str):
    return load_recipe(root, reference, SECTIONS, list(overrides))


def test_values_and_types(root):
    recipe = load(root)
    assert recipe.optimizer.epsilon == 1e-9 and recipe.estimate.source_tokens == 20.0
    assert isinstance(recipe.estimate.source_tokens, float)
    assert recipe.evaluate.sets == ("test",) and recipe.scale == "" and recipe.system == "base"


def test_extends_changes_only_what_it_says(root):
    (root / "demo").mkdir()
    (root / "demo" / "wide.yaml").write_text("extends: base\ntitle: Wide\nmodel: {width: 16}\n")
    wide = load(root, "demo/wide")
    assert difference(wide, load(root)) == {"model.width": (16, 8)}
    assert wide.scale == "demo" and wide.system == "wide"


def test_a_recipe_does_not_carry_on_what_its_parent_carries_on(root):
    (root / "longer.yaml").write_text("extends: base\ntrain: {continues: base, steps: 200}\n")
    (root / "wide.yaml").write_text("extends: longer\nmodel: {width: 16}\n")
    assert load(root, "longer").train.continues == "base"
    assert load(root, "wide").train.continues is None and load(root, "wide").train.steps == 200


def test_circular_extends_is_refused(root):
    (root / "a.yaml").write_text("extends: b\n")
    (root / "b.yaml").write_text("extends: a\n")
    with pytest.raises(UserError, match="circle"):
        load(root, "a")


def test_overrides_bare_and_dotted(root):
    recipe = load(root, "base", "width=3", "train.steps=7", "evaluate.sets=[valid, test]", "max_length=null")
    assert recipe.model.width == 3 and recipe.train.steps == 7
    assert recipe.evaluate.sets == ("valid", "test") and recipe.batch.max_length is None


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["widht=3"], "widht"),
        (["batch.pool"], "key=value"),
        (["nosuch.width=3"], "nosuch"),
        (["optimizer.epsilon=1e-9"], r"1\.0e-09"),
        (["model.kind=no"], "quotes"),
        (["data.target=no"], "quotes"),
        (["model.width=3.5"], "whole number"),
        (["model.width=true"], "whole number"),
        (["optimizer.nesterov=1"], "true or false"),
        (["train.loss=mean"], "sum, token_mean"),
        (["train.label_smoothing=1.5"], "label_smoothing"),
        (["text.vocabulary_size=2"], "vocabulary_size"),
        (["batch.tokens=100"], "batch.sentences"),
        (["evaluate.sets=test"], "list"),
        (["evaluate.sets=[test, test]"], "evaluate.sets` must name nothing twice"),
        (["data.parts=[a, a]"], "data.parts` must name nothing twice"),
        (["decode.alpha=.inf"], "`decode.alpha` is inf; write a finite number"),
        (["estimate.source_tokens=.nan"], "`estimate.source_tokens` is nan; write a finite number"),
        (["decode.alpha=nan"], "`decode.alpha` is the text 'nan', not a number \\(set by"),
        (["mean_source_tokens=9"], "unknown or ambiguous key `mean_source_tokens`; it is `estimate.source_tokens` now"),
        (["decode.beam=0"], "decode.beam"),
        (["train.steps=null"], "empty"),
        (["train.continues=base"], "`train.continues` must name another recipe"),
        (["text.tokeniser=null"], "moses-2014, moses-2016, none"),
        (["text.tokeniser=moses"], "moses-2014, moses-2016, none"),
        (["data.moses_2014_quotes=true"], "`data.moses_2014_quotes` is `text.tokeniser` now"),
        (["data.max_length=9"], "`data.max_length` is `batch.max_length` now"),
        (["train.threads=2"], "`train.threads` is `run.threads` now"),
        (["data.lenght=9"], "unknown key `data.lenght`; known keys: corpus, source"),
    ],
)
def test_wrong_overrides_name_the_key_and_the_cure(root, overrides, words):
    with pytest.raises(UserError, match=words) as caught:
        load(root, "base", *overrides)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty"),
        ("- a\n", "mapping"),
        ("extends: base\nmodle: {width: 1}\n", "modle"),
        ("extends: base\nmodel: {depth: 1}\n", "model.depth"),
        ("extends: base\nmodel: 5\n", "mapping"),
        ("extends: nowhere\n", "nowhere"),
        ("title: T\nmodel: {width: 1}\n", "missing key `model.kind`"),
        ("title: [1\n", "not valid YAML"),
        (
            "extends: base\ndecode: {batch: 3}\n",
            r"wrong\.yaml: `decode.batch` is `run.decode_positions` now and",
        ),
        ("extends: base\noptimizer: {epsilon: 1e-6}\n", r"write 1\.0e-06"),
        ("extends: base\nmodel:\n  no: 1\n", r"wrong\.yaml, line 3: the key `no` is no name; .*put it in quotes"),
        ("extends: base\n~: 1\n", "line 2: the key `~` is no name"),
        ("extends: base\ntitle: a\ntitle: b\n", "line 3: the key `title` comes twice"),
    ],
)
def test_wrong_files_are_one_line_errors(root, text, words):
    (root / "wrong.yaml").write_text(text)
    with pytest.raises(UserError, match=words) as caught:
        load(root, "wrong")
    assert "\n" not in str(caught.value)


def test_years_are_names(root):
    (root / "years.yaml").write_text("extends: base\ntitle: 2014\nevaluate: {sets: [2013, 2014-06-01]}\n")
    recipe = load(root, "years", "data.parts=[2013, europarl]")
    assert recipe.title == "2014" and recipe.evaluate.sets == ("2013", "2014-06-01")
    assert recipe.data.parts == ("2013", "europarl")


def test_keys_are_text_as_written(tmp_path):
    (tmp_path / "keys.yaml").write_text("2013: a\n010: b\n12:30: c\n1_000: d\n'no': e\n1e3: f\n")
    assert list(read_yaml(tmp_path / "keys.yaml")) == ["2013", "010", "12:30", "1_000", "no", "1e3"]


def test_byte_order_mark_of_a_recipe(root):
    (root / "marked.yaml").write_bytes(b"\xef\xbb\xbfextends: base\n")
    assert load(root, "marked").title == "Base"
    (root / "wide.yaml").write_bytes("extends: base\n".encode("utf-16"))
    with pytest.raises(UserError, match=r"wide\.yaml is UTF-16; convert it with iconv -f UTF-16 -t UTF-8"):
        load(root, "wide")


def test_paths_start_from_the_file_that_says_them(root, tmp_path_factory, monkeypatch):
    """The corpus of a recipe that another one extends, from a third folder; words start from the working directory."""
    mine, other = tmp_path_factory.mktemp("mine"), tmp_path_factory.mktemp("other")
    (mine / "inner").mkdir()
    (mine / "first.yaml").write_text("extends: base\ndata: {corpus: inner/mine.yaml}\n")
    (mine / "inner" / "second.yaml").write_text("extends: ../first.yaml\ntitle: Second\n")
    (mine / "inner" / "third.yaml").write_text("extends: second.yaml\ndata: {corpus: ../theirs.yml}\n")
    monkeypatch.chdir(other)
    assert load(root, str(mine / "inner" / "second.yaml")).data.corpus == str(mine / "inner" / "mine.yaml")
    third = str(mine / "inner" / "third.yaml")
    assert load(root, third).data.corpus == str(mine / "theirs.yml")
    assert load(root, third, "data.corpus=mine.yaml").data.corpus == str(other / "mine.yaml")
    assert load(root, third, "corpus=multi30k").data.corpus == "multi30k"
    monkeypatch.chdir(mine / "inner")
    assert load(root, "third.yaml").data.corpus == str(mine / "theirs.yml")


def test_home_in_paths(root, tmp_path_factory, monkeypatch):
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    (home / "one.yaml").write_text("extends: base\ndata: {corpus: ~/mine.yaml}\n")
    (root / "two.yaml").write_text("extends: ~/one.yaml\n")
    assert load(root, "two").data.corpus == str(home / "mine.yaml")
    assert load(root, "~/one.yaml", "data.corpus=~/theirs.yaml").data.corpus == str(home / "theirs.yaml")


def test_circular_extends_through_folders_is_refused(root, tmp_path_factory):
    folder = tmp_path_factory.mktemp("circle")
    (folder / "a.yaml").write_text(f"extends: ../{folder.name}/b.yaml\n")
    (folder / "b.yaml").write_text(f"extends: ../{folder.name}/a.yaml\n")
    with pytest.raises(UserError, match="circle"):
        load(root, str(folder / "a.yaml"))


def test_missing_recipe_lists_the_known_ones(root):
    with pytest.raises(UserError, match="nope.*base"):
        load(root, "nope")


def test_not_utf8(root):
    (root / "latin.yaml").write_bytes("title: é\n".encode("latin-1"))
    with pytest.raises(UserError, match="UTF-8"):
        load(root, "latin")


@given(width=st.integers(1, 10**6), epsilon=st.floats(1e-12, 1.0), nesterov=st.booleans())
def test_saved_recipe_reads_back_the_same(width, epsilon, nesterov):
    values = {**yaml.safe_load(BASE), "name": "base"}
    values["model"] = {"width": width, "kind": "x"}
    values["optimizer"] = {"epsilon": epsilon, "nesterov": nesterov}
    recipe = recipe_from_dict(values, SECTIONS, "here")
    again = recipe_from_dict(yaml.safe_load(yaml.safe_dump(recipe.to_dict())), SECTIONS, "there")
    assert again == recipe


OLD = """
name: demo/base
title: Base
model: {width: 8, kind: plain}
optimizer: {epsilon: 1.0e-9}
data:
  corpus: multi30k
  source: en
  target: fr
  segmentation: words
  vocabulary_size: 100
  bpe_merges: null
  max_length: 50
  lowercase: false
  moses_2014_quotes: true
  mean_source_tokens: 20
  mean_target_tokens: 21.5
  pairs: 1000
batch: {pool: 20, sentences: 80, tokens: null, shuffle: false, accumulate: 1}
train:
  {steps: 100, loss: sum, label_smoothing: 0.0, seed: 1, threads: 1, device: auto, precision: float32, log_every: 10,
  validate_every: 50, checkpoint_every: 50, keep_checkpoints: 2, state_every: 50, path: fast}
decode:
  {beam: 10, length_penalty: none, alpha: 0.0, search: shrinking, max_factor: 3.0, max_extra: 0, min_factor: 0.5,
  suppress_unk: false, retry: true, batch: 32}
evaluate: {average: 1, sets: [test], metric: tokenised, no_unk: true, examples: [A dog.]}
"""
"""A resolved recipe as runs and results of November 2026 have it."""


@pytest.mark.parametrize("tokeniser", [True, False, "none"])
def test_a_recipe_saved_by_an_earlier_version_is_the_same(root, tokeniser):
    saved = yaml.safe_load(OLD)
    if tokeniser == "none":  # the field's name after that one
        saved["data"]["tokeniser"] = tokeniser
        del saved["data"]["moses_2014_quotes"]
    else:
        saved["data"]["moses_2014_quotes"] = tokeniser
    state = {True: "moses-2014", False: "moses-2016", "none": "none"}[tokeniser]
    (root / "demo").mkdir()
    (root / "demo" / "base.yaml").write_text("extends: base\nrun: {path: fast, examples: [A dog.]}\n")
    recipe = load(root, "demo/base", f"text.tokeniser={state}", "data.corpus=multi30k")
    assert recipe_from_dict(current(saved), SECTIONS, "run") == recipe
    assert current(recipe.to_dict()) == recipe.to_dict()
    later = recipe.to_dict()
    later["run"]["decode_batch"] = 32  # it counted sentences
    assert current(later) == recipe.to_dict()


@pytest.mark.parametrize(
    ("asked", "pairs", "now"),
    [
        ((100, 3, 16, 1), 40_000, {"corpus": "demo"}),
        ((100, 3, 16, 1), 1_200, {"corpus": "demo-small"}),
        ((100, 3, 16, 1), 400, {"corpus": "demo", "first": 400}),
        ((None, 3, 60, 1), 40_000, {"corpus": "demo", "first": 40_000}),
    ],
)
def test_a_recipe_saved_when_the_demo_was_generated_names_its_text(asked, pairs, now):
    saved = yaml.safe_load(OLD)
    generator = dict(zip(("lexicon", "min_words", "max_words", "corpus_seed"), asked, strict=True))
    saved["data"] |= {"corpus": "builtin", "pairs": pairs, **generator}
    assert current(saved)["data"] == {"source": "en", "target": "fr", **now}
    assert current(saved)["estimate"]["pairs"] == pairs
    saved["data"]["corpus"] = "multi30k"
    assert current(saved)["data"] == {"source": "en", "target": "fr", "corpus": "multi30k"}


def test_a_recipe_of_today_has_no_field_of_the_generator(root):
    with pytest.raises(UserError, match=r"unknown key `data\.lexicon`"):
        load(root, "base", "data.lexicon=100")
