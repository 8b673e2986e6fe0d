"""One output under every protocol by which translations were scored from 2014 to 2026, and what each choice is worth.

All protocols read plain text with one reference. Every tokenised BLEU is multi-bleu.perl's on the tokens of some state
of Moses' script; the rest is sacreBLEU's. Not here: spBLEU and neural metrics, which need a model to be downloaded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import combinations
from typing import Any

from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a
from sacrebleu.tokenizers.tokenizer_intl import TokenizerV14International

from common.corpus.lines import check_parallel
from common.score.bleu import DOUBLE_QUOTES, Score, sacre_bleu, split_compounds, tokenised_bleu
from common.score.chrf_ter import chrf, ter
from common.score.significance import bootstrap_interval
from common.text.moses import Tokeniser

STATES = ("moses-2014", "moses-2016", "moses-2019")
"""The states of Moses' tokeniser that are compared."""
_PUNCTUATION = str.maketrans(
    dict(
        zip(
            "，、”“∶：？《》）！（；１」「０３２５６９７８４～’━〈〉【】％",
            ',,""::?"")!(;"""032569784~\'-<>[]%',
            strict=True,
        )
    )
    | {"…": "...", "。": ". ", "．": ". "}
)
"""What replace-unicode-punctuation.perl of Moses replaces, its slip with the wide digit one included."""


class Texts:
    """An output with its references, and their tokens by every tokeniser that was asked for.

    Raise UserError if they are empty or of unequal length.
    """

    def __init__(self, hypotheses: Sequence[str], references: Sequence[str], language: str) -> None:
        check_parallel(hypotheses, references, ("the hypotheses", "the references"))
        self.hypotheses, self.references, self.language = hypotheses, references, language
        self._tokens: dict[tuple[str, str], list[str]] = {}

    def tokens(self, side: str, tokeniser: str) -> list[str]:
        """Return the lines of a side, tokenised.

        side: an attribute that holds lines. tokeniser: `13a`, `intl`, or as in `common.text.moses.Tokeniser`.
        """
        if (side, tokeniser) not in self._tokens:
            self._tokens[side, tokeniser] = tokenised(getattr(self, side), tokeniser, self.language)
        return self._tokens[side, tokeniser]

    @cached_property
    def ascii_references(self) -> list[str]:
        """The references with ASCII double quotes (`common.score.bleu.ascii_quotes`, before tokenising)."""
        return [DOUBLE_QUOTES.sub('"', line) for line in self.references]

    @cached_property
    def ascii_hypotheses(self) -> list[str]:
        """The output with ASCII punctuation, as replace-unicode-punctuation.perl writes it."""
        return [" ".join(line.translate(_PUNCTUATION).split()) for line in self.hypotheses]


def tokenised(lines: Iterable[str], tokeniser: str, language: str) -> list[str]:
    """Return lines as tokens joined by spaces. tokeniser: as in `Texts.tokens`."""
    if tokeniser in ("13a", "intl"):
        split: Callable[[str], str] = Tokenizer13a() if tokeniser == "13a" else TokenizerV14International()
    else:
        split = _moses(tokeniser, language).tokenise
    return [split(line.rstrip()) for line in lines]


@lru_cache(maxsize=16)
def _moses(state: str, language: str) -> Tokeniser:
    return Tokeniser(language, False, state)


def perl_lower(line: str) -> str:
    """Return a line as `multi-bleu.perl -lc` lower-cases it: it reads bytes, and only ASCII letters change."""
    return line.encode().lower().decode()


@dataclass(frozen=True)
class Protocol:
    """A way to score an output."""

    label: str
    usage: str
    """Who scores so, and since when."""
    score: Callable[[Texts], Score]


def _multi_bleu(
    tokeniser: str, *, split: bool = False, quotes: bool = False, punctuation: bool = False, lowercase: bool = False
) -> Callable[[Texts], Score]:
    """Make the protocol of multi-bleu.perl on these tokens.

    split: split compounds on both sides. quotes: with ASCII quotes in the references. punctuation: with ASCII
    punctuation in the output. lowercase: multi-bleu's option -lc.
    """

    def score(texts: Texts) -> Score:
        """Score an output."""
        hypotheses = texts.tokens("ascii_hypotheses" if punctuation else "hypotheses", tokeniser)
        references = texts.tokens("references", tokeniser)
        tokenization = _moses(tokeniser, texts.language).signature + "|punctuation:hyp-ascii" * punctuation
        if lowercase:
            hypotheses, references = ([perl_lower(line) for line in lines] for lines in (hypotheses, references))
            tokenization = tokenization.replace("case:mixed", "case:lc-ascii-after-tok")
        return tokenised_bleu(
            hypotheses, references, tokenization=tokenization, compound_split=split, reference_quotes=quotes
        )

    return score


