"""From logits to the per-sample quantities that every metric reads, in float64, with the checks in one place."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.floating[Any]]
Ints: TypeAlias = npt.NDArray[np.integer[Any]]
Numbers: TypeAlias = npt.NDArray[Any]


def check(logits: Floats, labels: Ints, *, name: str = "this set") -> None:
    """Refuse what no metric can be computed from.

    Args:
        logits: [N, K], N >= 1, K >= 2, finite.
        labels: integers [N], each in [0, K).
        name: of the subset, for the message.

    Raises:
        ValueError: naming the subset, the offending value and what is needed.
    """
    if logits.ndim != 2 or logits.shape[1] < 2:
        raise ValueError(f"logits of {name} have shape {logits.shape}; [samples, 2 or more classes] is needed")
    if labels.shape != (len(logits),):
        raise ValueError(f"labels of {name} have shape {labels.shape}, but there are logits of {len(logits)} samples")
    if len(logits) == 0:
        raise ValueError(f"{name} is empty: no metric can be computed; check the split's counts")
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"labels of {name} have type {labels.dtype}; integers are needed")
    if labels.min() < 0 or labels.max() >= logits.shape[1]:
        raise ValueError(
            f"labels of {name} lie in [{labels.min()}, {labels.max()}], but {logits.shape[1]} logits allow "
            f"0 to {logits.shape[1] - 1}"
        )
    broken = np.flatnonzero(~np.isfinite(logits).all(axis=1))
    if broken.size:
        raise ValueError(
            f"logits of {name} hold NaN or infinity in {broken.size} of {len(logits)} samples, first in sample "
            f"{broken[0]}; the model has diverged: lower its learning rate"
        )


def log_probabilities(logits: Floats) -> Floats:
    """Log-softmax of [N, K] logits, float64: finite however far the logits lie apart."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    result: Floats = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result


def losses(logits: Floats, labels: Ints) -> Floats:
    """Cross-entropy of each sample in nats, [N]."""
    result: Floats = -log_probabilities(logits)[np.arange(len(labels)), labels]
    return result


def confidences(logits: Floats, labels: Ints) -> Floats:
    """Softmax probability of the true label of each sample, [N] in [0, 1]."""
    result: Floats = np.exp(-losses(logits, labels))
    return result


def margins(logits: Floats, labels: Ints) -> Floats:
    """Logit of the true label minus the largest other logit, [N]; positive where the sample is classified correctly."""
    rows = np.arange(len(labels))
    others = logits.astype(np.float64)
    own = others[rows, labels]
    others[rows, labels] = -np.inf
    result: Floats = own - others.max(axis=1)
    return result
