"""What an evaluation tells about a cell beside its metrics: cost, distributions, drift by layer, curves."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from qunlearn.evaluation import drift
from qunlearn.evaluation.distributions import histograms
from qunlearn.quantization import departures, integer_codes, scales
from tasks.conflict import Table, conflict_by_layer, conflict_curve, conflict_rate
from tasks.forget_losses import forget_loss_curve
from tasks.material import Material
from tasks.outputs import Labels, Logits
from tasks.tracking import CellRecord, Store, TrackingError


def cell_statistics(
    store: Store,
    made: CellRecord,
    model: nn.Module,
    material: Material,
    *,
    logits: Logits,
    labels: Labels,
    moved: dict[str, drift.Drift],
) -> dict[str, Any]:
    """The entry `stats` of a cell; keys without a value are left out.

    Args:
        made: the run that made the model: its cost, and the tables it kept.
        moved: see `drifts`.
    """
    costs = ("seconds", "forget_passes", "retain_passes", "peak_memory_mb")
    stats: dict[str, Any] = {
        "sha256": made.digest,
        # Peak memory is not in the records of earlier versions.
        **{name: made.metrics[name] for name in costs if name in made.metrics},
        "concurrent": made.tags["concurrent"] == "true",
        "departures": departures(model, material.blueprint.quantization),
        "histograms": histograms(logits, labels),
    }
    if "code_flips" in moved:
        stats["code_flips_by_layer"] = moved["code_flips"].layers
    steps = _kept(store, made, "steps")
    found = {
        "conflict": conflict_curve(steps),
        "conflict_rate": conflict_rate(steps),
        "conflict_by_layer": conflict_by_layer(_kept(store, made, "layers")),
        "forget_losses": forget_loss_curve(_kept(store, made, "epochs")),
    }
    return stats | {name: value for name, value in found.items() if value is not None}


def drifts(before: nn.Module, after: nn.Module) -> dict[str, drift.Drift]:
    """How far the model moved from its original, by metric; a float network has no codes that could flip."""
    codes = _arrays(integer_codes(before)), _arrays(integer_codes(after))
    found = {
        "scale_drift": drift.scale_drift(_arrays(scales(before)), _arrays(scales(after))),
        "batchnorm_drift": drift.batchnorm_drift(_arrays(before.state_dict()), _arrays(after.state_dict())),
    }
    return {"code_flips": drift.code_flips(*codes), **found} if codes[0] else found


def _kept(store: Store, made: CellRecord, name: str) -> Table:
    """A table of the cell, without columns where it kept none."""
    try:
        return store.cell_table(made, name)
    except TrackingError:
        return {}


def _arrays(tensors: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    return {name: tensor.detach().cpu().numpy() for name, tensor in tensors.items()}
