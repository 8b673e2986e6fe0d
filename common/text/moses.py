"""Text to tokens and back, as the Moses scripts of the papers' years did it.

HTML escaping is on, as by default in tokenizer.perl: Bahdanau 2014's published outputs contain `&apos;`, and the
Transformer's data came from the same script. Rules and abbreviations are those of sacremoses 0.2.0, but for what came
into the script after the papers; what is a letter, a digit, a lower-case letter is Perl's. The loop around the rules is
ours: a rule is tried where it can apply, in a fraction of the time.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from unicodedata import category

from sacremoses import MosesDetokenizer, MosesTokenizer
from sacremoses.corpus import NonbreakingPrefixes
from sacremoses.indic import NUKTAS, VIRAMAS

_DELETED = re.compile("[\x00-\x08\x0e-\x1f]")
_ESCAPES = {
    "&": "&amp;",  # first, or it would escape the others
    "|": "&#124;",
    "<": "&lt;",
    ">": "&gt;",
    "'": "&apos;",
    '"': "&quot;",
    "[": "&#91;",
    "]": "&#93;",
}
_APOSTROPHES = {
    "en": MosesTokenizer.ENGLISH_SPECIFIC_APOSTROPHE,
    "fr": MosesTokenizer.FR_IT_SPECIFIC_APOSTROPHE,
    "it": MosesTokenizer.FR_IT_SPECIFIC_APOSTROPHE,
}


def base_language(code: str) -> str:
    """The language of a code that also names a region or script, for which there are no rules: pt of pt-BR."""
    return re.split("[-_]", code)[0].lower()


def clean(line: str) -> str:
    """`line` without ASCII control characters, every run of white space as one space, none at the ends.

    As in tokenizer.perl: to Python \\x1c-\\x1f are white space, to Perl they are to be deleted. All other white space
    (tab, line ends, no-break space, U+2028 ...) is the same to both, so no token can hold any. Perl keeps \\x7f-\\x9f
    (but \\x85, white space) and U+FEFF, which become tokens of their own.
    """
    return " ".join(_DELETED.sub("", line).split())


_LATER = {
    "moses-2014": {"en": {"Rs", "Jan", "Feb", "Mar", "Apr", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"}},
    "moses-2016": {"en": {"Rs"}},
}
"""Abbreviations that a state's lists did not have yet, by language."""
_EARLIER: dict[str, dict[str, set[str]]] = {"moses-2014": {"fr": {"a"}}, "moses-2016": {}}
"""Abbreviations that a state's lists still had."""
_REMEMBERED = 1 << 14
"""Stretches around a sign whose rewriting is remembered, for each set of rules."""


class Tokeniser:
    """Words of one language's text, and the text again.

    lowercase: before tokenising, as Multi30k's lc.norm.tok files were made, though abbreviations are known by case.
    tokeniser: what splits the text, one of
      moses-2016: tokenizer.perl as the Transformer's data were made with, commit 59119c004 of 23 December 2016. Of what
        came later, `Rs` is no abbreviation yet, and an abbreviation keeps its full stop at the end of a line (`etc.`).
      moses-2014: tokenizer.perl as RNNsearch's data were made with, commit 7f41bbba6 of 3 August 2014. It differs where
        these commits came between: a backtick becomes an apostrophe, then two apostrophes a double quote (until
        19d7c44aa); at the end of a line, a comma stays on a number (until d04bdc744) and a full stop before an
        apostrophe on its word (until 5d5bf1885); English months are no abbreviations, so `Jan. 5` is three words
        (until f97ed79a7); French `a` is one, so that `il y en a.` keeps its full stop (until 6652068a4).
      none: for text that is tokenised already. White space separates the words, nothing is escaped, and words joined by
        spaces are the text again, nothing unescaped. Tokenised BLEU counts these words, so it compares with a paper's
        only if the paper's script made them. sacreBLEU gets them in place of plain text and splits them once more: it
        compares with no score of detokenised text.
    Letters, digits and lower case are Perl's in both states (`_alphabets`). Only English, French and German were
    compared with the script; other languages have the abbreviations that sacremoses has.
    """

    def __init__(self, language: str, lowercase: bool, tokeniser: str) -> None:
        language = base_language(language)
        self.signature = _signature(language, lowercase, tokeniser)
        """What it does to text, as the signature of a score says it."""
        self._lowercase = lowercase
        self._moses = None if tokeniser == "none" else _Moses(language, tokeniser)

    def tokenise(self, line: str) -> str:
        """Tokens joined by single spaces; empty for a line without any."""
        text = clean(line.lower() if self._lowercase else line)
        return self._moses.tokenise(text) if self._moses else text

    def detokenise(self, tokens: str) -> str:
        """Plain text from tokens joined by spaces: Moses' are unescaped, with spaces where the language writes them."""
        return clean(self._moses.detokenise(tokens) if self._moses else tokens)


def _signature(language: str, lowercase: bool, tokeniser: str) -> str:
    split = tokeniser if tokeniser == "none" else f"{tokeniser}-{language}-escaped"
    return f"case:{'lc-before-tok' if lowercase else 'mixed'}|tok:{split}"


