"""The shortlist: which words, which ids, what happens to those outside."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import UserError
from common.text.vocabulary import Vocabulary

WORDS = st.text(st.characters(exclude_categories=("Cs", "Cc", "Zs", "Zl", "Zp")), min_size=1)
"""As the tokeniser makes them: no white space, no control character."""


def test_most_frequent_words_then_alphabetical() -> None:
    counts = Counter({"c": 3, "b": 5, "d": 3, "a": 3, "e": 1})
    vocabulary = Vocabulary.build(counts, 5)
    assert vocabulary.words == ("b", "a", "c")
    assert vocabulary.encode(["c", "b", "e", "never", "a"]) == [4, 2, 1, 1, 3]
    assert len(vocabulary) == 5 and "d" not in vocabulary and "a" in vocabulary


def test_a_vocabulary_of_30000_has_29998_words() -> None:
    """GroundHog `preprocess.py -v 30000`; Bahdanau 2014 section 4.1 "a shortlist of 30,000 most frequent words"."""
    vocabulary = Vocabulary.build(Counter({f"w{i:05d}": 40_000 - i for i in range(35_000)}), 30_000)
    assert len(vocabulary) == 30_000 and len(vocabulary.words) == 29_998
    assert vocabulary.encode(["w00000", "w29997", "w29998"]) == [2, 29_999, 1]


def test_a_text_may_spell_words_like_special_ones() -> None:
    spelt = ["<unk>", "<pad>", "UNK", "<eos>", "</s>"]
    vocabulary = Vocabulary.build(Counter({word: 9 for word in spelt}), 7)
    assert sorted(vocabulary.words) == sorted(spelt)
    assert vocabulary.encode(["UNK", "other"])[0] != vocabulary.encode(["UNK", "other"])[1] == 1
    assert vocabulary.decode(vocabulary.encode(spelt)) == spelt


def test_decoding_shows_unknown_and_unfilled_rows_as_unk() -> None:
    vocabulary = Vocabulary.build(Counter(["one"]), 6)
    assert vocabulary.decode([2, 1, 5, 2, 0]) == ["one", "UNK", "UNK", "one"]
    assert len(vocabulary) == 6


def test_looking_up_unknown_words_leaves_no_trace() -> None:
    """torchtext 0.6.0's own table grows by every unknown word asked for."""
    vocabulary = Vocabulary.build(Counter(["one"]), 6)
    assert vocabulary.encode(["two", "two"]) == [1, 1] and "two" not in vocabulary


@given(st.dictionaries(WORDS, st.integers(1, 5), min_size=1), st.integers(3, 12))
def test_shortlist_equals_sorting_by_hand(counts: dict[str, int], size: int) -> None:
    vocabulary = Vocabulary.build(Counter(counts), size)
    expected = sorted(counts, key=lambda word: (-counts[word], word))[: size - 2]
    assert list(vocabulary.words) == expected
    assert vocabulary.encode(expected) == list(range(2, 2 + len(expected)))
    assert vocabulary.decode(range(2, 2 + len(expected))) == expected


@given(words=st.lists(WORDS, unique=True), spare=st.integers(0, 3))
def test_saving_and_loading(tmp_path_factory: pytest.TempPathFactory, words: list[str], spare: int) -> None:
    path = tmp_path_factory.mktemp("vocabulary") / "source.vocab"
    Vocabulary(words, len(words) + 2 + spare).save(path)
    loaded = Vocabulary.load(path)
    assert loaded.words == tuple(words) and loaded.size == len(words) + 2 + spare


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"five 2\na\nb\n",
        b"4 2\na\n",
        b"4 2\na\nb",
        b"3 2\na\nb\n",
        b"4 2\na\na\n",
        b"4 2\n\nb\n",
        b"4 2\n\xff\nb\n",
    ],
    ids=["empty", "no header", "header", "short", "cut", "overfull", "twice", "empty word", "not UTF-8"],
)
def test_a_damaged_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "source.vocab"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"source\.vocab.*prepare the data again"):
        Vocabulary.load(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nothing\.vocab"):
        Vocabulary.load(tmp_path / "nothing.vocab")
