"""The figures about gradient conflict."""

import re

import numpy as np
import pytest

from qunlearn.reporting.conflict import bin_width, binned, conflict_chart, has_conflicts


def test_bins_average_steps_and_pass_over_missing_numbers():
    columns = {"step": np.arange(1, 6), "cosine_before": np.array([1.0, np.nan, 3.0, 5.0, np.nan])}

    step, value = binned(columns, "cosine_before", width=2)

    assert step.tolist() == [1.5, 3.5, 5.0]
    assert value[:2].tolist() == [1.0, 4.0]
    assert np.isnan(value[2])


def test_each_seed_is_a_light_line_and_their_mean_a_strong_one(steps):
    figure = conflict_chart(steps, method="oeu", name="cosine_before", title="Cosine")

    assert figure.count('class="each"') == 3
    assert figure.count('class="average"') == 1


def test_long_runs_are_drawn_with_a_bounded_number_of_points():
    count = 50_000
    columns = {"step": np.arange(count), "cosine_before": np.linspace(-1, 1, count), "removed_fraction": np.ones(count)}
    steps = {("oeu", 0): columns}

    figure = conflict_chart(steps, method="oeu", name="cosine_before", title="Cosine")

    assert bin_width(steps, "oeu") == 417
    assert len(re.findall(" L", figure)) <= 2 * 120


def test_runs_of_different_length_and_without_any_number_are_drawn():
    steps = {
        ("oeu", 0): {"step": np.arange(4), "cosine_before": np.full(4, np.nan)},
        ("oeu", 1): {"step": np.arange(7), "cosine_before": np.full(7, -0.5)},
    }

    figure = conflict_chart(steps, method="oeu", name="cosine_before", title="Cosine")

    assert "nan" not in figure
    assert "2 seeds" in figure


@pytest.mark.parametrize("columns", [{}, {"step": [1]}, {"step": [], "cosine_before": [], "removed_fraction": []}])
def test_statistics_without_conflicts_are_recognised(columns):
    assert not has_conflicts(columns)
