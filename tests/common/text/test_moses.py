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

from common.corpus.lines import read_lines
from common.text.moses import Tokeniser, base_language, clean

LANGUAGES = ("en", "de", "fr")
STATES = ("moses-2014", "moses-2016")
ALL = (*STATES, "moses-2019", "moses-2019-a")
SHARED = {
    (language, lowercase, state): Tokeniser(language, lowercase, state)
    for language in LANGUAGES
    for lowercase in (False, True)
    for state in (*ALL, "none")
}
IN_2016 = {language: SHARED[language, False, "moses-2016"] for language in LANGUAGES}
IN_2014 = {language: SHARED[language, False, "moses-2014"] for language in LANGUAGES}


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
    assert IN_2016[language].tokenise(line) == tokens
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
    assert IN_2016[language].detokenise(IN_2016[language].tokenise(line)) == line


def test_regions_and_scripts_have_the_rules_of_their_language() -> None:
    assert list(map(base_language, ("pt", "pt-BR", "zh_TW", "zh-Hant-HK", "DE"))) == ["pt", "pt", "zh", "zh", "de"]
    line = "A Sra. Maria leu."  # an abbreviation in Portuguese alone
    for language in ("pt", "pt-BR", "pt_PT"):
        tokeniser = Tokeniser(language, False, "moses-2016")
        assert tokeniser.tokenise(line) == "A Sra. Maria leu ."
        assert tokeniser.signature == "case:mixed|tok:moses-2016-pt-escaped"
    assert IN_2016["en"].tokenise(line) == "A Sra . Maria leu ."


def test_unknown_words_stay_as_they_are() -> None:
    assert IN_2016["en"].detokenise("a UNK &apos;s dog .") == "a UNK's dog."


@pytest.mark.parametrize(
    ("language", "line", "in_2016", "in_2014"),
    [
        ("en", "a `word' b", "a `word &apos; b", "a &apos; word &apos; b"),
        ("en", "a ''word'' b", "a &apos; &apos; word &apos; &apos; b", "a &quot; word &quot; b"),
        # The backtick rule comes first, so two backticks end up as one double quote.
        ("en", "a ``word'' b", "a ``word &apos; &apos; b", "a &quot; word &quot; b"),
        ("fr", "l`eau de l''Ain", "l`eau de l &apos; &apos; Ain", "l&apos; eau de l &quot; Ain"),
        ("de", "Er rief: ''Halt''.", "Er rief : &apos; &apos; Halt &apos; &apos; .", "Er rief : &quot; Halt &quot; ."),
        # Two rules of 2016 for the end of a line.
        ("en", "He said 'no.'", "He said &apos; no . &apos;", "He said &apos; no.&apos;"),
        ("fr", "dans l'air.'", "dans l&apos; air . &apos;", "dans l&apos; air.&apos;"),
        ("en", "in May 2014,", "in May 2014 ,", "in May 2014,"),
        ("de", "Mai 2014,", "Mai 2014 ,", "Mai 2014,"),
        # English months came to the list in December 2014, and French `a` left it in 2016.
        ("en", "on Jan. 5", "on Jan. 5", "on Jan . 5"),
        ("en", "in Sept. or Dec. 2013", "in Sept. or Dec. 2013", "in Sept. or Dec . 2013"),
        ("fr", "s'il y en a.", "s&apos; il y en a .", "s&apos; il y en a."),
        ("fr", "Il y en a. Oui.", "Il y en a . Oui .", "Il y en a. Oui ."),
        # The script takes English abbreviations for a language without a list.
        ("xx", "Jan. 5, Rs. 5", "Jan. 5 , Rs . 5", "Jan . 5 , Rs . 5"),
    ],
)
def test_what_changed_between_2014_and_2016(language: str, line: str, in_2016: str, in_2014: str) -> None:
    """Expected values as Perl 5.36 gives them by the rules of those states."""
    assert Tokeniser(language, False, "moses-2016").tokenise(line) == in_2016
    assert Tokeniser(language, False, "moses-2014").tokenise(line) == in_2014


