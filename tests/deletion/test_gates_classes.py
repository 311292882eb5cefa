"""Whole classes, and the comparison with a retrained model."""

import numpy as np
import pytest
from deletion.gate_readings import changed, labels_of, right

from qunlearn.config.gates import GatesConfig
from qunlearn.deletion.gates.classes import class_gates
from qunlearn.deletion.gates.reference import reference_gates

LABELS = {**labels_of(), "forget": np.repeat([2, 3], 30)}  # 20 validation and 30 test samples of each of 4 classes
NONE = np.array([], dtype=np.int64)
BOTH = np.array([2, 3])


def recognising(held_out, forget):
    """A network that is right on so many held-out and forget samples of each forgotten class, given by class."""
    model = right(LABELS, {})
    for one in (2, 3):
        for name, count in (("validation", min(20, held_out[one])), ("test", max(0, held_out[one] - 20))):
            places = np.flatnonzero(LABELS[name] == one)
            model = changed(model, name, places[count:], [9.0, 0.0, 0.0, 0.0])
        places = np.flatnonzero(LABELS["forget"] == one)
        model = changed(model, "forget", places[forget[one] :], [9.0, 0.0, 0.0, 0.0])
    return model


def test_a_class_may_be_recognised_as_often_as_by_chance():
    old = recognising({2: 50, 3: 50}, {2: 30, 3: 30})
    held_out, forget = class_gates(old, recognising({2: 14, 3: 0}, {2: 0, 3: 7}), GatesConfig(), forgotten=BOTH)

    assert (held_out.value, held_out.limit, held_out.passed) == (pytest.approx(28.0), 25.0, True)
    assert (held_out.before, held_out.passed_before, held_out.informative) == (100.0, False, True)
    assert (forget.value, forget.passed) == (pytest.approx(100 * 7 / 30), True)
    assert not forget.weak


def test_the_class_that_is_remembered_best_decides():
    old = recognising({2: 50, 3: 50}, {2: 30, 3: 30})
    held_out, forget = class_gates(old, recognising({2: 0, 3: 30}, {2: 0, 3: 0}), GatesConfig(), forgotten=BOTH)

    assert held_out.value == 60.0
    assert held_out.interval == pytest.approx((46.18, 72.39), abs=0.01)
    assert not held_out.passed
    assert "Of the forgotten class that is remembered best, 60.00 % of 50 held-out samples" in held_out.text
    assert forget.passed


def test_no_recognition_at_all_can_be_demanded():
    old, one_left = recognising({2: 50, 3: 50}, {2: 30, 3: 30}), recognising({2: 1, 3: 0}, {2: 0, 3: 0})
    held_out, forget = class_gates(old, one_left, GatesConfig(class_accuracy=0.0), forgotten=BOTH)

    assert (held_out.passed, forget.passed) == (False, True)
    assert held_out.limit == 0.0


def test_a_class_without_held_out_samples_is_judged_by_its_training_samples():
    labels = {**LABELS, "validation": np.arange(80) % 2, "test": np.arange(120) % 2}
    (forget,) = class_gates(right(labels, {}), right(labels, {}), GatesConfig(), forgotten=BOTH)

    assert (forget.name, forget.passed) == ("class_forget", False)


def test_few_samples_of_a_class_are_weak():
    labels = {**LABELS, "forget": np.full(29, 2)}
    _, forget = class_gates(right(labels, {}), right(labels, {"forget": 0}), GatesConfig(), forgotten=np.array([2]))

    assert (forget.weak, forget.passed) == (True, True)


def test_a_class_without_any_sample_cannot_be_judged():
    labels = {name: np.zeros(len(one), dtype=np.int64) for name, one in LABELS.items()}
    (found,) = class_gates(right(labels, {}), right(labels, {}), GatesConfig(), forgotten=np.array([2]))

    assert (found.name, found.passed, found.value) == ("class_forget", False, None)
    assert "Cannot be judged" in found.text


# --- the reference ---------------------------------------------------------------------------------------------------


def compared(after, reference, *, before=None, forgotten=NONE, **config):
    before = right(LABELS, {}) if before is None else before
    gates = reference_gates(before, after, reference, GatesConfig(**config), forgotten=forgotten)
    return {one.name.removeprefix("reference_"): one for one in gates}


def test_a_difference_shows_in_its_set_with_its_sign():
    found = compared(right(LABELS, {"forget": 30, "retain": 60}), right(LABELS, {"retain": 30, "test": 119}))

    assert found["forget"].value == pytest.approx(-50.0)
    assert found["retain"].value == pytest.approx(37.5)
    assert found["test"].value == pytest.approx(100 / 120)
    assert [one.passed for one in found.values()] == [False, False, True]
    assert "by -50.00 points" in found["forget"].text


def test_the_champion_is_compared_too():
    found = compared(right(LABELS, {"forget": 30}), right(LABELS, {"forget": 30}))

    assert found["forget"].before == pytest.approx(50.0)
    assert (found["forget"].passed, found["forget"].passed_before, found["forget"].informative) == (True, False, True)
    assert found["test"].informative


def test_the_interval_must_reach_to_within_the_margin():
    after, reference = right(LABELS, {"test": 108}), right(LABELS, {})
    low, high = compared(after, reference)["test"].interval
    assert -17 < low < -10 < high < -4

    assert not compared(after, reference, reference_margin=-high - 0.1)["test"].passed
    assert compared(after, reference, reference_margin=-high + 0.1)["test"].passed


def test_two_models_that_differ_in_a_sample_or_two_of_a_few_pass():
    labels = {**LABELS, "forget": np.zeros(5, dtype=np.int64)}
    gates = reference_gates(
        right(labels, {}), right(labels, {"forget": 3}), right(labels, {}), GatesConfig(), forgotten=NONE
    )

    assert (gates[0].value, gates[0].passed, gates[0].weak) == (pytest.approx(-40.0), True, True)


def test_test_samples_of_a_forgotten_class_are_not_compared():
    model = changed(right(LABELS, {}), "test", LABELS["test"] == 2, [9.0, 0.0, 0.0, 0.0])

    assert not compared(model, right(LABELS, {}))["test"].passed
    assert compared(model, right(LABELS, {}), forgotten=np.array([2]))["test"].value == 0.0
    assert set(compared(model, model, forgotten=np.arange(4))) == {"forget", "retain"}
