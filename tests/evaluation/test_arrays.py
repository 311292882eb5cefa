"""Per-sample quantities and the checks before them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from qunlearn.evaluation.arrays import check, confidences, log_probabilities, losses, margins

LOGITS = hnp.arrays(
    np.float32, st.tuples(st.integers(1, 6), st.integers(2, 5)), elements=st.floats(-50, 50, width=32, allow_nan=False)
)


def test_loss_and_confidence_of_a_three_class_sample():
    logits = np.log(np.array([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]]))
    labels = np.array([0, 1])

    assert losses(logits, labels) == pytest.approx([0.6931472, 2.3025851], abs=1e-7)
    assert confidences(logits, labels) == pytest.approx([0.5, 0.1], abs=1e-12)


def test_margin_is_the_lead_over_the_best_other_class():
    logits = np.array([[3.0, 1.0, 2.5], [0.0, 4.0, -1.0]], dtype=np.float32)

    assert margins(logits, np.array([0, 2])).tolist() == [0.5, -5.0]


def test_losses_stay_finite_and_distinct_where_float32_probabilities_saturate():
    logits = np.array([[200.0, 0.0], [0.0, 200.0]], dtype=np.float32)

    assert losses(logits, np.array([1, 1])) == pytest.approx([200.0, 0.0])


@given(logits=LOGITS)
def test_probabilities_sum_to_one_and_do_not_depend_on_a_common_shift(logits):
    logs = log_probabilities(logits)

    assert np.exp(logs).sum(axis=1) == pytest.approx(np.ones(len(logits)))
    assert log_probabilities(logits.astype(np.float64) + 7.25) == pytest.approx(logs)


@given(logits=LOGITS)
def test_margin_is_positive_only_for_the_predicted_class(logits):
    labels = logits.argmax(axis=1)

    assert (margins(logits, labels) >= 0).all()
    assert (margins(logits, (labels + 1) % logits.shape[1]) <= 0).all()


@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        (np.zeros((0, 3)), np.zeros(0, dtype=int), "the forget set is empty"),
        (np.zeros((2, 1)), np.zeros(2, dtype=int), r"shape \(2, 1\)"),
        (np.zeros(4), np.zeros(4, dtype=int), r"shape \(4,\)"),
        (np.zeros((2, 3)), np.zeros(3, dtype=int), "logits of 2 samples"),
        (np.zeros((2, 3)), np.zeros(2), "integers are needed"),
        (np.zeros((2, 3)), np.array([0, 3]), "3 logits allow 0 to 2"),
        (np.zeros((2, 3)), np.array([-1, 0]), r"\[-1, 0\]"),
        (np.array([[0.0, 1.0], [np.nan, 0.0]]), np.array([0, 1]), "in 1 of 2 samples, first in sample 1"),
        (np.array([[0.0, np.inf]]), np.array([0]), "diverged"),
    ],
)
def test_unusable_input_is_refused_with_the_set_and_the_reason(logits, labels, message):
    with pytest.raises(ValueError, match=message) as caught:
        check(logits, labels, name="the forget set")

    assert "the forget set" in str(caught.value)
