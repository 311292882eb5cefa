"""The verdict in both directions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qunlearn.evaluation.gap import GAP_METRICS
from qunlearn.evaluation.verdict import VERDICTS, judge, margin, worst


def retrained(*values, metric="forget_accuracy", forget_samples=1000.0):
    sizes = {"forget_samples": forget_samples, "retain_samples": 5000.0, "test_samples": 2000.0}
    return [{metric: value, **sizes} for value in values]


def test_margin_is_twice_the_spread_between_retrained_models():
    assert margin("forget_accuracy", retrained(93.0, 94.0, 95.0)) == pytest.approx(2.0)


def test_margin_is_at_least_one_sample():
    assert margin("forget_accuracy", retrained(94.0, 94.0, 94.0, forget_samples=50.0)) == pytest.approx(2.0)
    assert margin("test_accuracy", retrained(94.0, metric="test_accuracy")) == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("metric", "above", "below"),
    [
        ("forget_accuracy", "under", "over"),
        ("retain_accuracy", "inconclusive", "damaged"),
        ("test_accuracy", "inconclusive", "damaged"),
        ("mia_confidence", "over", "under"),
    ],
)
def test_each_figure_has_its_own_meaning_above_and_below_the_margin(metric, above, below):
    assert judge(metric, [5.0, 5.1, 4.9], allowed=1.0).verdict == above
    assert judge(metric, [-5.0, -5.1, -4.9], allowed=1.0).verdict == below
    assert judge(metric, [0.0, 0.1, -0.1], allowed=1.0).verdict == "within"


def test_forgetting_to_chance_level_is_over_where_retraining_keeps_94_percent():
    assert judge("forget_accuracy", [10.0 - 94.0, 10.2 - 94.1, 9.9 - 93.8], allowed=1.0).verdict == "over"


def test_an_interval_that_crosses_the_margin_is_inconclusive():
    assert judge("forget_accuracy", [0.5, 1.0, 1.5], allowed=1.0).verdict == "inconclusive"


def test_fewer_than_three_seeds_are_always_inconclusive():
    two = judge("forget_accuracy", [9.0, 9.0], allowed=1.0)
    one = judge("forget_accuracy", [9.0], allowed=1.0)

    assert two.verdict == one.verdict == "inconclusive"
    assert two.interval is not None
    assert one.interval is None


def test_a_difference_of_exactly_the_margin_is_within():
    step = 100.0 / 129

    assert judge("forget_accuracy", [step] * 3, allowed=step).verdict == "within"
    assert judge("mia_confidence", [-step] * 3, allowed=step).verdict == "within"


def test_verdict_numbers_of_three_seeds_by_hand():
    # d = (1, 2, 3): mean 2, standard deviation 1, half width 4.302653 / sqrt 3 = 2.4841377.
    found = judge("forget_accuracy", [1.0, 2.0, 3.0], allowed=4.5)

    assert found.difference == 2.0
    assert found.interval == pytest.approx((-0.4841377, 4.4841377), abs=1e-6)
    assert found.verdict == "within"
    assert judge("forget_accuracy", [1.0, 2.0, 3.0], allowed=4.48).verdict == "inconclusive"


def test_one_sample_is_the_margin_where_all_retrained_models_agree():
    agreed = retrained(94.0, 94.0, 94.0, forget_samples=200.0)
    allowed = margin("forget_accuracy", agreed)

    assert allowed == pytest.approx(0.5)  # one of 200 in percent
    assert margin("mia_confidence", [{**m, "mia_confidence": 10.0} for m in agreed]) == pytest.approx(0.5)
    assert judge("forget_accuracy", [0.5, 0.5, 0.5], allowed=allowed).verdict == "within"
    assert judge("forget_accuracy", [1.0, 1.0, 1.0], allowed=allowed).verdict == "under"
    assert judge("forget_accuracy", [-1.0, -1.0, -1.0], allowed=allowed).verdict == "over"


@given(
    differences=st.lists(st.integers(-300, 300).map(lambda n: n / 10), min_size=3, max_size=5),
    allowed=st.integers(1, 50).map(lambda n: n / 5),
)
def test_the_verdict_mirrors_with_the_sign_of_the_difference(differences, allowed):
    mirrored = [-d for d in differences]
    opposite = {"within": "within", "inconclusive": "inconclusive", "under": "over", "over": "under"}

    for metric in ("forget_accuracy", "mia_confidence"):
        found = judge(metric, differences, allowed=allowed).verdict
        assert judge(metric, mirrored, allowed=allowed).verdict == opposite[found]
    assert (
        judge("mia_confidence", mirrored, allowed=allowed).verdict
        == judge("forget_accuracy", differences, allowed=allowed).verdict
    )


def test_the_worst_figure_decides():
    assert worst(["within", "within"]) == "within"
    assert worst(["within", "inconclusive"]) == "inconclusive"
    assert worst(["damaged", "over", "within"]) == "damaged"
    assert worst(["damaged", "under"]) == "under"


@given(
    metric=st.sampled_from(GAP_METRICS),
    differences=st.lists(st.floats(-50, 50), min_size=1, max_size=5),
    allowed=st.floats(0.01, 10),
)
def test_within_is_said_only_with_enough_seeds_and_the_whole_interval_inside(metric, differences, allowed):
    result = judge(metric, differences, allowed=allowed)

    assert result.verdict in VERDICTS
    if result.verdict == "within":
        low, high = result.interval
        assert len(differences) >= 3
        assert -allowed - 1e-6 <= low <= high <= allowed + 1e-6
    elif result.interval and len(differences) >= 3:
        assert max(abs(x) for x in result.interval) > allowed
