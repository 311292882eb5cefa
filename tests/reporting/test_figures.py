"""Pictures for the experiment tracker."""

import io

import pytest

from qunlearn.reporting.figures import conflict_figure, gap_figure


def saved(figure):
    target = io.BytesIO()
    figure.savefig(target, format="png")
    return target.getvalue()


def test_figures_can_be_saved_as_png(evaluation, one_seed, steps):
    for figure in (conflict_figure(steps["oeu", 0]), gap_figure(evaluation), gap_figure(one_seed)):
        assert saved(figure).startswith(b"\x89PNG")


def test_gap_figure_lists_every_model_but_the_reference(evaluation):
    names = [text.get_text() for text in gap_figure(evaluation).axes[0].get_yticklabels()]

    assert sorted(names) == sorted(row["method"] for row in evaluation["summary"] if row["method"] != "retrain")
    assert names[-1] == "oeu"  # the smallest gap on top


def test_conflict_figure_names_the_columns_it_needs():
    with pytest.raises(ValueError, match="step, cosine_before and removed_fraction are needed"):
        conflict_figure({"step": [1, 2]})
