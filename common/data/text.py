"""Text to tokens and back, as the Moses scripts of the papers' years did it.

HTML escaping is on, as by default in tokenizer.perl: Bahdanau 2014's published outputs contain `&apos;`, and the
Transformer's data came from the same script. Rules and abbreviations are those of sacremoses 0.2.0, which equals the
script's state of December 2016 (59119c004), the Transformer's; `quotes_2014` gives that of August 2014 (7f41bbba6),
RNNsearch's. Only the loop around the rules is ours: a rule is tried where it can apply, in a fraction of the time.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from unicodedata import category

from sacremoses import MosesDetokenizer, MosesTokenizer
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


class Tokeniser:
    """Moses tokenisation of one language.

    lowercase: before tokenising, as Multi30k's lc.norm.tok files were made, though abbreviations are known by case.
    quotes_2014: as tokenizer.perl was in August 2014. A backtick becomes an apostrophe, then two apostrophes a double
    quote; a comma after a number, or a full stop before an apostrophe, stays attached at the end of a line.
    """

    def __init__(self, language: str, lowercase: bool, quotes_2014: bool) -> None:
        language = base_language(language)
        self._language = language
        self._lowercase = lowercase
        self._quotes_2014 = quotes_2014
        self._moses = moses = MosesTokenizer(lang=language)
        self._detokeniser = MosesDetokenizer(lang=language)
        alphabets = _perl_alphabets() if quotes_2014 else {}
        self._commas = _Rules(",", [moses.COMMA_SEPARATE_1, moses.COMMA_SEPARATE_2], alphabets)
        self._apostrophes = _Rules("'", _APOSTROPHES.get(language, [moses.NON_SPECIFIC_APOSTROPHE]), alphabets)
        # Most characters are told by the first set, which is small and therefore quick.
        self._symbol = _over(alphabets, rf"([^a-zA-Z0-9 .'`,\-])(?<![{moses.IsAlnum}])")
        self._letter = _over(alphabets, f"[{moses.IsAlpha}]")
        self._lower = _over(alphabets, f"[{moses.IsLower}]")
        self._before_number = frozenset(moses.NUMERIC_ONLY_PREFIXES)
        # Moses' English list did not have "Rs" before April 2017.
        later = {"Rs"} if quotes_2014 else set()
        self._abbreviations = frozenset(moses.NONBREAKING_PREFIXES) - self._before_number - later

    @property
    def signature(self) -> str:
        """What it does to text, as the signature of a score says it."""
        case = "lc-before-tok" if self._lowercase else "mixed"
        return f"case:{case}|tok:moses-{2014 if self._quotes_2014 else 2016}-{self._language}-escaped"

    def tokenise(self, line: str) -> str:
        """Escaped tokens joined by single spaces; empty for a line without any."""
        text = clean(line.lower() if self._lowercase else line)
        text = self._symbol.sub(r" \1 ", text)
        if ".." in text:
            text = self._moses.replace_multidots(text)
        text = self._commas.apply(text)
        if self._quotes_2014:
            text = text.replace("`", "'").replace("''", ' " ')
        elif text.endswith(","):
            text = text[:-1] + " ,"
        text = self._separate_full_stops(self._apostrophes.apply(text))
        if text.endswith(".'") and not self._quotes_2014:
            text = " ".join([*text[:-2].split(), ".", "'"])
        if "MULTI" in text:
            text = self._moses.restore_multidots(text)
        for character, entity in _ESCAPES.items():
            text = text.replace(character, entity)
        return text

    def detokenise(self, tokens: str) -> str:
        """Plain text from tokens joined by spaces: unescaped, spaces where the language writes them."""
        return clean(self._detokeniser.detokenize(tokens.split()))

    def _separate_full_stops(self, text: str) -> str:
        """Every final full stop that is not part of an abbreviation as a word of its own; single spaces."""
        words = text.split()
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
            or self._lower.match(following)
            or (word in self._before_number and "0" <= following[:1] <= "9")
        )


class _Rules:
    """Substitutions that look at one sign and its two neighbours, in their order."""

    def __init__(self, sign: str, rules: Iterable[tuple[re.Pattern[str], str]], alphabets: dict[str, str]) -> None:
        self._sign = sign
        # All a rule can see or change: no match of one goes beyond such a stretch, so each may be treated alone.
        self._stretch = re.compile(f".?{sign}(?:.?{sign})*.?")
        self._rules = [(_over(alphabets, pattern.pattern), substitution) for pattern, substitution in rules]

    def apply(self, text: str) -> str:
        return self._stretch.sub(self._substituted, text) if self._sign in text else text

    def _substituted(self, match: re.Match[str]) -> str:
        text = match[0]
        for pattern, substitution in self._rules:
            text = pattern.sub(substitution, text)
        return text


def _over(alphabets: dict[str, str], pattern: str) -> re.Pattern[str]:
    """The pattern with sacremoses' alphabets replaced."""
    for old, new in alphabets.items():
        pattern = pattern.replace(old, new)
    return re.compile(pattern)


@lru_cache(maxsize=1)
def _perl_alphabets() -> dict[str, str]:
    """Perl's alphabets, keyed by sacremoses' own, which lack ideographs and mathematical letters.

    By the definitions in Unicode's PropList and DerivedCoreProperties, except vowel signs of some Asian scripts that
    sacremoses does not know either; beyond plane 1 there are only ideographs.
    """
    kinds: dict[str, set[str]] = {}
    for character in map(chr, range(0x20000)):
        kinds.setdefault(category(character), set()).add(character)
    marks = set(MosesTokenizer.IsAlpha) - {*VIRAMAS, *NUKTAS, "\N{DOTTED CIRCLE}"}
    letters = marks.union(*(kinds[kind] for kind in ("Lu", "Ll", "Lt", "Lm", "Lo", "Nl")))
    ideographs = "\U00020000-\U0003ffff"
    return {
        MosesTokenizer.IsAlnum: _ranges(letters | kinds["Nd"]) + ideographs,
        MosesTokenizer.IsAlpha: _ranges(letters) + ideographs,
        MosesTokenizer.IsN: _ranges(kinds["Nd"] | kinds["Nl"] | kinds["No"]),
        MosesTokenizer.IsLower: _ranges(filter(str.islower, map(chr, range(0x20000)))),
    }


def _ranges(characters: Iterable[str]) -> str:
    """The inside of a regular expression's set."""
    codes = set(map(ord, characters))
    starts = sorted(code for code in codes if code - 1 not in codes)
    ends = sorted(code for code in codes if code + 1 not in codes)
    return "".join(f"{chr(start)}-{chr(end)}" for start, end in zip(starts, ends, strict=True))
