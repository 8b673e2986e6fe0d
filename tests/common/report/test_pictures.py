"""Pictures of matrices and curves: what is dark, what is named, what is in a legend."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from matplotlib import colormaps
from matplotlib.image import imread, imsave

from common.report.page import COLOURS, Figure, Section, png
from common.report.pictures import WIDTH, few_colours, heat, lighter, plot


def pixels(image: Any) -> np.ndarray:
    """Red, green and blue of a picture, (height, width, 3), 0 to 255."""
    return (imread(io.BytesIO(image.data))[..., :3] * 255).round().astype(int)


def area(picture: np.ndarray, value: float, colours: str = "Blues") -> int:
    """Number of pixels in the colour of a value between 0 and 1, or in one next to it."""
    return int((abs(picture - np.array(colormaps[colours](value)[:3]) * 255) < 3).all(-1).sum())


def test_a_cell_is_as_dark_as_its_value_is_large():
    picture = pixels(heat({"a": [[1, 0, 0.5, 0]]}, "a row"))
    whole, none, half = area(picture, 1.0), area(picture, 0.0), area(picture, 0.5)
    assert whole > 1000 and none == pytest.approx(2 * whole, rel=0.1) and half == pytest.approx(whole, rel=0.1)
    assert area(pixels(heat({"a": [[1, 0]]}, "a row", most=2)), 1.0) == 0


def test_numbers_of_both_signs_have_two_colours():
    picture = pixels(heat({"a": [[-1, 1]]}, "a row", signed=True))
    blue, red = area(picture, 0.0, "RdBu_r"), area(picture, 1.0, "RdBu_r")
    assert blue > 1000 and red == pytest.approx(blue, rel=0.1)


def test_a_picture_is_no_wider_than_a_page():
    wide = pixels(heat({"a": np.eye(90), "b": np.eye(90)}, "two", down={"a": ["a long name of a row"] * 90}))
    assert wide.shape[1] <= WIDTH * 144


@pytest.fixture
def drawings(monkeypatch) -> list[Any]:
    """The drawings that are made."""
    made: list[Any] = []
    monkeypatch.setattr("common.report.pictures.png", lambda drawing: made.append(drawing) or png(drawing))
    return made


def test_names_stand_at_the_panels_that_show_them(drawings):
    heat({"a": np.eye(2), "b": np.eye(2)}, "two", across=["x", "y"], down={"a": ["first", "second"]})
    shown = [
        [[label.get_text() for label in axis.get_ticklabels()] for axis in (axes.xaxis, axes.yaxis)]
        for axes in drawings[0].axes
    ]
    assert shown == [[["x", "y"], ["first", "second"]], [["x", "y"], []]]


def test_numbers_are_written_into_the_cells(drawings):
    heat({"a": [[0.25, 3]]}, "a row", numbers=True)
    assert [text.get_text() for text in drawings[0].axes[0].texts] == ["0.25", "3"]


def test_a_curve_goes_through_its_points(drawings):
    plot({"title | x | y": {"a": ([2, 8], [5, 6]), "b": [3, 4, 7]}}, "two curves", log="x")
    axes = drawings[0].axes[0]
    first, second = axes.lines
    assert [*first.get_xdata()] == [2, 8] and [*second.get_xdata()] == [1, 2, 3] and [*second.get_ydata()] == [3, 4, 7]
    assert (first.get_color(), second.get_color()) == COLOURS[:2]
    assert (axes.get_title(), axes.get_xlabel(), axes.get_ylabel(), axes.get_xscale()) == ("title", "x", "y", "log")


def test_a_curve_over_another_lets_it_be_seen(drawings):
    """`c` and `e` lie over `a` in one panel or the other, `d` over both there; `b` only crosses."""
    both = {"a": [1, 1, 1], "b": [0, 1, 2], "c": [2, 1, 1], "d": [3, 1, 1], "e": [7, 8, 9]}
    plot({"one | x | y": both, "two | x | y": both | {"c": [4, 5, 6], "d": [7, 1, 2], "e": [0, 1, 1]}}, "five curves")
    for axes in drawings[0].axes:
        assert [line.get_linestyle() for line in axes.lines] == ["-", "-", "--", ":", "--"]


@pytest.mark.parametrize(
    ("panels", "legends"),
    [
        ({"one | x | y": {"a": [1, 2]}}, [False]),
        ({"one | x | y": {"a": [1, 2], "b": [2, 1]}}, [True]),
        ({"one | x | y": {"a": [1], "b": [2]}, "two | x | y": {"a": [1], "b": [2]}}, [False, True]),
        ({"one | x | y": {"a": [1], "b": [2]}, "two | x | y": {"c": [1], "d": [2]}}, [True, True]),
    ],
)
def test_curves_of_the_same_names_share_a_legend(panels, legends, drawings):
    plot(panels, "curves")
    assert [axes.get_legend() is not None for axes in drawings[0].axes] == legends


def test_few_colours_keep_the_picture():
    """No colour of a gradient of 1,024 moves far."""
    ramp = np.zeros((4, 1024, 3), dtype=np.uint8)
    ramp[..., 0], ramp[..., 1] = np.arange(1024) // 4, np.arange(1024) % 4
    buffer = io.BytesIO()
    imsave(buffer, ramp, format="png")
    made = few_colours(buffer.getvalue())
    got = (imread(io.BytesIO(made))[..., :3] * 255).round().astype(int)
    assert abs(got - ramp).max() <= 4 and few_colours(buffer.getvalue()) == made
    section = Section("title", "text", [Figure("name", "title", "caption", buffer.getvalue())], [], [])
    assert lighter(section).figures[0].png == made and lighter(section).markdown == "text"


def test_a_drawing_in_few_colours_is_smaller(drawings):
    plot({"title | x | y": {"a": [1, 3, 2], "b": [2, 1, 3]}}, "two curves")
    drawing = png(drawings[0])
    assert len(few_colours(drawing)) < len(drawing) / 2
