"""The figures about gradient conflict."""

import copy

import numpy as np
import pytest

from qunlearn.reporting.conflict import COSINE, REMOVED, conflict_chart, conflicts, has_conflicts, mean_curve
from qunlearn.reporting.study import Study


def model(evaluation, name="oeu"):
    return next(model for model in Study(evaluation).models if model.name == name)


def recorded(cosine, removed=None):
    return {"step": list(range(len(cosine))), COSINE: cosine, REMOVED: removed or cosine}


def test_each_method_that_recorded_conflicts_has_both_figures(evaluation):
    found = conflicts(Study(evaluation))

    assert [conflict.model.name for conflict in found] == ["oeu"]
    assert len(found[0].figures) == 2
    assert found[0].seeds == 3
    assert found[0].steps_per_point.text == "2"


def test_each_seed_is_a_light_line_and_their_mean_a_strong_one(evaluation):
    for figure in conflicts(Study(evaluation))[0].figures.values():
        assert figure.count('class="each"') == 3
        assert figure.count('class="average"') == 1


def test_a_figure_without_any_number_is_left_out(many_methods):
    figures = {conflict.model.name: list(conflict.figures) for conflict in conflicts(Study(many_methods))}

    assert len(figures["pgu"]) == 1
    assert len(figures["two_phase"]) == 2


def test_points_without_a_number_are_passed_over(evaluation):
    figure = conflict_chart(model(evaluation), [recorded([0.5, None, -0.5])], name=COSINE)
    line = figure.split('class="each" d="')[1].split('"')[0]

    assert "nan" not in figure
    assert line.count("L") == 1


def test_a_single_point_is_drawn_as_a_dot(evaluation):
    figure = conflict_chart(model(evaluation), [recorded([-0.2])], name=COSINE)

    assert figure.count('class="point') == 2  # of the seed, and of the mean


def test_runs_of_different_length_are_averaged_as_far_as_the_shorter_goes():
    steps, values = mean_curve([
        (np.arange(3.0), np.array([1.0, np.nan, 3.0])), (np.arange(4.0), np.array([3.0, 4.0, np.nan, 9.0])),
    ])  # fmt: skip

    assert steps.tolist() == [0.0, 1.0, 2.0]
    assert values.tolist() == [2.0, 4.0, 3.0]


def test_a_mean_that_no_seed_has_is_not_a_number():
    _, values = mean_curve([(np.arange(2.0), np.array([np.nan, 1.0]))])

    assert np.isnan(values[0])
    assert values[1] == 1.0


def test_an_evaluation_without_conflicts_has_no_figures(evaluation):
    changed = copy.deepcopy(evaluation)
    for cell in changed["cells"]:
        cell["stats"].pop("conflict", None)

    assert conflicts(Study(changed)) == []


@pytest.mark.parametrize("columns", [{}, {"step": [1]}, {"step": [], "cosine_before": [], "removed_fraction": []}])
def test_statistics_without_conflicts_are_recognised(columns):
    assert not has_conflicts(columns)
