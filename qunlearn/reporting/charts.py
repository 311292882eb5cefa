"""The page's figures about methods: average gap, and the four figures beside the retrained model."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from qunlearn.evaluation.summary import REFERENCE
from qunlearn.reporting.content import Evaluation, Row, number
from qunlearn.reporting.svg import Canvas, Scale, label, ticks

CHARACTER = 7.3
"""Width of one character of figure text, in user units, rounded up."""
ROUND = (0.0, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0)


MEANING = {
    "forget_accuracy": ("\N{LEFTWARDS ARROW} over", "under \N{RIGHTWARDS ARROW}"),
    "retain_accuracy": ("\N{LEFTWARDS ARROW} damaged", ""),
    "test_accuracy": ("\N{LEFTWARDS ARROW} damaged", ""),
    "mia_confidence": ("\N{LEFTWARDS ARROW} under", "over \N{RIGHTWARDS ARROW}"),
}
"""What lying to the left or to the right of the margin means."""


@dataclass(frozen=True)
class Estimate:
    """One drawn row: the mean, its interval, the value and the tip of each seed."""

    method: str
    verdict: str
    mean: float
    interval: tuple[float, float] | None
    seeds: Mapping[int, float]
    tips: Mapping[int, str]


def gap_chart(evaluation: Evaluation, *, width: float) -> str:
    """Average gap of each model but the reference, smallest first, against the noise floor."""
    rows = sorted(
        (row for row in evaluation["summary"] if row["method"] != REFERENCE),
        key=lambda row: float(row["mean"]["average_gap"]),
    )
    floor = evaluation["context"]["noise_floor"]
    top, pitch = 30.0, 34.0
    canvas = Canvas(width, top + pitch * len(rows) + 46)
    left = _label_width(rows)
    scale = _gap_scale(evaluation, rows, left, width - (64.0 if width < 500 else 150.0))
    bottom = top + pitch * len(rows)
    _axis(canvas, scale, _gap_ticks(scale), top, bottom, "average gap, percentage points" + _scale_note(scale))
    if floor is not None:
        canvas.rectangle(scale.start, top, scale(floor) - scale.start, bottom - top, css="band")
        canvas.line(scale(floor), top - 6, scale(floor), bottom, css="reference")
        canvas.text(scale(floor), top - 11, f"noise floor {floor:.2f}", css="note", anchor=_anchor(scale, floor))
    for i, row in enumerate(rows):
        y = top + pitch * (i + 0.5)
        canvas.text(left - 10, y + 4.5, row["method"], css="name", anchor="end")
        _draw(canvas, scale, y, _gap_estimate(evaluation, row), radius=6.0)
        canvas.text(width - 4, y + 4.5, _gap_text(row, wide=width >= 500), css="value", anchor="end")
    values = "; ".join(f"{row['method']} {row['mean']['average_gap']:.2f}" for row in rows)
    described = f"Average gap in percentage points: {values}. Noise floor {number(floor)}."
    return canvas.finish(title="Average gap to the retrained model", description=described)


def reference_chart(evaluation: Evaluation, *, metric: str, title: str, width: float = 420.0) -> str:
    """One figure of each model beside the retrained model's line and margin.

    Bars and small dots show differences to the retrained model of the same seed, drawn at its mean: what the verdict
    judges. So a bar inside the band reads `within`.
    """
    reference = next(row for row in evaluation["summary"] if row["method"] == REFERENCE)
    centre, pitch, top = reference["mean"][metric], 25.0, 26.0
    rows = [row for row in evaluation["summary"] if row["method"] != REFERENCE]
    estimates = [_beside(evaluation, row, metric, centre) for row in rows]
    allowed = rows[0]["verdicts"][metric]["margin"] if rows else 0.0
    limit = _limit([abs(e.mean - centre) for e in estimates], allowed)
    low, high = _range(estimates, centre, allowed, limit)
    left, bottom = _label_width(rows), top + pitch * len(rows)
    canvas, scale = Canvas(width, bottom + 44), Scale(low, high, left + 8, width - 64)
    _axis(canvas, scale, ticks(max(low, 0.0), min(high, 100.0), count=4), top, bottom, "")
    canvas.text(scale.start, bottom + 36, MEANING[metric][0], css="tick")
    canvas.text(scale.end, bottom + 36, MEANING[metric][1], css="tick", anchor="end")
    start, end = scale(centre - allowed), scale(centre + allowed)
    canvas.rectangle(start, top, end - start, bottom - top, css="band")
    canvas.line(scale(centre), top - 6, scale(centre), bottom, css="reference")
    canvas.text(scale(centre), top - 11, f"retrain {centre:.2f}", css="note", anchor=_anchor(scale, centre))
    for i, estimate in enumerate(estimates):
        y = top + pitch * (i + 0.5)
        canvas.text(left - 6, y + 4.5, estimate.method, css="name", anchor="end")
        canvas.text(width - 4, y + 4.5, number(estimate.mean), css="value", anchor="end")
        if abs(estimate.mean - centre) > limit:
            _arrow(canvas, scale, y, estimate, leftwards=estimate.mean < centre)
        else:
            _draw(canvas, scale, y, estimate, radius=4.5)
    values = "; ".join(f"{e.method} {e.mean:.2f} ({e.verdict})" for e in estimates)
    described = f"{title}: retrain {centre:.2f}, margin {allowed:.2f}; {values}."
    return canvas.finish(title=title, description=described)


def _beside(evaluation: Evaluation, row: Row, metric: str, centre: float) -> Estimate:
    judged, own = row["verdicts"][metric], _by_seed(evaluation, row["method"], metric)
    paired = _by_seed(evaluation, REFERENCE, metric)
    interval = judged["interval"]
    return Estimate(
        row["method"],
        judged["verdict"],
        row["mean"][metric],
        (centre + interval[0], centre + interval[1]) if interval is not None else None,
        {seed: centre + value - paired[seed] for seed, value in own.items()},
        {seed: f"{value:.2f}, retrain {paired[seed]:.2f}" for seed, value in own.items()},
    )


def long_tailed(values: Sequence[float]) -> bool:
    """Whether one value would squeeze the others into a corner of a linear scale."""
    return max(values, default=0.0) > 6 * max(statistics.median(values or [1.0]), 1e-9)


def _label_width(rows: Sequence[Row]) -> float:
    return 14 + CHARACTER * max((len(row["method"]) for row in rows), default=0)


def _axis(canvas: Canvas, scale: Scale, marks: Sequence[float], top: float, bottom: float, text: str) -> None:
    for mark in marks:
        canvas.line(scale(mark), top, scale(mark), bottom, css="grid")
        canvas.text(scale(mark), bottom + 17, label(mark), css="tick", anchor="middle")
    canvas.line(scale.start, bottom, scale.end, bottom, css="axis")
    if text:
        canvas.text((scale.start + scale.end) / 2, bottom + 36, text, css="tick", anchor="middle")


def _draw(canvas: Canvas, scale: Scale, y: float, estimate: Estimate, *, radius: float) -> None:
    """The interval as a line, each seed as a small dot, the mean as a large one in the verdict's colour."""
    canvas.line(scale.start, y, scale.end, y, css="guide")
    if estimate.interval is not None:
        low, high = estimate.interval
        canvas.line(scale(low), y, scale(high), y, css=f"interval {estimate.verdict}")
    tip = f"{estimate.method}, mean: {estimate.mean:.2f}, {estimate.verdict}"
    canvas.dot(scale(estimate.mean), y, radius, css=f"mean {estimate.verdict}", tip=tip)
    for seed, value in estimate.seeds.items():
        if scale.low <= value <= scale.high:
            tip = f"{estimate.method}, seed {seed}: {estimate.tips[seed]}"
            canvas.dot(scale(value), y, radius / 2.5, css="seed", tip=tip)


