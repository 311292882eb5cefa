"""From rows of models to what is told: gaps to the retrained network, the noise floor, verdicts and costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.sequential.course import ORIGINAL, REFERENCE
from benchmarks.sequential.kept import Row
from benchmarks.sequential.setting import ARMS
from qunlearn.evaluation.cost import cost_ratios
from qunlearn.evaluation.gap import GAP_METRICS, average_gap, noise_floor
from qunlearn.evaluation.verdict import judge, margin, worst
from tasks.deletion.methods import RETRAIN

TOLD = (*GAP_METRICS, "request_accuracy", "mia_auc", "request_auc")
"""Metrics of a summary's rows."""


def complete(rows: Sequence[Row]) -> list[Row]:
    """The rows with `average_gap` to the first reference of their seed and request; and of models that were made from
    another one, `cost_ratio` by time and `work_ratio` by samples, to the training of that reference."""
    first = _first_references(rows)
    return [_complete(row, first[row["seed"], row["request"]]) for row in rows]


def _first_references(rows: Sequence[Row]) -> dict[tuple[int, int], Row]:
    return {(row["seed"], row["request"]): row for row in rows if row["arm"] == REFERENCE and row["method"] == "0"}


def _complete(row: Row, reference: Row) -> Row:
    if row["arm"] == REFERENCE:
        return row
    found = {**row, "average_gap": average_gap(row["metrics"], reference["metrics"])}
    if row["arm"] == ORIGINAL:
        return found
    # What is forgotten in a step is one request, not all that was asked for so far.
    forget = row["metrics"]["forget_samples"] / row["request"]
    sizes = {"forget_samples": forget, "retain_samples": row["metrics"]["retain_samples"]}
    return {**found, **cost_ratios(row, reference, **sizes)}


def summarised(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """One entry for each request and curve (arm and method), over seeds, from `complete` rows.

    All hold the `noise_floor`, the mean gap over all pairs of networks that were retrained for this request. Those of
    other curves than the reference hold `average_gap` and `gap_ratio` (mean gap over noise floor), the overall
    `verdict`, and `verdicts` of the four figures that a gap is taken over.
    """
    entries = []
    for request in sorted({row["request"] for row in rows}):
        here = [row for row in rows if row["request"] == request]
        retrained = [row for row in here if row["arm"] == REFERENCE]
        floor = noise_floor([row["metrics"] for row in retrained])
        for arm, method in dict.fromkeys((row["arm"], row["method"]) for row in here):
            if arm == REFERENCE and method != "0":
                continue
            own = retrained if arm == REFERENCE else [r for r in here if (r["arm"], r["method"]) == (arm, method)]
            entry = {"request": request, "arm": arm, "method": method, "noise_floor": floor, **_spreads(own)}
            entries.append(entry if arm == REFERENCE else {**entry, **_against(own, retrained, floor)})
    return entries


def _spreads(rows: Sequence[Row]) -> dict[str, Any]:
    found: dict[str, Any] = {"seeds": len({row["seed"] for row in rows})}
    found |= {name: spread([row["metrics"][name] for row in rows]) for name in TOLD}
    for name in ("average_gap", "code_flips", "seconds", "cost_ratio", "work_ratio"):
        if all(name in row for row in rows):
            found[name] = spread([row[name] for row in rows])
    if all("gates" in row for row in rows):
        found["gates_passed"] = sum(row["gates"]["passed"] for row in rows)
        found["retrained"] = all(row["made_by"] == RETRAIN for row in rows)
    return found


def _against(rows: Sequence[Row], retrained: Sequence[Row], floor: float | None) -> dict[str, Any]:
    references = _first_references(retrained)
    verdicts = {}
    for metric in GAP_METRICS:
        pairs = [(row["metrics"], references[row["seed"], row["request"]]["metrics"]) for row in rows]
        allowed = margin(metric, [row["metrics"] for row in retrained])
        verdicts[metric] = judge(metric, [one[metric] - other[metric] for one, other in pairs], allowed=allowed).verdict
    mean_gap = float(np.mean([row["average_gap"] for row in rows]))
    return {
        "gap_ratio": mean_gap / floor if floor else None,
        "verdict": worst(list(verdicts.values())),
        "verdicts": verdicts,
    }


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median and range."""
    return {"median": float(np.median(values)), "low": float(min(values)), "high": float(max(values))}


def curves(entries: Sequence[Mapping[str, Any]], *, arm: str, method: str | None = None) -> list[Mapping[str, Any]]:
    """The entries of one curve, by request."""
    return [one for one in entries if one["arm"] == arm and method in (None, one["method"])]


def methods(entries: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(one["method"] for one in entries if one["arm"] in ARMS))
