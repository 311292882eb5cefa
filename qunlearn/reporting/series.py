"""The numbers behind every figure of the report, as rows of tidy tables: those of evaluation.json, unrounded.

A value that does not exist (an interval of one seed, the cost of the original) is None. Means over seeds that the
evaluation holds only cell by cell (histograms, layers) are taken here.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from statistics import mean
from typing import Any

from qunlearn.evaluation.gap import GAP_METRICS
from qunlearn.evaluation.summary import ORIGINAL, REFERENCE
from qunlearn.reporting.study import Evaluation, Row

Rows = list[dict[str, Any]]
"""A tidy table: every row has the same keys; values are float, int, str or None."""

FORGETTING, UTILITY = ("forget_accuracy", "mia_confidence"), ("retain_accuracy", "test_accuracy")
"""The two halves of the average gap: has it forgotten, and what else did it lose."""
QUANTILES = ("p05", "p25", "p50", "p75", "p95")
"""Of the losses of single forget images, as the evaluation names them."""


def gap(evaluation: Evaluation) -> Rows:
    """A row a model beside the reference: its average gap in points with 95 % interval, and the noise floor."""
    floor = evaluation["context"]["noise_floor"]
    return [
        {
            **_head(evaluation, row),
            **_estimate(row, "average_gap"),
            "noise_floor": floor,
            "gap_ratio": row["gap_ratio"],
            "verdict": row["verdict"],
        }
        for row in evaluation["summary"]
        if row["method"] != REFERENCE
    ]


def accuracy_and_membership(evaluation: Evaluation) -> Rows:
    """A row a model and figure: forget, retain, test accuracy and the membership attack, all in percent.

    `difference` is the mean of the paired differences to the retrained model, with its 95 % interval, in points: what
    the verdict judges. `margin` is what it is judged against, the same for all models of one figure.
    """
    found: Rows = []
    for metric in GAP_METRICS:
        for row in evaluation["summary"]:
            judged = row["verdicts"].get(metric, {"verdict": row["verdict"], "difference": 0.0})
            low, high = judged.get("interval") or (None, None)
            found.append(
                {
                    **_head(evaluation, row),
                    "metric": metric,
                    "mean": row["mean"][metric],
                    "deviation": row["std"][metric],
                    "difference": judged["difference"],
                    "difference_low": low,
                    "difference_high": high,
                    "margin": _margin(evaluation, metric),
                    "verdict": judged["verdict"],
                }
            )
    return found


def trade_off(evaluation: Evaluation) -> Rows:
    """A row a model and seed: the two halves of its average gap, in points, and the four figures they are made of.

    `forgetting_gap` is the mean distance to the retrained model in forget accuracy and membership, `utility_gap` in
    retain and test accuracy. A retrained model is compared with that of the next seed: how far chance alone goes.
    """
    retrained = [cell for cell in evaluation["cells"] if cell["method"] == REFERENCE]
    following = {c["seed"]: o for c, o in zip(retrained, [*retrained[1:], *retrained[:1]], strict=True)}
    own = {cell["seed"]: cell for cell in retrained}
    found: Rows = []
    for cell in evaluation["cells"]:
        other = following[cell["seed"]] if cell["method"] == REFERENCE else own[cell["seed"]]
        alone = other is cell
        found.append(
            {
                "method": cell["method"],
                "selected_by": _selected_by(evaluation, cell["method"]),
                "seed": cell["seed"],
                "forgetting_gap": None if alone else _distance(cell, other, FORGETTING),
                "utility_gap": None if alone else _distance(cell, other, UTILITY),
                **{metric: cell["metrics"][metric] for metric in GAP_METRICS},
            }
        )
    return found


def confidence(evaluation: Evaluation) -> Rows:
    """A row a model, subset and bin: the share of samples whose probability of the true label lies in the bin."""
    return _histogram(evaluation, "confidence")


def loss(evaluation: Evaluation) -> Rows:
    """A row a model, subset and bin: the share of samples whose cross-entropy, in nats, lies in the bin."""
    return _histogram(evaluation, "loss")


def forget_losses(evaluation: Evaluation) -> Rows:
    """A row a method, seed and epoch: share of correct forget images, quantiles of their cross-entropies in nats.

    `phase` is None for a method without phases.
    """
    found: Rows = []
    for cell in evaluation["cells"]:
        recorded = cell["stats"].get("forget_losses")
        if recorded is None:
            continue
        phases = recorded.get("phase") or [None] * len(recorded["epoch"])
        names = ("correct", *QUANTILES)
        figures = zip(*(recorded[name] for name in names), strict=True)
        for epoch, phase, values in zip(recorded["epoch"], phases, figures, strict=True):
            place = {"method": cell["method"], "seed": cell["seed"], "epoch": epoch, "phase": phase}
            found.append({**place, **dict(zip(names, values, strict=True))})
    return found


def conflict(evaluation: Evaluation) -> Rows:
    """A row a method, seed and point: cosine of forget and retain gradient, and the removed fraction, over steps."""
    found: Rows = []
    for cell in evaluation["cells"]:
        recorded = cell["stats"].get("conflict")
        if recorded is None:
            continue
        removed = recorded.get("removed_fraction") or [None] * len(recorded["step"])
        for step, cosine, fraction in zip(recorded["step"], recorded["cosine_before"], removed, strict=True):
            found.append(
                {
                    "method": cell["method"],
                    "seed": cell["seed"],
                    "step": step,
                    "cosine_before": cosine,
                    "removed_fraction": fraction,
                    "steps_per_point": recorded["steps_per_point"],
                }
            )
    return found


def layers(evaluation: Evaluation) -> Rows:
    """A row a model and layer: mean cosine of the gradients over the run, share of changed weight codes; over seeds.

    The original is left out, where nothing can have changed. Layers of codes and of conflicts can differ: a float
    network has no codes, and a gradient also has layers without weight codes.
    """
    found: Rows = []
    for row in evaluation["summary"]:
        if row["method"] == ORIGINAL:
            continue
        cells = [cell["stats"] for cell in evaluation["cells"] if cell["method"] == row["method"]]
        cosines = _by_layer([stats.get("conflict_by_layer") or {} for stats in cells])
        flips = _by_layer([stats.get("code_flips_by_layer") or {} for stats in cells])
        for layer in dict.fromkeys([*flips, *cosines]):
            values = {"cosine": cosines.get(layer), "code_flips": flips.get(layer)}
            found.append({"method": row["method"], "layer": layer, **values, "seeds": len(row["seeds"])})
    return found


def cost(evaluation: Evaluation) -> Rows:
    """A row a method, and one of retraining: what it costs beside retraining, against its average gap in points.

    The gap of retraining is that between retrained models, the noise floor.
    """
    floor = evaluation["context"]["noise_floor"]
    found: Rows = []
    for row in evaluation["summary"]:
        if row["method"] == ORIGINAL:
            continue
        again = {"average_gap": floor, "low": None, "high": None}
        measured = {name: row["mean"].get(name) for name in ("cost_ratio", "work_ratio", "memory_ratio")}
        found.append(
            {
                **_head(evaluation, row),
                **(again if row["method"] == REFERENCE else _estimate(row, "average_gap")),
                **measured,
                "seconds": _mean_stat(evaluation, row["method"], "seconds"),
                "peak_memory_mb": _mean_stat(evaluation, row["method"], "peak_memory_mb"),
                "concurrent": int(row["concurrent"]),
            }
        )
    return found


SERIES: dict[str, Callable[[Evaluation], Rows]] = {
    "gap": gap,
    "accuracy_and_membership": accuracy_and_membership,
    "trade_off": trade_off,
    "confidence": confidence,
    "loss": loss,
    "forget_losses": forget_losses,
    "conflict": conflict,
    "layers": layers,
    "cost": cost,
}
"""Figure -> its rows."""

_HEAD = ("method", "selected_by", "seeds")
COLUMNS: dict[str, tuple[str, ...]] = {
    "gap": (*_HEAD, "average_gap", "low", "high", "noise_floor", "gap_ratio", "verdict"),
    "accuracy_and_membership": (
        *(*_HEAD, "metric", "mean", "deviation"),
        *("difference", "difference_low", "difference_high", "margin", "verdict"),
    ),
    "trade_off": ("method", "selected_by", "seed", "forgetting_gap", "utility_gap", *GAP_METRICS),
    "confidence": ("method", "subset", "bin_low", "bin_high", "share", "seeds"),
    "loss": ("method", "subset", "bin_low", "bin_high", "share", "seeds"),
    "forget_losses": ("method", "seed", "epoch", "phase", "correct", *QUANTILES),
    "conflict": ("method", "seed", "step", "cosine_before", "removed_fraction", "steps_per_point"),
    "layers": ("method", "layer", "cosine", "code_flips", "seeds"),
    "cost": (
        *(*_HEAD, "average_gap", "low", "high", "cost_ratio", "work_ratio", "memory_ratio"),
        *("seconds", "peak_memory_mb", "concurrent"),
    ),
}
"""Figure -> columns of its table, also where it has no rows."""


def csv_text(name: str, evaluation: Evaluation) -> str:
    """The table of one figure: a heading, shortest exact numbers, nothing where there is no value."""
    sink = io.StringIO()
    writer = csv.DictWriter(sink, COLUMNS[name], lineterminator="\n")
    writer.writeheader()
    writer.writerows(SERIES[name](evaluation))
    return sink.getvalue()


def _head(evaluation: Evaluation, row: Row) -> dict[str, Any]:
    return {
        "method": row["method"],
        "selected_by": _selected_by(evaluation, row["method"]),
        "seeds": len(row["seeds"]),
    }


def _selected_by(evaluation: Evaluation, method: str) -> str | None:
    described: Mapping[str, Any] = evaluation["context"].get("methods", {}).get(method, {})
    selected: str | None = described.get("selected_by")
    return selected


def _estimate(row: Row, metric: str) -> dict[str, Any]:
    low, high = row["interval"][metric] or (None, None)
    return {metric: row["mean"][metric], "low": low, "high": high}


def _margin(evaluation: Evaluation, metric: str) -> float | None:
    judged = (row["verdicts"][metric] for row in evaluation["summary"] if metric in row["verdicts"])
    return next((verdict["margin"] for verdict in judged), None)


def _distance(cell: Mapping[str, Any], other: Mapping[str, Any], metrics: tuple[str, ...]) -> float:
    return float(mean(abs(cell["metrics"][name] - other["metrics"][name]) for name in metrics))


def _histogram(evaluation: Evaluation, name: str) -> Rows:
    found: Rows = []
    for row in evaluation["summary"]:
        cells = [cell["stats"] for cell in evaluation["cells"] if cell["method"] == row["method"]]
        drawn = [stats["histograms"][name] for stats in cells if "histograms" in stats]
        if not drawn:
            continue
        for subset in (key for key in drawn[0] if key != "edges"):
            shares = [mean(column) for column in zip(*(one[subset] for one in drawn), strict=True)]
            for (low, high), share in zip(pairwise(drawn[0]["edges"]), shares, strict=True):
                values: dict[str, Any] = {"bin_low": low, "bin_high": high, "share": share, "seeds": len(drawn)}
                found.append({"method": row["method"], "subset": subset, **values})
    return found


def _by_layer(seeds: list[Mapping[str, float]]) -> dict[str, float]:
    names = dict.fromkeys(layer for values in seeds for layer in values)
    return {name: mean(values[name] for values in seeds if name in values) for name in names}


def _mean_stat(evaluation: Evaluation, method: str, name: str) -> float | None:
    values = list(_stats(evaluation, method, name))
    return float(mean(values)) if values else None


def _stats(evaluation: Evaluation, method: str, name: str) -> Iterator[float]:
    for cell in evaluation["cells"]:
        if cell["method"] == method and name in cell["stats"]:
            yield float(cell["stats"][name])
