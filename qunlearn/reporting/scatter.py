"""Scatter plots of the methods: forget against test accuracy, cost against gap. A letter stands for a method."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from qunlearn.reporting.charts import long_tailed
from qunlearn.reporting.content import SIGNS
from qunlearn.reporting.placement import Area, Place, place_labels
from qunlearn.reporting.source import TIMES, Phrase, Piece, Value, joined
from qunlearn.reporting.study import Model, Study
from qunlearn.reporting.svg import BADGE, Canvas, Scale, label, ticks

ORACLE_SIGN = "‡"
"""Beside the letter of an oracle, where its name has no room."""
OUTSIDER = "○"
"""In place of a letter for the original, which is no method."""
ACCURACIES = ("forget_accuracy", "test_accuracy")
STEPS = (50.0, 20.0, 10.0, 5.0, 2.0, 1.0, 0.5, 0.2, 0.1)
DECADES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0)


@dataclass(frozen=True)
class Point:
    """One model: its mean and its seeds, as (across, up) pairs of values."""

    model: Model
    mean: tuple[Value, Value]
    seeds: dict[int, tuple[Value, Value]] = field(default_factory=dict)


@dataclass(frozen=True)
class Plane:
    """Where values lie on the canvas, with the names of the axes."""

    across: Scale
    upward: Scale
    names: tuple[str, str]

    def __call__(self, pair: tuple[Value, Value]) -> Place:
        return self.across(float(pair[0].number)), self.upward(float(pair[1].number))


def trade_off_chart(study: Study, *, width: float) -> str:
    """Forget accuracy against test accuracy, with the retrained model's cross and the margins around it."""
    points = _points(study, study.compared, ACCURACIES)
    centre = _point(study, study.reference, ACCURACIES)
    if centre is None or not points:
        return ""
    height = 0.62 * width if width >= 500 else 1.15 * width
    canvas = Canvas(width, height)
    margins = [study.value("summary", points[0].model.place, "verdicts", m, "margin") for m in ACCURACIES]
    allowed = [float(margin.number) if margin else 0.0 for margin in margins]
    across = _around(_spread(points, 0), float(centre.mean[0].number), (50.0, width - 14), allowed[0])
    upward = _around(_spread(points, 1), float(centre.mean[1].number), (height - 48, 22.0), allowed[1])
    notes = [" (compressed far from retrain)" if s.transform is not float else "" for s in (across, upward)]
    plane = Plane(across, upward, ("forget accuracy, %" + notes[0], "test accuracy, %" + notes[1]))
    _frame(canvas, plane, _accuracy_ticks(across, 44.0), _accuracy_ticks(upward, 26.0))
    spoken: list[Piece] = ["retrain ", centre.mean[0], " / ", centre.mean[1]]
    _cross(canvas, plane, centre, allowed, spoken)
    _methods(canvas, plane, points, reserved=[plane(centre.mean)])
    values = joined([[*p.model.named, " ", p.mean[0], " / ", p.mean[1]] for p in points], "; ")
    described = ["Forget / test accuracy in percent: ", *spoken, "; ", *values, "."]
    return canvas.finish(title="Forget accuracy against test accuracy", description=described)


def _spread(points: Sequence[Point], axis: int) -> list[float]:
    """All means and all seeds along one axis."""
    pairs = [pair for point in points for pair in (point.mean, *point.seeds.values())]
    return [float(pair[axis].number) for pair in pairs]


def _cross(canvas: Canvas, plane: Plane, centre: Point, margins: Sequence[float], spoken: Phrase) -> None:
    """The retrained model: its margins as a rectangle, its lines, its two numbers."""
    x, y = (float(value.number) for value in centre.mean)
    across, upward = plane.across, plane.upward
    left, top = across(x - margins[0]), upward(y + margins[1])
    canvas.rectangle(left, top, across(x + margins[0]) - left, upward(y - margins[1]) - top, css="band")
    canvas.line(across(x), upward.end, across(x), upward.start, css="reference")
    canvas.line(across.start, upward(y), across.end, upward(y), css="reference")
    near = across(x) > (across.start + across.end) / 2
    place, anchor = (across(x) - 7, "end") if near else (across(x) + 7, "start")
    canvas.text(place, upward.start - 8, spoken, css="note", anchor=anchor)


