"""Features of the membership attacks: hand-computed cases, slow references, and extreme logits."""

import math
from decimal import Decimal, getcontext

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from qunlearn.evaluation.arrays import confidences, log_probabilities
from qunlearn.evaluation.attack_features import (
    correctness,
    entropies,
    log_complements,
    logit_scaled_confidences,
    modified_entropies,
    svc_features,
)

THREE = np.log(np.array([[0.5, 0.3, 0.2], [0.5, 0.3, 0.2]]))
SHAPES = st.tuples(st.integers(1, 6), st.integers(2, 5))
LOGITS = hnp.arrays(np.float32, SHAPES, elements=st.floats(-60, 60, width=32))
ANY_LOGITS = hnp.arrays(np.float32, SHAPES, elements=st.floats(-(2.0**126), 2.0**126, width=32))


def probabilities(row):
    """Softmax of one row with 120 digits."""
    getcontext().prec = 120
    exponentials = [Decimal(float(z)).exp() for z in row]
    return [e / sum(exponentials) for e in exponentials]


def test_modified_entropy_of_a_three_class_case_by_hand():
    # y = 0: -0.5 log 0.5 - 0.3 log 0.7 - 0.2 log 0.8;  y = 1: -0.7 log 0.3 - 0.5 log 0.5 - 0.2 log 0.8
    assert modified_entropies(THREE, np.array([0, 1])) == pytest.approx([0.4982048, 1.2339833], abs=1e-7)


def test_modified_entropy_knows_the_label_where_the_entropy_does_not():
    right, wrong = modified_entropies(THREE, np.array([0, 2]))

    assert right < wrong
    assert entropies(THREE)[0] == entropies(THREE)[1] == pytest.approx(1.0296530, abs=1e-7)


def test_modified_entropy_is_zero_for_a_sure_right_and_the_margin_for_a_sure_wrong_prediction():
    logits = np.array([[800.0, 0.0], [800.0, 0.0]], dtype=np.float32)

    # y = 1: -(1 - e^-800) x -800 from the true label, and -1 x log(1 - p_0) = 800 from the other.
    assert modified_entropies(logits, np.array([0, 1])) == pytest.approx([0.0, 1600.0])


@settings(deadline=None)
@given(logits=LOGITS, data=st.data())
def test_modified_entropy_equals_the_formula_in_exact_arithmetic(logits, data):
    labels = data.draw(hnp.arrays(np.int64, len(logits), elements=st.integers(0, logits.shape[1] - 1)))
    expected = []
    for row, y in zip(logits, labels, strict=True):
        p = probabilities(row)
        others = sum(p[i] * (1 - p[i]).ln() for i in range(len(p)) if i != y)
        expected.append(float(-(1 - p[y]) * p[y].ln() - others))

    assert modified_entropies(logits, labels) == pytest.approx(expected, rel=1e-9, abs=1e-12)


@given(logits=LOGITS, data=st.data())
def test_modified_entropy_follows_a_permutation_of_classes_only_together_with_the_labels(logits, data):
    classes = logits.shape[1]
    order = np.array(data.draw(st.permutations(range(classes))))
    labels = data.draw(hnp.arrays(np.int64, len(logits), elements=st.integers(0, classes - 1)))
    renamed = np.argsort(order)[labels]

    assert modified_entropies(logits[:, order], renamed) == pytest.approx(modified_entropies(logits, labels))


@given(logits=ANY_LOGITS)
def test_every_feature_is_finite_for_every_finite_logit(logits):
    labels = np.zeros(len(logits), dtype=np.int64)

    for name, feature in svc_features(logits, labels).items():
        assert np.isfinite(feature).all(), name
        assert (feature >= 0).all(), name
        assert len(feature) == len(logits)
    assert np.isfinite(logit_scaled_confidences(logits, labels)).all()


@settings(deadline=None)
@given(logits=LOGITS)
def test_log_complements_equal_exact_arithmetic(logits):
    expected = [[float((1 - p).ln()) for p in probabilities(row)] for row in logits]

    assert log_complements(log_probabilities(logits)) == pytest.approx(np.array(expected), rel=1e-9, abs=1e-300)


def test_logit_scaled_confidence_by_hand():
    assert logit_scaled_confidences(THREE, np.array([0, 1])) == pytest.approx([0.0, math.log(0.3 / 0.7)])
    far = np.array([[5000.0, 0.0, 0.0]])
    assert logit_scaled_confidences(far, np.array([0])) == pytest.approx([5000 - math.log(2)])
    assert logit_scaled_confidences(far, np.array([1])) == pytest.approx([-5000])


@settings(deadline=None)
@given(logits=LOGITS)
def test_logit_scaled_confidence_equals_exact_arithmetic(logits):
    labels = np.zeros(len(logits), dtype=np.int64)
    expected = [float((p[0] / sum(p[1:])).ln()) for p in map(probabilities, logits)]

    assert logit_scaled_confidences(logits, labels) == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_correctness_is_one_or_zero_and_ties_go_to_the_lower_class():
    logits = np.array([[1.0, 2.0], [2.0, 1.0], [1.0, 1.0], [1.0, 1.0]])

    assert correctness(logits, np.array([1, 1, 0, 1])).tolist() == [1.0, 0.0, 1.0, 0.0]


def test_the_five_features_of_known_predictions():
    labels = np.array([0, 1])
    features = svc_features(THREE, labels)

    assert list(features) == ["confidence", "correctness", "entropy", "modified_entropy", "full"]
    assert features["confidence"] == pytest.approx([0.5, 0.3])
    assert features["correctness"].tolist() == [1.0, 0.0]
    assert features["entropy"] == pytest.approx(entropies(THREE))
    assert features["modified_entropy"] == pytest.approx(modified_entropies(THREE, labels))
    assert features["full"] == pytest.approx(np.exp(THREE))


@given(logits=LOGITS)
def test_the_confidence_feature_is_bit_for_bit_the_confidence(logits):
    labels = np.zeros(len(logits), dtype=np.int64)

    assert (svc_features(logits, labels)["confidence"] == confidences(logits, labels)).all()
