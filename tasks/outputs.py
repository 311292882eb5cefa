"""What a model says about each subset of the data: the one place where logits are made and kept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from qunlearn.data.batches import infer
from qunlearn.data.scenarios import Subset
from qunlearn.data.splits import Partition
from qunlearn.memory import freed_memory_kept
from tasks.manifests import Cell
from tasks.material import Material

SUBSETS: Mapping[str, tuple[Partition, Subset | None]] = {
    "forget": ("train", "forget"),
    "retain": ("train", "retain"),
    "validation": ("validation", None),
    "test": ("test", None),
    "adjacent": ("train", "adjacent"),
    "remote": ("train", "remote"),
    "test_forget": ("test", "forget"),
    "test_adjacent": ("test", "adjacent"),
    "test_remote": ("test", "remote"),
}
"""Name of a subset in every metric -> its partition and subset in the split. Not every split has samples of each."""

Logits: TypeAlias = dict[str, NDArray[np.float32]]
Labels: TypeAlias = dict[str, NDArray[np.int64]]


def subset_outputs(
    material: Material, model: torch.nn.Module, *, names: Iterable[str] = SUBSETS, batch_size: int
) -> tuple[Logits, Labels]:
    """Logits float32 [N, K] and labels int64 [N] of each subset, in dataset order, with the test transform.

    Subsets without samples are left out: they have no figures.

    Args:
        names: of `SUBSETS`; of others nothing is computed.
    """
    labels = subset_labels(material, names=names)
    with freed_memory_kept():
        logits = {
            name: infer(model, material.pool, material.indices(*SUBSETS[name]), batch_size=batch_size).cpu().numpy()
            for name in labels
        }
    return logits, labels


def subset_labels(material: Material, *, names: Iterable[str] = SUBSETS) -> Labels:
    """Labels of the task, int64 [N], of each subset that has samples, in dataset order."""
    indices = {name: material.indices(*SUBSETS[name]) for name in names}
    return {name: material.pool.labels[found].cpu().numpy() for name, found in indices.items() if len(found)}


def write_logits(folder: Path, cell: Cell, logits: Logits) -> None:
    """Keep a cell's logits for the tasks that compare models; the folder must exist."""
    np.savez(_file(folder, cell), **logits)


def read_logits(folder: Path, cell: Cell) -> Logits:
    """What `write_logits` kept."""
    with np.load(_file(folder, cell), allow_pickle=False) as kept:
        return dict(kept)


def _file(folder: Path, cell: Cell) -> Path:
    return folder / f"{cell.method}-{cell.seed}.npz"
