"""Accuracy with and without forgotten classes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qunlearn.evaluation.accuracy import accuracy, accuracy_without

LOGITS = np.array([[2.0, 1.0, 0.0], [0.0, 3.0, 1.0], [0.0, 1.0, 5.0], [1.0, 0.0, 0.5]])
LABELS = np.array([0, 1, 1, 2])


def test_accuracy_is_the_percentage_of_correct_predictions():
    assert accuracy(LOGITS, LABELS) == 50.0


def test_forgotten_classes_are_left_out_by_true_label():
    # Left are sample 0 (correct) and sample 3 (wrong); then samples 1, 2 (one of two) and 3 (wrong).
    assert accuracy_without(LOGITS, LABELS, [1]) == 50.0
    assert accuracy_without(LOGITS, LABELS, [0]) == pytest.approx(100 / 3)


def test_leaving_out_every_class_or_an_unknown_one_is_an_error():
    with pytest.raises(ValueError, match=r"outside the forgotten classes \[0, 1, 2\]; forget fewer .* raise split"):
        accuracy_without(LOGITS, LABELS, [2, 1, 0])
    with pytest.raises(ValueError, match=r"\[3\] do not exist; there are classes 0 to 2"):
        accuracy_without(LOGITS, LABELS, [3])


@given(order=st.permutations(range(4)))
def test_accuracy_does_not_depend_on_the_order_of_samples(order):
    assert accuracy(LOGITS[order], LABELS[order]) == accuracy(LOGITS, LABELS)