def cost_chart(study: Study, *, metric: str, title: str, width: float) -> str:
    """Cost on a logarithmic scale against average gap; `metric` is `cost_ratio` or `work_ratio`."""
    points = _points(study, study.methods, (metric, "average_gap"))
    if not points:
        return ""
    height = 340.0
    canvas = Canvas(width, height)
    costs = [max(float(p.mean[0].number), DECADES[0]) for p in points]
    gaps = [float(p.mean[1].number) for p in points]
    floor = float(study.floor.number) if study.floor else 0.0
    across = Scale(min(*costs, 1.0) / 1.5, max(*costs, 1.0) * 1.4, 44.0, width - 12, math.log10)
    bent = long_tailed(gaps)
    upward = Scale(0.0, 1.08 * max(*gaps, floor, 0.1), height - 48, 24.0, math.sqrt if bent else float)
    names = (f"{title} (logarithmic)", "gap, points" + (" (square-root scale)" if bent else ""))
    marks = [m for m in DECADES if across.low <= m <= across.high]
    _frame(canvas, Plane(across, upward, names), _spaced(across, marks, 34.0), _gap_ticks(upward), suffix=TIMES)
    if study.floor is not None:
        top = upward(floor)
        canvas.rectangle(across.start, top, across.end - across.start, upward.start - top, css="band")
        canvas.text(across.start + 6, top - 5, ["noise floor ", study.floor], css="note")
    canvas.line(across(1.0), upward.end, across(1.0), upward.start, css="reference")
    side = "end" if across(1.0) > 0.7 * width else "start"
    canvas.text(across(1.0), upward.end - 9, "as retraining", css="note", anchor=side)
    _methods(canvas, Plane(across, upward, names), points, reserved=[], starred=metric == "cost_ratio")
    values = joined([[*p.model.named, " ", p.mean[0], TIMES + " ", p.mean[1]] for p in points], "; ")
    return canvas.finish(title=f"{title} against average gap", description=[f"{title}, gap: ", *values, "."])


def _point(study: Study, model: Model, metrics: tuple[str, str]) -> Point | None:
    across, up = (study.mean(model, metric) for metric in metrics)
    if across is None or up is None:
        return None
    columns = [study.by_seed(model, metric) for metric in metrics]
    return Point(model, (across, up), {s: (v, columns[1][s]) for s, v in columns[0].items() if s in columns[1]})


def _points(study: Study, models: Sequence[Model], metrics: tuple[str, str]) -> list[Point]:
    found = (_point(study, model, metrics) for model in models)
    return [point for point in found if point is not None]


def _frame(canvas: Canvas, plane: Plane, columns: Sequence[float], rows: Sequence[float], *, suffix: str = "") -> None:
    across, upward = plane.across, plane.upward
    for mark in columns:
        canvas.line(across(mark), upward.end, across(mark), upward.start, css="grid")
        canvas.text(across(mark), upward.start + 17, label(mark) + suffix, css="tick", anchor="middle")
    for mark in rows:
        canvas.line(across.start, upward(mark), across.end, upward(mark), css="grid")
        canvas.text(across.start - 7, upward(mark) + 4, label(mark), css="tick", anchor="end")
    canvas.line(across.start, upward.start, across.end, upward.start, css="axis")
    canvas.line(across.start, upward.end, across.start, upward.start, css="axis")
    canvas.text((across.start + across.end) / 2, upward.start + 37, plane.names[0], css="tick", anchor="middle")
    canvas.text(2, upward.end - 9, f"\N{UPWARDS ARROW} {plane.names[1]}", css="tick")


