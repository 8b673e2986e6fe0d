"""Text to tokens and back, as the Moses scripts of the papers' years did it.

HTML escaping is on, as by default in tokenizer.perl: Bahdanau 2014's published outputs contain `&apos;`, and the
Transformer's data came from the same script. Rules and abbreviations are those of sacremoses 0.2.0, without those that
came into the script after the papers. Letters, digits and lower-case letters are defined as in Perl. The loop around
the rules is ours. It tries a rule only where it can apply, which takes a fraction of the time.
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
    """Return the language of a code that may also name a region or script, such as pt of pt-BR.

    Rules exist per language.
    """
    return re.split("[-_]", code)[0].lower()


def clean(line: str) -> str:
    """Return `line` without ASCII control characters, with single spaces between words and none at the ends.

    This is what tokenizer.perl does. Python takes \\x1c-\\x1f for white space, but Perl deletes them. All other white
    space (tab, line ends, no-break space, U+2028 ...) is the same in both, so no token can contain any. Perl keeps
    \\x7f-\\x9f (except \\x85, which is white space) and U+FEFF. They become tokens of their own.
    """
    return " ".join(_DELETED.sub("", line).split())


_LATER = {
    "moses-2014": {"en": {"Rs", "Jan", "Feb", "Mar", "Apr", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"}},
    "moses-2016": {"en": {"Rs"}},
    "moses-2019": {},
}
"""Abbreviations, by language, that the lists of a version did not have yet."""
_EARLIER: dict[str, dict[str, set[str]]] = {"moses-2014": {"fr": {"a"}}, "moses-2016": {}, "moses-2019": {}}
"""Abbreviations, by language, that the lists of a version still had."""
_AGGRESSIVE = "-a"
"""How the name of a state ends that also splits words at hyphens."""
_REMEMBERED = 1 << 14
"""Number of text stretches around a sign whose rewriting is cached, for each set of rules."""


class Tokeniser:
    """The tokeniser of one language, which also restores the text.

    lowercase: lower-case before tokenising, as for the lc.norm.tok files of Multi30k. Abbreviations depend on case.
    tokeniser: what splits the text, one of
      moses-2016: tokenizer.perl as used for the Transformer's data, commit 59119c004 of 23 December 2016. It lacks two
        later changes: `Rs` is no abbreviation, and an abbreviation keeps its full stop at the end of a line (`etc.`).
      moses-2014: tokenizer.perl as used for RNNsearch's data, commit 7f41bbba6 of 3 August 2014. It differs in what
        these commits changed later: a backtick becomes an apostrophe, then two apostrophes a double quote (until
        19d7c44aa); at the end of a line, a comma stays on a number (until d04bdc744), and a full stop before an
        apostrophe stays on its word (until 5d5bf1885); English months are no abbreviations, so `Jan. 5` is three
        tokens (until f97ed79a7); French `a` is one, so `il y en a.` keeps its full stop (until 6652068a4).
      moses-2019: tokenizer.perl since commit 4da86c360 of 5 November 2019, for no recipe: English `Rs` is an
        abbreviation, and the last full stop of a line is split from any word (9fc964da7, 2018).
      a name of these with `-a` added: the same with the script's option -a, which splits words at hyphens (`@-@`).
      none: for text that is already tokenised. White space separates the tokens, and nothing is escaped. Tokens joined
        by spaces are the text again, and nothing is unescaped. Tokenised BLEU counts these tokens, so it is comparable
        with a paper's only if the paper's script made them. sacreBLEU gets them in place of plain text and splits them
        again, so it is comparable with no score of detokenised text.
    Letters, digits and lower case are Perl's in all versions (`_alphabets`). Only English, French and German were
    compared with the script. Other languages have the abbreviations that sacremoses has.
    """

    def __init__(self, language: str, lowercase: bool, tokeniser: str) -> None:
        language = base_language(language)
        self.signature = _signature(language, lowercase, tokeniser)
        """What the tokeniser does to text, in the form of a score's signature."""
        self._lowercase = lowercase
        self._moses = None if tokeniser == "none" else _Moses(language, tokeniser)

    def tokenise(self, line: str) -> str:
        """Return the tokens of a line, joined by single spaces. It is empty if there are none."""
        text = clean(line.lower() if self._lowercase else line)
        return self._moses.tokenise(text) if self._moses else text

    def detokenise(self, tokens: str) -> str:
        """Return plain text from tokens joined by spaces.

        Moses tokens are unescaped and spaced as the language is written.
        """
        return clean(self._moses.detokenise(tokens) if self._moses else tokens)


