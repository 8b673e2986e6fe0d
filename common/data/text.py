"""Text to tokens and back, as the Moses scripts of the papers' years did it, through sacremoses.

HTML escaping is on, as by default in tokenizer.perl: Bahdanau 2014's published outputs contain `&apos;`, and the
Transformer's data came from the same script. sacremoses 0.2.0 equals that script's state of December 2016; the state of
2014 differs by two quote rules, which `quotes_2014` adds.
"""

from __future__ import annotations

import re

from sacremoses import MosesDetokenizer, MosesTokenizer

_JUNK = re.compile("[\x00-\x1f\x7f-\x9f\ufeff]")
"""Control characters and the byte order mark; white space among them is gone by then."""


def clean(line: str) -> str:
    """`line` with every run of white space (no-break space, U+2028, line ends ...) as one space, without junk.

    What str.split calls white space is what later splits tokens, so no token can contain any.
    """
    return " ".join(_JUNK.sub("", " ".join(line.split())).split())


class Tokeniser:
    """Moses tokenisation of one language.

    quotes_2014: before tokenising, a backtick becomes an apostrophe and two apostrophes become a double quote, as
    tokenizer.perl did from August 2014 to January 2015, when RNNsearch's data was made.
    """

    def __init__(self, language: str, lowercase: bool, quotes_2014: bool) -> None:
        self._lowercase = lowercase
        self._quotes_2014 = quotes_2014
        self._tokeniser = MosesTokenizer(lang=language)
        self._detokeniser = MosesDetokenizer(lang=language)

    def tokenise(self, line: str) -> str:
        """Escaped tokens joined by single spaces; empty for a line without any."""
        line = clean(line)
        if self._lowercase:
            # Before tokenising, as Multi30k's lc.norm.tok files were made: abbreviations are known by their case.
            line = clean(line.lower())
        if self._quotes_2014:
            line = line.replace("`", "'").replace("''", '"')
        return " ".join(self._tokeniser.tokenize(line, escape=True))

    def detokenise(self, tokens: str) -> str:
        """Plain text from tokens joined by spaces: unescaped, spaces where the language writes them."""
        return clean(self._detokeniser.detokenize(tokens.split()))
