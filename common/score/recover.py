"""A printed BLEU line checked against itself: score, precisions, brevity penalty, ratio and lengths, as rounded.

BLEU = 100 BP (p1 p2 p3 p4)^(1/4), BP = exp(min(0, 1 - 1 / ratio)), ratio = hypothesis length / reference length. Each
number stands for all that round to it. A line agrees with itself if some choice of these fulfils all three equations
and each is possible: a precision and BLEU are at most 100, BP is at most 1, a reference has a word.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from common.errors import UserError

_NUMBER = r"(\d+(?:[.,]\d+)?)"
"""A number with a decimal point, or with the comma of some locales."""
_HEAD = re.compile(rf"=\s*{_NUMBER}[,;]?\s+{_NUMBER}/{_NUMBER}/{_NUMBER}/{_NUMBER}(?!/|[.,]?\d)")
_LENGTH = r"(\d{1,3}(?:[.,]\d{3})+|\d+)"
"""A number of words, perhaps with marks for thousands."""
_NAMES = {
    "BP": "BP",
    "ratio": "ratio",
    "hypothesis length": "(?:hyp|sys)_?len",
    "reference length": "ref_?len",
}
"""How the tools name what stands in parentheses: multi-bleu.perl, sacreBLEU and fairseq."""
PRECISIONS = tuple(f"{n}-gram precision" for n in range(1, 5))
"""Names of the four precisions."""
_LENGTHS = ("hypothesis length", "reference length")
_SLACK = 1e-9
"""Relative error that floating-point arithmetic may make."""


@dataclass(frozen=True)
class Interval:
    """All numbers from `low` to `high`. It is empty if low is above high."""

    low: float = 0.0
    high: float = math.inf

    def __and__(self, other: Interval) -> Interval:
        return Interval(max(self.low, other.low), min(self.high, other.high))

    @property
    def empty(self) -> bool:
        """Return whether no number is in it."""
        return self.low > self.high * (1 + _SLACK)

    def __str__(self) -> str:
        if self.high == math.inf:
            return f"at least {_shown(self.low)}"
        low, high = _shown(self.low), _shown(self.high)
        return low if low == high else f"{low} to {high}"


def _shown(value: float) -> str:
    """Return a number with the digits that matter: three decimals below 10, two above, none for lengths."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3f}" if value < 10 else f"{value:.2f}"


def possible(name: str) -> Interval:
    """Return all numbers that a part can be. A reference has a word at least: without one there is no ratio."""
    most = {"BP": 1.0, "ratio": math.inf, **dict.fromkeys(_LENGTHS, math.inf)}.get(name, 100.0)
    return Interval(1.0 if name == "reference length" else 0.0, most)


@dataclass(frozen=True)
class Line:
    """What a line prints, by name: BLEU, the four precisions, and of the rest what is there."""

    printed: Mapping[str, str]
    """The numbers as printed."""

    def of(self, name: str) -> Interval:
        """Return the numbers that round to a printed one, or all that are possible if none is. A length is exact."""
        if (text := self.printed.get(name)) is None:
            return possible(name)
        half = 0.0 if name in _LENGTHS else 0.5 * 10.0 ** -len(text.partition(".")[2])
        return Interval(float(text) - half, float(text) + half) & possible(name)

    def without(self, name: str) -> Line:
        """Return the line as if one part were not printed."""
        return Line({part: text for part, text in self.printed.items() if part != name})


def parse(text: str) -> Line:
    """Read a line of multi-bleu.perl, sacreBLEU or fairseq. What follows the precisions may be missing.

    Raise UserError if it has no score with four precisions, or no number where a name says that there is one.
    """
    if not (head := _HEAD.search(text)):
        raise UserError(
            f"`{text}` has no score with four precisions; give the whole line: "
            '"BLEU = 27.31, 59.2/33.2/20.8/13.5 (BP=1.000, ratio=1.017, hyp_len=65612, ref_len=64504)"'
        )
    printed = {name: _decimal(value) for name, value in zip(("BLEU", *PRECISIONS), head.groups(), strict=True)}
    for name, pattern in _NAMES.items():
        if not (found := re.search(rf"\b{pattern}\s*=\s*([^\s;)]*)", text[head.end() :])):
            continue
        value = found[1].rstrip(",.")
        if not re.fullmatch(_LENGTH if name in _LENGTHS else _NUMBER, value):
            raise UserError(f"`{found[0]}` is no {name}; write a number, or leave it out")
        printed[name] = re.sub("[.,]", "", value) if name in _LENGTHS else _decimal(value)
    return Line(printed)