class _Moses:
    """tokenizer.perl and detokenizer.perl for one language, in one of the states of `Tokeniser`."""

    def __init__(self, language: str, state: str) -> None:
        self._in_2014 = state == "moses-2014"
        self._moses = moses = MosesTokenizer(lang=language)
        self._detokeniser = MosesDetokenizer(lang=language)
        self._commas = _Rules(",", [moses.COMMA_SEPARATE_1, moses.COMMA_SEPARATE_2])
        self._apostrophes = _Rules("'", _APOSTROPHES.get(language, [moses.NON_SPECIFIC_APOSTROPHE]))
        alphanumeric = _alphabets()[MosesTokenizer.IsAlnum]
        # Most characters are told by the first set, which is small and therefore quick.
        self._symbol = re.compile(rf"[^a-zA-Z0-9 .'`,\-](?<![{alphanumeric}])")
        self._letter = re.compile(f"[{_alphabets()[MosesTokenizer.IsAlpha]}]")
        self._before_number = frozenset(moses.NUMERIC_ONLY_PREFIXES)
        listed = language if language in NonbreakingPrefixes().available_langs.values() else "en"  # as the script does
        later, earlier = (lists[state].get(listed, set()) for lists in (_LATER, _EARLIER))
        self._abbreviations = frozenset(moses.NONBREAKING_PREFIXES) - self._before_number - later | earlier

    def tokenise(self, text: str) -> str:
        """Escaped tokens of a clean line, joined by single spaces."""
        text = self._symbol.sub(_spaced, text)
        if ".." in text:
            text = self._moses.replace_multidots(text)
        text = self._commas.apply(text)
        if self._in_2014:
            text = text.replace("`", "'").replace("''", ' " ')
        elif text.endswith(","):
            text = text[:-1] + " ,"
        text = self._separate_full_stops(self._apostrophes.apply(text))
        if text.endswith(".'") and not self._in_2014:
            text = " ".join([*text[:-2].split(), ".", "'"])
        if "MULTI" in text:
            text = self._moses.restore_multidots(text)
        for character, entity in _ESCAPES.items():
            text = text.replace(character, entity)
        return text

    def detokenise(self, tokens: str) -> str:
        """Unescaped text with spaces where the language writes them."""
        text: str = self._detokeniser.detokenize(tokens.split())
        return text

    def _separate_full_stops(self, text: str) -> str:
        """Every final full stop that is not part of an abbreviation as a word of its own; single spaces."""
        words = text.split()
        if "." in text:
            for index, word in enumerate(words):
                if word[-1] == "." and len(word) > 1:
                    following = words[index + 1] if index + 1 < len(words) else ""
                    if not self._keeps_full_stop(word[:-1], following):
                        words[index] = f"{word[:-1]} ."
        return " ".join(words)

    def _keeps_full_stop(self, word: str, following: str) -> bool:
        return bool(
            ("." in word and self._letter.search(word))
            or word in self._abbreviations
            or following[:1].islower()
            or (word in self._before_number and "0" <= following[:1] <= "9")
        )


def _spaced(match: re.Match[str]) -> str:
    return f" {match[0]} "


class _Rules:
    """Substitutions that look at one sign and its two neighbours, in their order."""

    def __init__(self, sign: str, rules: Iterable[tuple[re.Pattern[str], str]]) -> None:
        self._sign = sign
        # All a rule can see or change: no match of one goes beyond such a stretch, so each may be treated alone.
        self._stretch = re.compile(f".?{sign}(?:.?{sign})*.?")
        self._rules = [(_with_alphabets(pattern.pattern), substitution) for pattern, substitution in rules]
        self._rewritten = lru_cache(_REMEMBERED)(self._rewrite)

    def apply(self, text: str) -> str:
        return self._stretch.sub(lambda match: self._rewritten(match[0]), text) if self._sign in text else text

    def _rewrite(self, text: str) -> str:
        for pattern, substitution in self._rules:
            text = pattern.sub(substitution, text)
        return text


def _with_alphabets(pattern: str) -> re.Pattern[str]:
    """The pattern with sacremoses' alphabets replaced by Perl's."""
    for old, new in _alphabets().items():
        pattern = pattern.replace(old, new)
    return re.compile(pattern)


@lru_cache(maxsize=1)
def _alphabets() -> dict[str, str]:
    """Perl's alphabets as insides of a regular expression's set, keyed by sacremoses' own.

    Those lack ideographs, Hangul and mathematical letters. Made by the definitions in Unicode's PropList and
    DerivedCoreProperties, except about 600 vowel signs of Asian scripts and letters in squares that sacremoses does not
    know either; beyond plane 1 there are only ideographs.
    """
    kinds = [category(chr(code)) for code in range(0x20000)]

    def of(*chosen: str) -> set[int]:
        return {code for code, kind in enumerate(kinds) if kind in chosen}

    marks = set(map(ord, MosesTokenizer.IsAlpha)) - set(map(ord, (*VIRAMAS, *NUKTAS, "\N{DOTTED CIRCLE}")))
    letters = marks | of("Lu", "Ll", "Lt", "Lm", "Lo", "Nl")
    ideographs = "\U00020000-\U0003ffff"
    return {
        MosesTokenizer.IsAlnum: _ranges(letters | of("Nd")) + ideographs,
        MosesTokenizer.IsAlpha: _ranges(letters) + ideographs,
        MosesTokenizer.IsN: _ranges(of("Nd", "Nl", "No")),
    }


def _ranges(codes: set[int]) -> str:
    """The inside of a regular expression's set."""
    starts = sorted(code for code in codes if code - 1 not in codes)
    ends = sorted(code for code in codes if code + 1 not in codes)
    return "".join(f"{chr(start)}-{chr(end)}" for start, end in zip(starts, ends, strict=True))
