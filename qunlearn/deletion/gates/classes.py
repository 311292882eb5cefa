"""Is a class that is forgotten whole still recognised?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from qunlearn.config.gates import GatesConfig
from qunlearn.deletion.gates.accuracy import correct
from qunlearn.deletion.gates.intervals import wilson
from qunlearn.deletion.gates.judgement import FEW, ROUNDING, Gate, Interval, Readings, make_gate
from qunlearn.evaluation.arrays import Ints

_JUDGED = {"class_held_out": ("held-out", ("validation", "test")), "class_forget": ("forgotten training", ("forget",))}


def class_gates(before: Readings, after: Readings, config: GatesConfig, *, forgotten: Ints) -> tuple[Gate, ...]:
    """`class_held_out` and `class_forget`: is each class recognised no more often than by chance?

    Of several classes the one that is remembered best is judged. A set without a sample of these classes has no gate;
    without a sample in either, `class_forget` fails.

    Args:
        forgotten: classes forgotten whole, at least one.
    """
    limit = 100.0 / after.classes if config.class_accuracy is None else config.class_accuracy
    gates = []
    for name, (what, sets) in _JUDGED.items():
        old, new = (_best_remembered(readings, sets, forgotten) for readings in (before, after))
        if old is not None and new is not None:
            gates.append(_gate(name, what, old, new, limit=limit))
    if gates:
        return tuple(gates)
    text = (
        "Cannot be judged: there is no sample of the classes that are forgotten whole, neither to forget nor held out. "
        "Ask for the samples themselves instead of the class."
    )
    return (make_gate("class_forget", False, text, value=None, limit=limit, before=None, passed_before=False),)


@dataclass(frozen=True)
class _Recognised:
    """Accuracy on one class in percent, its interval, and of how many samples."""

    accuracy: float
    interval: Interval
    samples: int

    def by_more_than(self, limit: float) -> bool:
        return self.interval[0] > limit + ROUNDING


def _best_remembered(readings: Readings, sets: Sequence[str], forgotten: Ints) -> _Recognised | None:
    found = []
    for one in forgotten:
        right = correct(readings, *sets, only=np.array([one]))
        if len(right):
            found.append(_Recognised(100.0 * float(right.mean()), wilson(int(right.sum()), len(right)), len(right)))
    return max(found, key=lambda one: (one.interval[0], one.accuracy), default=None)


def _gate(name: str, what: str, old: _Recognised, new: _Recognised, *, limit: float) -> Gate:
    low, high = new.interval
    passed = not new.by_more_than(limit)
    text = (
        f"Of the forgotten class that is remembered best, {new.accuracy:.2f} % of {new.samples} {what} samples are "
        f"recognised (95 % interval {low:.2f} to {high:.2f}); the interval must reach down to {limit:.2f} %."
    )
    if not passed:
        text += " Unlearn longer, or with another method."
    return make_gate(
        name,
        passed,
        text,
        value=new.accuracy,
        interval=new.interval,
        limit=limit,
        before=old.accuracy,
        passed_before=not old.by_more_than(limit),
        weak=new.samples < FEW,
    )
