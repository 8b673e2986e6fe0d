"""What is said of alpha, against numbers worked out by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from common.align.measures import Sentence, agree, entropies, measure, sharpness
from common.align.statistical import Aligned
from common.ids import UNK

ALPHA = np.array(
    [
        # 5    UNK   7   EOS
        [0.6, 0.2, 0.2, 0.0],  # 4, linked with 5
        [0.1, 0.2, 0.3, 0.4],  # UNK, linked with UNK; it looks at the end
        [0.0, 1.0, 0.0, 0.0],  # 9, without a link
        [0.0, 0.1, 0.2, 0.7],  # EOS
    ]
)
ONE = Sentence(np.array([5, UNK, 7]), np.array([4, UNK, 9]), ALPHA, frozenset({(0, 0), (1, 1)}))
SENTENCES = [ONE] * 12
ALIGNED = Aligned("by hand", 7, tuple(range(12)), (ONE.links,) * 12, (ONE.links | {(2, 2)},) * 12, Path("none"), "0")


def test_entropy_of_each_row():
    expected = [-sum(p * math.log(p) for p in row if p) for row in ALPHA.tolist()]
    assert entropies(ALPHA).tolist() == pytest.approx(expected)
    assert entropies(np.full((1, 8), 1 / 8))[0] == pytest.approx(math.log(8))


def test_sharpness():
    found = sharpness(SENTENCES)
    # Links of alpha: (0, 0) and (1, 2). One of them is among the two of the aligner: 1 - 2/4.
    assert found.error_rate.value == pytest.approx(0.5)
    assert found.sharp.value == pytest.approx(2 / 3, abs=1e-6), "0.6 and 1.0 of three words"
    assert found.entropy.value == pytest.approx(entropies(ALPHA)[:3].mean(), abs=1e-6)
    assert found.entropy.low == found.entropy.high == found.entropy.value, "all sentences are the same"


def test_agreement():
    found = agree(SENTENCES, ALIGNED, "made")
    assert found.counts == ("1 2 2",) * 12
    assert found.one.value == pytest.approx(1 - 2 * 2 / (3 + 2)) and found.diagonal.value == found.one.value
    assert found.offsets == {"0": 12, "2": 12}, "the UNK looks two to the right, at the end"
    assert [position.position for position in found.positions] == [1, 2, 3]
    assert found.positions[1].entropy.value == pytest.approx(entropies(ALPHA)[1], abs=1e-6)
    assert found.positions[0].uniform == pytest.approx(math.log(4), abs=1e-6)


def test_where_words_look():
    looks = agree(SENTENCES, ALIGNED, "made").looks
    known, unknown, end = looks["known"], looks["unknown"], looks["end"]
    assert (known.positions, unknown.positions, end.positions) == (24, 12, 12)
    assert known.linked.value == pytest.approx(0.6), "of two known words one is linked"
    assert known.unknown_equal == 0.25, "one of four positions, the end token's included"
    assert known.unknown.value == pytest.approx((0.2 + 1.0) / 2) and known.last.value == pytest.approx(0.1)
    assert unknown.linked.value == unknown.unknown.value == pytest.approx(0.2)
    assert unknown.end.value == pytest.approx(0.4) and end.end.value == pytest.approx(0.7)
    assert end.linked is None and end.last.value == pytest.approx(0.2)


def test_rare_kinds_are_left_out():
    known = replace(ONE, target=np.array([4, 8, 9]))
    assert set(agree([known] * 11 + [ONE], ALIGNED, "made").looks) == {"known", "end"}


def test_an_interval_covers_the_sentences():
    rows = [(correct, 10) for correct in (2, 4, 6, 8)] * 25
    found = measure([*rows, (0, 0)])
    assert found.value == 0.5 and 0.4 < found.low < 0.5 < found.high < 0.6
    # The mean of 100 sentences of standard deviation 0.2236 varies by 0.02236.
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * 0.02236, rel=0.1)
