"""Few samples that became conspicuous: the law of their AUC against scipy and brute force, and the gate made of it."""

from itertools import combinations

import numpy as np
import pytest
from deletion.gate_readings import SIZES, gate, labels_of, readings
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu, norm

from qunlearn.config.gates import GatesConfig
from qunlearn.deletion.gates import Readings, judge
from qunlearn.deletion.gates.percentiles import DRAWS, class_sums
from qunlearn.deletion.gates.strangeness import LEVEL, drawn_pairs, lowest_auc, mean_auc, pairs_won


def test_a_pair_is_won_by_a_held_out_sample_with_at_least_the_loss():
    losses, labels = np.array([0.1, 0.5, 9.0]), np.array([0, 0, 1])
    held, held_labels = np.array([0.5, 0.2, 0.7, 1.0, 9.0]), np.array([0, 0, 0, 1, 1])

    won = pairs_won(losses, labels, held, held_labels, np.array([0, 1]))

    assert won.tolist() == [3 + 2, 1]  # a tie (0.5, 9.0) is won
    # Shares 3/3, 2/3 and 1/2.
    assert mean_auc(won, np.array([2, 1]), np.array([3, 2])) == pytest.approx((1 + 2 / 3 + 1 / 2) / 3)


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=6), st.lists(st.integers(-3, 3), min_size=1, max_size=6))
def test_a_tie_counts_in_the_samples_favour_on_either_side(losses, held):
    sides = np.array(losses), np.zeros(len(losses)), np.array(held), np.zeros(len(held)), np.array([0])
    ties = sum(loss == other for loss in losses for other in held)

    assert pairs_won(*sides)[0] + (class_sums(*sides)[0] - len(losses)) == len(losses) * len(held) + ties


@pytest.mark.parametrize(("asked", "held"), [(1, 4), (2, 4), (4, 2), (3, 3), (3, 1)])
def test_at_one_half_the_law_is_that_of_all_ways_to_rank(asked, held):
    counted = []
    for places in combinations(range(asked + held), asked):
        others = [k for k in range(asked + held) if k not in places]
        counted.append(sum(o > p for p in places for o in others))
    values = np.arange(asked * held + 1)

    drawn = drawn_pairs(asked, held, auc=0.5, generator=np.random.default_rng(0), draws=40_000)

    for one in values:
        assert np.mean(drawn == one) == pytest.approx(np.mean(np.array(counted) == one), abs=0.01)


@pytest.mark.parametrize(("asked", "held"), [(3, 9), (12, 5), (6, 6)])
@pytest.mark.parametrize("auc", [0.2, 0.4])
def test_below_one_half_the_law_is_that_of_two_normal_laws(asked, held, auc):
    generator = np.random.default_rng(1)
    own = generator.normal(2**0.5 * norm.ppf(auc), 1, (20_000, asked, 1))
    counted = (own > generator.normal(0, 1, (20_000, 1, held))).sum(axis=(1, 2))

    drawn = drawn_pairs(asked, held, auc=auc, generator=generator, draws=20_000)

    assert np.mean(drawn) / (asked * held) == pytest.approx(auc, abs=0.01)
    for quantile in (0.025, 0.2, 0.5, 0.8):
        assert np.mean(drawn <= np.quantile(counted, quantile)) == pytest.approx(
            np.mean(counted <= np.quantile(counted, quantile)), abs=0.015
        )


def test_at_one_half_the_test_is_that_of_mann_and_whitney():
    generator = np.random.default_rng(1)
    drawn = drawn_pairs(9, 30, auc=0.5, generator=generator, draws=40_000)
    for shift in (1.0, 0.3, -0.4):
        losses, others = generator.normal(shift, 1, 9), generator.normal(0, 1, 30)
        won = pairs_won(losses, np.zeros(9), others, np.zeros(30), np.array([0]))[0]
        expected = mannwhitneyu(losses, others, alternative="greater", method="exact").pvalue

        assert np.mean(drawn <= won) == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("asked", [[1], [5], [4, 1], [10, 10, 9]])
@pytest.mark.parametrize("auc", [0.4, 0.5])
def test_of_samples_as_hard_as_that_two_and_a_half_of_a_hundred_fail(asked, auc):
    asked, held = np.array(asked), np.array([160, 25, 40])[: len(asked)]
    limit = lowest_auc(asked, held, auc=auc, seed=0)
    generator = np.random.default_rng(5)
    classes = np.arange(len(asked))
    labels, held_labels = np.repeat(classes, asked), np.repeat(classes, held)
    harder = -(2**0.5) * norm.ppf(auc)

    def found():
        own, other = generator.normal(harder, 1, len(labels)), generator.normal(0, 1, len(held_labels))
        return mean_auc(pairs_won(own, labels, other, held_labels, classes), asked, held)

    assert 0.01 < np.mean([found() < limit for _ in range(4000)]) <= 0.032


