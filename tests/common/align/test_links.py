"""Links and their error rate, against an example worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from common.align.links import agreement, diagonal, error_rate, greatest, read_links, spread, write_links
from common.errors import UserError

ALPHA = np.array(
    [
        # the  house  is  red  EOS
        [0.7, 0.1, 0.1, 0.1, 0.0],  # la
        [0.4, 0.5, 0.0, 0.1, 0.0],  # maison
        [0.0, 0.6, 0.3, 0.1, 0.0],  # est, lagging: it looks at house
        [0.0, 0.0, 0.1, 0.2, 0.7],  # rouge, which looks at the end
        [0.0, 0.0, 0.0, 0.0, 1.0],  # EOS
    ]
)
THEIRS = frozenset({(0, 0), (1, 1), (2, 2), (3, 3)})


def test_error_rate_by_hand():
    """Alpha has three links, the aligner four, two are the same: 1 - 2 x 2 / (3 + 4) = 3/7."""
    ours = greatest(ALPHA)
    assert ours == {(0, 0), (1, 1), (1, 2)}, "neither a word that looks at the end nor the end itself has a link"
    assert agreement(ours, THEIRS) == (2, 3, 4)
    assert error_rate(np.array([2, 3, 4])) == pytest.approx(3 / 7)


def test_error_rate_is_och_and_neys_with_sure_links_alone():
    """Their formula, 1 - (|A and S| + |A and P|) / (|A| + |S|), in sets and not in counts."""
    ours, sure = {(0, 0), (1, 2), (3, 1)}, {(0, 0), (1, 1), (3, 1), (2, 2), (4, 4)}
    theirs = 1 - (len(ours & sure) + len(ours & sure)) / (len(ours) + len(sure))
    assert error_rate(np.array(agreement(frozenset(ours), frozenset(sure)))) == pytest.approx(theirs)
    sums = np.array([[2.0, 2.0, 2.0], [0.0, 3.0, 1.0]])
    assert error_rate(sums).tolist() == [0.0, 1.0], "the same links; no common link"


@pytest.mark.parametrize(
    ("source", "target", "links"),
    [
        (3, 3, {(0, 0), (1, 1), (2, 2)}),
        (2, 4, {(0, 0), (0, 1), (1, 2), (1, 3)}),
        (4, 2, {(1, 0), (3, 1)}),
        (1, 3, {(0, 0), (0, 1), (0, 2)}),
        (5, 0, set()),
        (0, 2, set()),
    ],
)
def test_the_diagonal(source, target, links):
    assert diagonal(source, target) == links


def test_links_are_written_as_they_are_read():
    assert read_links("0-0 10-2 1-2", "there") == {(0, 0), (10, 2), (1, 2)}
    assert write_links(read_links("10-2 1-2 0-0", "there")) == "0-0 1-2 10-2"
    assert read_links("", "there") == frozenset() and write_links(frozenset()) == ""


@pytest.mark.parametrize("line", ["0", "0-1-2", "a-b", "0-", "0:1"])
def test_what_is_no_alignment_is_refused(line):
    with pytest.raises(UserError, match="^there: `.*` is no alignment"):
        read_links(line, "there")


def test_rows_at_even_distances():
    assert list(spread(10, 5)) == [0, 2, 4, 6, 8]
    assert list(spread(3, 5)) == list(spread(3, 3)) == [0, 1, 2]
    rows = list(spread(3003, 500))
    assert len(set(rows)) == 500 and {b - a for a, b in zip(rows, rows[1:], strict=False)} <= {6, 7}
