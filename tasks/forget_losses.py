"""How the losses of single forget images moved from epoch to epoch, as the monitor of the run saw them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qunlearn.unlearning.monitor import QUANTILES

CORRECT = "forget_correct"
CURVES = {"correct": CORRECT, **{f"p{percent:02d}": f"forget_loss_p{percent:02d}" for percent in QUANTILES}}
"""Entry of the curve -> figure of the monitor."""


def epoch_table(rows: Sequence[Mapping[str, float]]) -> dict[str, NDArray[np.float64]]:
    """Columns of equal length from one row an epoch; NaN where an epoch has no such figure."""
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: np.array([row.get(name, np.nan) for row in rows], dtype=np.float64) for name in names}


def forget_loss_curve(epochs: Mapping[str, NDArray[Any]]) -> dict[str, Any] | None:
    """Share of correct forget images and quantiles of their losses after each epoch.

    Args:
        epochs: the table `epochs` of a cell.

    Returns:
        `epoch`; `phase` where the method has phases; `correct` in [0, 1]; `p05` to `p95` in nats. None where the
        method has no epochs, or is of a version that did not measure this.
    """
    if not all(name in epochs and np.isfinite(epochs[name]).all() for name in ("epoch", *CURVES.values())):
        return None
    phase = {"phase": epochs["phase"].astype(int).tolist()} if "phase" in epochs else {}
    curves = {name: epochs[column].astype(float).tolist() for name, column in CURVES.items()}
    return {"epoch": epochs["epoch"].astype(int).tolist(), **phase, **curves}
