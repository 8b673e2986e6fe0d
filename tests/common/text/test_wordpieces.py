"""Word pieces: an example by hand, a learner that recounts everything, and a regular expression that splits."""

from __future__ import annotations

import random
import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.corpus.lines import read_lines
from common.errors import UserError
from common.text import wordpieces
from common.text.wordpieces import WordPieces

# Sennrich et al. 2016, Algorithm 1's toy dictionary again, now with the first letter of a word marked (_). By hand, the
# alphabetically last pair winning a tie and _ coming before all letters: e s and s t both occur 9 times, so s t first;
# then e st (9); _l o and o w 7 times each, so o w; _l ow (7); _n e, e w and w est 6 times each, so w est; _n e and
# e west 6 each, so e west; _n ewest (6).
TOY = Counter({"low": 5, "lower": 2, "newest": 6, "widest": 3})
CHARACTERS = "##d ##e ##i ##o ##r ##s ##t ##w l n w".split()
MERGED = "##st ##est ##ow low ##west ##ewest newest".split()


def test_pieces_worked_out_by_hand() -> None:
    assert WordPieces.learn(TOY, len(CHARACTERS) + 7).pieces == (*CHARACTERS, *MERGED)


def test_segmentation_worked_out_by_hand() -> None:
    pieces = WordPieces.learn(TOY, len(CHARACTERS) + 7)
    assert pieces.split(["lowest", "low", "newest", "west", "lxoz"]) == (
        "low ##est low newest w ##est l ##x ##o ##z".split()
    )


def text(seed: int, lines: int) -> list[str]:
    """Words over a few syllables, the first ones more often."""
    draw = random.Random(seed)
    syllables = ["ba", "dé", "li", "ßo", "run", "ät", "&apos;", "s", "œu", "t-", "9", "𝄞", "#"]
    words = ["".join(draw.choices(syllables, k=draw.randint(1, 5))).lstrip("#") or "#" for _ in range(300)]
    return draw.choices(words, [1 / rank for rank in range(1, 301)], k=lines * 8)


def learned_slowly(counts: Counter[str], size: int) -> list[str]:
    """Pieces from a count of all pairs before every merge."""
    words = {word: [" " + word[0], *word[1:]] for word in counts}
    pieces = sorted({part[1:] if part[0] == " " else f"##{part}" for parts in words.values() for part in parts})
    while len(pieces) < size:
        pairs: Counter[tuple[str, str]] = Counter()
        for word, parts in words.items():
            for pair in zip(parts, parts[1:], strict=False):
                pairs[pair] += counts[word]
        first, second = best = max(pairs, key=lambda pair: (pairs[pair], pair))
        pieces.append(first[1:] + second if first[0] == " " else f"##{first}{second}")
        for parts in words.values():
            at = 0
            while at < len(parts) - 1:
                if (parts[at], parts[at + 1]) == best:
                    parts[at : at + 2] = [first + second]
                at += 1
    return pieces


def test_equals_a_learner_that_recounts_everything() -> None:
    counts = Counter(text(1, 300))
    assert list(WordPieces.learn(counts, 250).pieces) == learned_slowly(counts, 250)


def test_equals_the_slow_learner_on_real_text(mirror: Path) -> None:
    lines = [line for side in ("en", "fr") for line in read_lines(mirror / f"multi30k/val.{side}.gz")[:300]]
    counts = Counter(word for line in lines for word in re.findall(r"\w+|[^\w\s]", line))
    pieces = WordPieces.learn(counts, 400)
    assert list(pieces.pieces) == learned_slowly(counts, 400)
    assert WordPieces.join(pieces.split(counts)) == list(counts)


@given(st.lists(st.text("ab9", min_size=1, max_size=12), min_size=1), st.integers(0, 60), st.randoms())
def test_at_most_size_pieces_in_any_order_of_words(words: list[str], more: int, draw: random.Random) -> None:
    size = 6 + more
    pieces = WordPieces.learn(Counter(words), size).pieces
    assert len(pieces) <= size
    assert set("".join(pieces)) - {"#"} == set("".join(words))
    draw.shuffle(words)
    assert WordPieces.learn(Counter(words), size).pieces == pieces


LEARNED = WordPieces.learn(Counter(text(2, 300)), 200)
# A token that begins with ## cannot be told from a continuation; the tokeniser makes none.
LETTERS = st.characters(exclude_categories=("Cs", "Cc", "Zs", "Zl", "Zp"))
TOKENS = st.lists(
    st.text(st.sampled_from("badélirunßo9#s𝄞") | LETTERS, min_size=1).filter(lambda token: not token.startswith("##"))
)


@given(TOKENS)
def test_joining_undoes_splitting(tokens: list[str]) -> None:
    pieces = LEARNED.split(tokens)
    assert WordPieces.join(pieces) == tokens
    # Whatever is not in the vocabulary is one character.
    assert all(len(piece.removeprefix("##")) == 1 for piece in pieces if piece not in LEARNED.pieces and piece != "#")


@given(TOKENS)
def test_the_longest_piece_first(tokens: list[str]) -> None:
    by_length = sorted(LEARNED.pieces, key=len, reverse=True)
    first = re.compile("|".join([re.escape(piece) for piece in by_length if not piece.startswith("##")] + ["."]))
    later = re.compile("|".join([re.escape(piece[2:]) for piece in by_length if piece.startswith("##")] + ["."]))
    expected = []
    for token in tokens:
        expected.append(first.match(token).group())  # type: ignore[union-attr]
        expected += [f"##{piece}" for piece in later.findall(token, len(expected[-1]))]
    assert LEARNED.split(tokens) == expected


def test_a_continuation_without_a_beginning_stands_for_itself() -> None:
    assert WordPieces.join(["##a", "b", "##c"]) == ["a", "bc"]


def test_rare_characters_stay_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wordpieces, "CHARACTERS", 3)
    pieces = WordPieces.learn(Counter({"aab": 5, "cab": 5, "x": 4, "axa": 1, "ya": 5, "y": 1}), 50)
    assert pieces.pieces == ("##a", "##b", "a", "y", "##ab", "ya", "aab")
    assert pieces.split(["aabxaab", "x"]) == ["aab", "##x", "##a", "##ab", "x"]


def test_a_size_below_the_characters_is_refused() -> None:
    with pytest.raises(UserError, match="text.vocabulary_size.*11 characters.*for 10 word pieces"):
        WordPieces.learn(TOY, 10)
    with pytest.raises(UserError, match="text.vocabulary_size.* 0 characters"):
        WordPieces.learn(Counter(), 10)


def test_saved_one_piece_a_line(tmp_path: Path) -> None:
    LEARNED.save(tmp_path / "wordpieces.txt")
    assert (tmp_path / "wordpieces.txt").read_bytes().decode().split("\n") == [*LEARNED.pieces, ""]
    assert WordPieces.load(tmp_path / "wordpieces.txt").pieces == LEARNED.pieces


@pytest.mark.parametrize("content", [b"", b"a\n\nb\n", b"a\na\n", b"a b\n", b"\xff\n"])
def test_a_damaged_list_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "wordpieces.txt").write_bytes(content)
    with pytest.raises(UserError, match=r"wordpieces\.txt.*damaged"):
        WordPieces.load(tmp_path / "wordpieces.txt")
    with pytest.raises(UserError, match=r"other\.txt"):
        WordPieces.load(tmp_path / "other.txt")
