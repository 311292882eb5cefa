"""Axes end at ticks, show all there is, and do not claim more than 100 percent."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from qunlearn.reporting.axes import around, limit, ticks_from_zero

PERCENT = st.floats(0, 100, allow_nan=False)


@given(highest=st.floats(0, 100), bent=st.booleans())
@example(highest=96.25, bent=False)
def test_an_axis_from_zero_ends_at_a_tick_above_all_values(highest, bent):
    high = limit(highest, bent=bent)
    marks = ticks_from_zero(high, bent=bent, apart=0.1)

    assert high > highest
    assert marks[0] == 0.0
    assert marks[-1] == pytest.approx(high)
    assert 3 <= len(marks) <= 12
    assert marks == sorted(set(marks))


def test_ends_are_numbers_that_people_count_with():
    assert [limit(value, bent=False) for value in (5.5, 14.9, 2.3, 38.4)] == [6.0, 20.0, 2.5, 40.0]
    assert limit(900.0, bent=True) == 110.0  # the interval of two seeds: no gap can be that large
    assert [limit(value, bent=True) for value in (5.5, 14.9, 2.3, 38.4)] == [7.0, 20.0, 3.0, 40.0]


@given(values=st.lists(PERCENT, min_size=1, max_size=8), centre=PERCENT, margin=st.floats(0, 20))
def test_an_axis_of_percentages_holds_all_values_and_the_margin(values, centre, margin):
    scale, marks = around(values, centre, (50.0, 800.0), margin, apart=44.0)

    assert scale.low <= min(*values, max(centre - margin, 0.0))
    assert scale.high >= max(*values, min(centre + margin, 100.0))
    assert all(max(scale.low, 0.0) <= mark <= min(scale.high, 100.0) for mark in marks)
    assert len(marks) >= 2


def test_an_axis_of_percentages_has_ticks_at_its_ends():
    even = around([96.0, 98.4, 99.2], 97.9, (50.0, 800.0), 0.9, apart=44.0)
    bent = around([54.0, 96.2, 97.1, 97.7], 96.9, (50.0, 800.0), 0.6, apart=44.0)

    for scale, marks in (even, bent):
        assert (marks[0], marks[-1]) == pytest.approx((scale.low, scale.high))
    assert even[0].transform is float
    assert bent[0].transform is not float