@pytest.mark.parametrize(
    ("language", "line", "tokens"),
    [
        ("en", "a 'word' b", "a &apos; word &apos; b"),
        ("en", "in May,", "in May ,"),
        ("en", "May. 5", "May . 5"),
        # In the list since 2019 only.
        ("en", "Rs. 500", "Rs . 500"),
        # Split at the end of a line since 2018 only.
        ("en", "cats, dogs, i.e.", "cats , dogs , i.e."),
        ("de", "Katzen usw.", "Katzen usw."),
        # To sacremoses, ideographs and mathematical letters are symbols, and an Indic vowel killer is a letter.
        ("en", "中国's 𝑛'th", "中国 &apos;s 𝑛 &apos;th"),
        ("de", "한국어, ひらがな カタカナ.", "한국어 , ひらがな カタカナ ."),
        ("fr", "l'山", "l&apos; 山"),
        ("en", "क्ष", "क ् ष"),
        # Chinese, Japanese and Korean have alphabets of their own in sacremoses, not in the script.
        ("zh", "中国's, 𝑛 A. B.", "中国 &apos; s , 𝑛 A. B."),
        ("ja", "日本, カタカナ", "日本 , カタカナ"),
        ("ko", "한국어, 中国", "한국어 , 中国"),
        # What a decomposed accent is, Perl's tables do not say.
        ("fr", "e\u0301te\u0301", "e \u0301 te \u0301"),
    ],
)
def test_what_both_states_have_in_common_against_later_scripts_and_sacremoses(
    language: str, line: str, tokens: str
) -> None:
    assert [Tokeniser(language, False, state).tokenise(line) for state in STATES] == [tokens, tokens]


@pytest.mark.parametrize(
    ("language", "line", "in_2019", "aggressively"),
    [
        # The last full stop is split from any word, others as before.
        ("en", "cats, dogs, i.e.", "cats , dogs , i.e .", "cats , dogs , i.e ."),
        ("de", "Katzen usw. Hunde usw.", "Katzen usw. Hunde usw .", "Katzen usw. Hunde usw ."),
        ("fr", "de J.-C...", "de J.-C ...", "de J.-C ..."),
        ("en", "He said 'no.'", "He said &apos; no . &apos;", "He said &apos; no . &apos;"),
        ("en", "Rs. 500", "Rs. 500", "Rs. 500"),
        (
            "de",
            "eine a-b-c-Frage - 3-5 (x-)",
            "eine a-b-c-Frage - 3-5 ( x- )",
            "eine a @-@ b @-@ c @-@ Frage - 3 @-@ 5 ( x- )",
        ),
    ],
)
def test_what_changed_until_2019_and_the_option_a(language: str, line: str, in_2019: str, aggressively: str) -> None:
    """Expected values by the rules of the script of 5 November 2019."""
    assert SHARED[language, False, "moses-2019"].tokenise(line) == in_2019
    assert SHARED[language, False, "moses-2019-a"].tokenise(line) == aggressively


def test_text_that_is_tokenised_already_stays_as_it_is() -> None:
    tokeniser = SHARED["en", False, "none"]
    line = "It &apos;s  AT&amp;T 's  well @-@ known \u00a0 , Rs. 5 .\u2028"
    tokens = "It &apos;s AT&amp;T 's well @-@ known , Rs. 5 ."
    assert tokeniser.tokenise(line) == tokens
    assert tokeniser.detokenise(tokens) == tokens
    assert SHARED["en", True, "none"].tokenise(line) == tokens.lower()


def test_an_unknown_state_is_none_of_them() -> None:
    with pytest.raises(KeyError):
        Tokeniser("en", False, "moses-2018")


