"""Accuracies that the gates compare and the evidence shows."""

from __future__ import annotations

from qunlearn.deletion.gates.intervals import wilson
from qunlearn.deletion.gates.judgement import SETS, Readings
from qunlearn.evaluation.arrays import Floats, Ints
from qunlearn.evaluation.attack_features import correctness


def correct(readings: Readings, *names: str, only: Ints | None = None, without: Ints | None = None) -> Floats:
    """1.0 where the prediction is right, else 0.0, of these sets together, [N]; `only` and `without` name classes."""
    return correctness(*readings.of(*names, only=only, without=without))


def points(first: Floats, second: Floats) -> float:
    """Accuracy of the first minus that of the second model, in points, from `correct` over the same samples."""
    return 100.0 * float(first.sum() - second.sum()) / len(first)


def accuracies(prefix: str, readings: Readings, *, forgotten: Ints) -> dict[str, float]:
    """`<prefix>_<set>_accuracy` in percent with the ends of its Wilson interval, `_low` and `_high`.

    Args:
        forgotten: classes forgotten whole; with one, also `<prefix>_<held-out set>_accuracy_without_forgotten`.
    """
    asked: list[tuple[str, str, Ints | None]] = [(name, "", None) for name in SETS]
    if len(forgotten):
        asked += [(name, "_without_forgotten", forgotten) for name in ("validation", "test")]
    metrics = {}
    for name, suffix, without in asked:
        right = correct(readings, name, without=without)
        if len(right):
            key = f"{prefix}_{name}_accuracy{suffix}"
            metrics[key] = 100.0 * float(right.mean())
            metrics[f"{key}_low"], metrics[f"{key}_high"] = wilson(int(right.sum()), len(right))
    return metrics
