"""The course of forget losses over the epochs, and the page's figures of it."""

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qunlearn.reporting.forget_losses import (
    course_ends,
    courses,
    epoch_ticks,
    forget_loss_panels,
    highest_loss,
    loss_ticks,
)
from qunlearn.reporting.study import Study


def row(seed, epoch, level, *, phase=None):
    """Quantiles at `level` and above, and the share of correct images at a tenth of it."""
    fan = {f"p{part:02d}": level + part / 100 for part in (5, 25, 50, 75, 95)}
    return {"method": "m", "seed": seed, "epoch": epoch, "phase": phase, "correct": level / 10, **fan}


def epochs(count):
    return courses([row(0, epoch, 1.0) for epoch in range(1, count + 1)])["m"]


def test_fan_and_accuracy_are_means_over_the_seeds():
    found = courses([row(0, 1, 1.0), row(0, 2, 2.0), row(1, 1, 3.0), row(1, 2, 6.0)])["m"]

    assert found.epochs == [1, 2]
    assert found.fan["p05"] == pytest.approx([2.05, 4.05])
    assert found.fan["p95"] == pytest.approx([2.95, 4.95])
    assert found.correct == pytest.approx([20.0, 40.0])
    assert found.seeds[1].epochs == [1, 2]
    assert found.seeds[1].correct == pytest.approx([30.0, 60.0])
    assert found.seeds[1].edges == (pytest.approx([3.05, 6.05]), pytest.approx([3.95, 6.95]))


def test_seeds_of_different_length_are_averaged_as_far_as_the_shorter_goes_and_all_shown():
    found = courses([row(0, 1, 1.0), row(1, 1, 3.0), row(1, 2, 9.0)])["m"]

    assert found.epochs == [1]
    assert found.fan["p50"] == pytest.approx([2.5])
    assert found.seeds[1].epochs == [1, 2]
    assert course_ends(found) == (0.5, 2.5)


def test_a_phase_ends_between_two_epochs():
    phased = [row(seed, epoch, 1.0, phase=1 + (epoch > 3)) for seed in (0, 1) for epoch in range(1, 6)]

    assert courses(phased)["m"].turns == [3.5]
    assert epochs(5).turns == []


def test_the_band_of_a_single_epoch_has_a_width():
    one, two = epochs(1), epochs(2)

    assert one.sides[1] - one.sides[0] == pytest.approx(0.24)
    assert one.band("p25") == [1.25, 1.25]
    assert two.sides == [1, 2]
    assert two.band("p25") == [1.25, 1.25]


def test_no_seed_is_cut_whose_losses_are_far_above_the_mean():
    assert highest_loss(courses([row(seed, 1, 40.0 if seed == 2 else 1.0) for seed in range(3)])) > 40.0


@given(st.floats(1e-9, 1e9))
def test_the_scale_of_losses_shows_all_of_them_and_both_its_ends(loss):
    high = highest_loss(courses([row(0, 1, loss)]))
    marks = loss_ticks(high, apart=0.15)

    assert loss + 0.95 < high <= max(0.1, 5.2 * (loss + 0.95))
    assert marks[0] == 0.0
    assert marks[-1] == high
    assert 3 <= len(marks) <= 7


@pytest.mark.parametrize(
    ("count", "ticks"),
    [(1, [1]), (2, [1, 2]), (5, [1, 2, 3, 4, 5]), (10, [1, 5, 10]), (13, [1, 5, 10, 13]), (20, [1, 5, 10, 15, 20])],
)
def test_ticks_of_epochs_are_the_first_the_last_and_round_numbers(count, ticks):
    assert epoch_ticks(epochs(count)) == ticks


@given(st.integers(1, 400))
def test_ticks_of_epochs_are_few_whole_numbers(count):
    marks = epoch_ticks(epochs(count))

    assert {1.0, float(count)} <= set(marks)
    assert len(marks) <= 6
    assert all(mark == round(mark) for mark in marks)


def test_each_method_with_epochs_has_a_panel_with_a_fan_lines_of_each_seed_and_both_means(evaluation):
    panels = {panel.model.name: panel.figure for panel in forget_loss_panels(Study(evaluation))}

    assert list(panels) == ["gradient_ascent", "random_label", "oeu"]
    for css, count in (("band", 1), ("area", 1), ("each", 3 * 3), ("average", 2)):
        assert panels["oeu"].count(f'class="{css}"') == count
    assert 'class="reference"' not in panels["oeu"]


def test_a_single_epoch_is_drawn_as_dots(evaluation):
    figure = next(one.figure for one in forget_loss_panels(Study(evaluation)) if one.model.name == "gradient_ascent")

    assert figure.count('class="point average"') == 2
    assert figure.count('class="point each"') == 3 * 3


def test_one_seed_has_no_light_lines(one_seed):
    assert all('each"' not in panel.figure for panel in forget_loss_panels(Study(one_seed)))


def test_phases_are_parted_in_both_parts_of_a_panel(many_methods):
    figure = next(one.figure for one in forget_loss_panels(Study(many_methods)) if one.model.name == "two_phase")

    assert figure.count('class="reference"') == 2


def test_all_panels_have_the_same_scale_of_losses(evaluation):
    ticks = {tuple(one.figure.split('text-anchor="end">')[1:4]) for one in forget_loss_panels(Study(evaluation))}

    assert len({tuple(part.split("<")[0] for part in each) for each in ticks}) == 1


def test_an_evaluation_without_epochs_has_no_panels(evaluation):
    changed = copy.deepcopy(evaluation)
    for cell in changed["cells"]:
        cell["stats"].pop("forget_losses", None)

    assert forget_loss_panels(Study(changed)) == []
