"""Tokenisation: known outputs of the Moses scripts, sacremoses and Perl beside ours, and what must hold of any text."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sacremoses import MosesTokenizer

from common.data.text import Tokeniser, base_language, clean
from common.lines import read_lines

LANGUAGES = ("en", "de", "fr")
SHARED = {
    (language, lowercase, quotes): Tokeniser(language, lowercase, quotes)
    for language in LANGUAGES
    for lowercase in (False, True)
    for quotes in (False, True)
}
NOW = {language: SHARED[language, False, False] for language in LANGUAGES}
IN_2014 = {language: SHARED[language, False, True] for language in LANGUAGES}


@pytest.mark.parametrize(
    ("language", "line", "tokens"),
    [
        ("en", "It's John's, isn't it?", "It &apos;s John &apos;s , isn &apos;t it ?"),
        ("en", "Mr. Smith paid 3,000.50 dollars...", "Mr. Smith paid 3,000.50 dollars ..."),
        ("en", "AT&T's [old] <b> a|b", "AT &amp; T &apos;s &#91; old &#93; &lt; b &gt; a &#124; b"),
        ("en", 'a well-known "quote"', "a well-known &quot; quote &quot;"),
        ("en", "No. 05, Art. 9 and pp. 1: no. No.", "No. 05 , Art. 9 and pp. 1 : no . No ."),
        ("fr", "L'homme qu'on aime, c'est lui !", "L&apos; homme qu&apos; on aime , c&apos; est lui !"),
        ("de", "Das ist z.B. Peters' Hund.", "Das ist z.B. Peters &apos; Hund ."),
    ],
)
def test_moses_tokenisation_with_escaping(language: str, line: str, tokens: str) -> None:
    assert NOW[language].tokenise(line) == tokens
    assert IN_2014[language].tokenise(line) == tokens


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
    assert NOW[language].detokenise(NOW[language].tokenise(line)) == line


def test_regions_and_scripts_have_the_rules_of_their_language() -> None:
    assert list(map(base_language, ("pt", "pt-BR", "zh_TW", "zh-Hant-HK", "DE"))) == ["pt", "pt", "zh", "zh", "de"]
    line = "A Sra. Maria leu."  # an abbreviation in Portuguese alone
    for language in ("pt", "pt-BR", "pt_PT"):
        tokeniser = Tokeniser(language, False, False)
        assert tokeniser.tokenise(line) == "A Sra. Maria leu ."
        assert tokeniser.signature == "case:mixed|tok:moses-2016-pt-escaped"
    assert NOW["en"].tokenise(line) == "A Sra . Maria leu ."


def test_unknown_words_stay_as_they_are() -> None:
    assert NOW["en"].detokenise("a UNK &apos;s dog .") == "a UNK's dog."


@pytest.mark.parametrize(
    ("language", "line", "now", "in_2014"),
    [
        ("en", "a `word' b", "a `word &apos; b", "a &apos; word &apos; b"),
        ("en", "a ''word'' b", "a &apos; &apos; word &apos; &apos; b", "a &quot; word &quot; b"),
        # The backtick rule comes first, so two backticks end up as one double quote.
        ("en", "a ``word'' b", "a ``word &apos; &apos; b", "a &quot; word &quot; b"),
        ("en", "a 'word' b", "a &apos; word &apos; b", "a &apos; word &apos; b"),
        ("fr", "l`eau de l''Ain", "l`eau de l &apos; &apos; Ain", "l&apos; eau de l &quot; Ain"),
        ("de", "Er rief: ''Halt''.", "Er rief : &apos; &apos; Halt &apos; &apos; .", "Er rief : &quot; Halt &quot; ."),
        # Two rules of 2016 for the end of a line.
        ("en", "He said 'no.'", "He said &apos; no . &apos;", "He said &apos; no.&apos;"),
        ("fr", "dans l'air.'", "dans l&apos; air . &apos;", "dans l&apos; air.&apos;"),
        ("en", "in May 2014,", "in May 2014 ,", "in May 2014,"),
        ("de", "Mai 2014,", "Mai 2014 ,", "Mai 2014,"),
        ("en", "in May,", "in May ,", "in May ,"),
        # An abbreviation that came to Moses' list later.
        ("en", "Rs. 500", "Rs. 500", "Rs . 500"),
        # To sacremoses, ideographs and mathematical letters are symbols, and an Indic vowel killer is a letter.
        ("en", "中国's 𝑛'th", "中 国 &apos; s 𝑛 &apos; th", "中国 &apos;s 𝑛 &apos;th"),
        ("fr", "l'山", "l &apos; 山", "l&apos; 山"),
        ("en", "क्ष", "क्ष", "क ् ष"),
    ],
)
def test_the_state_of_2014(language: str, line: str, now: str, in_2014: str) -> None:
    """Expected values of 2014 as Perl 5.36 gives them by the rules of that state."""
    assert NOW[language].tokenise(line) == now
    assert IN_2014[language].tokenise(line) == in_2014


def in_two_steps(language: str) -> MosesTokenizer:
    """sacremoses with the rules of 2014 in the place where that script had them, in exchange for the later ones."""
    moses = MosesTokenizer(lang=language)
    moses.COMMA_SEPARATE_3 = re.compile("[`']{2}|`"), lambda match: ' " ' if len(match[0]) == 2 else "'"
    moses.TRAILING_DOT_APOSTROPHE = re.compile("(?!)"), ""
    return moses


SACREMOSES = {language: MosesTokenizer(lang=language) for language in LANGUAGES}
IN_TWO_STEPS = {language: in_two_steps(language) for language in LANGUAGES}
FRAGMENTS = [*"'`\",.;-&|<>[]()$/_?!%abAésSßıΩ0125½²ªⅷ€«»’🙂\xa0\u2028\x7f\ufeff\u0301 "]
FRAGMENTS += ["  ", "''", "``", "..", "...", "Mr", "No", "Art", "pp", "z.B", "etc", "Dr", "i.e", "DOTMULTI", "MULTI"]
NASTY = st.lists(st.sampled_from(FRAGMENTS), max_size=20).map("".join)
"""Lines in which the rules meet, of letters that sacremoses and Perl agree about."""


@given(NASTY, st.sampled_from(LANGUAGES))
@settings(max_examples=500)
def test_tokens_are_those_of_sacremoses(line: str, language: str) -> None:
    assert NOW[language].tokenise(line) == " ".join(SACREMOSES[language].tokenize(line))
    assert IN_2014[language].tokenise(line) == " ".join(IN_TWO_STEPS[language].tokenize(line))


@given(st.text(), st.sampled_from(LANGUAGES))
def test_tokens_are_those_of_sacremoses_on_any_text(line: str, language: str) -> None:
    assert NOW[language].tokenise(line) == " ".join(SACREMOSES[language].tokenize(clean(line)))


@pytest.mark.parametrize("language", LANGUAGES)
def test_tokens_are_those_of_sacremoses_on_real_lines(language: str, mirror: Path) -> None:
    pair = "en-de" if language == "de" else "en-fr"
    lines = read_lines(mirror / "debdoc" / f"test.{pair}.{language}.xz")
    lines += read_lines(mirror / "multi30k" / f"val.{language}.gz")
    for line in lines[::3]:
        assert NOW[language].tokenise(line) == " ".join(SACREMOSES[language].tokenize(line))
        assert IN_2014[language].tokenise(line) == " ".join(IN_TWO_STEPS[language].tokenize(line))


def perl(script: str, lines: list[str]) -> list[str]:
    """The lines after Perl has run `script` on each."""
    if not shutil.which("perl"):
        pytest.skip("Perl is not installed")
    command = ["perl", "-CSD", "-ne", f"chomp; {script}; print qq($_\\n)"]
    output = subprocess.run(command, input="\n".join(lines).encode(), capture_output=True, check=True).stdout
    return output.decode().split("\n")[:-1]


def test_white_space_is_what_perl_takes_for_it() -> None:
    characters = [chr(code) for code in range(0x10000) if chr(code) != "\n" and not 0xD800 <= code < 0xE000]
    lines = [f" a{character} b{character}{character}c" for character in characters]
    assert [clean(line) for line in lines] == perl(r"s/\s+/ /g; s/[\000-\037]//g; s/ +/ /g; s/^ //; s/ $//", lines)


# Ranges without gaps to be filled, so that whatever Unicode versions Perl and Python have agree about them.
SETTLED = [*range(0xA1, 0x378), *range(0x3A3, 0x530), *range(0x1E00, 0x1F16), *range(0x2010, 0x2028)]
SETTLED += [*range(0x2100, 0x218C), *range(0x2190, 0x2427), *range(0x2460, 0x2B74), *range(0x3001, 0x3040)]
SETTLED += [*range(0x4E00, 0x9FF0, 97), *range(0xAC00, 0xD7A4, 97), *range(0x20000, 0x2A6D7, 997)]
SETTLED += [*range(0x1D400, 0x1D800), *range(0x1F300, 0x1F6D3)]


def test_alphabets_of_2014_are_those_of_perl() -> None:
    characters = [chr(code) for code in SETTLED]
    names = ("Alnum", "Alpha", "N", "Lower")
    kinds = perl("$_ = join '', " + ", ".join(rf"(/\p{{Is{name}}}/ ? 1 : 0)" for name in names), characters)
    for character, kind in zip(characters, kinds, strict=True):
        alnum, alpha, number, lower = (flag == "1" for flag in kind)
        assert (IN_2014["fr"].tokenise(f"a{character}") == f"a{character}") == alnum
        assert IN_2014["fr"].tokenise(f"a'{character}").startswith("a&apos; ") == alpha
        assert (IN_2014["fr"].tokenise(f"1,{character}") == f"1,{character}") == (number and alnum)
        assert IN_2014["fr"].tokenise(f"chien. {character}").startswith("chien. ") == lower


def test_lowercase_comes_before_tokenising() -> None:
    # `Mr.` is a known abbreviation, `mr.` is not: this is the order of Multi30k's lc.norm.tok files.
    assert NOW["en"].tokenise("Mr. 5") == "Mr. 5"
    assert SHARED["en", True, False].tokenise("Mr. 5") == "mr . 5"


@pytest.mark.parametrize("character", ["\xa0", "\u2028", "\u2029", "\x85", "\t", "\r", "\n", "\x0b", "\x0c", "\u3000"])
def test_every_kind_of_space_is_a_space(character: str) -> None:
    assert NOW["fr"].tokenise(f" un{character}{character}mot{character}") == "un mot"


@pytest.mark.parametrize("character", ["\x00", "\x01", "\x08", "\x0e", "\x1c", "\x1f"])
def test_ascii_control_characters_vanish(character: str) -> None:
    assert NOW["en"].tokenise(f"{character}wo{character}rd{character}") == "word"
    assert NOW["en"].tokenise(character) == ""


@pytest.mark.parametrize("character", ["\x7f", "\x80", "\x9f", "\ufeff", "\u200b"])
def test_other_control_characters_are_tokens(character: str) -> None:
    assert NOW["en"].tokenise(f"{character}word") == f"{character} word"
    assert IN_2014["en"].tokenise(f"{character}word") == f"{character} word"


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


@given(st.text())
def test_cleaning_twice_changes_nothing(line: str) -> None:
    assert clean(clean(line)) == clean(line)


@pytest.mark.parametrize(("language", "lengths"), [("de", (12_103, 10_758, 5_158)), ("fr", (13_988, 12_596, 5_710))])
def test_multi30k_reference_lengths(language: str, lengths: tuple[int, ...], mirror: Path) -> None:
    """Tokens of test2016, test2017 and MSCOCO as the Multi30k README and Wu et al. 2021 count them."""
    counted = tuple(
        sum(
            len(SHARED[language, True, False].tokenise(line).split())
            for line in read_lines(mirror / "multi30k" / f"{split}.{language}.gz")
        )
        for split in ("test_2016_flickr", "test_2017_flickr", "test_2017_mscoco")
    )
    assert counted == lengths
