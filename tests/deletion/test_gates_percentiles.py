"""Loss percentiles of few samples: their law against scipy and against counting, and what the gate makes of them."""

from itertools import combinations

import numpy as np
import pytest
from deletion.gate_readings import SIZES, gate, labels_of, readings
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import irwinhall, mannwhitneyu

from qunlearn.config.gates import GatesConfig
from qunlearn.deletion.gates import Readings, judge
from qunlearn.deletion.gates.percentiles import DRAWS, class_sums, drawn_sums, lowest_allowed, mean_percentiles


def test_a_percentile_counts_held_out_samples_with_at_most_the_loss_and_the_sample_itself():
    losses, labels = np.array([0.1, 0.5, 9.0]), np.array([0, 0, 1])
    held, held_labels = np.array([0.5, 0.2, 0.7, 1.0, 9.0]), np.array([0, 0, 0, 1, 1])

    sums = class_sums(losses, labels, held, held_labels, np.array([0, 1]))

    assert sums.tolist() == [1 + 3, 3]  # a tie (0.5, 9.0) counts as at most
    # Percentiles 1/4, 3/4 and 3/3.
    assert mean_percentiles(sums, np.array([2, 1]), np.array([3, 2])) == pytest.approx(100 * 2 / 3)


@pytest.mark.parametrize(("asked", "held"), [(1, 4), (2, 4), (4, 2), (3, 3), (3, 1)])
def test_drawn_sums_have_the_law_of_all_ways_to_rank(asked, held):
    counted = []
    for places in combinations(range(asked + held), asked):
        others = [k for k in range(asked + held) if k not in places]
        counted.append(sum(1 + sum(o < p for o in others) for p in places))
    values = np.arange(min(counted), max(counted) + 1)
    expected = np.array([np.mean(np.array(counted) == one) for one in values])

    drawn = drawn_sums(asked, held, generator=np.random.default_rng(0), draws=40_000)
    found = np.array([np.mean(drawn == one) for one in values])

    assert {drawn.min(), drawn.max()} <= set(values.tolist())
    np.testing.assert_allclose(found, expected, atol=0.01)


@pytest.mark.parametrize(("asked", "held"), [(3, 9), (12, 5)])
def test_with_one_class_the_test_is_that_of_mann_and_whitney(asked, held):
    generator = np.random.default_rng(1)
    drawn = drawn_sums(asked, held, generator=generator, draws=40_000)
    for shift in (-1.0, -0.3, 0.4):
        losses, others = generator.normal(shift, 1, asked), generator.normal(0, 1, held)
        total = class_sums(losses, np.zeros(asked), others, np.zeros(held), np.array([0]))[0]
        expected = mannwhitneyu(losses, others, alternative="less", method="exact").pvalue

        assert np.mean(drawn <= total) == pytest.approx(expected, abs=0.01)


def test_among_very_many_held_out_samples_the_mean_has_the_law_of_irwin_and_hall():
    limit = lowest_allowed(np.array([3, 2]), np.array([20_000, 30_000]), seed=0)

    assert limit == pytest.approx(100 * irwinhall.ppf(0.05, 5) / 5, abs=0.7)


def test_among_few_held_out_samples_the_law_is_wider_than_that_of_irwin_and_hall():
    # They share the held-out samples: to take them for independent would fail twice as many good models.
    assert lowest_allowed(np.array([20]), np.array([20]), seed=0) < 100 * irwinhall.ppf(0.05, 20) / 20 - 1.5


@pytest.mark.parametrize("asked", [[1], [5], [4, 1], [10, 10, 9]])
def test_five_of_a_hundred_models_that_never_saw_the_samples_fail(asked):
    asked, held = np.array(asked), np.array([60, 25, 40])[: len(asked)]
    limit = lowest_allowed(asked, held, seed=0)
    generator = np.random.default_rng(5)
    classes = np.arange(len(asked))
    labels, held_labels = np.repeat(classes, asked), np.repeat(classes, held)
    failed = [
        mean_percentiles(
            class_sums(generator.random(len(labels)), labels, generator.random(len(held_labels)), held_labels, classes),
            asked,
            held,
        )
        < limit
        for _ in range(4000)
    ]

    assert 0.03 < np.mean(failed) <= 0.057


def test_the_limit_is_the_smallest_mean_that_five_percent_of_all_do_not_exceed():
    # One sample among 99: the percentiles 1 to 100 are equally likely, and the fifth has probability 0.05 together.
    assert lowest_allowed(np.array([1]), np.array([99]), seed=3) in (5.0, 6.0)
    assert (DRAWS + 1) * 0.05 == 500


