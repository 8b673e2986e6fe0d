"""Tokenisation: known outputs of the Moses scripts, and what must hold of any text whatever."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.data.corpora import CORPORA
from common.data.fetch import MIRROR
from common.data.text import Tokeniser, clean
from common.lines import read_lines

LANGUAGES = ("en", "de", "fr")


def tokeniser(language: str, lowercase: bool = False, quotes_2014: bool = False) -> Tokeniser:
    return Tokeniser(language, lowercase, quotes_2014)


@pytest.mark.parametrize(
    ("language", "line", "tokens"),
    [
        ("en", "It's John's, isn't it?", "It &apos;s John &apos;s , isn &apos;t it ?"),
        ("en", "Mr. Smith paid 3,000.50 dollars...", "Mr. Smith paid 3,000.50 dollars ..."),
        ("en", "AT&T's [old] <b> a|b", "AT &amp; T &apos;s &#91; old &#93; &lt; b &gt; a &#124; b"),
        ("en", 'a well-known "quote"', "a well-known &quot; quote &quot;"),
        ("fr", "L'homme qu'on aime, c'est lui !", "L&apos; homme qu&apos; on aime , c&apos; est lui !"),
        ("de", "Das ist z.B. Peters' Hund.", "Das ist z.B. Peters &apos; Hund ."),
    ],
)
def test_moses_tokenisation_with_escaping(language: str, line: str, tokens: str) -> None:
    assert tokeniser(language).tokenise(line) == tokens


@pytest.mark.parametrize(
    ("language", "line"),
    [
        ("en", "It's John's, isn't it?"),
        ("en", "Mr. Smith paid 3,000.50 dollars (net)."),
        ("en", 'He said: "yes & no".'),
        ("fr", "L'homme qu'on aime, c'est lui."),
        ("de", 'Das ist ein "altes" Haus, oder?'),
    ],
)
def test_detokenising_gives_the_sentence_back(language: str, line: str) -> None:
    tokens = tokeniser(language)
    assert tokens.detokenise(tokens.tokenise(line)) == line


def test_unknown_words_stay_as_they_are() -> None:
    assert tokeniser("en").detokenise("a UNK &apos;s dog .") == "a UNK's dog."


@pytest.mark.parametrize(
    ("line", "now", "in_2014"),
    [
        ("a `word' b", "a `word &apos; b", "a &apos; word &apos; b"),
        ("a ''word'' b", "a &apos; &apos; word &apos; &apos; b", "a &quot; word &quot; b"),
        # The backtick rule comes first, so two backticks end up as one double quote.
        ("a ``word'' b", "a ``word &apos; &apos; b", "a &quot; word &quot; b"),
        ("a 'word' b", "a &apos; word &apos; b", "a &apos; word &apos; b"),
    ],
)
def test_the_two_quote_rules_of_2014(line: str, now: str, in_2014: str) -> None:
    assert tokeniser("en").tokenise(line) == now
    assert tokeniser("en", quotes_2014=True).tokenise(line) == in_2014


def test_lowercase_comes_before_tokenising() -> None:
    # `Mr.` is a known abbreviation, `mr.` is not: this is the order of Multi30k's lc.norm.tok files.
    assert tokeniser("en").tokenise("Mr. 5") == "Mr. 5"
    assert tokeniser("en", lowercase=True).tokenise("Mr. 5") == "mr . 5"


@pytest.mark.parametrize(
    "character", ["\u00a0", "\u2028", "\u2029", "\x85", "\t", "\r", "\n", "\x0b", "\x1c", "\u3000"]
)
def test_every_kind_of_space_is_a_space(character: str) -> None:
    assert tokeniser("fr").tokenise(f" un{character}{character}mot{character}") == "un mot"


@pytest.mark.parametrize("character", ["\x00", "\x01", "\x7f", "\x90", "\ufeff"])
def test_control_characters_vanish(character: str) -> None:
    assert tokeniser("en").tokenise(f"{character}wo{character}rd{character}") == "word"
    assert tokeniser("en").tokenise(character) == ""


@given(st.text(), st.sampled_from(LANGUAGES), st.booleans(), st.booleans())
def test_one_line_gives_one_line_of_clean_tokens(line: str, language: str, lowercase: bool, quotes: bool) -> None:
    subject = SHARED[language, lowercase, quotes]
    tokens = subject.tokenise(line)
    for text in (tokens, subject.detokenise(tokens)):
        assert text == clean(text)
        assert len(text.splitlines()) == (1 if text else 0)
    assert all(token and len(token.split()) == 1 for token in tokens.split(" ")) or tokens == ""
    assert not set(tokens) & set("<>|[]'\"")
    if lowercase:
        assert tokens == subject.tokenise(line.lower())


SHARED = {
    (language, lowercase, quotes): Tokeniser(language, lowercase, quotes)
    for language in LANGUAGES
    for lowercase in (False, True)
    for quotes in (False, True)
}


@given(st.text())
def test_cleaning_twice_changes_nothing(line: str) -> None:
    assert clean(clean(line)) == clean(line)


def multi30k(name: str) -> Path:
    folder = os.environ.get(MIRROR, "")
    path = Path(folder) / CORPORA["multi30k"].files[name].path
    if "://" in folder or not path.is_file():
        pytest.skip(f"set {MIRROR} to a folder with Multi30k")
    return path


@pytest.mark.parametrize(("language", "lengths"), [("de", (12_103, 10_758, 5_158)), ("fr", (13_988, 12_596, 5_710))])
def test_multi30k_reference_lengths(language: str, lengths: tuple[int, ...]) -> None:
    """Tokens of test2016, test2017 and MSCOCO as the Multi30k README and Wu et al. 2021 count them."""
    subject = tokeniser(language, lowercase=True)
    counted = tuple(
        sum(len(subject.tokenise(line).split()) for line in read_lines(multi30k(f"{split}.{language}")))
        for split in ("test_2016_flickr", "test_2017_flickr", "test_2017_mscoco")
    )
    assert counted == lengths
