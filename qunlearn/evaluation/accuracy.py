"""Accuracy in percent, over all samples or over those outside some classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from qunlearn.evaluation.arrays import Floats, Ints


def accuracy(logits: Floats, labels: Ints) -> float:
    """Percent of samples whose largest logit is the true label's; a tie goes to the lower class index.

    Args:
        logits: [N, K]
        labels: [N], in [0, K)
    """
    return 100.0 * float(np.mean(logits.argmax(axis=1) == labels))


def accuracy_without(logits: Floats, labels: Ints, classes: Sequence[int]) -> float:
    """`accuracy` over the samples whose true label is not in `classes` (for class forgetting).

    Raises:
        ValueError: no sample is left, or a class does not exist.
    """
    unknown = [c for c in classes if not 0 <= c < logits.shape[1]]
    if unknown:
        raise ValueError(f"forgotten classes {unknown} do not exist; there are classes 0 to {logits.shape[1] - 1}")
    kept = ~np.isin(labels, np.asarray(classes, dtype=np.int64))
    if not kept.any():
        raise ValueError(
            f"none of the {len(labels)} samples lies outside the forgotten classes {sorted(classes)}; forget fewer "
            "classes, or raise split.validation or split.test, whichever these samples are of"
        )
    return accuracy(logits[kept], labels[kept])
