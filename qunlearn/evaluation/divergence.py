"""How differently two models predict on the same samples (mostly: an unlearned and its retrained model)."""

from __future__ import annotations

import numpy as np

from qunlearn.evaluation.arrays import Floats, log_probabilities


def prediction_agreement(logits: Floats, reference: Floats) -> float:
    """Percent of samples that both models, [N, K] each, give the same class."""
    _same_shape(logits, reference)
    return 100.0 * float(np.mean(logits.argmax(axis=1) == reference.argmax(axis=1)))


def kl_divergence(reference: Floats, logits: Floats) -> float:
    """Mean over samples of KL(reference || model) = sum_k r_k (log r_k - p_k's log), in nats."""
    _same_shape(logits, reference)
    log_r, log_p = log_probabilities(reference), log_probabilities(logits)
    return float((np.exp(log_r) * (log_r - log_p)).sum(axis=1).mean())


def js_divergence(first: Floats, second: Floats) -> float:
    """Mean over samples of the Jensen-Shannon divergence in nats, symmetric, in [0, log 2]."""
    _same_shape(first, second)
    log_p, log_q = log_probabilities(first), log_probabilities(second)
    log_m = np.logaddexp(log_p, log_q) - np.log(2.0)
    halves = np.exp(log_p) * (log_p - log_m) + np.exp(log_q) * (log_q - log_m)
    return float(halves.sum(axis=1).mean() / 2)


def _same_shape(first: Floats, second: Floats) -> None:
    if first.shape != second.shape:
        raise ValueError(f"logits of shapes {first.shape} and {second.shape}; both models must see the same samples")
