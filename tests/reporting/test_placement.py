"""Labels of scatter plots can be read and told apart."""

import numpy as np
import pytest

from qunlearn.reporting.placement import Area, place_labels

AREA = Area(0.0, 0.0, 400.0, 300.0)


def place(anchors, obstacles=()):
    return place_labels(anchors, widths=[30.0] * len(anchors), height=17.0, obstacles=obstacles, area=AREA)


@pytest.mark.parametrize("seed", range(4))
def test_twenty_crowded_labels_neither_overlap_nor_leave_the_area(seed):
    anchors = [tuple(p) for p in np.random.default_rng(seed).normal((200, 150), (40, 30), (20, 2))]
    places = place(anchors)

    for i, (x, y) in enumerate(places):
        assert 15 <= x <= 385
        assert 8.5 <= y <= 291.5
        assert all(abs(x - a) >= 30 or abs(y - b) >= 17 for a, b in places[:i])


def test_twenty_points_in_one_place_have_twenty_places():
    places = place([(200.0, 150.0)] * 20)

    assert all(abs(x - a) >= 30 or abs(y - b) >= 17 for i, (x, y) in enumerate(places) for a, b in places[:i])


def test_a_lone_label_stays_near_its_point_but_not_on_it():
    ((x, y),) = place([(200.0, 150.0)])

    assert abs(x - 200) >= 20 or abs(y - 150) >= 13.5
    assert np.hypot(x - 200, y - 150) <= 30


def test_the_same_points_give_the_same_places():
    anchors = [(10.0 * i, 7.0 * i) for i in range(12)]

    assert place(anchors) == place(anchors)


def test_no_points_need_no_places():
    assert place([]) == []
