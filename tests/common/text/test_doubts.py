"""Warnings of text that was tokenised, escaped, split or decomposed before: what raises them and what must not."""

from __future__ import annotations

import html
from collections.abc import Callable
from pathlib import Path
from unicodedata import normalize

import pytest

from common.corpus.lines import read_lines
from common.text.doubts import FEW, LOOKED_AT, doubts, watched
from common.text.moses import Tokeniser

PLAIN = ["A cat, a dog and its home.", "The best cat", "L'été, où est-il ?", "See e.g. AT&T.", "Mr. Smith", "R&D;"]


def looks(lines: list[str], tokeniser: str = "moses-2016") -> list[str]:
    """How the lines are said to look."""
    return [remark.split("` looks ")[1].split(" (")[0] for remark in doubts(lines, "a.en", tokeniser)]


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("It &apos;s a cat .", "tokenised"),
        ("A cat , a dog", "tokenised"),
        ("a well @-@ known cat", "tokenised"),
        ("It&apos;s a cat.", "HTML-escaped"),
        ("AT&amp;T has a cat.", "HTML-escaped"),
        ("caf&eacute; or caf&#233; or caf&#xE9;", "HTML-escaped"),
        ("un e\u0301te\u0301.", "decomposed"),
        ("a ca@@ t", "split into sub-words"),
    ],
)
def test_a_line_that_was_processed_is_shown_with_its_file_and_number_and_a_cure(line: str, kind: str) -> None:
    (remark,) = doubts([line], "a.en", "moses-2016", first_line=1_001)
    assert remark.startswith(f"a.en, line 1,001: `{line}` looks {kind} ") and remark.partition("; ")[2]
    assert (kind in ("tokenised", "HTML-escaped")) == ("text.tokeniser=none" in remark)
    assert "\n" not in remark


def test_plain_text_raises_no_doubt() -> None:
    assert doubts(PLAIN, "a.en", "moses-2016") == doubts([], "a.en", "moses-2016") == []
    assert looks([""]) == looks(["", "word", "&dhpackage; is a macro"]) == []


def test_text_for_no_tokeniser_should_be_tokenised_and_whole() -> None:
    tokenised = ["It &apos;s a cat .", "un e\u0301te\u0301 , Mr. Smith", "AT&amp;T"]
    assert looks(tokenised, "none") == []
    assert looks(PLAIN, "none") == ["untokenised"]
    assert looks(["a ca@@ t ."], "none") == ["split into sub-words"]


def test_a_stray_line_in_many_raises_none() -> None:
    for stray, kind in (("AT&amp;T", "HTML-escaped"), ("e\u0301", "decomposed"), ("a@@ b", "split into sub-words")):
        assert len(looks([*["word"] * (FEW - 1), stray])) == 1, kind
        assert looks([*["word"] * FEW, stray]) == [], kind
    assert looks(["A cat, a dog", "A cat , a dog"]) == ["tokenised"]
    assert looks(["A cat, a dog", "A cat , a dog", "A cat."]) == []


def test_long_lines_are_cut_and_long_files_looked_at_for_a_while() -> None:
    (remark,) = doubts([f"&amp;{'x' * 1000}"], "a.en", "moses-2016")
    assert "x...` looks" in remark and len(remark) < 300
    assert looks(["word"] * LOOKED_AT + ["&amp;"] * LOOKED_AT) == []


TEXTS = {
    "multi30k": ["train.en.gz", "train.de.gz", "val.fr.gz", "test_2017_mscoco.de.gz"],
    "debdoc": ["test.en-fr.en.xz", "test.en-de.de.xz", "valid.en-fr.fr.xz", "train.tiny.en-fr.en.xz"],
}


@pytest.mark.parametrize(("folder", "name"), [(folder, name) for folder, names in TEXTS.items() for name in names])
def test_real_text_raises_doubts_only_when_it_was_processed(folder: str, name: str, mirror: Path) -> None:
    lines = read_lines(mirror / folder / name)
    language = name.split(".")[-2]
    moses = Tokeniser(language, False, "moses-2016")
    assert looks(lines) == []
    processed: dict[str, Callable[[str], str]] = {"tokenised": moses.tokenise, "HTML-escaped": html.escape}
    if language != "en":  # where accents are rare, so is the damage
        processed["decomposed"] = lambda line: normalize("NFD", line)
    for kind, process in processed.items():
        assert looks([process(line) for line in lines]) == [kind]


def test_a_stream_is_passed_on_as_it_comes_and_warned_of_once(capsys: pytest.CaptureFixture[str]) -> None:
    stream = watched(iter(["It &apos;s a cat ."] * 2 * FEW), "standard input", "moses-2016")
    next(stream)
    assert capsys.readouterr().err == ""
    assert len(list(stream)) == 2 * FEW - 1
    assert capsys.readouterr().err.count("warning: standard input, line 1: `It &apos;s a cat .` looks tokenised") == 1
    assert list(watched(["a cat ."], "standard input", "moses-2016")) == ["a cat ."]
    assert "looks tokenised (1 of 1 lines do)" in capsys.readouterr().err
    assert list(watched(["A cat."], "standard input", "moses-2016")) and capsys.readouterr().err == ""