def _arrow(canvas: Canvas, scale: Scale, y: float, estimate: Estimate, *, leftwards: bool) -> None:
    """An arrow at the edge: this value lies outside the drawn range (and is printed at the row's end)."""
    sign, edge = (-1.0, scale.start) if leftwards else (1.0, scale.end)
    canvas.line(edge, y, edge - sign * 22, y, css=f"interval {estimate.verdict}")
    tip = [(edge + sign * 3, y), (edge - sign * 7, y - 5.5), (edge - sign * 7, y + 5.5)]
    canvas.path(tip, css=f"mean {estimate.verdict}", closed=True)


def _gap_estimate(evaluation: Evaluation, row: Row) -> Estimate:
    seeds = _by_seed(evaluation, row["method"], "average_gap")
    tips = {seed: f"{value:.2f}" for seed, value in seeds.items()}
    interval = row["interval"]["average_gap"]
    pair = (interval[0], interval[1]) if interval is not None else None
    return Estimate(row["method"], row["verdict"], row["mean"]["average_gap"], pair, seeds, tips)


def _by_seed(evaluation: Evaluation, method: str, metric: str) -> dict[int, float]:
    return {c["seed"]: c["metrics"][metric] for c in evaluation["cells"] if c["method"] == method}


def _limit(distances: Sequence[float], allowed: float) -> float:
    """How far from the reference a value may lie to be drawn: one broken method must not flatten all others."""
    typical = statistics.median(distances) if distances else 0.0
    return max(4.0 * typical, 3.0 * allowed, 0.5)