MONTHS = "Jan Feb Mar Apr Jun Jul Aug Sep Oct Nov Dec".split()


def of_2016(language: str) -> MosesTokenizer:
    """sacremoses without the abbreviation that came later."""
    moses = MosesTokenizer(lang=language)
    moses.NONBREAKING_PREFIXES = [prefix for prefix in moses.NONBREAKING_PREFIXES if prefix != "Rs"]
    return moses


def of_2014(language: str) -> MosesTokenizer:
    """sacremoses with the rules of 2014 where that script had them, in exchange for the later ones."""
    moses = of_2016(language)
    moses.COMMA_SEPARATE_3 = re.compile("[`']{2}|`"), lambda match: ' " ' if len(match[0]) == 2 else "'"
    moses.TRAILING_DOT_APOSTROPHE = re.compile("(?!)"), ""
    if language == "en":
        moses.NONBREAKING_PREFIXES = [prefix for prefix in moses.NONBREAKING_PREFIXES if prefix not in MONTHS]
    if language == "fr":
        moses.NONBREAKING_PREFIXES.append("a")
    return moses


SACREMOSES_2016 = {language: of_2016(language) for language in LANGUAGES}
SACREMOSES_2014 = {language: of_2014(language) for language in LANGUAGES}
FRAGMENTS = [*"'`\",.;-&|<>[]()$/_?!%abAésSßıΩ0125½²ªⅷ€«»’🙂\xa0\u2028\x7f\ufeff\u0301 "]
FRAGMENTS += ["  ", "''", "``", "..", "...", "Mr", "No", "Art", "pp", "z.B", "etc", "Dr", "i.e", "DOTMULTI", "MULTI"]
FRAGMENTS += ["Rs", "Jan", "Dec", " a."]
NASTY = st.lists(st.sampled_from(FRAGMENTS), max_size=20).map("".join)
"""Lines in which the rules meet, of letters that sacremoses and Perl agree about."""


@given(NASTY, st.sampled_from(LANGUAGES))
@settings(max_examples=500)
def test_tokens_are_those_of_sacremoses(line: str, language: str) -> None:
    assert IN_2016[language].tokenise(line) == " ".join(SACREMOSES_2016[language].tokenize(line))
    assert IN_2014[language].tokenise(line) == " ".join(SACREMOSES_2014[language].tokenize(line))


def real_lines(mirror: Path, language: str) -> list[str]:
    """Every third line of the mirror's documentation test set and of Multi30k's validation set."""
    pair = "en-de" if language == "de" else "en-fr"
    lines = read_lines(mirror / "debdoc" / f"test.{pair}.{language}.xz")
    return (lines + read_lines(mirror / "multi30k" / f"val.{language}.gz"))[::3]


@pytest.mark.parametrize("language", LANGUAGES)
def test_tokens_are_those_of_sacremoses_on_real_lines(language: str, mirror: Path) -> None:
    for line in real_lines(mirror, language):
        assert IN_2016[language].tokenise(line) == " ".join(SACREMOSES_2016[language].tokenize(line))
        assert IN_2014[language].tokenise(line) == " ".join(SACREMOSES_2014[language].tokenize(line))


def perl(script: str, lines: list[str]) -> list[str]:
    """The lines after Perl has run `script` on each."""
    if not shutil.which("perl"):
        pytest.skip("Perl is not installed")
    command = ["perl", "-CSD", "-Mutf8", "-ne", f"chomp; {script}; print qq($_\\n)"]
    text = "".join(f"{line}\n" for line in lines)
    output = subprocess.run(command, input=text.encode(), capture_output=True, check=True).stdout
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


