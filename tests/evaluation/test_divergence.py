"""Divergences: known answers, the order of arguments, and a mean over samples rather than over elements."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from qunlearn.evaluation.divergence import js_divergence, kl_divergence, prediction_agreement

P = np.log(np.array([[0.5, 0.25, 0.25]]))
Q = np.log(np.array([[0.25, 0.25, 0.5]]))
SURE = np.log(np.array([[0.9, 0.05, 0.05]]))
PAIRS = hnp.arrays(np.float64, st.tuples(st.just(2), st.integers(1, 5), st.integers(2, 5)), elements=st.floats(-9, 9))


def test_kl_of_known_distributions():
    # 0.5 log 2 + 0.25 log 0.5 = 0.25 log 2
    assert kl_divergence(P, Q) == pytest.approx(0.1732868, abs=1e-7)


def test_kl_takes_the_reference_first():
    forward = 0.5 * np.log(0.5 / 0.9) + 0.5 * np.log(0.25 / 0.05)
    backward = 0.9 * np.log(0.9 / 0.5) + 0.1 * np.log(0.05 / 0.25)

    assert kl_divergence(P, SURE) == pytest.approx(forward)
    assert kl_divergence(SURE, P) == pytest.approx(backward)
    assert abs(forward - backward) > 0.1


def test_divergences_average_over_samples_not_over_classes():
    assert kl_divergence(np.repeat(P, 7, axis=0), np.repeat(Q, 7, axis=0)) == pytest.approx(kl_divergence(P, Q))


def test_js_of_known_distributions():
    # Mixture (0.375, 0.25, 0.375); both halves are 0.5 log(4/3) + 0.25 log(2/3).
    assert js_divergence(P, Q) == pytest.approx(0.5 * np.log(4 / 3) + 0.25 * np.log(2 / 3))


def test_agreement_is_the_percentage_of_equal_predictions():
    assert prediction_agreement(np.eye(4), np.eye(4)[[0, 1, 3, 2]]) == 50.0


@given(pair=PAIRS)
def test_divergences_are_not_negative_and_js_is_symmetric_and_bounded(pair):
    first, second = pair

    assert kl_divergence(first, second) >= -1e-12
    assert kl_divergence(first, first) == pytest.approx(0.0, abs=1e-12)
    assert -1e-12 <= js_divergence(first, second) <= np.log(2) + 1e-12
    assert js_divergence(first, second) == pytest.approx(js_divergence(second, first), abs=1e-12)


def test_models_must_see_the_same_samples():
    with pytest.raises(ValueError, match="same samples"):
        kl_divergence(P, np.repeat(Q, 2, axis=0))
