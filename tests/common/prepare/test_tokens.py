"""The work on shards against plain Python over the same sentences."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import UserError
from common.prepare.encoded import SIDES
from common.prepare.lexicon import Lexicon, encode
from common.prepare.subwords import split_types
from common.prepare.tokens import PARTITIONS, Rules, Shard, tokenise
from common.prepare.types import Types, at_most, count, count_types, gather_types, most_frequent

PLAIN = Rules("en", "fr", lowercase=False, tokeniser="moses-2016", clean_tokens=None, clean_ratio=None)
Sentences = list[list[str]]
words = st.lists(st.lists(st.sampled_from([*"abcdefgh", "é", "łódź", "xyz"]), min_size=1, max_size=6), min_size=1)


def write(folder: Path, pairs: list[tuple[list[str], list[str]]], rules: Rules = PLAIN) -> Path:
    """A shard of sentences whose words are tokens already."""
    source, target = ("".join(" ".join(pair[side]) + "\n" for pair in pairs).encode() for side in (0, 1))
    path = folder / f"{len(list(folder.glob('*.npz')))}.npz"
    tokenise(rules, ("source", "target"), 1, source, target, path)
    return path


@given(words, st.randoms(use_true_random=False))
@settings(max_examples=20)
def test_a_shard_gives_its_sentences_back(sentences: Sentences, draw) -> None:
    pairs = [(sentence, sentence[::-1]) for sentence in sentences]
    chosen = np.array([index for index in range(len(pairs)) if draw.random() < 0.5], dtype=np.int64)
    with tempfile.TemporaryDirectory() as name:
        shard = Shard(write(Path(name), pairs))
        for side, values in zip(SIDES, zip(*pairs, strict=True), strict=True):
            lines = [" ".join(sentence) for sentence in values]
            assert shard.lines(side) == lines
            assert shard.lines(side, chosen) == [lines[index] for index in chosen]
            parts = [shard.words(side, number) for number in range(PARTITIONS)]
            assert sorted(word for part in parts for word in part) == sorted({w for s in values for w in s})
            assert [word for part in parts for word in part] == shard.words(side)
            slices = [shard.partition(side, number) for number in range(PARTITIONS)]
            assert [len(part) for part in parts] == [part.stop - part.start for part in slices]


def halves(token: str) -> list[str]:
    """Two pieces of every longer word."""
    return [token] if len(token) < 2 else [f"{token[:1]}@@", token[1:]]


class Halves:
    """A segmenter simple enough to be written twice."""

    def split(self, tokens) -> list[str]:
        """Pieces of tokens."""
        return [piece for token in tokens for piece in halves(token)]


@given(words, words, st.integers(0, 2**32))
@settings(max_examples=12)
def test_counts_pieces_and_ids_over_shards(first: Sentences, second: Sentences, seed: int) -> None:
    """Two shards of which only some pairs are kept: counts of words and pieces, and every id, as loops give them."""
    texts = [[(sentence, sentence[:1] * 2) for sentence in sentences] for sentences in (first, second)]
    keep = [np.random.default_rng(seed).random(len(text)) < 0.7 for text in texts]
    kept = [pair for text, mask in zip(texts, keep, strict=True) for pair, good in zip(text, mask, strict=True) if good]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = [write(folder, text) for text in texts]
        masks = [folder / f"{number}.kept.npy" for number in range(2)]
        for path, mask in zip(masks, keep, strict=True):
            np.save(path, mask)
        counts = [folder / f"{number}.counts" for number in range(2)]
        for task in zip(paths, masks, counts, strict=True):
            count(*task)
        types = [folder / f"{number}.types" for number in range(PARTITIONS)]
        for number, path in enumerate(types):
            gather_types(number, paths, counts, path)
        expected = [Counter(word for pair in kept for word in pair[side]) for side in (0, 1)]
        assert at_most(types, [0], 10**6) == expected[0]
        assert at_most(types, [0, 1], 10**6) == expected[0] + expected[1]
        assert [count_types(types, side) for side in (0, 1)] == [len(side) for side in expected]
        if not kept:
            return
        split = [folder / f"{number}.split" for number in range(PARTITIONS)]
        pieces: Counter[str] = Counter()
        for task in zip(types, split, strict=True):
            split_types(task[0], Halves(), task[1])
            with np.load(task[1]) as file:
                pieces.update(
                    dict(zip(file["pieces"].tobytes().decode().split("\n"), file["counts"].tolist(), strict=False))
                )
        assert pieces == Counter(piece for pair in kept for side in pair for word in side for piece in halves(word))
        numbers = {piece: index for index, piece in enumerate(sorted(pieces), start=2)}
        loaded = [Types.load(path) for path in types]
        ids = [np.array([numbers[p] for word in part.words for p in halves(word)], dtype=np.int64) for part in loaded]
        lengths = [np.array([len(halves(word)) for word in part.words], dtype=np.int64) for part in loaded]
        lexicon = folder / "joint"
        Lexicon.build([part.hashes for part in loaded], lengths, ids, 100).save(lexicon)
        row = 0
        for number, (path, mask) in enumerate(zip(paths, masks, strict=True)):
            out = [folder / f"{number}.{side}.npy" for side in SIDES]
            encode(path, mask, (lexicon, lexicon), out, folder / f"{number}.encoded")
            sentences = [pair for pair, good in zip(texts[number], keep[number], strict=True) if good]
            for index, side in enumerate(SIDES):
                flat = [numbers[p] for pair in sentences for word in pair[index] for p in halves(word)]
                assert np.load(out[index]).tolist() == flat
                with np.load(folder / f"{number}.encoded") as file:
                    assert file[f"{side}.lengths"].tolist() == [
                        sum(len(halves(word)) for word in pair[index]) for pair in sentences
                    ]
            row += len(sentences)
        assert row == len(kept)


@given(
    st.dictionaries(st.text("abcdefghij", min_size=1, max_size=3), st.integers(1, 5), min_size=1), st.integers(1, 20)
)
@settings(max_examples=30)
def test_the_most_frequent_types(counts: dict[str, int], size: int) -> None:
    """At least so many and all as frequent as the last; at most so many and none as frequent as the next."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pairs = [([word] * number, ["x"]) for word, number in counts.items()]
        path, end = write(folder, pairs), folder / "counts"
        count(path, None, end)
        types = [folder / f"{number}.types" for number in range(PARTITIONS)]
        for number, partition in enumerate(types):
            gather_types(number, [path], [end], partition)
        ordered = sorted(counts.values(), reverse=True)
        last = ordered[min(size, len(ordered)) - 1]
        assert most_frequent(types, [0], size) == {w: n for w, n in counts.items() if n >= last}
        beyond = ordered[size] if size < len(ordered) else 0
        assert at_most(types, [0], size) == {w: n for w, n in counts.items() if n > beyond}