def _decimal(text: str) -> str:
    """Return a number with a decimal point."""
    return text.replace(",", ".")


@dataclass(frozen=True)
class Relation:
    """One of the three equations on a line: what is printed and what follows from the rest."""

    name: str
    printed: str
    implied: Interval
    holds: bool


@dataclass(frozen=True)
class Recovered:
    """What a line says about itself."""

    line: Line
    relations: tuple[Relation, ...]
    """The equations of which both sides are printed."""
    suspects: Mapping[str, Interval] = field(default_factory=dict)
    """Each part which alone can be wrong if the line does not agree with itself, and what it would have to be."""
    inverse: bool = False
    """Whether the printed ratio is that of the reference to the hypothesis."""

    @property
    def implied(self) -> Mapping[str, Interval]:
        """What the rest of a line that agrees says of BP, ratio and one of the lengths if they are not printed."""
        absent = [name for name in _NAMES if name not in self.line.printed] if self.agrees else []
        if {*_LENGTHS} <= {*absent}:
            absent = [name for name in absent if name not in _LENGTHS]
        needed = {name: _needed(self.line, name) for name in absent}
        return {name: found for name, found in needed.items() if found != possible(name)}

    @property
    def agrees(self) -> bool:
        """Return whether some numbers that round to the printed ones fulfil all equations."""
        return _consistent(self.line)


def recover(text: str) -> Recovered:
    """Check a printed line against itself. Raise UserError as `parse` does."""
    line = parse(text)
    wrong = _impossible(line)
    sound = Line({name: value for name, value in line.printed.items() if name not in wrong})
    relations = (
        *(Relation(f"{name} by definition", line.printed[name], possible(name), False) for name in wrong),
        *(
            Relation(name, line.printed[part], implied, not (implied & line.of(part)).empty)
            for name, part, implied in _relations(sound)
        ),
    )
    if _consistent(line):
        return Recovered(line, relations)
    suspects = {part: _needed(line, part) for part in line.printed if _consistent(line.without(part))}
    upside_down = _over(line.of("reference length"), line.of("hypothesis length"))
    inverse = "ratio" in suspects and {*_LENGTHS} <= line.printed.keys() and not (line.of("ratio") & upside_down).empty
    return Recovered(line, relations, suspects, inverse)


def _relations(line: Line) -> list[tuple[str, str, Interval]]:
    """Return name, printed part and what the other parts imply for it, for each equation that can be checked."""
    found = []
    lengths = {*_LENGTHS} <= line.printed.keys()
    if "ratio" in line.printed and lengths:
        found.append(("ratio from the lengths", "ratio", _over(*map(line.of, _LENGTHS))))
    if "BP" in line.printed and (lengths or "ratio" in line.printed):
        source, ratio = ("lengths", _over(*map(line.of, _LENGTHS))) if lengths else ("ratio", line.of("ratio"))
        found.append((f"BP from the {source}", "BP", _penalty(ratio)))
    if {"BLEU", *PRECISIONS} <= line.printed.keys():
        source = "precisions and BP" if "BP" in line.printed else "precisions"
        found.append((f"BLEU from the {source}", "BLEU", _times(line.of("BP"), _mean(line))))
    return found


def _impossible(line: Line) -> list[str]:
    """Return the parts of which no number that rounds to the printed one is possible."""
    return [name for name in line.printed if line.of(name).empty]


def _consistent(line: Line) -> bool:
    """Return whether numbers that round to the printed ones are possible and fulfil all equations.

    The equations form a chain and each is monotone, so that carrying intervals along it decides.
    """
    if _impossible(line):
        return False
    ratio = _over(*map(line.of, _LENGTHS)) & line.of("ratio")
    penalty = ratio if ratio.empty else _penalty(ratio) & line.of("BP")
    score = penalty if penalty.empty else _times(penalty, _mean(line)) & line.of("BLEU")
    return not score.empty


