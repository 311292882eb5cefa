"""The distance to the retrained model, and how far retrained models lie from each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
from scipy.stats import t as student

GAP_METRICS = ("forget_accuracy", "retain_accuracy", "test_accuracy", "mia_confidence")
"""The four figures, in percent, that the average gap is taken over."""


def average_gap(metrics: Mapping[str, float], reference: Mapping[str, float]) -> float:
    """Mean absolute difference of the four `GAP_METRICS` to the paired retrained model, in percentage points."""
    return float(np.mean([abs(metrics[name] - reference[name]) for name in GAP_METRICS]))


def noise_floor(retrained: Sequence[Mapping[str, float]]) -> float | None:
    """Mean `average_gap` over all pairs of independently seeded retrained models; None with fewer than two."""
    gaps = [average_gap(first, second) for first, second in combinations(retrained, 2)]
    return float(np.mean(gaps)) if gaps else None


def t_interval(values: Sequence[float], *, level: float = 0.95) -> tuple[float, float] | None:
    """Confidence interval of the mean by Student's t with n - 1 degrees of freedom; None with fewer than two values."""
    count = len(values)
    if count < 2:
        return None
    centre = float(np.mean(values))
    half = float(student.ppf(0.5 + level / 2, count - 1)) * float(np.std(values, ddof=1)) / count**0.5
    return centre - half, centre + half
