"""Did a method forget as much as retraining would? A verdict in both directions.

For each of the four figures: d = mean over seeds of (method - its retrained model) with its 95 % t-interval, and
margin = max(2 x standard deviation between retrained models, one sample).

    within        the interval lies inside +-margin
    under         forget accuracy above, or mia_confidence below the margin: it still remembers
    over          the opposite: it forgot more than retraining would, which is itself conspicuous
    damaged       retain or test accuracy below the margin
    inconclusive  everything else, and always with fewer than three seeds
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from qunlearn.evaluation.gap import GAP_METRICS, t_interval

VERDICTS = ("within", "inconclusive", "over", "damaged", "under")
"""From best to worst: what was not forgotten cannot be made good, a damaged model can be replaced."""

MINIMUM_SEEDS = 3

_COUNTED_ON = dict(
    zip(GAP_METRICS, ("forget_samples", "retain_samples", "test_samples", "forget_samples"), strict=True)
)
_MEANING = {
    "forget_accuracy": {"above": "under", "below": "over"},
    "retain_accuracy": {"above": "inconclusive", "below": "damaged"},
    "test_accuracy": {"above": "inconclusive", "below": "damaged"},
    "mia_confidence": {"above": "over", "below": "under"},
}


@dataclass(frozen=True)
class Verdict:
    """One figure of one method against retraining, in percentage points; the interval is None under two seeds."""

    verdict: str
    difference: float
    interval: tuple[float, float] | None
    margin: float


def margin(metric: str, retrained: Sequence[Mapping[str, float]]) -> float:
    """max(2 x standard deviation between the retrained models, one sample), in percentage points."""
    spread = float(np.std([m[metric] for m in retrained], ddof=1)) if len(retrained) > 1 else 0.0
    return max(2.0 * spread, 100.0 / retrained[0][_COUNTED_ON[metric]])


def judge(metric: str, differences: Sequence[float], *, allowed: float) -> Verdict:
    """Verdict on one figure.

    Args:
        metric: one of `GAP_METRICS`.
        differences: method minus its paired retrained model, one per seed, in percentage points.
        allowed: the `margin`.
    """
    interval = t_interval(differences)
    verdict = "inconclusive"
    if interval is not None and len(differences) >= MINIMUM_SEEDS:
        verdict = _place(metric, interval, allowed)
    return Verdict(verdict, float(np.mean(differences)), interval, allowed)


def worst(verdicts: Sequence[str]) -> str:
    """The overall verdict of a method."""
    return max(verdicts, key=VERDICTS.index)


def _place(metric: str, interval: tuple[float, float], allowed: float) -> str:
    low, high = interval
    rounding = 1e-9  # a difference of exactly one sample is inside the margin, whatever its last bit says
    if -allowed - rounding <= low and high <= allowed + rounding:
        return "within"
    if low > allowed + rounding:
        return _MEANING[metric]["above"]
    return _MEANING[metric]["below"] if high < -allowed - rounding else "inconclusive"
