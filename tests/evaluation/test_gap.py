"""Average gap, noise floor and t-interval."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from qunlearn.evaluation.gap import GAP_METRICS, average_gap, noise_floor, t_interval


def metrics(forget, retain, test, mia):
    return dict(zip(GAP_METRICS, (forget, retain, test, mia), strict=True))


RETRAIN = metrics(94.0, 100.0, 93.0, 13.0)


def test_average_gap_is_the_mean_of_four_absolute_differences():
    assert average_gap(metrics(97.0, 99.0, 92.5, 9.0), RETRAIN) == pytest.approx((3 + 1 + 0.5 + 4) / 4)


def test_forgetting_too_much_counts_as_much_as_too_little():
    assert average_gap(metrics(90, 100, 93, 13), RETRAIN) == average_gap(metrics(98, 100, 93, 13), RETRAIN) == 1.0


def test_noise_floor_is_the_mean_over_all_pairs_of_retrained_models():
    models = [metrics(94, 100, 93, 13), metrics(96, 100, 93, 13), metrics(94, 100, 93, 17)]

    assert noise_floor(models) == pytest.approx((0.5 + 1.0 + 1.5) / 3)
    assert noise_floor(models[:1]) is None


def test_t_interval_of_three_values():
    # mean 2, standard deviation 1, t(0.975, 2) = 4.302653
    low, high = t_interval([1.0, 2.0, 3.0])

    assert (low, high) == pytest.approx((2 - 4.302653 / 3**0.5, 2 + 4.302653 / 3**0.5), abs=1e-6)
    assert t_interval([1.0]) is None


@given(values=st.lists(st.integers(-1000, 1000).map(lambda n: n / 10), min_size=2, max_size=8))
def test_t_interval_agrees_with_scipy(values):
    if len(set(values)) < 2:
        assert t_interval(values) == pytest.approx((values[0], values[0]))
        return

    expected = stats.t.interval(0.95, len(values) - 1, loc=sum(values) / len(values), scale=stats.sem(values))

    assert t_interval(values) == pytest.approx(expected, rel=1e-6, abs=1e-6)
