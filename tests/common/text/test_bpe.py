"""Byte-pair encoding: an example worked out by hand, and subword-nmt's own commands as the oracle."""

from __future__ import annotations

import contextlib
import io
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from subword_nmt.learn_bpe import learn_bpe

from common.corpus.lines import read_lines
from common.errors import UserError
from common.text import bpe as bpe_module
from common.text.bpe import Bpe

REAL_LINES = 2_000
"""Of each language: what keeps subword-nmt to a few seconds. 500,000 lines and 32,000 merges were compared once."""
REAL_MERGES = 1_000

# Sennrich et al. 2016, Algorithm 1's toy dictionary. By hand, the end of a word (.) joined to its last letter and
# the alphabetically last pair winning a tie: "s t." and "e s" both occur 9 times, so s t. first; then e st. (9),
# l o (7); then "w est.", "n e" and "e w" 6 times each, so w est.; "n e" and "e west." 6 each, so n e; ne west. (6);
# lo w. (5).
TOY = Counter({"low": 5, "lower": 2, "newest": 6, "widest": 3})
TOY_MERGES = ["s t</w>", "e st</w>", "l o", "w est</w>", "n e", "ne west</w>", "lo w</w>"]


def test_merges_worked_out_by_hand() -> None:
    assert Bpe.learn(TOY, 7).codes == "\n".join(["#version: 0.2", *TOY_MERGES, ""])


def test_segmentation_worked_out_by_hand() -> None:
    bpe = Bpe.learn(TOY, 7)
    assert bpe.split(["lowest", "low", "newest", "slow", "wider", "x"]) == (
        "lo@@ west low newest s@@ low w@@ i@@ d@@ e@@ r x".split()
    )


def sentences(seed: int, count: int) -> list[str]:
    """Tokenised lines of made-up words over a few syllables, with letters beyond ASCII and escaped entities."""
    draw = random.Random(seed)
    syllables = ["ba", "dé", "li", "ßo", "run", "ät", "&apos;", "s", "œu", "t-", "9", "𝄞"]
    words = ["".join(draw.choices(syllables, k=draw.randint(1, 5))) for _ in range(300)]
    weights = [1 / rank for rank in range(1, 301)]
    return [" ".join(draw.choices(words, weights, k=draw.randint(1, 15))) for _ in range(count)]


def command(*arguments: str, text: str) -> str:
    """Standard output of subword-nmt's own command."""
    run = [sys.executable, "-c", "from subword_nmt.subword_nmt import main; main()", *arguments]
    return subprocess.run(run, input=text.encode(), capture_output=True, check=True).stdout.decode()


def test_equals_the_reference_commands(tmp_path: Path) -> None:
    source, target, unseen = sentences(1, 300), sentences(2, 300), sentences(3, 100)
    joint = "".join(f"{line}\n" for line in source + target)
    bpe = Bpe.learn(Counter(word for line in source + target for word in line.split()), 150)
    assert bpe.codes == command("learn-bpe", "-s", "150", text=joint)
    bpe.save(tmp_path / "codes")
    expected = command("apply-bpe", "-c", str(tmp_path / "codes"), text="".join(f"{line}\n" for line in unseen))
    loaded = Bpe.load(tmp_path / "codes")
    assert [" ".join(loaded.split(line.split())) for line in unseen] == expected.split("\n")[:-1]
    assert expected.count("@@") > 100


def reference_codes(text: str, merges: int) -> str:
    """What subword-nmt learns from running text."""
    codes = io.StringIO()
    with contextlib.redirect_stderr(io.StringIO()):
        learn_bpe(io.StringIO(text), codes, merges)
    return codes.getvalue()


@pytest.mark.parametrize("corpus", ["multi30k/train.{}.gz", "debdoc/train.tiny.en-fr.{}.xz"])
def test_equals_the_reference_on_real_text(mirror: Path, corpus: str) -> None:
    lines = [line for side in ("en", "fr") for line in read_lines(mirror / corpus.format(side))[:REAL_LINES]]
    counts = Counter(word for line in lines for word in line.split())
    bpe = Bpe.learn(counts, REAL_MERGES)
    assert bpe.codes == reference_codes("".join(" ".join(line.split()) + "\n" for line in lines), REAL_MERGES)
    assert bpe.codes.count("\n") == REAL_MERGES + 1


