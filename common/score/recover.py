"""A printed BLEU line checked against itself: score, precisions, brevity penalty, ratio and lengths, as rounded.

BLEU = 100 BP (p1 p2 p3 p4)^(1/4), BP = exp(min(0, 1 - 1 / ratio)), ratio = hypothesis length / reference length. Each
number stands for all that round to it. A line agrees with itself if some choice of these fulfils all three equations.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from common.errors import UserError

_NUMBER = r"(\d+(?:\.\d+)?)"
_HEAD = re.compile(rf"=\s*{_NUMBER}[,;]?\s+{_NUMBER}/{_NUMBER}/{_NUMBER}/{_NUMBER}")
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


@dataclass(frozen=True)
class Line:
    """What a line prints, by name: BLEU, the four precisions, and of the rest what is there."""

    printed: Mapping[str, str]
    """The numbers as printed."""

    def of(self, name: str) -> Interval:
        """Return the numbers that round to a printed one, or all that are possible if none is. A length is exact."""
        possible = Interval(0.0, {"BP": 1.0, "ratio": math.inf, **dict.fromkeys(_LENGTHS, math.inf)}.get(name, 100.0))
        if (text := self.printed.get(name)) is None:
            return possible
        half = 0.0 if name in _LENGTHS else 0.5 * 10.0 ** -len(text.partition(".")[2])
        return Interval(float(text) - half, float(text) + half) & possible

    def without(self, name: str) -> Line:
        """Return the line as if one part were not printed."""
        return Line({part: text for part, text in self.printed.items() if part != name})


def parse(text: str) -> Line:
    """Read a line of multi-bleu.perl, sacreBLEU or fairseq. What follows the precisions may be missing.

    Raise UserError if it has no score with four precisions.
    """
    if not (head := _HEAD.search(text)):
        raise UserError(
            f"`{text}` has no score with four precisions; give the whole line: "
            '"BLEU = 27.31, 59.2/33.2/20.8/13.5 (BP=1.000, ratio=1.017, hyp_len=65612, ref_len=64504)"'
        )
    printed = dict(zip(("BLEU", *PRECISIONS), head.groups(), strict=True))
    for name, pattern in _NAMES.items():
        if found := re.search(rf"\b{pattern}\s*=\s*([\d,]*\d(?:\.\d+)?)", text[head.end() :]):
            printed[name] = found[1].replace(",", "")
    return Line(printed)


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
    def agrees(self) -> bool:
        """Return whether some numbers that round to the printed ones fulfil all equations."""
        return _consistent(self.line)


def recover(text: str) -> Recovered:
    """Check a printed line against itself. Raise UserError as `parse` does."""
    line = parse(text)
    relations = tuple(
        Relation(name, line.printed[part], implied, not (implied & line.of(part)).empty)
        for name, part, implied in _relations(line)
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
    source, penalty = ("precisions and BP", line.of("BP")) if "BP" in line.printed else ("precisions", Interval(0, 1))
    found.append((f"BLEU from the {source}", "BLEU", _times(penalty, _mean(line))))
    return found


def _consistent(line: Line) -> bool:
    """Return whether numbers that round to the printed ones fulfil all equations.

    The equations form a chain and each is monotone, so that carrying intervals along it decides.
    """
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
    wanted = _ratio(line.of("BP")) & ratio
    if part == "ratio":
        return wanted
    return _times(wanted, reference) if part == _LENGTHS[0] else _over(hypothesis, wanted)


def _over(top: Interval, bottom: Interval) -> Interval:
    """Return all quotients."""
    return Interval(
        0.0 if bottom.high == math.inf else top.low / bottom.high if bottom.high else math.inf,
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
    if found.inverse:
        lines.append("the ratio printed is that of the reference to the hypothesis")
    return "\n".join(lines)
