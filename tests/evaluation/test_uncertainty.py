"""Entropy, confidence and concentration of predictions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from qunlearn.evaluation.uncertainty import concentration, mean_entropy, mean_max_probability

LOGITS = hnp.arrays(
    np.float64, st.tuples(st.integers(1, 8), st.integers(2, 6)), elements=st.floats(-30, 30, allow_nan=False)
)


def test_entropy_and_confidence_of_known_predictions():
    logits = np.log(np.array([[0.25, 0.25, 0.25, 0.25], [0.5, 0.5, 1e-300, 1e-300]]))

    assert mean_entropy(logits) == pytest.approx(0.75)  # log 4 / log 4 and log 2 / log 4
    assert mean_max_probability(logits) == pytest.approx(0.375)


def test_concentration_of_known_histograms():
    one_hot = np.eye(4)

    assert concentration(one_hot[[0, 1, 2, 3]]) == pytest.approx(0.0)
    assert concentration(one_hot[[0, 0, 1, 1]]) == pytest.approx(0.5)
    assert concentration(one_hot[[2, 2, 2]]) == 1.0


@given(logits=LOGITS)
def test_all_three_stay_in_their_ranges_and_ignore_the_order_of_classes(logits):
    classes = logits.shape[1]
    rolled = np.roll(logits, 1, axis=1)

    assert -1e-12 <= mean_entropy(logits) <= 1 + 1e-12
    assert 1 / classes - 1e-12 <= mean_max_probability(logits) <= 1
    assert -1e-12 <= concentration(logits) <= 1 + 1e-12
    assert mean_entropy(rolled) == pytest.approx(mean_entropy(logits))
    assert mean_max_probability(rolled) == pytest.approx(mean_max_probability(logits))
