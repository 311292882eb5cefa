"""The figures that the gates read off the models, as rows of the evidence."""

from __future__ import annotations

import re
from collections.abc import Mapping

from qunlearn.deletion.evidence.model import Estimate, Metric

ACCURACY = re.compile(r"after_(?P<subset>forget|retain|validation|test)_accuracy(?P<part>_without_forgotten)?")


def accuracy_metrics(metrics: Mapping[str, float]) -> tuple[Metric, ...]:
    """A row for each accuracy that both models have.

    Args:
        metrics: `before_`, `after_` and `reference_` + `<subset>_accuracy`, each also with `_low` and `_high`, and
            `<subset>_samples`, as in `qunlearn.deletion.gates.Judgement.metrics`.
    """
    rows = []
    for match in filter(None, map(ACCURACY.fullmatch, metrics)):
        subset, part = match["subset"], match["part"] or ""
        key = f"{subset}_accuracy{part}"
        before, after, retrained = (_estimate(metrics, f"{model}_{key}") for model in ("before", "after", "reference"))
        if before is None or after is None:
            continue
        rows.append(
            Metric.model_validate(
                {
                    "subset": subset,
                    "name": "accuracy without the forgotten classes" if part else "accuracy",
                    "unit": "%",
                    "samples": None if part else int(metrics[f"{subset}_samples"]),
                    "before": before,
                    "after": after,
                    "retrained": retrained,
                }
            )
        )
    return tuple(rows)


def _estimate(metrics: Mapping[str, float], key: str) -> Estimate | None:
    if key not in metrics:
        return None
    ends = (metrics[f"{key}_low"], metrics[f"{key}_high"]) if f"{key}_low" in metrics else None
    return Estimate(value=metrics[key], interval=ends)