@pytest.mark.parametrize("state", STATES)
def test_alphabets_are_those_of_perl(state: str) -> None:
    characters = [chr(code) for code in SETTLED]
    names = ("Alnum", "Alpha", "N", "Lower")
    kinds = perl("$_ = join '', " + ", ".join(rf"(/\p{{Is{name}}}/ ? 1 : 0)" for name in names), characters)
    tokenise = SHARED["fr", False, state].tokenise
    for character, kind in zip(characters, kinds, strict=True):
        alnum, alpha, number, lower = (flag == "1" for flag in kind)
        assert (tokenise(f"a{character}") == f"a{character}") == alnum
        assert tokenise(f"a'{character}").startswith("a&apos; ") == alpha
        assert (tokenise(f"1,{character}") == f"1,{character}") == (number and alnum)
        assert tokenise(f"chien. {character}").startswith("chien. ") == lower


PERL = r"""
BEGIN { %prefix = map { $_ => 1 } qw(PREFIXES); %numeric = map { $_ => 1 } qw(NUMERIC) }
s/\s+/ /g; s/[\x00-\x1f]//g; s/ +/ /g; s/^ | $//g;
s/([^\p{IsAlnum} .'`,-])/ $1 /g;                                        # symbols stand alone
if (AGGRESSIVE) { s/(\p{IsAlnum})-(?=\p{IsAlnum})/$1 \@-\@ /g }            # hyphens, with -a
s/(\.{2,})/" " . "DOT" x length($1) . "MULTI "/ge;                      # several full stops stay together
s/([^\p{IsN}]),/$1 , /g; s/,([^\p{IsN}])/ , $1/g;                       # commas, but inside numbers
if (STATE == 2014) { s/`/'/g; s/''/ " /g } else { s/(\p{IsN}),$/$1 ,/ }
if ("LANGUAGE" eq "de") { s/'/ ' /g }                                   # apostrophes
else {
    s/(\P{IsAlpha})'(\P{IsAlpha})/$1 ' $2/g;
    if ("LANGUAGE" eq "en") { s/([^\p{IsAlpha}\p{IsN}])'(\p{IsAlpha})/$1 ' $2/g }
    else { s/(\P{IsAlpha})'(\p{IsAlpha})/$1 ' $2/g }
    s/(\p{IsAlpha})'(\P{IsAlpha})/$1 ' $2/g;
    if ("LANGUAGE" eq "en") { s/(\p{IsAlpha})'(\p{IsAlpha})/$1 '$2/g; s/(\p{IsN})'s/$1 's/g }
    else { s/(\p{IsAlpha})'(\p{IsAlpha})/$1' $2/g }
}
my @words = split;
for my $i (0 .. $#words) {                                              # final full stops
    my $next = $words[$i + 1] // "";
    my ($word) = $words[$i] =~ /^(.+)\.$/ or next;
    if (STATE == 2019 && $i == $#words) { $words[$i] = "$word ."; next }
    next if $word =~ /\./ && $word =~ /\p{IsAlpha}/ or $prefix{$word} or $next =~ /^\p{IsLower}/;
    next if $numeric{$word} && $next =~ /^[0-9]/;
    $words[$i] = "$word .";
}
$_ = join " ", @words;
s/\.'$/ . '/ if STATE >= 2016;
s/((?:DOT)+)MULTI/"." x (length($1) \/ 3)/ge;
s/&/&amp;/g; s/\|/&#124;/g; s/</&lt;/g; s/>/&gt;/g; s/'/&apos;/g; s/"/&quot;/g; s/\[/&#91;/g; s/\]/&#93;/g;
s/ +/ /g; s/^ | $//g
"""
"""The rules of tokenizer.perl for three languages, told anew, with Perl's own tables of letters and digits."""