@pytest.mark.parametrize(
    ("source", "target", "fault"),
    [
        (3, 3, None),
        (0, 3, "empty"),
        (3, 0, "empty"),
        (80, 80, None),
        (81, 80, "too_long"),
        (80, 81, "too_long"),
        (9, 1, None),
        (1, 9, None),
        (10, 1, "ratio"),
        (1, 10, "ratio"),
    ],
)
def test_moses_cleaning_at_its_limits(source: int, target: int, fault: str | None) -> None:
    rules = Rules("en", "de", False, "moses-2016", clean_tokens=80, clean_ratio=9.0)
    assert rules.fault(["w"] * source, ["w"] * target) == fault


def test_outcome_and_rows_tell_what_was_left_out(tmp_path: Path) -> None:
    rules = Rules("en", "fr", False, "moses-2016", clean_tokens=3, clean_ratio=None)
    path = tmp_path / "shard.npz"
    tokenise(rules, ("a", "b"), 101, b"A cat.\n\nOne two three four\nDog\n", b"Un chat.\nx\ny\nChien\n", path)
    shard = Shard(path)
    assert shard.outcome == {"read": 4, "kept": 2, "empty": 1, "too_long": 1}
    assert shard["rows"].tolist() == [101, 104]
    assert shard.lines("target") == ["Un chat .", "Chien"]


def test_text_that_is_not_utf8_is_located_in_the_whole_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"corpus\.fr, line 1,003: not UTF-8"):
        tokenise(PLAIN, ("corpus.en", "corpus.fr"), 1001, b"a\nb\nc\n", b"a\nb\n\xe9\n", tmp_path / "s.npz")
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_not_made_again(tmp_path: Path) -> None:
    path = write(tmp_path, [(["a"], ["b"])])
    stamp = path.stat().st_mtime_ns
    tokenise(PLAIN, ("a", "b"), 1, b"other\n", b"text\n", path)
    assert path.stat().st_mtime_ns == stamp


def test_a_damaged_shard_is_named(tmp_path: Path) -> None:
    (tmp_path / "s.npz").write_bytes(b"not a shard")
    with pytest.raises(UserError, match=r"s\.npz: damaged"):
        Shard(tmp_path / "s.npz")
