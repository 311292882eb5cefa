"""The page's figures about gradient conflict over the steps of a method, one light line per seed and their mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from qunlearn.evaluation.arrays import Floats
from qunlearn.reporting.svg import Canvas, Scale, label, ticks

Steps = Mapping[tuple[str, int], Mapping[str, Any]]
"""(method, seed) -> columns of equal length, among them `step`."""

COSINE, REMOVED = "cosine_before", "removed_fraction"
POINTS = 120


def has_conflicts(columns: Mapping[str, Any]) -> bool:
    """Whether a method's statistics hold what `conflict_chart` draws."""
    return all(name in columns and len(columns[name]) > 0 for name in ("step", COSINE, REMOVED))


def binned(columns: Mapping[str, Any], name: str, *, width: int) -> tuple[Floats, Floats]:
    """Step and value as means over `width` steps each; steps without a number are skipped, empty bins are NaN."""
    step, value = np.asarray(columns["step"], dtype=np.float64), np.asarray(columns[name], dtype=np.float64)
    starts = np.arange(0, len(step), width)
    valid = np.isfinite(value)
    total = np.add.reduceat(np.where(valid, value, 0.0), starts)
    count = np.add.reduceat(valid.astype(np.float64), starts)
    size = np.diff(np.append(starts, len(step)))
    middle = np.add.reduceat(step, starts) / size
    return middle, np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)


def bin_width(steps: Steps, method: str) -> int:
    """Steps averaged into one drawn point."""
    longest = max(len(columns["step"]) for (name, _), columns in steps.items() if name == method)
    return max(1, -(-longest // POINTS))


def conflict_chart(steps: Steps, *, method: str, name: str, title: str, width: float = 420.0) -> str:
    """Column `name` of `method` over the steps: the cosine in about [-1, 1], or the removed fraction from 0."""
    bins = bin_width(steps, method)
    seeds = {seed: binned(columns, name, width=bins) for (key, seed), columns in steps.items() if key == method}
    drawn = np.concatenate([values[np.isfinite(values)] for _, values in seeds.values()])
    low, high = min(0.0, float(drawn.min(initial=0.0))), max(0.05, float(drawn.max(initial=0.0)))
    low, high = low - 0.06 * (high - low) if low < 0 else 0.0, high + 0.06 * (high - low)
    left, top, right, bottom = 46.0, 14.0, width - 12, 210.0
    canvas = Canvas(width, bottom + 44)
    last = max(float(places[-1]) for places, _ in seeds.values())
    across, upward = Scale(0.0, max(last, 1.0), left, right), Scale(low, high, bottom, top)
    _axes(canvas, across, upward)
    for places, values in seeds.values():
        _curve(canvas, across, upward, places, values, css="each")
    mean = _mean_curve(list(seeds.values()))
    _curve(canvas, across, upward, *mean, css="average")
    overall = float(np.mean(drawn)) if drawn.size else 0.0
    described = f"{title} of {method} over {last:.0f} steps, {len(seeds)} seeds; mean {overall:.3f}."
    return canvas.finish(title=f"{title}, {method}", description=described)


def _mean_curve(seeds: Sequence[tuple[Floats, Floats]]) -> tuple[Floats, Floats]:
    """Mean over the seeds, as far as the shortest of them goes."""
    shortest = min(len(values) for _, values in seeds)
    stacked = np.stack([values[:shortest] for _, values in seeds])
    known = np.isfinite(stacked)
    total, count = np.where(known, stacked, 0.0).sum(axis=0), known.sum(axis=0)
    return seeds[0][0][:shortest], np.divide(total, count, out=np.full(shortest, np.nan), where=count > 0)


def _axes(canvas: Canvas, across: Scale, upward: Scale) -> None:
    for mark in ticks(upward.low, upward.high, count=5):
        canvas.line(across.start, upward(mark), across.end, upward(mark), css="grid")
        canvas.text(across.start - 8, upward(mark) + 4, label(mark), css="tick", anchor="end")
    for mark in ticks(across.low, across.high, count=5):
        canvas.text(across(mark), upward.start + 17, label(mark), css="tick", anchor="middle")
    canvas.line(across.start, upward(0.0), across.end, upward(0.0), css="axis")
    canvas.text((across.start + across.end) / 2, upward.start + 36, "optimizer step", css="tick", anchor="middle")


def _curve(canvas: Canvas, across: Scale, upward: Scale, places: Floats, values: Floats, *, css: str) -> None:
    known = np.isfinite(values)
    points = [(across(float(x)), upward(float(y))) for x, y in zip(places[known], values[known], strict=True)]
    if points:
        canvas.path(points, css=css)
