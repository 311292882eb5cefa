"""What a model says about each subset of the data: the one place where logits are made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import torch

from qunlearn.data.batches import infer
from tasks.material import Material

SUBSETS: Mapping[str, tuple[str, str | None]] = {
    "forget": ("train", "forget"),
    "retain": ("train", "retain"),
    "validation": ("validation", None),
    "test": ("test", None),
}
"""Name of a subset in every metric -> its partition and subset in the split."""


def subset_outputs(
    material: Material, model: torch.nn.Module, *, names: Iterable[str] = SUBSETS, batch_size: int
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Logits float32 [N, K] and labels int64 [N] of each subset, in dataset order, with the test transform."""
    logits, labels = {}, {}
    for name in names:
        indices = material.indices(*SUBSETS[name])
        logits[name] = infer(model, material.pool, indices, batch_size=batch_size).cpu().numpy()
        labels[name] = material.pool.labels[indices].cpu().numpy()
    return logits, labels