def by_perl(lines: list[str], language: str, state: str) -> list[str]:
    """The lines tokenised by PERL, with the abbreviations that the state had."""
    prefixes = [prefix.split(" ")[0] for prefix in MosesTokenizer(lang=language).NONBREAKING_PREFIXES]
    numeric = {"en": ["No", "Art", "pp"]}.get(language, [])
    gone = (
        {*numeric}
        | (set() if "2019" in state else {"Rs"})
        | (set(MONTHS) if (language, state) == ("en", "moses-2014") else set())
    )
    came = ["a"] if (language, state) == ("fr", "moses-2014") else []
    script = (
        PERL.replace("LANGUAGE", language).replace("STATE", state[6:10]).replace("AGGRESSIVE", str(int("-a" in state)))
    )
    script = script.replace("PREFIXES", " ".join([p for p in prefixes if p not in gone] + came))
    return perl(script.replace("NUMERIC", " ".join(numeric)), lines)


LETTERS = st.sampled_from([chr(code) for code in SETTLED])
"""Any character that Perl and Python agree about."""


@given(st.lists(st.lists(st.sampled_from(FRAGMENTS) | LETTERS, max_size=20).map("".join), min_size=1, max_size=30))
@settings(max_examples=40)
@pytest.mark.parametrize("state", ALL)
@pytest.mark.parametrize("language", LANGUAGES)
def test_tokens_are_those_of_perl(language: str, state: str, lines: list[str]) -> None:
    assert [SHARED[language, False, state].tokenise(line) for line in lines] == by_perl(lines, language, state)


@pytest.mark.parametrize("state", ALL)
@pytest.mark.parametrize("language", LANGUAGES)
def test_tokens_are_those_of_perl_on_real_lines(language: str, state: str, mirror: Path) -> None:
    lines = real_lines(mirror, language)
    assert [SHARED[language, False, state].tokenise(line) for line in lines] == by_perl(lines, language, state)


def test_lowercase_comes_before_tokenising() -> None:
    # `Mr.` is a known abbreviation, `mr.` is not: this is the order of Multi30k's lc.norm.tok files.
    assert IN_2016["en"].tokenise("Mr. 5") == "Mr. 5"
    assert SHARED["en", True, "moses-2016"].tokenise("Mr. 5") == "mr . 5"


@pytest.mark.parametrize("character", ["\xa0", "\u2028", "\u2029", "\x85", "\t", "\r", "\n", "\x0b", "\x0c", "\u3000"])
def test_every_kind_of_space_is_a_space(character: str) -> None:
    assert IN_2016["fr"].tokenise(f" un{character}{character}mot{character}") == "un mot"


@pytest.mark.parametrize("character", ["\x00", "\x01", "\x08", "\x0e", "\x1c", "\x1f"])
def test_ascii_control_characters_vanish(character: str) -> None:
    assert IN_2016["en"].tokenise(f"{character}wo{character}rd{character}") == "word"
    assert IN_2016["en"].tokenise(character) == ""


@pytest.mark.parametrize("character", ["\x7f", "\x80", "\x9f", "\ufeff", "\u200b"])
def test_other_control_characters_are_tokens(character: str) -> None:
    assert IN_2016["en"].tokenise(f"{character}word") == f"{character} word"
    assert IN_2014["en"].tokenise(f"{character}word") == f"{character} word"


@given(st.text(), st.sampled_from(LANGUAGES), st.booleans(), st.sampled_from([*STATES, "none"]))
def test_one_line_gives_one_line_of_clean_tokens(line: str, language: str, lowercase: bool, state: str) -> None:
    subject = SHARED[language, lowercase, state]
    tokens = subject.tokenise(line)
    for text in (tokens, subject.detokenise(tokens)):
        assert text == clean(text)
        assert len(text.splitlines()) == (1 if text else 0)
    assert all(token and len(token.split()) == 1 for token in tokens.split(" ")) or tokens == ""
    assert state == "none" or not set(tokens) & set("<>|[]'\"")
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
            len(SHARED[language, True, "moses-2016"].tokenise(line).split())
            for line in read_lines(mirror / "multi30k" / f"{split}.{language}.gz")
        )
        for split in ("test_2016_flickr", "test_2017_flickr", "test_2017_mscoco")
    )
    assert counted == lengths
