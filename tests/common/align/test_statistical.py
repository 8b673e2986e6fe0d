"""The aligner on text whose alignment is known, what is read of it, and what it leaves behind.

Only the first test needs eflomal. The others have a program in its place that writes the files given to it.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import pytest

from common.align.dictionary import Dictionary
from common.align.statistical import Aligned, align_test_set
from common.errors import UserError
from common.run.folder import prepare_data
from papers.bahdanau2014.paper import PAPER
from tests.test_run_life import WORDS, declare, sentences


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("aligner")
    declare(root / "corpus")
    return root


def test_the_aligner_finds_what_there_is_and_keeps_it(place):
    pytest.importorskip("eflomal")
    recipe = PAPER.recipe("demo/rnnsearch-50", ["text.vocabulary_size=5", f"data.corpus={place}/corpus/toy.yaml"])
    prepared = prepare_data(recipe, place)
    found = align_test_set(prepared, recipe, place, "test")
    lengths = [len(line.split()) for line in prepared.lines("test")["source_tokens"]]
    right = sum(len(links & {(i, i) for i in range(n)}) for links, n in zip(found.both, lengths, strict=True))
    assert found.pairs == 200 and len(found.rows) == 20
    assert right > 0.9 * sum(lengths), "French is English in capitals, word by word"
    assert all(both <= one for both, one in zip(found.both, found.one, strict=True))
    assert all(len({target for _, target in links}) == len(links) for links in found.one), "one source word each"
    dictionary = Dictionary.read(found.dictionary).translations
    assert dictionary == {word: word.upper() for word in WORDS}, "words beyond the shortlist too"
    assert align_test_set(prepared, recipe, place, "test") == found, "nothing is aligned again"
    (place / "aligned" / found.dictionary.parent.name / "links.json").write_text('{"aligner": ')
    with pytest.raises(UserError, match="links.json: missing or damaged; delete .* and analyse again"):
        align_test_set(prepared, recipe, place, "test")


STAND_IN = """
import subprocess
from pathlib import Path

class Aligner:
    def align(self, source, target, links_filename_fwd, links_filename_rev):
        if not {links}:
            raise subprocess.CalledProcessError(-9, "eflomal")
        for name, lines in zip((links_filename_fwd, links_filename_rev), {links}):
            Path(name).write_text("".join(line + "\\n" for line in lines))
"""


@pytest.fixture
def align(place, monkeypatch, tmp_path):
    """What aligns the toy corpus by a program that finds the given links, by direction."""
    recipe = PAPER.recipe("demo/rnnsearch-50", ["text.vocabulary_size=5", f"data.corpus={place}/corpus/toy.yaml"])
    prepared = prepare_data(recipe, place)

    def run(links: list[list[str]]) -> Aligned:
        site = tmp_path / "site"
        (site / "eflomal-9.9.dist-info").mkdir(parents=True)
        (site / "eflomal-9.9.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: eflomal\nVersion: 9.9\n")
        (site / "eflomal.py").write_text(STAND_IN.format(links=links))
        monkeypatch.delitem(sys.modules, "eflomal", raising=False)
        monkeypatch.syspath_prepend(site)
        return align_test_set(prepared, recipe, tmp_path, "test")

    yield run
    sys.modules.pop("eflomal", None)


def test_links_of_both_directions_are_read(align):
    """The first training pair is linked in both directions by 1-0 alone, the last test pair by 0-0 and 2-1."""
    forward, backward = [["0-0"] * 220 for _ in range(2)]
    forward[0], backward[0] = "1-0 0-1", "1-0 1-1"
    forward[199], backward[199] = "", "0-0"
    forward[200], backward[200] = "0-1 1-0", ""
    forward[219], backward[219] = "0-0 2-1 2-2", "2-1 0-0 1-2"
    found = align([forward, backward])
    assert (found.aligner, found.pairs, found.rows) == ("eflomal 9.9", 200, tuple(range(20)))
    assert found.one[0] == {(0, 1), (1, 0)} and found.both[0] == frozenset(), "the first tested pair is the 201st"
    assert found.one[19] == {(0, 0), (2, 1), (2, 2)} and found.both[19] == {(0, 0), (2, 1)}
    assert set(found.one[1:19]) == set(found.both[1:19]) == {frozenset({(0, 0)})}
    pairs = [line.split() for line in sentences(200, 0)]
    counts = Counter((words[0], words[0].upper()) for words in pairs[1:199]) + Counter(
        {(pairs[0][1], pairs[0][0].upper()): 1}
    )
    expected = Dictionary.learn(
        ([source], [target], frozenset({(0, 0)})) for (source, target), count in counts.items() for _ in range(count)
    )
    assert Dictionary.read(found.dictionary) == expected


def test_an_aligner_that_fails_ends_in_one_line(align, tmp_path):
    with pytest.raises(UserError, match="^eflomal ended with status -9, for want of memory"):
        align([])
    assert not list(tmp_path.glob("aligned/*/links.json")), "the next call aligns again"


def test_where_no_word_is_linked_there_is_nothing_to_compare(align):
    with pytest.raises(UserError, match="no word of test is linked; delete the folder"):
        align([["0-0"] * 220, ["1-1"] * 220])
