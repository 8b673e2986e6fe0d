"""The aligner on text whose alignment is known, and what it leaves behind. Skipped without eflomal."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.align.dictionary import Dictionary
from common.align.statistical import align_test_set
from common.errors import UserError
from common.run.folder import prepare_data
from papers.bahdanau2014.paper import PAPER
from tests.test_run_life import WORDS, declare


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
