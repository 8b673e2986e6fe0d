"""UNK replaced through the alignment, on weights and a dictionary that were made by hand."""

from __future__ import annotations

import codecs

import numpy as np
import pytest

from common.align.dictionary import Dictionary, replace_unknown
from common.errors import UserError
from common.ids import UNK
from common.text.moses import Tokeniser

SOURCE = ["Mr", "Smith", "&apos;s", "cat", "purrs"]
DICTIONARY = Dictionary({"cat": "chat", "purrs": "ronronne", "R&amp;D": "R&amp;D", "&apos;s": "l&apos;"})


def looking(*places: int, width: int = len(SOURCE) + 1) -> np.ndarray:
    """Return weights by which each row looks at its place most, and elsewhere a little."""
    return np.where(np.arange(width) == np.array(places)[:, None], 0.6, 0.4 / (width - 1))


def test_each_unk_is_translated_or_copied():
    ids, tokens = [UNK, 7, UNK, UNK, UNK], ["UNK", "le", "UNK", "UNK", "UNK"]
    done = replace_unknown(ids, tokens, SOURCE, looking(1, 0, 3, 3, 2, 5), DICTIONARY)
    assert done.tokens == ("Smith", "le", "chat", "chat", "l&apos;"), "two UNKs may look at the same word"
    assert (done.translated, done.copied) == (3, 1)


def test_a_word_that_is_spelt_unk_stays():
    done = replace_unknown([9, UNK], ["UNK", "UNK"], SOURCE, looking(3, 3, 5), DICTIONARY)
    assert done.tokens == ("UNK", "chat") and done.translated == 1


def test_the_end_token_is_passed_over():
    alpha = np.array([[0.02, 0.03, 0.05, 0.2, 0.1, 0.6], [0.0, 0.0, 0.0, 0.0, 0.0, 1.0]])
    assert replace_unknown([UNK], ["UNK"], SOURCE, alpha, DICTIONARY).tokens == ("chat",)


def test_nothing_unknown_changes_nothing():
    done = replace_unknown([7, 8], ["le", "chat"], SOURCE, looking(0, 1, 5), DICTIONARY)
    assert done.tokens == ("le", "chat") and done.translated == done.copied == 0


def test_escapes_of_the_tokeniser_are_text_again_at_the_end():
    """A copied word is a token and is escaped as the other tokens are, so that tokens and plain text stay one."""
    english, french = (Tokeniser(language, False, "moses-2014") for language in ("en", "fr"))
    source = english.tokenise("Q&A costs <10>").split()
    assert "Q&amp;A" in source or "&amp;" in source
    place = next(i for i, word in enumerate(source) if "&amp;" in word)
    alpha = looking(place, len(source), width=len(source) + 1)
    done = replace_unknown([UNK, 5], ["UNK", "euros"], source, np.vstack([alpha, alpha[:1]]), Dictionary({}))
    assert done.tokens == (source[place], "euros")
    assert french.detokenise(" ".join(done.tokens)) == f"{source[place].replace('&amp;', '&')} euros"


def test_the_dictionary_takes_the_most_frequent_link():
    """`bank` is linked twice with banque and once with rive; of two words seen once the first by name counts."""
    pairs = [
        (["the", "bank"], ["la", "banque"], frozenset({(0, 0), (1, 1)})),
        (["a", "bank"], ["une", "rive"], frozenset({(0, 0), (1, 1)})),
        (["bank", "the"], ["banque", "le"], frozenset({(0, 0), (1, 1)})),
        (["unlinked"], ["rien"], frozenset()),
    ]
    assert Dictionary.learn(pairs).translations == {"a": "une", "bank": "banque", "the": "la"}


def test_a_dictionary_is_read_as_it_is_written(tmp_path):
    DICTIONARY.write(tmp_path / "words.txt")
    assert Dictionary.read(tmp_path / "words.txt") == DICTIONARY
    (tmp_path / "marked.txt").write_bytes(codecs.BOM_UTF8 + (tmp_path / "words.txt").read_bytes())
    assert Dictionary.read(tmp_path / "marked.txt") == DICTIONARY, "a byte order mark is no part of the first word"
    (tmp_path / "empty.txt").write_text("")
    assert not len(Dictionary.read(tmp_path / "empty.txt"))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("cat chat\ndog\n", r"words\.txt, line 2: 1 words where two belong; write"),
        ("cat chat\n\n", r"words\.txt, line 2: 0 words"),
        ("cat le chat\n", r"words\.txt, line 1: 3 words"),
        ("cat chat\ndog chien\ncat matou\n", r"words\.txt, line 3: `cat` for the second time; keep one"),
    ],
)
def test_what_is_no_dictionary_is_refused(text, told, tmp_path):
    path = tmp_path / "words.txt"
    path.write_text(text)
    with pytest.raises(UserError, match=told):
        Dictionary.read(path)


def test_a_missing_or_undecodable_dictionary_is_refused(tmp_path):
    with pytest.raises(UserError, match="no.txt: No such file"):
        Dictionary.read(tmp_path / "no.txt")
    (tmp_path / "latin").write_bytes(b"caf\xe9 caf\xe9\n")
    with pytest.raises(UserError, match="latin: damaged \\(not UTF-8\\)"):
        Dictionary.read(tmp_path / "latin")
