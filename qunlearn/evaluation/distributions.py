"""How confidence and loss are spread over the samples of each subset, as histograms a report can draw."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from qunlearn.evaluation.arrays import Floats, Ints, check, losses

SUBSETS = ("forget", "retain", "test")

CONFIDENCE_EDGES: Floats = np.linspace(0.0, 1.0, 21)
"""20 bins of width 0.05."""

LOSS_EDGES: Floats = np.geomspace(1e-6, 20.0, 31)
"""30 bins of equal ratio, in nats. A loss outside counts in the first or the last bin."""


def histograms(logits: Mapping[str, Floats], labels: Mapping[str, Ints]) -> dict[str, dict[str, list[float]]]:
    """Shares of samples per bin; the edges never depend on the model, so histograms of models can be laid over another.

    Args:
        logits: `forget`, `retain` and `test`, [N, K] each; further subsets are ignored. labels: [N] each.

    Returns:
        {"confidence": {"edges": [B + 1], "forget": [B], "retain": [B], "test": [B]}, "loss": the same}: confidence is
        the softmax probability of the true label, loss the cross-entropy in nats. The shares of a subset sum to 1.

    Raises:
        ValueError: a subset is missing, empty, of the wrong shape, or holds NaN.
    """
    if missing := [name for name in SUBSETS if name not in logits or name not in labels]:
        raise ValueError(f"histograms need logits and labels of {', '.join(SUBSETS)}; missing: {', '.join(missing)}")
    result: dict[str, dict[str, list[float]]] = {
        "confidence": {"edges": CONFIDENCE_EDGES.tolist()},
        "loss": {"edges": LOSS_EDGES.tolist()},
    }
    for name in SUBSETS:
        check(logits[name], labels[name], name=f"the {name} set")
        found = losses(logits[name], labels[name])
        result["confidence"][name] = _shares(np.exp(-found), CONFIDENCE_EDGES)
        result["loss"][name] = _shares(found, LOSS_EDGES)
    return result


def _shares(values: Floats, edges: Floats) -> list[float]:
    counts, _ = np.histogram(np.clip(values, edges[0], edges[-1]), bins=edges)
    shares: list[float] = (counts / len(values)).tolist()
    return shares
