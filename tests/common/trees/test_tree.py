"""Trees in the Penn Treebank's form: what is read, what is taken off, and which files are refused."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given

from common.corpus.bitext import choose
from common.corpus.fetch import _fault
from common.errors import UserError
from common.recipe import Data
from common.trees.tree import DEEPEST, Tree, read_trees, right_branching, stripped, treebank
from tests.common.trees.made import TREES

WSJ = """
( (S
    (NP-SBJ-1 (NNP Pierre) (NNP Vinken) )
    (VP (MD will)
      (VP (VB try)
        (S (NP-SBJ (-NONE- *-1) )
          (VP (TO to) (VP (VB join) (NP=2 (PRP$ its) (NN board) ))))))
    (. .) ))

( (NP (-LRB- -LRB-) (NN end) (-RRB- -RRB-)) )
"""


def real_trees(mirror: Path) -> Iterator[tuple[str, str]]:
    """Yield name and text of all files of CRAFT and of the sample of the Wall Street Journal."""
    with tarfile.open(mirror / "craft" / "craft-penn.tar.xz") as archive:
        for member in archive:
            if member.isreg() and (content := archive.extractfile(member)):
                yield Path(member.name).name, content.read().decode()
    with zipfile.ZipFile(io.BytesIO((mirror / "wsj-sample" / "treebank.zip").read_bytes())) as packed:
        for name in sorted(packed.namelist()):
            if name.endswith(".mrg"):
                yield name, packed.read(name).decode()


def test_a_tree_over_several_lines():
    first, second = read_trees(WSJ, "wsj.mrg")
    assert str(second) == "( (NP (-LRB- -LRB-) (NN end) (-RRB- -RRB-)))"
    assert first.words == "Pierre Vinken will try *-1 to join its board .".split()
    assert first.children[0].children[0].label == "NP-SBJ-1"


def test_traces_function_tags_and_the_outer_bracket_are_taken_off():
    bare = [str(tree) for tree in treebank(WSJ, "wsj.mrg")]
    assert bare == [
        "(S (NP (NNP Pierre) (NNP Vinken)) (VP (MD will) (VP (VB try) (S (VP (TO to) (VP (VB join) "
        "(NP (PRP$ its) (NN board))))))) (. .))",
        "(NP (-LRB- -LRB-) (NN end) (-RRB- -RRB-))",
    ]


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("((NP (-NONE- *)))", None),
        ("(TOP (S (NN a)))", "(S (NN a))"),
        ("( (S (NN a)) (NP (NN b)))", "(TOP (S (NN a)) (NP (NN b)))"),  # no single phrase to take out
        ("(S (NP-SBJ (NP (NN a)) (SBAR (-NONE- 0) (S (-NONE- *T*)))))", "(S (NP (NP (NN a))))"),
        ("(ADVP|PRT-CLR (RP up))", "(ADVP|PRT (RP up))"),
    ],
)  # fmt: skip
def test_what_is_left(text, left):
    tree = stripped(*read_trees(text, "one"))
    assert (tree and str(tree)) == left


def test_a_word_with_a_space_is_one_word():
    assert read_trees("(NP (NN Xpd TTD) (NN a\u2009b))", "craft")[0].words == ["Xpd_TTD", "a_b"]


@given(TREES)
def test_a_written_tree_is_read_again(tree):
    text = str(tree)
    assert read_trees(f"{text}\n\n{text.replace(' (', chr(10) + '  (')}", "made") == [tree, tree]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("(S (NN a))\n(S (NN b)", "line 2: a bracket is not closed"),
        ("(S (NN a)))", "line 1: `)` stands outside"),
        ("word\n(S (NN a))", "line 1: `word` stands outside"),
        ("\n\n(S (NP) (NN a))", "line 3: `(NP` has neither"),
        ("(S\n a (NN b))", "line 2: `(S` has the word `a` beside"),
        ("()", "line 1: `(` has neither"),
        (f"{'(S ' * (DEEPEST + 1)}", f"line 1: has brackets more than {DEEPEST} deep"),
    ],
)
def test_text_that_is_no_tree_is_refused_by_line(text, says):
    with pytest.raises(UserError) as error:
        read_trees(text, "bad.mrg")
    assert str(error.value).startswith(f"bad.mrg: {says}") and "\n" not in str(error.value)


def test_every_word_of_a_right_branching_tree_has_the_rest_for_a_sister():
    leaves = [Tree(tag, word=word) for tag, word in (("DT", "the"), ("NN", "cat"), ("VBZ", "sleeps"))]
    assert str(right_branching(leaves)) == "(S (DT the) (VP (NN cat) (VBZ sleeps)))"
    assert str(right_branching(leaves[:1])) == "(S (DT the))"


def test_craft_is_the_declared_corpus(mirror, tmp_path):
    """Sums, sizes and numbers of trees of the declaration are those of the files; 82, 5 and 10 articles."""
    test = "17244351 17425782 17447844 17465682 17503968 17565376 17590087 17608565 17677002 17696610".split()
    valid = "17078885 17083276 17194222 17201918 17206865".split()
    text = choose(Data("craft", "words", "brackets", valid=tuple(valid)))
    assert (len(text.parts), sorted(text.sets)) == (82, sorted([*valid, *test]))
    assert max(text.parts) < min(valid) and max(valid) < min(test)
    files = {name: content for name, content in real_trees(mirror) if name.endswith(".tree")}
    for name, content in files.items():
        (tmp_path / name).write_text(content, encoding="utf-8", newline="")
    assert files.keys() == set(text.files)
    assert all(not _fault(tmp_path / name, text.corpus.files[name]) for name in files)
    declared = {**text.parts, **text.sets}
    counted = {name.removesuffix(".tree"): len(treebank(content, name)) for name, content in files.items()}
    assert counted == {name: part.pairs for name, part in declared.items()} and sum(counted.values()) == 30_830
