"""Mistakes of published code in measuring. Each check passes for ours and fails for the wrong variant.

The numbers are those of docs/implementation-notes.md, which names the tests of the other mistakes.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from qunlearn.evaluation.attack_features import modified_entropies
from qunlearn.evaluation.divergence import js_divergence, kl_divergence
from qunlearn.evaluation.verdict import judge


def fails(check, *arguments):
    """The check refuses this implementation by an assertion, not by an accident."""
    with pytest.raises(AssertionError):
        check(*arguments)


# 2: modified entropy that ignores the label


def check_modified_entropy(modified_entropy):
    logits = np.log(np.array([[0.7, 0.2, 0.1]] * 3))
    by_hand = [
        -0.3 * np.log(0.7) - 0.2 * np.log(0.8) - 0.1 * np.log(0.9),
        -0.8 * np.log(0.2) - 0.7 * np.log(0.3) - 0.1 * np.log(0.9),
        -0.9 * np.log(0.1) - 0.7 * np.log(0.3) - 0.2 * np.log(0.8),
    ]
    np.testing.assert_allclose(modified_entropy(logits, np.array([0, 1, 2])), by_hand)

    generator = np.random.default_rng(0)
    logits, labels = generator.normal(size=(50, 6)), generator.integers(0, 6, 50)
    values = modified_entropy(logits, labels)
    order = generator.permutation(6)
    np.testing.assert_allclose(modified_entropy(logits[:, order], np.argsort(order)[labels]), values, atol=1e-12)
    assert (np.abs(modified_entropy(logits, (labels + 1) % 6) - values) > 1e-3).all()


def softmax(logits):
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def modified_entropy_of_the_prediction(logits, labels):
    return modified_entropies(logits, logits.argmax(axis=1))


def modified_entropy_without_a_label(logits, labels):
    p = softmax(logits)
    return -(p * np.log(1 - p)).sum(axis=1)


def plain_entropy(logits, labels):
    p = softmax(logits)
    return -(p * np.log(p)).sum(axis=1)


def test_modified_entropy_knows_the_label():
    check_modified_entropy(modified_entropies)


@pytest.mark.parametrize("wrong", [modified_entropy_of_the_prediction, modified_entropy_without_a_label, plain_entropy])
def test_the_check_fails_for_a_modified_entropy_that_ignores_the_label(wrong):
    fails(check_modified_entropy, wrong)


# 6: divergences with swapped arguments and mean reduction


REFERENCE = np.log(np.array([[0.45, 0.35, 0.15, 0.05]]))
MODEL = np.log(np.array([[0.65, 0.05, 0.15, 0.15]]))


def check_kl(kl):
    """0.461 nats, however often the sample is repeated."""
    for repeats in (1, 5):
        value = kl(np.repeat(REFERENCE, repeats, axis=0), np.repeat(MODEL, repeats, axis=0))
        assert value == pytest.approx(0.4606618, abs=1e-6)


def elements(first, second):
    """The terms of KL(first || second), as torch's kl_div takes them: [N, K]."""
    return F.kl_div(torch.from_numpy(second).log_softmax(1), torch.from_numpy(first).softmax(1), reduction="none")


def kl_swapped(reference, logits):
    return float(elements(logits, reference).sum(1).mean())


def kl_mean_over_elements(reference, logits):
    return float(elements(reference, logits).mean())


def kl_summed(reference, logits):
    return float(elements(reference, logits).sum())


def kl_swapped_and_mean(reference, logits):
    return float(elements(logits, reference).mean())


def test_kl_takes_the_reference_first_and_averages_over_samples():
    check_kl(kl_divergence)
    check_kl(lambda reference, logits: float(elements(reference, logits).sum(1).mean()))


@pytest.mark.parametrize("wrong", [kl_swapped, kl_mean_over_elements, kl_summed, kl_swapped_and_mean])
def test_the_check_fails_for_a_swapped_or_otherwise_averaged_kl(wrong):
    fails(check_kl, wrong)


def test_swapped_arguments_and_mean_reduction_make_0_077_of_0_461():
    assert round(kl_swapped_and_mean(REFERENCE, MODEL), 3) == 0.077
    assert round(kl_divergence(REFERENCE, MODEL), 3) == 0.461


def check_js(js):
    """Two models that share no class lie log 2 apart, whatever the number of classes."""
    for classes in (4, 10):
        first, second = np.full((3, classes), -800.0), np.full((3, classes), -800.0)
        first[:, 0] = second[:, 1] = 0.0
        assert js(first, second) == pytest.approx(np.log(2))
    assert js(REFERENCE, MODEL) == pytest.approx(js(MODEL, REFERENCE))


def test_js_is_bounded_by_log_2_and_symmetric():
    check_js(js_divergence)


def js_mean_over_elements(first, second):
    return js_divergence(first, second) / first.shape[1]


def js_of_one_side(first, second):
    """Wrong: KL to the mixture of one of the two alone."""
    return kl_divergence(first, np.log(softmax(first) / 2 + softmax(second) / 2 + 1e-300))


@pytest.mark.parametrize("wrong", [js_mean_over_elements, js_of_one_side])
def test_the_check_fails_for_another_mean_or_half_of_the_js(wrong):
    fails(check_js, wrong)


# 11: forgetting to chance level counted as success


def check_verdict(verdict):
    """`verdict(metric, differences to retraining, margin)`; retraining keeps 94 % of a random forget set."""
    remembers, chance, honest = [5.9, 6.1, 6.0], [10.0 - 94.0, 9.8 - 94.1, 10.2 - 93.9], [0.1, -0.1, 0.0]
    assert verdict("forget_accuracy", honest, 1.0) == "within"
    assert verdict("forget_accuracy", remembers, 1.0) == "under"
    assert verdict("forget_accuracy", chance, 1.0) == "over"
    assert verdict("mia_confidence", honest, 1.0) == "within"
    assert verdict("mia_confidence", chance, 1.0) == "under"
    assert verdict("mia_confidence", remembers, 1.0) == "over"
    assert verdict("test_accuracy", [-x for x in remembers], 1.0) == "damaged"


def lower_forget_accuracy_is_better(metric, differences, allowed):
    if metric == "forget_accuracy" and np.mean(differences) <= allowed:
        return "within"
    return judge(metric, differences, allowed=allowed).verdict


def higher_attack_failure_is_better(metric, differences, allowed):
    if metric == "mia_confidence" and np.mean(differences) >= -allowed:
        return "within"
    return judge(metric, differences, allowed=allowed).verdict


def far_away_is_under(metric, differences, allowed):
    return "within" if abs(np.mean(differences)) <= allowed else "under"


def test_the_verdict_looks_in_both_directions():
    check_verdict(lambda metric, differences, allowed: judge(metric, differences, allowed=allowed).verdict)


@pytest.mark.parametrize("wrong", [lower_forget_accuracy_is_better, higher_attack_failure_is_better, far_away_is_under])
def test_the_check_fails_for_a_verdict_in_one_direction(wrong):
    fails(check_verdict, wrong)