# Two letters and the characters of </w> itself: many ties, pairs that overlap with themselves, and two ways to one
# spelling, where subword-nmt counts some pairs twice.
TEXTS = st.sampled_from(["ab", "a\\é", "</w>", "abcd𝄞"]).flatmap(
    lambda alphabet: st.lists(st.text(alphabet, min_size=1, max_size=40), min_size=1, max_size=40)
)


@given(TEXTS, st.integers(1, 4), st.integers(1, 400), st.randoms(use_true_random=False))
def test_equals_the_reference_on_texts_full_of_ties(
    words: list[str], repeated: int, merges: int, draw: random.Random
) -> None:
    words = words * repeated
    expected = reference_codes(" ".join(words), merges) if any(len(word) > 1 for word in words) else ""
    draw.shuffle(words)
    if expected.count("\n") > 1:
        assert Bpe.learn(Counter(words), merges).codes == expected
    else:
        with pytest.raises(UserError, match="use words"):
            Bpe.learn(Counter(words), merges)


def test_counts_pairs_twice_where_the_reference_does() -> None:
    """`w</w>` is the last symbol of the second word, and what merging makes of the letters w < / w > of both.

    When the second word gets it in front too, the pair `< w</w>` at its end is counted again. It occurs once, and
    would else not be merged.
    """
    words = ["w</w>/", "w</w><w"]
    expected = ["w >", "w <", "w< /", "w</ w>", "< w</w>"]
    assert Bpe.learn(Counter(words), 10).codes.split("\n")[1:-1] == expected
    assert reference_codes(" ".join(words), 10).split("\n")[1:-1] == expected


def test_memory_of_words_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bpe_module, "CACHED", 50)
    bounded, once = Bpe(LEARNED.codes), Bpe(LEARNED.codes)
    words = sorted({word for line in sentences(5, 300) for word in line.split()})
    assert len(words) > 200
    assert [bounded.split([word]) for word in words] == [once.split([word]) for word in words]
    assert len(bounded._bpe.cache) <= 51


LETTERS = st.characters(exclude_categories=("Cs", "Cc", "Zs", "Zl", "Zp"), exclude_characters="@")
TOKENS = st.lists(st.text(LETTERS, min_size=1))


@given(TOKENS)
def test_joining_undoes_splitting(tokens: list[str]) -> None:
    assert Bpe.join(LEARNED.split([*tokens, "@"])) == [*tokens, "@"]


LEARNED = Bpe.learn(Counter(word for line in sentences(4, 200) for word in line.split()), 100)


def test_an_unfinished_word_stands_for_itself() -> None:
    assert Bpe.join(["a@@", "b", "c@@"]) == ["ab", "c"]


def test_learning_stops_when_no_pair_occurs_twice(capfd: pytest.CaptureFixture[str]) -> None:
    assert Bpe.learn(TOY, 1000).codes.count("\n") < 20
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("counts", [Counter({"a": 3, "b": 4}), Counter({"ab": 1, "cd": 1}), Counter()])
def test_nothing_to_learn_from(counts: Counter[str]) -> None:
    with pytest.raises(UserError, match="bpe.*use words"):
        Bpe.learn(counts, 10)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"a b\n",
        b"#version: 0.2\n",
        b"#version: 0.2\na b c\n",
        b"#version: 0.2\n\xff b\n",
        b"#version: 0.2\na b\nc",
    ],
)
def test_damaged_codes_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bpe.codes").write_bytes(content)
    with pytest.raises(UserError, match=r"bpe\.codes.*damaged"):
        Bpe.load(tmp_path / "bpe.codes")
    with pytest.raises(UserError, match=r"other\.codes"):
        Bpe.load(tmp_path / "other.codes")