def _sacre(tokenize: str, lowercase: bool = False) -> Callable[[Texts], Score]:
    """Make the protocol of sacreBLEU with one of its tokenisers."""
    return lambda texts: sacre_bleu(
        texts.hypotheses, texts.references, texts.language, lowercase=lowercase, tokenize=tokenize
    )


def _tokenised_twice(texts: Texts) -> Score:
    """Score tokens of Moses as sacreBLEU's default would, which takes them for plain text."""
    both = (tokenised(texts.tokens(side, "moses-2016"), "13a", texts.language) for side in ("hypotheses", "references"))
    return tokenised_bleu(*both, tokenization="case:mixed|tok:moses-2016-then-13a")


PROTOCOLS = {
    "moses-2014": Protocol(
        "multi-bleu, Moses of 2014", "Sutskever et al. 2014, Bahdanau et al. 2014", _multi_bleu("moses-2014")
    ),
    "moses-2014-split": Protocol(
        "multi-bleu, Moses of 2014, compounds split", "Luong et al. 2015", _multi_bleu("moses-2014", split=True)
    ),
    "moses-2016": Protocol(
        "multi-bleu, Moses of 2016", "papers of 2016 to 2018 that do not split", _multi_bleu("moses-2016")
    ),
    "moses-2016-split": Protocol(
        "multi-bleu, Moses of 2016, compounds split",
        "Vaswani et al. 2017: get_ende_bleu.sh of June 2017; Ott et al. 2018",
        _multi_bleu("moses-2016", split=True),
    ),
    "moses-2016-split-quotes": Protocol(
        "..., compounds split, ASCII quotes in the reference",
        "the reference published with tensor2tensor's checkpoint",
        _multi_bleu("moses-2016", split=True, quotes=True),
    ),
    "moses-2016-split-quotes-punctuation": Protocol(
        "..., the same and ASCII punctuation in the output",
        "get_ende_bleu.sh since April 2018, with that reference",
        _multi_bleu("moses-2016", split=True, quotes=True, punctuation=True),
    ),
    "moses-2016-lc": Protocol(
        "multi-bleu -lc, Moses of 2016", "uncased BLEU of those years", _multi_bleu("moses-2016", lowercase=True)
    ),
    "moses-2019": Protocol("multi-bleu, Moses of 2019", "today's script", _multi_bleu("moses-2019")),
    "moses-2019-split": Protocol(
        "multi-bleu, Moses of 2019, compounds split",
        "get_ende_bleu.sh with today's script",
        _multi_bleu("moses-2019", split=True),
    ),
    "moses-2019-a": Protocol(
        "multi-bleu, Moses -a of 2019",
        "data of fairseq's prepare-wmt14en2de.sh, scored as it is",
        _multi_bleu("moses-2019-a"),
    ),
    "13a": Protocol("sacreBLEU, 13a", "Post 2018; the WMT tables before (mteval-v13a)", _sacre("13a")),
    "13a-lc": Protocol("sacreBLEU -lc, 13a", "uncased BLEU since", _sacre("13a", lowercase=True)),
    "intl": Protocol("sacreBLEU, intl", "mteval's --international-tokenization", _sacre("intl")),
    "intl-lc": Protocol("sacreBLEU -lc, intl", "the same uncased", _sacre("intl", lowercase=True)),
    "chrf": Protocol("chrF2", "Popović 2015", lambda texts: chrf(texts.hypotheses, texts.references)),
    "chrf++": Protocol("chrF2++", "Popović 2017", lambda texts: chrf(texts.hypotheses, texts.references, 2)),
    "ter": Protocol(
        "TER (lower is better)", "Snover et al. 2006", lambda texts: ter(texts.hypotheses, texts.references)
    ),
    "plain": Protocol("multi-bleu on plain text", "a mistake: nothing is tokenised", _multi_bleu("none")),
    "twice": Protocol(
        "BLEU of 13a on Moses tokens", "a mistake: sacreBLEU of text that is tokenised already", _tokenised_twice
    ),
}
"""The protocols by key, the tokenised ones first, in the order of their years."""