def _signature(language: str, lowercase: bool, tokeniser: str) -> str:
    split = tokeniser if tokeniser == "none" else f"{tokeniser}-{language}-escaped"
    return f"case:{'lc-before-tok' if lowercase else 'mixed'}|tok:{split}"


class _Moses:
    """tokenizer.perl and detokenizer.perl for one language, in one of the versions that `Tokeniser` lists."""

    def __init__(self, language: str, state: str) -> None:
        aggressive, state = state.endswith(_AGGRESSIVE), state.removesuffix(_AGGRESSIVE)
        self._in_2014, self._in_2019 = (state == f"moses-{year}" for year in (2014, 2019))
        self._moses = moses = MosesTokenizer(lang=language)
        self._detokeniser = MosesDetokenizer(lang=language)
        self._commas = _Rules(",", [moses.COMMA_SEPARATE_1, moses.COMMA_SEPARATE_2])
        self._apostrophes = _Rules("'", _APOSTROPHES.get(language, [moses.NON_SPECIFIC_APOSTROPHE]))
        alphanumeric = _alphabets()[MosesTokenizer.IsAlnum]
        # The first set decides for most characters. It is small and therefore fast.
        self._symbol = re.compile(rf"[^a-zA-Z0-9 .'`,\-](?<![{alphanumeric}])")
        self._letter = re.compile(f"[{_alphabets()[MosesTokenizer.IsAlpha]}]")
        self._hyphen = re.compile(f"(?<=[{alphanumeric}])-(?=[{alphanumeric}])") if aggressive else None
        self._before_number = frozenset(moses.NUMERIC_ONLY_PREFIXES)
        listed = language if language in NonbreakingPrefixes().available_langs.values() else "en"  # as the script does
        later, earlier = (lists[state].get(listed, set()) for lists in (_LATER, _EARLIER))
        self._abbreviations = frozenset(moses.NONBREAKING_PREFIXES) - self._before_number - later | earlier

    def tokenise(self, text: str) -> str:
        """Return the escaped tokens of a clean line, joined by single spaces."""
        text = self._symbol.sub(_spaced, text)
        if self._hyphen:
            text = self._hyphen.sub(" @-@ ", text)
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
        """Return unescaped text, spaced as the language is written."""
        text: str = self._detokeniser.detokenize(tokens.split())
        return text

    def _separate_full_stops(self, text: str) -> str:
        """Make every final full stop that is not part of an abbreviation a token of its own.

        Returns tokens and single spaces.
        """
        words = text.split()
        if "." in text:
            for index, word in enumerate(words):
                if word[-1] == "." and len(word) > 1:
                    following = words[index + 1] if index + 1 < len(words) else ""
                    always = self._in_2019 and not following
                    if always or not self._keeps_full_stop(word[:-1], following):
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
    """Substitutions around one sign and its two neighbours, applied in their order."""

    def __init__(self, sign: str, rules: Iterable[tuple[re.Pattern[str], str]]) -> None:
        self._sign = sign
        # A rule sees and changes nothing outside such a stretch of text, so each stretch can be rewritten alone.
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
    """Return the pattern with Perl's alphabets in place of those of sacremoses."""
    for old, new in _alphabets().items():
        pattern = pattern.replace(old, new)
    return re.compile(pattern)


@lru_cache(maxsize=1)
def _alphabets() -> dict[str, str]:
    """Return Perl's alphabets as the inside of a regular expression's set, keyed by those of sacremoses.

    sacremoses' alphabets lack ideographs, Hangul and mathematical letters. These here follow the definitions in
    Unicode's PropList and DerivedCoreProperties. They lack about 600 vowel signs of Asian scripts and letters in
    squares, which sacremoses lacks too. Beyond plane 1 they have only ideographs.
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
    """Return the codes as ranges inside a regular expression's set."""
    starts = sorted(code for code in codes if code - 1 not in codes)
    ends = sorted(code for code in codes if code + 1 not in codes)
    return "".join(f"{chr(start)}-{chr(end)}" for start, end in zip(starts, ends, strict=True))