def _methods(
    canvas: Canvas, plane: Plane, points: Sequence[Point], *, reserved: Sequence[Place], starred: bool = False
) -> None:
    """Seeds as small dots, means as larger ones, and a badge with the letter and the verdict's sign near each mean."""
    texts = [_badge(point.model, starred=starred) for point in points]
    widths = [12 + 7.2 * len(text) for text in texts]
    anchors = [plane(point.mean) for point in points]
    dots = [plane(pair) for point in points for pair in point.seeds.values()]
    area = Area(plane.across.start, plane.upward.end, plane.across.end, plane.upward.start)
    places = place_labels(anchors, widths=widths, height=BADGE, obstacles=[*dots, *reserved], area=area)
    for point in points:
        for seed, pair in point.seeds.items():
            tip: Phrase = [*point.model.named, f", seed {seed}: ", pair[0], ", ", pair[1]]
            canvas.dot(*plane(pair), 2.2, css="seed", tip=tip)
    for point, anchor, place in zip(points, anchors, places, strict=True):
        canvas.line(*anchor, *place, css="leader")
        tip = [*point.model.named, ", mean: ", point.mean[0], ", ", point.mean[1], f", {point.model.verdict}"]
        canvas.dot(*anchor, 4.2, css=f"mean {point.model.verdict}", tip=tip)
    for point, place, text, width in zip(points, places, texts, widths, strict=True):
        canvas.badge(*place, text, css=point.model.verdict, width=width)


def _badge(model: Model, *, starred: bool) -> str:
    star = "*" if starred and model.concurrent else ""
    return f"{model.letter or OUTSIDER}{ORACLE_SIGN if model.oracle else ''}{star} {SIGNS[model.verdict]}"


def _around(values: Sequence[float], centre: float, ends: tuple[float, float], margin: float) -> Scale:
    """A scale over `values` and the margin around `centre`; where a few lie far off, it is linear near it and bends."""
    low, high = min(*values, centre - margin), max(*values, min(centre + margin, 100.0))
    padding = max(0.05 * (high - low), 0.3)
    distances = [abs(value - centre) for value in values]
    bend: Callable[[float], float] = float
    if long_tailed(distances):
        typical = max(2.0 * statistics.median(distances), 0.5)
        bend = _Compressed(centre, typical)
        # Padding that looks the same at both ends of a bent scale is small in values near the centre.
        padding = min(padding, max(typical, 0.5))
    return Scale(low - padding, min(high + padding, 100.0 + 0.3 * padding), *ends, bend)


@dataclass(frozen=True)
class _Compressed:
    """Inverse hyperbolic sine around `centre`: linear within `width`, logarithmic outside."""

    centre: float
    width: float

    def __call__(self, value: float) -> float:
        return math.asinh((value - self.centre) / self.width)


def _accuracy_ticks(scale: Scale, apart: float) -> list[float]:
    if scale.transform is float:
        return ticks(scale.low, min(scale.high, 100.0), count=6)
    finest = (scale.high - scale.low) / 40
    marks = [m for step in STEPS if step >= finest for m in _multiples(step, scale.low, min(scale.high, 100.0))]
    return _spaced(scale, marks, apart)


def _multiples(step: float, low: float, high: float) -> list[float]:
    return [round(i * step, 6) for i in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _gap_ticks(scale: Scale) -> list[float]:
    marks = [m for step in STEPS for m in _multiples(step, 0.0, scale.high)]
    return _spaced(scale, [0.0, *marks], 30.0)


def _spaced(scale: Scale, marks: Sequence[float], apart: float) -> list[float]:
    """As many of `marks` as fit, the first ones preferred, at most nine."""
    kept: list[float] = []
    for mark in marks:
        if len(kept) < 9 and all(abs(scale(mark) - scale(other)) >= apart for other in kept):
            kept.append(mark)
    return sorted(kept)


def letters(models: Sequence[Model]) -> list[tuple[str, list[Piece], str]]:
    """The key to the letters: (badge, name, verdict) of each model."""
    return [(_badge(model, starred=False), model.named, model.verdict) for model in models]
