"""How much accuracy was lost, and how sure that is."""

import numpy as np
import pytest
from deletion.gate_readings import changed, labels_of, readings, right
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from qunlearn.config.gates import GatesConfig
from qunlearn.deletion.gates.intervals import paired_interval, wilson
from qunlearn.deletion.gates.utility import utility_gates

NONE = np.array([], dtype=np.int64)
LABELS = labels_of()  # 80 validation and 120 test samples, 80 retained
ANSWERS = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60).map(
    lambda pairs: np.array(pairs, dtype=float).T
)


def test_a_drop_of_exactly_the_limit_passes_and_one_more_sample_fails():
    old = right(LABELS, {})
    at_limit, _ = utility_gates(old, right(LABELS, {"test": 116}), GatesConfig(), forgotten=NONE)
    beyond, _ = utility_gates(old, right(LABELS, {"test": 116, "validation": 79}), GatesConfig(), forgotten=NONE)

    assert (at_limit.value, at_limit.limit, at_limit.passed) == (pytest.approx(2.0), 2.0, True)
    assert (beyond.value, beyond.passed) == (pytest.approx(2.5), False)
    assert "lower learning rate" in beyond.text
    assert (at_limit.before, at_limit.passed_before) == (0.0, True)
    low, high = beyond.interval
    assert -0.1 < low < 0.0 < 2.5 < high < 6.5  # it cannot be told from no drop, and fails all the same


def test_retained_samples_have_a_limit_of_their_own():
    _, retain = utility_gates(right(LABELS, {}), right(LABELS, {"retain": 77}), GatesConfig(), forgotten=NONE)

    assert (retain.value, retain.passed) == (pytest.approx(3.75), False)
    assert utility_gates(
        right(LABELS, {}), right(LABELS, {"retain": 77}), GatesConfig(retain_drop=3.75), forgotten=NONE
    )[1].passed


def test_more_accuracy_is_a_negative_drop():
    utility, _ = utility_gates(right(LABELS, {"test": 100}), right(LABELS, {}), GatesConfig(), forgotten=NONE)

    assert utility.value == pytest.approx(-10.0)
    assert utility.passed


def test_held_out_samples_of_a_forgotten_class_do_not_count():
    old = readings(LABELS)
    new = changed(old, "test", LABELS["test"] == 1, [9.0, 0.0, 0.0, 0.0])

    with_it, _ = utility_gates(old, new, GatesConfig(), forgotten=NONE)
    without, _ = utility_gates(old, new, GatesConfig(), forgotten=np.array([1]))

    assert (with_it.value, with_it.passed) == (pytest.approx(15.0), False)
    assert (without.value, without.passed) == (0.0, True)
    assert "of 150 samples" in without.text


def test_without_a_held_out_sample_of_a_remaining_class_nothing_is_released():
    utility, retain = utility_gates(readings(LABELS), readings(LABELS), GatesConfig(), forgotten=np.arange(4))

    assert (utility.passed, utility.value, utility.passed_before) == (False, None, False)
    assert "cannot be judged" in utility.text
    assert "Raise split.test" in utility.text
    assert retain.passed


# --- intervals -------------------------------------------------------------------------------------------------------


@given(count=st.integers(1, 500), data=st.data())
def test_wilson_agrees_with_scipy(count, data):
    hits = data.draw(st.integers(0, count))
    expected = binomtest(hits, count).proportion_ci(method="wilson")

    assert wilson(hits, count) == pytest.approx((100 * expected.low, 100 * expected.high), abs=1e-9)
    assert (wilson(hits, count)[0] == 0.0) == (hits == 0)
    assert (wilson(hits, count)[1] == 100.0) == (hits == count)


@given(answers=ANSWERS)
def test_the_paired_interval_holds_the_difference_and_turns_with_the_models(answers):
    first, second = answers
    low, high = paired_interval(first, second)

    assert -100.0 <= low <= 100.0 * (first.mean() - second.mean()) <= high <= 100.0
    assert paired_interval(second, first) == pytest.approx((-high, -low))
    assert high - low > 0.0


def test_the_paired_interval_by_hand():
    # 10 samples, 2 lost and none gained: p = 3/12, q = 1/12; 1/6 +- 1.959964 sqrt((1/3 - 1/36) / 12).
    first, second = np.ones(10), np.array([0.0, 0.0, *[1.0] * 8])

    assert paired_interval(first, second) == pytest.approx((-14.60871, 47.94204), abs=1e-4)


def test_the_paired_interval_covers_the_true_difference():
    generator = np.random.default_rng(0)
    covered = []
    for _ in range(2000):
        draws = generator.choice(4, p=[0.85, 0.08, 0.03, 0.04], size=150)  # both, only first, only second, none
        low, high = paired_interval((draws <= 1).astype(float), (draws % 2 == 0).astype(float))
        covered.append(low <= 5.0 <= high)

    assert 0.94 < np.mean(covered) < 0.98


@settings(max_examples=10)
@given(count=st.integers(1, 400))
def test_where_no_sample_changed_the_interval_still_has_a_width(count):
    low, high = paired_interval(np.ones(count), np.ones(count))

    assert low == -high
    assert high == pytest.approx(100 * 1.959964 * 2**0.5 / (count + 2), rel=1e-5)
