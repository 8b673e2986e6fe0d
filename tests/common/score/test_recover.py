"""Printed BLEU lines against themselves: real ones, made ones whose counts are known, and ones with a wrong part."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import UserError
from common.score.recover import PRECISIONS, Interval, describe, parse, recover

GOOD = "BLEU = 28.74, 59.5/34.3/22.2/15.0 (BP=1.000, ratio=1.029, hyp_len=66369, ref_len=64504)"
SHORT = "BLEU = 24.89, 57.6/31.2/19.1/12.2 (BP=0.978, ratio=0.978, hyp_len=63093, ref_len=64496)"


@st.composite
def printed_lines(draw: st.DrawFn) -> str:
    """The line that multi-bleu.perl prints for some counts."""
    hypothesis = draw(st.integers(500, 90_000))
    reference = round(hypothesis * draw(st.floats(0.7, 1.5)))
    totals = [hypothesis - 10 * n for n in range(4)]
    precisions = []
    for total in totals:
        most = precisions[-1] if precisions else 1.0
        precisions.append(draw(st.integers(1, max(1, int(total * most)))) / total)
    penalty = math.exp(min(0.0, 1 - reference / hypothesis))
    score = 100 * penalty * math.prod(precisions) ** 0.25
    shown = "/".join(f"{100 * precision:.1f}" for precision in precisions)
    return (
        f"BLEU = {score:.2f}, {shown} (BP={penalty:.3f}, ratio={hypothesis / reference:.3f}, "
        f"hyp_len={hypothesis}, ref_len={reference})"
    )


@given(printed_lines())
def test_a_line_that_was_computed_agrees_with_itself(line: str) -> None:
    found = recover(line)
    assert found.agrees and not found.suspects
    assert len(found.relations) == 3 and all(relation.holds for relation in found.relations)


WRONG = {
    "BLEU": ("28.74", "28.94", (28.64, 28.77)),
    "2-gram precision": ("34.3", "43.3", (34.1, 34.8)),
    "BP": ("BP=1.000", "BP=0.900", (0.996, 1.0)),
    "ratio": ("ratio=1.029", "ratio=1.092", (1.0289, 1.0290)),
    "hypothesis length": ("66369", "63669", (66_337, 66_408)),
    "reference length": ("64504", "65404", (64_466, 64_534)),
}
"""One part of GOOD, misprinted, and what it would have to be: by hand, from the rest."""


@pytest.mark.parametrize("part", WRONG)
def test_a_wrong_part_is_among_those_named_and_what_it_must_be_is_right(part: str) -> None:
    right, wrong, (low, high) = WRONG[part]
    found = recover(GOOD.replace(right, wrong))
    assert not found.agrees and part in found.suspects
    needed = found.suspects[part]
    assert low <= needed.low <= needed.high <= high
    assert float(re.search(r"[\d.]+$", right)[0]) == pytest.approx((needed.low + needed.high) / 2, rel=0.01)


def test_a_wrong_score_is_told_from_a_wrong_penalty() -> None:
    """Where lengths and ratio are printed they hold the penalty, and only score or precisions can be wrong."""
    too_high = recover(SHORT.replace("24.89", "25.45"))
    assert {*too_high.suspects} == {"BLEU", *PRECISIONS}
    alone = recover("BLEU = 25.45, 57.6/31.2/19.1/12.2 (BP=0.978)")
    assert {*alone.suspects} == {"BLEU", "BP", *PRECISIONS}
    assert alone.suspects["BP"].low == pytest.approx(1.0, abs=0.003)


def test_two_wrong_parts_are_said_to_be_two() -> None:
    found = recover(SHORT.replace("24.89", "30.00").replace("BP=0.978", "BP=0.700"))
    assert not found.agrees and not found.suspects
    assert "two or more are wrong" in describe(found)


def test_a_ratio_upside_down_is_recognised() -> None:
    """As fairseq printed it in 2017."""
    found = recover("BLEU4 = 40.55, 67.6/46.5/34.0/25.3 (BP=1.000, ratio=0.998, sys_len=81369, ref_len=81194)")
    assert {*found.suspects} == {"ratio"} and found.inverse
    assert "of the reference to the hypothesis" in describe(found)
    assert not recover(GOOD.replace("ratio=1.029", "ratio=1.092")).inverse


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            "BLEU+case.mixed+lang.en-de+numrefs.1+smooth.exp+test.wmt14/full+tok.13a+version.1.4.3 = 28.6 "
            "59.3/34.3/22.1/14.9 (BP = 1.000 ratio = 1.016 hyp_len = 63666 ref_len = 62688)",
            ["28.6", "1.000", "1.016", "63666", "62688"],
        ),
        (
            "BLEU4 = 29.29, 60.3/35.0/22.8/15.3 (BP=1.000, ratio=1.004, syslen=64763, reflen=64496)",
            ["29.29", "1.000", "1.004", "64763", "64496"],
        ),
        ("BLEU = 27.31, 59.2/33.2/20.8/13.5 (BP=1.000 ...)", ["27.31", "1.000", None, None, None]),
    ],
)
def test_lines_of_three_tools_are_read(line: str, expected: list[str | None]) -> None:
    printed = parse(line).printed
    names = ["BLEU", "BP", "ratio", "hypothesis length", "reference length"]
    assert [printed.get(name) for name in names] == expected
    assert recover(line).agrees


def test_each_number_stands_for_all_that_round_to_it() -> None:
    line = parse(GOOD)
    assert line.of("BLEU") == Interval(pytest.approx(28.735), pytest.approx(28.745))
    assert line.of("BP") == Interval(pytest.approx(0.9995), 1.0)  # never above 1
    assert line.of("hypothesis length") == Interval(66369, 66369)


def test_what_is_no_line_is_refused() -> None:
    with pytest.raises(UserError, match=r"^`BLEU = 27\.31` has no score with four precisions; give the whole line"):
        recover("BLEU = 27.31")


@pytest.mark.parametrize(
    ("right", "wrong", "part", "range_"),
    [
        ("59.5", "159.5", "1-gram precision", "0.000 to 100.00"),
        ("28.74", "128.74", "BLEU", "0.000 to 100.00"),
        ("BP=1.000", "BP=1.200", "BP", "0.000 to 1.000"),
        ("ref_len=64504", "ref_len=0", "reference length", "at least 1.000"),
    ],
)
def test_an_impossible_number_is_named_and_nothing_else_suspected(
    right: str, wrong: str, part: str, range_: str
) -> None:
    found = recover(GOOD.replace(right, wrong))
    assert not found.agrees and {*found.suspects} == {part} and not found.suspects[part].empty
    assert describe(found).startswith(f"{part} by definition: {range_}; printed {wrong.rpartition('=')[2]}: DISAGREES")
    twice = recover(GOOD.replace(right, wrong).replace("34.3", "134.3"))
    assert not twice.agrees and not twice.suspects


def test_decimal_commas_and_marks_for_thousands_are_read() -> None:
    comma = "BLEU = 28,74, 59,5/34,3/22,2/15,0 (BP=1,000, ratio=1,029, hyp_len=66.369, ref_len=64.504)"
    assert parse(comma) == parse(GOOD) == parse(GOOD.replace("66369", "66,369"))


@pytest.mark.parametrize("words", ["BP=-1", "BP=", "ratio=1.0.2", "hyp_len=6.5", "ref_len=about 6"])
def test_a_part_that_is_no_number_is_refused(words: str) -> None:
    with pytest.raises(UserError, match="is no .*; write a number, or leave it out"):
        recover(f"BLEU = 28.74, 59.5/34.3/22.2/15.0 ({words})")


@pytest.mark.parametrize("precisions", ["59.5/34.3/22.2", "59.5/34.3/22.2/15.0/9.1", "59.5/34.3/22.2/15.0/"])
def test_other_than_four_precisions_are_refused(precisions: str) -> None:
    with pytest.raises(UserError, match="no score with four precisions"):
        recover(f"BLEU = 28.74, {precisions}")


def test_what_is_not_printed_follows_from_the_rest() -> None:
    """From the complete line with one part left out, and from score and precisions alone."""
    ratio = 63093 / 64496
    exact = {"BP": math.exp(1 - 1 / ratio), "ratio": ratio, "reference length": 64496}
    for part, pattern in (("BP", "BP=0.978, "), ("ratio", "ratio=0.978, "), ("reference length", ", ref_len=64496")):
        ((name, implied),) = recover(SHORT.replace(pattern, "")).implied.items()
        assert name == part
        assert implied.low * (1 - 1e-9) <= exact[part] <= implied.high * (1 + 1e-9) < exact[part] * 1.002
    bare = recover(SHORT.partition(" (")[0])
    assert {*bare.implied} == {"BP", "ratio"}
    assert bare.implied["BP"].low < 0.978 < bare.implied["BP"].high and bare.implied["BP"].high < 0.982
    assert "following from the rest: BP 0.97" in describe(bare)
    assert not recover(SHORT).implied and not recover(SHORT.replace("24.89", "25.89")).implied