def _range(estimates: Sequence[Estimate], centre: float, allowed: float, limit: float) -> tuple[float, float]:
    values = [centre - 1.3 * allowed, centre + 1.3 * allowed]
    for estimate in estimates:
        if abs(estimate.mean - centre) <= limit:
            values += [estimate.mean, *(estimate.interval or ())]
    low, high = max(min(values), centre - 1.3 * limit), min(max(values), centre + 1.3 * limit)
    padding = 0.06 * (high - low)
    return low - padding, high + padding


def _gap_scale(evaluation: Evaluation, rows: Sequence[Row], start: float, end: float) -> Scale:
    means = [row["mean"]["average_gap"] for row in rows] or [1.0]
    ends = [row["interval"]["average_gap"][1] for row in rows if row["interval"]["average_gap"]]
    seeds = [v for row in rows for v in _by_seed(evaluation, row["method"], "average_gap").values()]
    high = 1.04 * max(*means, *ends, *seeds, evaluation["context"]["noise_floor"] or 0.0, 0.1)
    return Scale(0.0, high, start, end, math.sqrt if long_tailed(means) else float)


def _gap_ticks(scale: Scale) -> list[float]:
    if scale.transform is not math.sqrt:
        return ticks(scale.low, scale.high, count=5)
    kept = [0.0]
    for mark in ROUND[1:]:
        if mark <= scale.high and scale(mark) - scale(kept[-1]) >= 34:
            kept.append(mark)
    return kept


def _scale_note(scale: Scale) -> str:
    return " (square-root scale)" if scale.transform is math.sqrt else ""


def _gap_text(row: Row, *, wide: bool) -> str:
    mean, interval = row["mean"]["average_gap"], row["interval"]["average_gap"]
    if not wide or interval is None:
        return number(mean)
    return f"{mean:.2f} [{max(0.0, interval[0]):.2f}, {interval[1]:.2f}]"


def _anchor(scale: Scale, value: float) -> str:
    """Keep a text over the figure: towards the middle when its place is near an edge."""
    place = (scale(value) - scale.start) / (scale.end - scale.start)
    return "start" if place < 0.2 else "end" if place > 0.8 else "middle"
