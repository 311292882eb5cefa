"""The drawing board."""

from itertools import pairwise
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qunlearn.reporting.svg import Canvas, Scale, label, ticks


def test_a_figure_is_valid_xml_with_title_and_description():
    canvas = Canvas(100, 50)
    canvas.text(1, 2, "a < b & c", css="name")
    canvas.dot(3, 4, 5, css="mean", tip='say "hello"')
    root = ElementTree.fromstring(canvas.finish(title="T & U", description="D"))

    assert root.attrib["viewBox"] == "0 0 100 50"
    assert [child.tag.split("}")[1] for child in root][:2] == ["title", "desc"]
    assert root[0].text == "T & U"
    assert root[2].text == "a < b & c"


def test_a_scale_maps_its_ends_and_keeps_others_inside():
    scale = Scale(10.0, 20.0, 100.0, 0.0)

    assert [scale(v) for v in (10.0, 15.0, 20.0, 99.0, -5.0)] == [100.0, 50.0, 0.0, 0.0, 100.0]


def test_ticks_are_round_numbers_inside_the_range():
    assert ticks(0.0, 1.0, count=5) == [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert ticks(92.3, 100.0, count=4) == [94.0, 96.0, 98.0, 100.0]
    assert label(-0.25) == "\N{MINUS SIGN}0.25"


@given(low=st.floats(-1e4, 1e4), span=st.floats(1e-3, 1e4), count=st.integers(2, 8))
def test_ticks_are_about_as_many_as_asked_and_evenly_spaced(low, span, count):
    marks = ticks(low, low + span, count=count)

    assert 1 <= len(marks) <= count + 2
    assert all(low - 1e-6 <= mark <= low + span + 1e-6 for mark in marks)
    steps = [b - a for a, b in pairwise(marks)]
    assert all(step == pytest.approx(steps[0], rel=1e-3) for step in steps)
