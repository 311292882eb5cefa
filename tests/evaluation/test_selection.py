"""The estimated gap: what retraining would give, without the retrained model."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from qunlearn.evaluation import estimated_gap
from qunlearn.evaluation.accuracy import accuracy
from qunlearn.evaluation.selection import expected_accuracy

LABELS = {
    "forget": np.array([0, 0, 0, 1]),
    "retain": np.array([0, 0, 1, 1, 1]),
    "validation": np.array([0, 0, 1, 1]),
}


def predictions(**sets):
    """Logits that predict the given classes, each with the given margin (2 unless told)."""
    return {name: 2.0 * np.eye(2)[np.array(classes)] for name, classes in sets.items()}


ORIGINAL = predictions(retain=[0, 0, 1, 1, 1], validation=[0, 1, 1, 1])
UNLEARNED = predictions(forget=[0, 0, 1, 1], retain=[0, 0, 1, 1, 0], validation=[1, 1, 1, 1])


def gap(scenario, classes=None, *, logits=UNLEARNED, original=ORIGINAL, seed=0):
    return estimated_gap(logits, original, LABELS, scenario=scenario, forgotten_classes=classes, seed=seed)


@pytest.mark.parametrize("scenario", ["random", "ids", "group"])
def test_terms_of_a_hand_made_case(scenario):
    found = gap(scenario)

    # Validation accuracy of the original is 50 % in class 0 and 100 % in class 1; the forget set has 3 : 1 of them.
    assert found["forget_term"] == pytest.approx(abs(75 - (0.75 * 50 + 0.25 * 100)))
    assert found["retain_term"] == pytest.approx(20)
    assert found["validation_term"] == pytest.approx(25)
    terms = [found[name] for name in ("forget_term", "retain_term", "validation_term", "membership_term")]
    assert found["estimated_gap"] == pytest.approx(np.mean(terms))
    assert set(found) == {"forget_term", "retain_term", "validation_term", "membership_term", "estimated_gap"}


def test_a_forgotten_class_should_never_be_predicted_and_is_left_out_of_validation():
    found = gap("class", [0])

    assert found["forget_term"] == 75.0
    assert found["validation_term"] == 0.0  # of class 1 both models get all right


def test_a_subclass_has_no_forget_term():
    found = gap("subclass")

    assert "forget_term" not in found
    expected = np.mean([found[name] for name in ("retain_term", "validation_term", "membership_term")])
    assert found["estimated_gap"] == pytest.approx(expected)


def test_membership_counts_in_both_directions():
    sure, unsure = ({"forget": k * np.eye(2)[LABELS["forget"]]} for k in (9.0, 0.1))
    correct = {name: 2.0 * np.eye(2)[LABELS[name]] for name in ("retain", "validation")}

    assert gap("random", logits=correct | sure)["membership_term"] == 50.0
    assert gap("random", logits=correct | unsure)["membership_term"] == 50.0
    like_validation = {"forget": 2.0 * np.eye(2)[LABELS["forget"]]}
    assert gap("random", logits=correct | like_validation)["membership_term"] == 0.0


def test_a_model_that_behaves_as_expected_has_no_gap():
    labels = {"forget": np.array([0, 1] * 4), "retain": np.array([0, 1] * 9), "validation": np.array([0, 1] * 4)}
    logits = {name: 3.0 * np.eye(2)[y] for name, y in labels.items()}

    found = estimated_gap(logits, logits, labels, scenario="random", forgotten_classes=None, seed=0)

    assert found["estimated_gap"] == 0.0


@given(
    logits=hnp.arrays(np.float64, (9, 3), elements=st.floats(-5, 5)),
    labels=hnp.arrays(np.int64, 9, elements=st.integers(0, 2)),
    like=st.lists(st.integers(0, 2), min_size=1),
)
def test_expected_accuracy_equals_weighting_each_class_by_hand(logits, labels, like):
    present = [y for y in like if (labels == y).any()]
    if not present:
        with pytest.raises(ValueError, match="without a class in common"):
            expected_accuracy(logits, labels, like=np.array(like))
        return

    by_class = [accuracy(logits[labels == y], labels[labels == y]) for y in present]

    assert expected_accuracy(logits, labels, like=np.array(like)) == pytest.approx(np.mean(by_class))
    assert expected_accuracy(logits, labels, like=labels) == pytest.approx(accuracy(logits, labels))


@given(
    scenario=st.sampled_from(["random", "class", "subclass"]),
    lift=st.floats(-3, 3),
    seed=st.integers(0, 5),
)
def test_every_term_is_a_distance_in_points(scenario, lift, seed):
    generator = np.random.default_rng(seed)
    logits = {name: generator.normal(size=(len(y), 2)) + lift * np.eye(2)[y] for name, y in LABELS.items()}

    assert all(0.0 <= value <= 100.0 for value in gap(scenario, [1], logits=logits, seed=seed).values())


def test_validation_without_a_forgotten_class_is_told_of_by_its_own_name(monkeypatch):
    monkeypatch.setitem(LABELS, "validation", np.zeros(4, dtype=np.int64))
    monkeypatch.setitem(LABELS, "forget", np.ones(4, dtype=np.int64))
    with pytest.raises(ValueError, match=r"and validation set \(classes \[0\]\) .* raise split\.validation"):
        gap("class", [1])


def test_what_cannot_be_estimated_is_refused_by_name():
    with pytest.raises(ValueError, match="scenario 'sub' is unknown; there are random, ids"):
        gap("sub")
    with pytest.raises(ValueError, match="forget are missing for the unlearned model"):
        gap("random", logits=ORIGINAL)
    with pytest.raises(ValueError, match="validation are missing for the original model"):
        gap("random", original={"retain": ORIGINAL["retain"]})
    with pytest.raises(ValueError, match="the retain set under the original model"):
        gap("random", original={**ORIGINAL, "retain": ORIGINAL["retain"][:2]})
