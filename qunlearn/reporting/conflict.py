"""The page's figures about gradient conflict over the steps of a method, one light line per seed and their mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from qunlearn.evaluation.arrays import Floats
from qunlearn.reporting.source import Piece, Value, plain
from qunlearn.reporting.study import Model, Study
from qunlearn.reporting.svg import Canvas, Scale, label, ticks

COSINE, REMOVED = "cosine_before", "removed_fraction"
TITLES = {COSINE: "Cosine of forget and retain gradient", REMOVED: "Removed fraction of the forget gradient"}

Curve = tuple[Floats, Floats]
"""Steps and values; a value that does not exist is NaN."""


@dataclass(frozen=True)
class Conflict:
    """A method's figures, what one point of them averages, and how many seeds they show."""

    model: Model
    figures: dict[str, str]
    seeds: int
    steps_per_point: Value | None


def has_conflicts(columns: Mapping[str, Any]) -> bool:
    """Whether a method's statistics hold what `conflict_chart` draws."""
    return all(name in columns and len(columns[name]) > 0 for name in ("step", COSINE, REMOVED))


def conflicts(study: Study) -> list[Conflict]:
    """Of each method that recorded gradient conflicts; a figure without any number is left out."""
    found = []
    for model in study.models:
        recorded = [columns for columns in study.stats(model, "conflict") if has_conflicts(columns)]
        charts = {name: conflict_chart(model, recorded, name=name) for name in TITLES}
        figures = {TITLES[name]: chart for name, chart in charts.items() if chart}
        if figures:
            place = next(i for i, cell in model.cells if has_conflicts(cell["stats"].get("conflict") or {}))
            width = study.value("cells", place, "stats", "conflict", "steps_per_point", spec="d")
            found.append(Conflict(model, figures, len(recorded), width))
    return found


def conflict_chart(model: Model, recorded: Sequence[Mapping[str, Any]], *, name: str, width: float = 420.0) -> str:
    """Column `name` over the steps: the cosine in about [-1, 1], or the removed fraction from 0. Empty without numbers.

    Args:
        recorded: of each seed, columns of equal length, among them `step` and `name`; None where there is no number.
    """
    seeds = [_curve(columns, name) for columns in recorded]
    drawn = [values[np.isfinite(values)] for _, values in seeds]
    if not any(values.size for values in drawn):
        return ""
    everything = np.concatenate(drawn)
    low, high = min(0.0, float(everything.min())), max(0.05, float(everything.max()))
    low, high = low - 0.06 * (high - low) if low < 0 else 0.0, high + 0.06 * (high - low)
    left, top, right, bottom = 46.0, 14.0, width - 12, 210.0
    canvas = Canvas(width, bottom + 44)
    last = max(float(steps[-1]) for steps, _ in seeds)
    across, upward = Scale(0.0, max(last, 1.0), left, right), Scale(low, high, bottom, top)
    _axes(canvas, across, upward)
    for curve in seeds:
        _draw(canvas, across, upward, curve, css="each")
    _draw(canvas, across, upward, mean_curve(seeds), css="average")
    described: list[Piece] = [f"{TITLES[name]} of ", *model.named, " over the optimizer steps, a line per seed."]
    return canvas.finish(title=f"{TITLES[name]}, {plain(model.named)}", description=described)


def mean_curve(seeds: Sequence[Curve]) -> Curve:
    """Mean over the seeds, as far as the shortest of them goes, of the numbers that exist."""
    shortest = min(len(values) for _, values in seeds)
    stacked = np.stack([values[:shortest] for _, values in seeds])
    known = np.isfinite(stacked)
    total, count = np.where(known, stacked, 0.0).sum(axis=0), known.sum(axis=0)
    return seeds[0][0][:shortest], np.divide(total, count, out=np.full(shortest, np.nan), where=count > 0)


def _curve(columns: Mapping[str, Any], name: str) -> Curve:
    values = [np.nan if value is None else float(value) for value in columns[name]]
    return np.asarray(columns["step"], dtype=np.float64), np.asarray(values, dtype=np.float64)


def _axes(canvas: Canvas, across: Scale, upward: Scale) -> None:
    for mark in ticks(upward.low, upward.high, count=5):
        canvas.line(across.start, upward(mark), across.end, upward(mark), css="grid")
        canvas.text(across.start - 8, upward(mark) + 4, label(mark), css="tick", anchor="end")
    for mark in (step for step in ticks(across.low, across.high, count=5) if step == round(step)):
        canvas.text(across(mark), upward.start + 17, label(mark), css="tick", anchor="middle")
    canvas.line(across.start, upward(0.0), across.end, upward(0.0), css="axis")
    canvas.text((across.start + across.end) / 2, upward.start + 36, "optimizer step", css="tick", anchor="middle")


def _draw(canvas: Canvas, across: Scale, upward: Scale, curve: Curve, *, css: str) -> None:
    places, values = curve
    known = np.isfinite(values)
    points = [(across(float(x)), upward(float(y))) for x, y in zip(places[known], values[known], strict=True)]
    if len(points) == 1:
        canvas.dot(*points[0], 3.0, css=f"point {css}")
    elif points:
        canvas.path(points, css=css)