OF_TODAY = "sacreBLEU, 13a, cased"
"""Where the waterfall starts."""
METRIC = "multi-bleu's arithmetic in place of sacreBLEU's"
"""The first step of the waterfall: BLEU without smoothing, on the same tokens."""
FACTORS = {
    "tokenisation": "Moses of 2016 in place of 13a",
    "compounds": "hyphenated words split",
    "quotes": "ASCII quotes in the reference",
    "casing": "lower-cased (multi-bleu -lc)",
}
"""The further steps of the waterfall, in their order. Each changes one thing more than the steps before it."""


@dataclass(frozen=True)
class Waterfall:
    """From today's BLEU to the lower-cased one of 2017, step by step."""

    start: float
    """sacreBLEU, 13a, cased."""
    settings: Mapping[str, float]
    """multi-bleu's BLEU for each choice of factors, keyed by their names, joined by `+` in the order of FACTORS."""

    def gain(self, factor: str) -> float:
        """Return what a step adds to the BLEU of the steps before it."""
        before = [*FACTORS][: [*FACTORS].index(factor)]
        return self._with(before, factor)

    def range(self, factor: str) -> tuple[float, float]:
        """Return the least and the most that a factor adds, over all choices of the other factors."""
        others = [name for name in FACTORS if name != factor]
        gains = [self._with(chosen, factor) for size in range(len(FACTORS)) for chosen in combinations(others, size)]
        return min(gains), max(gains)

    @property
    def metric(self) -> float:
        """What the first step adds, METRIC."""
        return self.settings[""] - self.start

    def _with(self, others: Sequence[str], factor: str) -> float:
        return self.settings[key_of([*others, factor])] - self.settings[key_of(others)]


def key_of(factors: Iterable[str]) -> str:
    """Return the key of a choice of factors in `Waterfall.settings`."""
    chosen = {*factors}
    return "+".join(name for name in FACTORS if name in chosen)


SETTINGS = 2 ** len(FACTORS)
"""Choices of factors."""


def waterfall(texts: Texts, tick: Callable[[], object] = lambda: None) -> Waterfall:
    """Score an output with every choice of FACTORS. tick: is called after each of SETTINGS."""
    start = PROTOCOLS["13a"].score(texts).value
    settings = {}
    for size in range(len(FACTORS) + 1):
        for chosen in combinations(FACTORS, size):
            tokeniser = "moses-2016" if "tokenisation" in chosen else "13a"
            sides = "hypotheses", "ascii_references" if "quotes" in chosen else "references"
            both = [texts.tokens(side, tokeniser) for side in sides]
            if "casing" in chosen:
                both = [[perl_lower(line) for line in lines] for lines in both]
            score = tokenised_bleu(*both, tokenization="", compound_split="compounds" in chosen)
            settings[key_of(chosen)] = score.value
            tick()
    return Waterfall(start, settings)


def laboratory(texts: Texts, tick: Callable[[], object] = lambda: None) -> dict[str, Score]:
    """Return the score of an output by every protocol. tick: is called after each."""
    scores = {}
    for key, protocol in PROTOCOLS.items():
        scores[key] = protocol.score(texts)
        tick()
    return scores


def plain_score(score: Score) -> dict[str, Any]:
    """Return a score as plain values, with its interval."""
    low, high = bootstrap_interval(score.statistics, score.of_sums)
    return {"score": score.value, "low": low, "high": high, "signature": score.signature, "detail": score.detail}


def reference_lengths(references: Sequence[str], language: str) -> dict[str, int]:
    """Return how many words references have under each tokenisation, keyed by what it is called.

    The reference length that a tool prints is this number. It says by which tokens a score was computed.
    """
    lengths = {}
    for state in STATES:
        lines = tokenised(references, state, language)
        lengths[f"Moses of {state[-4:]}"] = _words(lines)
        lengths[f"Moses of {state[-4:]}, compounds split"] = _words(map(split_compounds, lines))
    lengths |= {f"Moses -a of {state[-4:]}": _words(tokenised(references, f"{state}-a", language)) for state in STATES}
    lengths |= {f"sacreBLEU, {name}": _words(tokenised(references, name, language)) for name in ("13a", "intl")}
    return lengths | {"not tokenised": _words(references)}


def _words(lines: Iterable[str]) -> int:
    """Return the number of words between ASCII white space, as Perl counts them."""
    return sum(len(line.encode().split()) for line in lines)
