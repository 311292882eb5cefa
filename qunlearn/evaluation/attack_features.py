"""What a membership attack looks at: quantities per sample of which a model's training samples have typical values.

All are float64 and finite for every finite logit: log(1 - p) is computed from the other classes where p is near 1.
"""

from __future__ import annotations

import numpy as np

from qunlearn.evaluation.arrays import Floats, Ints, log_probabilities


def svc_features(logits: Floats, labels: Ints) -> dict[str, Floats]:
    """The features of the field's five support vector attacks (Jia et al., arXiv 2304.04934), by the attack's name.

    Args:
        logits: [N, K]; labels: [N].

    Returns:
        `confidence` (softmax probability of the true label), `correctness`, `entropy` and `modified_entropy` in nats,
        [N] each, and `full`, the softmax vector, [N, K].
    """
    logs = log_probabilities(logits)
    return {
        "confidence": np.exp(logs[np.arange(len(labels)), labels]),
        "correctness": correctness(logits, labels),
        "entropy": _entropies(logs),
        "modified_entropy": _modified_entropies(logs, labels),
        "full": np.exp(logs),
    }


def correctness(logits: Floats, labels: Ints) -> Floats:
    """1.0 where the largest logit is the true label's, else 0.0, [N]; a tie goes to the lower class index."""
    result: Floats = (logits.argmax(axis=1) == labels).astype(np.float64)
    return result


def entropies(logits: Floats) -> Floats:
    """Entropy H(p) of each prediction in nats, [N] in [0, log K]."""
    return _entropies(log_probabilities(logits))


def modified_entropies(logits: Floats, labels: Ints) -> Floats:
    """-(1 - p_y) log p_y - sum over i != y of p_i log(1 - p_i), in nats, [N], at least 0.

    Unlike the entropy it knows the true label y: 0 for a sure and correct prediction, large for a sure and wrong one.
    Song and Mittal, "Systematic Evaluation of Privacy Risks of Machine Learning Models", USENIX Security 2021.
    """
    return _modified_entropies(log_probabilities(logits), labels)


def log_complements(logs: Floats) -> Floats:
    """log(1 - p) of log-probabilities [N, K], finite even where p rounds to 1.

    Only the largest class can have p above 1/2; there 1 - p is the sum of the others instead of a difference.
    """
    largest = logs.argmax(axis=1)
    rows = np.arange(len(logs))
    # Below 1/2 the difference is exact enough; the largest class' own entry is replaced, whatever it is here.
    result: Floats = np.log1p(-np.exp(np.minimum(logs, -np.log(2.0))))
    result[rows, largest] = _log_sum_of_others(logs, largest)
    return result


def logit_scaled_confidences(logits: Floats, labels: Ints) -> Floats:
    """phi = log(p_y / (1 - p_y)) of each sample, [N]: nearly normal over models (Carlini et al., arXiv 2112.03570).

    Computed as the true label's logit minus the log of the sum over the other classes, which never rounds to infinity.
    """
    own = logits[np.arange(len(labels)), labels].astype(np.float64)
    result: Floats = own - _log_sum_of_others(logits, labels)
    return result


def _log_sum_of_others(logits: Floats, classes: Ints) -> Floats:
    """log of the sum over k != classes[n] of exp(logits[n, k]), [N]."""
    others = logits.astype(np.float64)
    others[np.arange(len(classes)), classes] = -np.inf
    top = others.max(axis=1, keepdims=True)
    result: Floats = top[:, 0] + np.log(np.exp(others - top).sum(axis=1))
    return result


def _entropies(logs: Floats) -> Floats:
    result: Floats = -(np.exp(logs) * logs).sum(axis=1)
    return result


def _modified_entropies(logs: Floats, labels: Ints) -> Floats:
    log_rest = log_complements(logs)
    rows = np.arange(len(labels))
    terms = np.exp(logs) * log_rest
    terms[rows, labels] = np.exp(log_rest[rows, labels]) * logs[rows, labels]
    result: Floats = -terms.sum(axis=1)
    return result
