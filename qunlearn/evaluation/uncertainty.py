"""How undecided a model is, and whether its decisions fall on preferred classes."""

from __future__ import annotations

import numpy as np

from qunlearn.evaluation.arrays import Floats, log_probabilities
from qunlearn.evaluation.attack_features import entropies


def mean_entropy(logits: Floats) -> float:
    """Mean H(p) / log K over [N, K] logits: 0 = every prediction is certain, 1 = every prediction is uniform."""
    return float(entropies(logits).mean() / np.log(logits.shape[1]))


def mean_max_probability(logits: Floats) -> float:
    """Mean of the largest softmax probability over [N, K] logits, in [1/K, 1]."""
    return float(np.exp(log_probabilities(logits).max(axis=1)).mean())


def concentration(logits: Floats) -> float:
    """1 - H(q) / log K, q = the share of each predicted class: 0 = spread evenly, 1 = one class takes all predictions.

    Small sets are never quite even: compare with the retrained model's value on the same samples.
    """
    classes = logits.shape[1]
    shares = np.bincount(logits.argmax(axis=1), minlength=classes) / len(logits)
    present = shares[shares > 0]
    return float(1.0 + (present * np.log(present)).sum() / np.log(classes))
