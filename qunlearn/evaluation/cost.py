"""What a method costs beside retraining: in wall time, in memory, and in samples, which no machine changes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def cost_ratios(
    stats: Mapping[str, Any], retrain: Mapping[str, Any], *, forget_samples: float, retain_samples: float
) -> dict[str, float]:
    """Cost of one run over the cost of retraining.

    Args:
        stats, retrain: of one cell each: `seconds` (wall time) and, where known, `forget_passes` and `retain_passes`
            (forward and backward passes over the whole subset) and `peak_memory_mb` (how far the peak rose).
        forget_samples, retain_samples: sizes of the subsets.

    Returns:
        `cost_ratio` by seconds, `work_ratio` by samples processed and `memory_ratio` by peak memory; each only where
        both runs know their share. There is no `memory_ratio` where retraining raised no peak: a process that needed
        more before hides what a later run needs.

    Raises:
        ValueError: retraining took no time or touched no sample.
    """
    ratios = {}
    if "seconds" in stats and "seconds" in retrain:
        ratios["cost_ratio"] = float(stats["seconds"]) / _positive(float(retrain["seconds"]), "seconds")
    needed = ("forget_passes", "retain_passes")
    if all(key in stats and key in retrain for key in needed):
        own, reference = (
            forget_samples * float(run["forget_passes"]) + retain_samples * float(run["retain_passes"])
            for run in (stats, retrain)
        )
        ratios["work_ratio"] = own / _positive(reference, "samples")
    memory = "peak_memory_mb"
    if memory in stats and retrain.get(memory):
        ratios["memory_ratio"] = float(stats[memory]) / float(retrain[memory])
    return ratios


def _positive(value: float, unit: str) -> float:
    if not value > 0:
        raise ValueError(f"retraining cost {value} {unit}; a ratio to it needs a positive number")
    return value
