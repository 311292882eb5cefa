"""Cost beside retraining."""

import pytest

from qunlearn.evaluation.cost import cost_ratios

SIZES = {"forget_samples": 100.0, "retain_samples": 900.0}
RETRAIN = {"seconds": 40.0, "forget_passes": 0.0, "retain_passes": 20.0}


def test_ratios_by_time_and_by_samples_processed():
    stats = {"seconds": 10.0, "forget_passes": 9.0, "retain_passes": 1.0}

    # (9 x 100 + 900) / (20 x 900)
    assert cost_ratios(stats, RETRAIN, **SIZES) == {"cost_ratio": 0.25, "work_ratio": pytest.approx(0.1)}


def test_retraining_costs_one_retraining():
    assert cost_ratios(RETRAIN, RETRAIN, **SIZES) == {"cost_ratio": 1.0, "work_ratio": 1.0}


def test_what_was_not_measured_is_left_out():
    assert cost_ratios({"seconds": 10.0}, RETRAIN, **SIZES) == {"cost_ratio": 0.25}
    assert cost_ratios({}, RETRAIN, **SIZES) == {}


def test_memory_is_compared_where_both_runs_know_it():
    stats, retrain = {"seconds": 10.0, "peak_memory_mb": 30.0}, {**RETRAIN, "peak_memory_mb": 120.0}

    assert cost_ratios(stats, retrain, **SIZES) == {"cost_ratio": 0.25, "memory_ratio": 0.25}
    assert "memory_ratio" not in cost_ratios(stats, RETRAIN, **SIZES)
    assert "memory_ratio" not in cost_ratios(RETRAIN, retrain, **SIZES)


def test_retraining_that_raised_no_peak_gives_no_memory_ratio():
    stats, retrain = {"peak_memory_mb": 30.0}, {**RETRAIN, "peak_memory_mb": 0.0}

    assert "memory_ratio" not in cost_ratios(stats, retrain, **SIZES)


@pytest.mark.parametrize("broken", [{"seconds": 0.0}, {"retain_passes": 0.0}])
def test_retraining_for_free_is_refused(broken):
    with pytest.raises(ValueError, match="needs a positive number"):
        cost_ratios(RETRAIN, {**RETRAIN, **broken}, **SIZES)
