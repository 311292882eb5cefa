"""Scatter plots of the methods: forget against test accuracy, cost against gap. A letter stands for a method."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from qunlearn.reporting.axes import around, limit, long_tailed, spaced, ticks_from_zero
from qunlearn.reporting.charts import CHARACTER
from qunlearn.reporting.content import SIGNS
from qunlearn.reporting.placement import Area, Place, place_labels
from qunlearn.reporting.source import TIMES, Phrase, Piece, Value, joined, plain
from qunlearn.reporting.study import Model, Study
from qunlearn.reporting.svg import BADGE, Canvas, Scale, label

ORACLE_SIGN = "‡"
"""Beside the letter of an oracle, where its name has no room."""
OUTSIDER = "○"
"""In place of a letter for the original, which is no method."""
ACCURACIES = ("forget_accuracy", "test_accuracy")
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
    middle = [float(value.number) for value in centre.mean]
    across, columns = around(_spread(points, 0), middle[0], (50.0, width - 14), allowed[0], apart=44.0)
    upward, rows = around(_spread(points, 1), middle[1], (height - 48, 32.0), allowed[1], apart=26.0)
    notes = [" (compressed far from retrain)" if s.transform is not float else "" for s in (across, upward)]
    plane = Plane(across, upward, ("forget accuracy, %" + notes[0], "test accuracy, %" + notes[1]))
    _frame(canvas, plane, columns, rows)
    spoken: list[Piece] = ["retrain ", centre.mean[0], " / ", centre.mean[1]]
    written = _cross(canvas, plane, centre, allowed, spoken)
    _methods(canvas, plane, points, reserved=[plane(centre.mean), *written])
    values = joined([[*p.model.named, " ", p.mean[0], " / ", p.mean[1]] for p in points], "; ")
    described = ["Forget / test accuracy in percent: ", *spoken, "; ", *values, "."]
    return canvas.finish(title="Forget accuracy against test accuracy", description=described)


def _spread(points: Sequence[Point], axis: int) -> list[float]:
    """All means and all seeds along one axis."""
    pairs = [pair for point in points for pair in (point.mean, *point.seeds.values())]
    return [float(pair[axis].number) for pair in pairs]


def _cross(canvas: Canvas, plane: Plane, centre: Point, margins: Sequence[float], spoken: Phrase) -> list[Place]:
    """The retrained model: its margins (where figures can be) as a rectangle, its lines, its two numbers.

    Returns the places that the numbers cover.
    """
    x, y = (float(value.number) for value in centre.mean)
    across, upward = plane.across, plane.upward
    left, top = across(max(x - margins[0], 0.0)), upward(min(y + margins[1], 100.0))
    right, bottom = across(min(x + margins[0], 100.0)), upward(max(y - margins[1], 0.0))
    canvas.rectangle(left, top, right - left, bottom - top, css="band")
    canvas.line(across(x), upward.end, across(x), upward.start, css="reference")
    canvas.line(across.start, upward(y), across.end, upward(y), css="reference")
    near = across(x) > (across.start + across.end) / 2
    place, anchor = (across(x) - 7, "end") if near else (across(x) + 7, "start")
    canvas.text(place, upward.start - 8, spoken, css="note", anchor=anchor)
    return _covered(place, upward.start - 12, spoken, rightwards=not near)


def _covered(x: float, y: float, text: Phrase, *, rightwards: bool) -> list[Place]:
    """Places along a text that begins or ends at x."""
    steps = range(0, int(CHARACTER * len(plain(text))) + 1, 10)
    return [(x + step if rightwards else x - step, y) for step in steps]


def cost_chart(study: Study, *, metric: str, title: str, width: float) -> str:
    """Cost on a logarithmic scale against average gap; `metric` is `cost_ratio` or `work_ratio`."""
    points = _points(study, study.methods, (metric, "average_gap"))
    if not points:
        return ""
    height = 348.0
    canvas = Canvas(width, height)
    floor = float(study.floor.number) if study.floor else 0.0
    bent = long_tailed([float(p.mean[1].number) for p in points])
    across = _cost_scale(points, 44.0, width - 12)
    high = limit(max(*_spread(points, 1), floor, 0.0), bent=bent)
    upward = Scale(0.0, high, height - 48, 32.0, math.sqrt if bent else float)
    names = (f"{title} (logarithmic)", "gap, points" + (" (square-root scale)" if bent else ""))
    plane = Plane(across, upward, names)
    marks = [m for m in DECADES if across.low <= m <= across.high]
    _frame(canvas, plane, spaced(across, marks, 34.0), ticks_from_zero(high, bent=bent, apart=0.1), suffix=TIMES)
    written = _floor(canvas, plane, study.floor)
    canvas.line(across(1.0), upward.end, across(1.0), upward.start, css="reference")
    side = "end" if across(1.0) > 0.7 * width else "start"
    canvas.text(across(1.0), upward.end - 16, "as retraining", css="note", anchor=side)
    _methods(canvas, plane, points, reserved=written, starred=metric == "cost_ratio")
    values = joined([[*p.model.named, " ", p.mean[0], TIMES + " ", p.mean[1]] for p in points], "; ")
    return canvas.finish(title=f"{title} against average gap", description=[f"{title}, gap: ", *values, "."])


def _cost_scale(points: Sequence[Point], start: float, end: float) -> Scale:
    """Logarithmic, over all means and seeds, and 1: what retraining costs."""
    costs = [max(cost, DECADES[0]) for cost in [*_spread(points, 0), 1.0]]
    return Scale(min(costs) / 1.35, max(costs) * 1.35, start, end, math.log10)


def _floor(canvas: Canvas, plane: Plane, floor: Value | None) -> list[Place]:
    """The band below the noise floor with its number, beside the line of retraining's cost; where the number stands."""
    if floor is None:
        return []
    across, upward = plane.across, plane.upward
    top, x = upward(float(floor.number)), across.start + 6
    text: list[Piece] = ["noise floor ", floor]
    canvas.rectangle(across.start, top, across.end - across.start, upward.start - top, css="band")
    if x - 6 < across(1.0) < x + CHARACTER * len(plain(text)):
        x = across(1.0) + 7
    canvas.text(x, top - 5, text, css="note")
    return _covered(x, top - 9, text, rightwards=True)


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
    canvas.text(2, upward.end - 16, f"\N{UPWARDS ARROW} {plane.names[1]}", css="tick")


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


def letters(models: Sequence[Model]) -> list[tuple[str, list[Piece], str]]:
    """The key to the letters: (badge, name, verdict) of each model."""
    return [(_badge(model, starred=False), model.named, model.verdict) for model in models]