@settings(max_examples=30, deadline=None)
@given(
    losses=st.lists(st.integers(-3, 3), min_size=1, max_size=6),
    held=st.lists(st.integers(-3, 3), min_size=1, max_size=6),
    data=st.data(),
)
def test_a_larger_loss_never_lowers_the_sum(losses, held, data):
    place = data.draw(st.integers(0, len(losses) - 1))
    raised = [loss + (k == place) * data.draw(st.integers(0, 4)) for k, loss in enumerate(losses)]

    def total(values):
        zeros = np.zeros(len(values)), np.array(held), np.zeros(len(held))
        return class_sums(np.array(values), *zeros, np.array([0]))[0]

    assert total(raised) >= total(losses)


# --- the gate --------------------------------------------------------------------------------------------------------


def judged(labels, before, after, **options):
    found = judge(before, after, GatesConfig(), **{"forgotten_classes": (), "seed": 0, **options})
    return gate(found, "loss_percentile")


def test_one_sample_that_is_remembered_better_than_all_held_out_ones_fails():
    labels = labels_of({**SIZES, "forget": 1})  # 20 validation and 30 test samples of its class
    seen, unseen = readings(labels), readings(labels, seed=4, trained=("retain",))
    bad, good = judged(labels, seen, seen), judged(labels, seen, unseen)

    assert bad.value == pytest.approx(100 / 51)
    assert (bad.passed, bad.weak, bad.interval) == (False, True, None)
    assert "still knows the samples" in bad.text
    assert good.passed
    assert good.informative
    assert good.before == bad.value
    assert good.text.startswith("Weak evidence, from 1 samples: of the losses of 50 held-out samples")
    assert "An AUC with an interval needs" not in good.text


def test_equal_losses_everywhere_pass():
    labels = labels_of({**SIZES, "forget": 7})
    flat = Readings({name: np.zeros((len(one), 4)) for name, one in labels.items()}, labels)
    found = judged(labels, flat, flat)

    assert (found.value, found.passed, found.informative) == (100.0, True, False)


def test_saturated_predictions_are_told_apart_where_the_loss_rounds_to_zero():
    labels = labels_of({**SIZES, "forget": 8})
    model = readings(labels, ahead=60.0, lead=20.0)

    assert not judged(labels, model, model).passed


def test_too_few_held_out_samples_for_any_failure_are_told():
    labels = {"forget": np.array([0]), "retain": np.arange(4), "validation": np.array([0, 1]), "test": np.arange(4)}
    found = judged(labels, readings(labels), readings(labels))

    assert (found.passed, found.informative) == (True, False)
    assert "too few held-out samples for this gate ever to fail" in found.text


def test_samples_whose_class_has_no_held_out_sample_are_left_out_and_counted():
    labels = {**labels_of(), "forget": np.array([0, 0, 3, 3, 3])}
    for name in ("validation", "test"):
        labels[name] = labels[name] % 3
    found = judged(labels, readings(labels), readings(labels))

    assert "from 2 samples" in found.text
    assert "3 samples were left out: no held-out sample is of their classes" in found.text


def test_no_held_out_sample_at_all_cannot_be_judged():
    labels = {**labels_of(), "forget": np.full(40, 3)}
    for name in ("validation", "test"):
        labels[name] = labels[name] % 3
    found = judge(readings(labels), readings(labels), GatesConfig(), forgotten_classes=(), seed=0)

    assert not found.passed
    membership = gate(found, "membership")
    assert (membership.passed, membership.value, membership.before) == (False, None, None)
    assert membership.text.startswith("Cannot be judged: no validation or test sample is of the classes of the 40")
    assert "Raise split.test" in membership.text


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), drop=st.floats(0.0, 8.0), count=st.integers(1, 12))
def test_raising_the_loss_of_a_forget_sample_never_makes_the_gate_fail(seed, drop, count):
    labels = labels_of({**SIZES, "forget": count})
    model = readings(labels, seed=seed, ahead=-1.0, lead=1.5)
    logits = model.logits["forget"].copy()
    place = seed % count
    logits[place, labels["forget"][place]] -= drop
    raised = Readings({**model.logits, "forget": logits}, labels)
    old, new = judged(labels, model, model), judged(labels, model, raised)

    assert new.value >= old.value
    assert new.limit == old.limit
    assert new.passed or not old.passed
