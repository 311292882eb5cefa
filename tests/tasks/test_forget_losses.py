"""What remains of a method's table of epochs for the figure of its forget losses, against hand calculations."""

from __future__ import annotations

import numpy as np
import pytest

from qunlearn.reporting.series import QUANTILES
from tasks.forget_losses import CURVES, epoch_table, forget_loss_curve


def measured(epoch: float, correct: float, *losses: float, **further: float) -> dict[str, float]:
    """A row as the monitor gives it, with losses at 5, 25, 50, 75 and 95 percent."""
    quantiles = {f"forget_loss_{name}": loss for name, loss in zip(QUANTILES, losses, strict=True)}
    return {"epoch": epoch, "seconds": 0.5, "forget_correct": correct, **quantiles, **further}


ROWS = [
    measured(1.0, 0.75, 0.0, 0.25, 0.5, 1.0, 4.0),
    measured(2.0, 0.5, 0.125, 0.5, 1.0, 2.0, 8.0),
    measured(3.0, 0.625, 0.0, 0.125, 2.0, 6.0, 30.0),
]


def test_a_table_has_a_column_a_figure_with_nothing_where_an_epoch_has_none():
    found = epoch_table([{"epoch": 1.0, "loss": 0.5}, {"epoch": 2.0, "drift": 3.0}])
    assert list(found) == ["epoch", "loss", "drift"]
    assert all(column.dtype == np.float64 for column in found.values())
    np.testing.assert_array_equal(found["epoch"], [1.0, 2.0])
    np.testing.assert_array_equal(found["loss"], [0.5, np.nan])
    np.testing.assert_array_equal(found["drift"], [np.nan, 3.0])


def test_no_epochs_make_a_table_without_columns():
    assert epoch_table([]) == {}


def test_a_curve_keeps_every_epoch_and_only_what_the_figure_shows():
    assert forget_loss_curve(epoch_table(ROWS)) == {
        "epoch": [1, 2, 3],
        "correct": [0.75, 0.5, 0.625],
        "p05": [0.0, 0.125, 0.0],
        "p25": [0.25, 0.5, 0.125],
        "p50": [0.5, 1.0, 2.0],
        "p75": [1.0, 2.0, 6.0],
        "p95": [4.0, 8.0, 30.0],
    }


def test_a_curve_of_a_method_with_phases_tells_them():
    rows = [{**row, "phase": phase} for row, phase in zip(ROWS, (1.0, 2.0, 2.0), strict=True)]
    found = forget_loss_curve(epoch_table(rows))
    assert list(found) == ["epoch", "phase", "correct", *QUANTILES]
    assert found["phase"] == [1, 2, 2]
    assert {type(value) for value in (*found["epoch"], *found["phase"])} == {int}


@pytest.mark.parametrize("missing", ["epoch", *CURVES.values()])
def test_a_record_that_lacks_a_figure_has_no_curve(missing):
    old = epoch_table([{name: value for name, value in row.items() if name != missing} for row in ROWS])
    assert forget_loss_curve(old) is None


@pytest.mark.parametrize("missing", ["epoch", *CURVES.values()])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_figure_that_one_epoch_lacks_leaves_no_curve(missing, value):
    assert forget_loss_curve(epoch_table([ROWS[0], {**ROWS[1], missing: value}])) is None


def test_a_method_without_epochs_has_no_curve():
    assert forget_loss_curve({}) is None


def test_the_curves_are_those_of_the_reports_table():
    assert list(CURVES) == ["correct", *QUANTILES]
