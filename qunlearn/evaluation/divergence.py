"""How differently two models predict on the same samples (mostly: an unlearned and its retrained model)."""

from __future__ import annotations

import numpy as np

from qunlearn.evaluation.arrays import Floats, log_probabilities


def prediction_agreement(logits: Floats, reference: Floats) -> float:
    """Percent of samples that both models, [N, K] each, give the same class."""
    _same_shape(logits, reference)
    return 100.0 * float(np.mean(logits.argmax(axis=1) == reference.argmax(axis=1)))


def kl_divergence(reference: Floats, logits: Floats) -> float:
    """Mean over samples of KL(reference || model) = sum_k r_k (log r_k - log p_k), in nats."""
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


def wasserstein2(first: Floats, second: Floats) -> float:
    """Wasserstein-2 distance between two samples of one quantity, [N] and [M], in that quantity's unit.

    In one dimension the best coupling pairs equal quantiles: sqrt(integral over u of (F^-1(u) - G^-1(u))^2), with step
    functions F^-1 and G^-1. For equal sizes that is the root mean square difference of the sorted values.

    Raises:
        ValueError: a side without values.
    """
    n, m = len(first), len(second)
    if not n or not m:
        raise ValueError(f"samples of {n} and {m} values; a distance needs values on both sides")
    # Both step functions change only at multiples of 1/n and 1/m: whole numbers in units of 1/(n m).
    ends = np.union1d(np.arange(1, n + 1) * m, np.arange(1, m + 1) * n)
    weights = np.diff(ends, prepend=0) / (n * m)
    gaps = np.sort(first)[(ends - 1) // m] - np.sort(second)[(ends - 1) // n]
    return float(np.sqrt((weights * gaps**2).sum()))


def _same_shape(first: Floats, second: Floats) -> None:
    if first.shape != second.shape:
        raise ValueError(f"logits of shapes {first.shape} and {second.shape}; both models must see the same samples")
