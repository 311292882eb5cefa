"""Divergences: known answers, the order of arguments, and a mean over samples rather than over elements."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import jensenshannon
from scipy.special import rel_entr, softmax

from qunlearn.evaluation.divergence import js_divergence, kl_divergence, prediction_agreement, wasserstein2

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


@given(pair=PAIRS)
def test_kl_and_js_agree_with_scipy(pair):
    p, q = softmax(pair[0], axis=1), softmax(pair[1], axis=1)

    assert kl_divergence(pair[0], pair[1]) == pytest.approx(rel_entr(p, q).sum(axis=1).mean(), rel=1e-9, abs=1e-12)
    # scipy gives the distance, the root of the divergence, whose rounding the square root magnifies near 0.
    with np.errstate(invalid="ignore"):
        expected = np.mean(np.nan_to_num(jensenshannon(p, q, axis=1)) ** 2)
    assert js_divergence(pair[0], pair[1]) == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_divergences_stay_finite_where_probabilities_round_to_zero():
    first, second = np.array([[3000.0, 0.0]]), np.array([[0.0, 3000.0]])

    assert kl_divergence(first, second) == pytest.approx(3000.0)
    assert js_divergence(first, second) == pytest.approx(np.log(2))


# --- Wasserstein-2 ---------------------------------------------------------------------------------------------------

VALUES = st.lists(st.integers(-40, 40).map(lambda n: n / 4), min_size=1, max_size=7)


def test_w2_of_known_samples():
    # Sorted: (0, 1, 5) against (0, 2, 3): sqrt((0 + 1 + 4) / 3), whatever the order.
    assert wasserstein2(np.array([5.0, 0.0, 1.0]), np.array([2.0, 3.0, 0.0])) == pytest.approx((5 / 3) ** 0.5)


def test_w2_of_unequal_sizes_couples_quantiles():
    # (0, 6) against (0, 3, 6): quantiles change at 1/3, 1/2, 2/3; differences 0, 3, 3, 0 over 1/3, 1/6, 1/6, 1/3.
    assert wasserstein2(np.array([0.0, 6.0]), np.array([0.0, 3.0, 6.0])) == pytest.approx(3**0.5)


@given(first=VALUES, data=st.data())
def test_w2_equals_the_cheapest_assignment(first, data):
    second = data.draw(st.lists(st.integers(-40, 40).map(float), min_size=len(first), max_size=len(first)))
    cost = (np.array(first)[:, None] - np.array(second)) ** 2
    cheapest = cost[linear_sum_assignment(cost)].mean()

    assert wasserstein2(np.array(first), np.array(second)) == pytest.approx(cheapest**0.5)


@given(first=VALUES, second=VALUES)
def test_w2_of_unequal_sizes_equals_the_cheapest_assignment_of_repeated_values(first, second):
    # Each value of one side repeated as often as the other side has values: the same distributions, of equal size.
    many, others = np.repeat(first, len(second)), np.repeat(second, len(first))
    cost = (many[:, None] - others) ** 2
    cheapest = cost[linear_sum_assignment(cost)].mean()

    assert wasserstein2(np.array(first), np.array(second)) == pytest.approx(cheapest**0.5)
    assert wasserstein2(np.array(second), np.array(first)) == pytest.approx(cheapest**0.5)


@given(values=VALUES, shift=st.integers(-9, 9))
def test_w2_is_zero_to_itself_and_the_size_of_a_shift(values, shift):
    assert wasserstein2(np.array(values), np.array(values)[::-1] + shift) == pytest.approx(abs(shift))


def test_w2_needs_values_on_both_sides():
    with pytest.raises(ValueError, match="samples of 2 and 0 values"):
        wasserstein2(np.ones(2), np.ones(0))