def _needed(line: Line, part: str) -> Interval:
    """Return what a part would have to be so that it fulfils its equations with the other parts."""
    line = line.without(part)
    hypothesis, reference = map(line.of, _LENGTHS)
    ratio = _over(hypothesis, reference) & line.of("ratio")
    penalty = _penalty(ratio) & line.of("BP")
    if part == "BLEU":
        return _times(penalty, _mean(line))
    if part == "BP":
        return penalty & _over(line.of("BLEU"), _mean(line))
    if part in PRECISIONS:
        others = _times(penalty, _mean(line, instead={part: Interval(1, 1)}))
        root = _over(line.of("BLEU"), others)
        return Interval(root.low**4, root.high**4) & line.of(part)
    wanted = _ratio(line.of("BP") & _over(line.of("BLEU"), _mean(line))) & ratio
    if part == "ratio":
        return wanted
    return (_times(wanted, reference) if part == _LENGTHS[0] else _over(hypothesis, wanted)) & possible(part)


def _over(top: Interval, bottom: Interval) -> Interval:
    """Return all quotients."""
    return Interval(
        0.0 if bottom.high == math.inf or not top.low else top.low / bottom.high if bottom.high else math.inf,
        math.inf if top.high == math.inf or not bottom.low else top.high / bottom.low,
    )


def _times(one: Interval, other: Interval) -> Interval:
    """Return all products."""
    high = math.inf if math.inf in (one.high, other.high) else one.high * other.high
    return Interval(one.low * other.low, high)


def _mean(line: Line, instead: Mapping[str, Interval] = MappingProxyType({})) -> Interval:
    """Return all geometric means of the precisions. instead: other values for some of them."""
    parts = [instead.get(name, line.of(name)) for name in PRECISIONS]
    return Interval(*(math.prod(getattr(part, end) for part in parts) ** 0.25 for end in ("low", "high")))


def _penalty(ratio: Interval) -> Interval:
    """Return the brevity penalties of all ratios."""
    return Interval(*(0.0 if not end else math.exp(min(0.0, 1 - 1 / end)) for end in (ratio.low, ratio.high)))


def _ratio(penalty: Interval) -> Interval:
    """Return the ratios of all brevity penalties. That of 1 is any from 1 on."""
    low, high = (0.0 if not end else 1 / (1 - math.log(end)) for end in (penalty.low, min(1.0, penalty.high)))
    return Interval(low, math.inf if penalty.high >= 1 else high)


def plain_recovered(found: Recovered) -> dict[str, Any]:
    """Return what a line says about itself as plain values. The `high` of what has no upper limit is None."""

    def ends(interval: Interval) -> dict[str, float | None]:
        """Return both ends of an interval."""
        return {"low": interval.low, "high": None if interval.high == math.inf else interval.high}

    return {
        "printed": dict(found.line.printed),
        "agrees": found.agrees,
        "relations": [
            {"name": one.name, "printed": one.printed, **ends(one.implied), "agrees": one.holds}
            for one in found.relations
        ],
        "suspects": {part: ends(needed) for part, needed in found.suspects.items()},
        "implied": {part: ends(implied) for part, implied in found.implied.items()},
        "inverse_ratio": found.inverse,
    }


def describe(found: Recovered) -> str:
    """Return the check of a line as text."""
    lines = [
        f"{one.name}: {one.implied}; printed {one.printed}: {'agrees' if one.holds else 'DISAGREES'}"
        for one in found.relations
    ]
    lines.append(f"the line {'agrees' if found.agrees else 'does not agree'} with itself, within its rounding")
    if found.suspects:
        parts = "; ".join(f"{part}, to be {needed}" for part, needed in found.suspects.items())
        lines.append(f"one part alone that may be wrong: {parts}")
    elif not found.agrees:
        lines.append("no single part explains it: two or more are wrong")
    if found.implied:
        parts = "; ".join(f"{part} {implied}" for part, implied in found.implied.items())
        lines.append(f"not printed, but following from the rest: {parts}")
    if found.inverse:
        lines.append("the ratio printed is that of the reference to the hypothesis")
    return "\n".join(lines)