def test_the_level_is_a_whole_number_of_draws_and_with_an_auc_of_zero_nothing_fails():
    assert (DRAWS + 1) * LEVEL == 250
    assert lowest_auc(np.array([20, 3]), np.array([50, 60]), auc=0.0, seed=0) == 0.0


# --- the gate --------------------------------------------------------------------------------------------------------


def judged(before, after, *, auc_low=0.4, **options):
    found = judge(before, after, GatesConfig(auc_low=auc_low), **{"forgotten_classes": (), "seed": 0, **options})
    return gate(found, "streisand")


def few(count):
    """A function that gives a model which is by `level` nats surer of `count` samples to forget than of others."""
    labels = labels_of({**SIZES, "forget": count})
    return lambda level: readings(labels, trained=("forget",), lead=level, seed=7)


def test_samples_that_became_conspicuous_fail_on_this_side_alone():
    model = few(12)
    found = judge(model(4.0), model(-4.0), GatesConfig(), forgotten_classes=(), seed=0)
    strange = gate(found, "streisand")

    assert [one.name for one in found.gates if not one.passed] == ["streisand"]
    assert not found.passed
    assert (strange.value, strange.before, strange.interval) == (0.0, 1.0, None)
    assert 0.1 < strange.limit < 0.3
    assert (strange.passed_before, strange.informative, strange.weak, strange.binding) == (True, True, True, True)
    assert strange.text.startswith("Weak evidence, from 12 samples: of the losses of 200 held-out samples")
    assert "has 0.4 on average are below 0." in strange.text
    assert "unlearn more gently, or with another method" in strange.text
    assert judge(model(4.0), model(-4.0), GatesConfig(), forgotten_classes=(), seed=0, retrained=True).passed


def test_samples_that_are_remembered_fail_on_the_other_side_alone():
    model = few(12)
    found = judge(model(4.0), model(4.0), GatesConfig(), forgotten_classes=(), seed=0)

    assert [one.name for one in found.gates if not one.passed] == ["loss_percentile"]
    assert gate(found, "streisand").value == 1.0


def test_between_the_limit_and_chance_a_warning_is_given():
    model = few(20)
    found = judged(model(4.0), model(-0.8))

    assert found.limit < found.value < 0.35
    assert found.passed
    assert found.text.endswith("Warning: the samples are stranger to the model than samples it never saw.")
    strict = judged(model(4.0), model(-0.8), auc_low=0.5)
    assert found.limit < found.value < strict.limit
    assert not strict.passed
    assert "Warning" not in judged(model(4.0), model(0.0)).text


def test_samples_that_were_strange_to_the_champion_already_are_said_to_be():
    model = few(12)
    found = judged(model(-4.0), model(-4.0))

    assert (found.passed, found.passed_before) == (False, False)
    assert "but so they were to the champion; they may be hard by nature" in found.text


def test_the_gate_can_be_turned_off():
    model = few(12)
    found = judged(model(4.0), model(-4.0), auc_low=0.0)

    assert (found.passed, found.limit) == (True, 0.0)
    assert "With `auc_low: 0` none is too low." in found.text
    assert "Warning" in found.text
    assert "too few" not in found.text


def test_too_few_samples_for_any_failure_are_told():
    model = few(1)  # 50 held-out samples of its class
    found = judged(model(4.0), model(-9.0))
    assert found.passed
    assert "There are too few samples, asked for or held out" in found.text
    strict = judged(model(4.0), model(-9.0), auc_low=0.5)
    assert not strict.passed
    assert "too few samples" not in strict.text


def test_equal_losses_everywhere_pass_both_sides():
    labels = labels_of({**SIZES, "forget": 7})
    flat = Readings({name: np.zeros((len(one), 4)) for name, one in labels.items()}, labels)
    found = judge(flat, flat, GatesConfig(auc_low=0.5), forgotten_classes=(), seed=0)

    assert found.passed
    assert gate(found, "streisand").value == 1.0
    assert gate(found, "loss_percentile").value == 100.0


def test_samples_whose_class_has_no_held_out_sample_are_left_out_and_counted():
    labels = {**labels_of(), "forget": np.array([0, 0, 3, 3, 3])}
    for name in ("validation", "test"):
        labels[name] = labels[name] % 3

    found = judged(readings(labels), readings(labels))

    assert "from 2 samples" in found.text
    assert "3 samples were left out: no held-out sample is of their classes" in found.text


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), rise=st.floats(0.0, 8.0), count=st.integers(1, 12))
def test_lowering_the_loss_of_a_forget_sample_never_makes_the_gate_fail(seed, rise, count):
    labels = labels_of({**SIZES, "forget": count})
    model = readings(labels, seed=seed, ahead=-1.0, trained=("forget",), lead=-2.5)
    logits = model.logits["forget"].copy()
    place = seed % count
    logits[place, labels["forget"][place]] += rise
    lowered = Readings({**model.logits, "forget": logits}, labels)
    old, new = judged(model, model), judged(model, lowered)

    assert new.value >= old.value
    assert new.limit == old.limit
    assert new.passed or not old.passed
