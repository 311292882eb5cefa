"""How the losses of single forget images moved from epoch to epoch: the course of a method, and the page's figures.

A mean can stay where it is while the losses part: some images go very high, others come back near zero.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count, pairwise
from statistics import mean

from qunlearn.reporting.axes import spaced
from qunlearn.reporting.distribution import Panel
from qunlearn.reporting.series import QUANTILES, Rows, forget_losses
from qunlearn.reporting.source import plain
from qunlearn.reporting.study import Model, Study
from qunlearn.reporting.svg import Canvas, Scale, label

BANDS = (("p05", "p95"), ("p25", "p75"))
"""Ends of the bands of a fan, the outer one first."""
MEDIAN = "p50"
ACCURACIES = (0.0, 50.0, 100.0)
"""Ticks in percent: the whole range, so that figures of different studies can be compared."""
HALF_BAR = 0.12
"""Half the width, in epochs, of what stands for a band where there is one epoch alone."""

WIDTH, HEIGHT = 330.0, 204.0


@dataclass(frozen=True)
class Seed:
    """The epochs of one seed: its accuracy in percent, and its lowest and highest quantile in nats."""

    epochs: list[int]
    correct: list[float]
    edges: tuple[list[float], list[float]]


@dataclass(frozen=True)
class Course:
    """The epochs of one method.

    Args:
        epochs: those that all its seeds have.
        fan: quantile -> mean over the seeds after each of `epochs`, in nats.
        correct: mean over the seeds after each of `epochs`, in percent.
        seeds: each of them as far as it goes. A mean hides that one seed of three forgot all images and another not.
        turns: places between two epochs where one phase ends and another begins.
    """

    epochs: list[int]
    fan: dict[str, list[float]]
    correct: list[float]
    seeds: list[Seed]
    turns: list[float]

    @property
    def sides(self) -> list[float]:
        """Places of the bands' ends: the epochs, or both sides of the only one, where a band had no width."""
        return list(self.epochs) if len(self.epochs) > 1 else [self.epochs[0] - HALF_BAR, self.epochs[0] + HALF_BAR]

    def band(self, name: str) -> list[float]:
        """The quantile at each of `sides`."""
        return self.fan[name] if len(self.epochs) > 1 else 2 * self.fan[name]


def courses(rows: Rows) -> dict[str, Course]:
    """Method -> its course, from the rows of `series.forget_losses`."""
    return {name: _course([row for row in rows if row["method"] == name]) for name in _distinct(rows, "method")}


def highest_loss(found: Mapping[str, Course]) -> float:
    """The end of a scale of losses from 0 that shows all courses: one, two or five times a power of ten."""
    highest = max(loss for course in found.values() for seed in course.seeds for loss in seed.edges[1])
    ends = (round(step * 10.0**power, 10) for power in count(-1) for step in (1, 2, 5))
    return next(end for end in ends if end >= 1.02 * highest)


def loss_ticks(high: float, *, apart: float) -> list[float]:
    """Ticks from 0 to `high` on a scale of log(1 + loss), which keeps 0 and has room for very high losses.

    Args:
        apart: least distance of two ticks, as a share of the axis.
    """
    powers = range(-2, math.floor(math.log10(high)) + 1)
    marks = [round(step * 10.0**power, 10) for step in (1, 5, 2) for power in reversed(powers)]
    return spaced(Scale(0.0, high, 0.0, 1.0, math.log1p), [0.0, high, *(m for m in marks if m < high)], apart)


def epoch_ticks(course: Course) -> list[float]:
    """The first, the last, and round numbers between them that leave room for their text."""
    low, high = course_ends(course)
    first, last = low + 0.5, high - 0.5
    step = next(step * 10**power for power in count() for step in (1, 2, 5) if last - first <= 4 * step * 10**power)
    between = [float(mark) for mark in range(step, int(last), step) if mark > first]
    return spaced(Scale(low, high, 0.0, 1.0), [last, first, *between], 0.17)


def course_ends(course: Course) -> tuple[float, float]:
    """Ends of the axis of epochs, half an epoch outside of them: those of the seed that went furthest."""
    known = [epoch for seed in course.seeds for epoch in seed.epochs]
    return min(known) - 0.5, max(known) + 0.5


def forget_loss_panels(study: Study) -> list[Panel]:
    """A figure a method that has epochs: the fan of losses, and forget accuracy below it, all on the same scales."""
    found = courses(forget_losses(study.evaluation))
    if not found:
        return []
    high = highest_loss(found)
    shown = [model for model in study.models if model.name in found]
    return [Panel(model, model.named, _panel(model, found[model.name], high)) for model in shown]


def _distinct(rows: Rows, name: str) -> list[str]:
    return list(dict.fromkeys(row[name] for row in rows))


def _course(rows: Rows) -> Course:
    seeds = [[row for row in rows if row["seed"] == seed] for seed in _distinct(rows, "seed")]
    at: dict[int, Rows] = {}
    for row in rows:
        at.setdefault(row["epoch"], []).append(row)
    # A mean over fewer seeds from some epoch on would jump there.
    epochs = [epoch for epoch in sorted(at) if len(at[epoch]) == len(seeds)]
    return Course(
        epochs=epochs,
        fan={name: [mean(row[name] for row in at[epoch]) for epoch in epochs] for name in QUANTILES},
        correct=[100.0 * mean(row["correct"] for row in at[epoch]) for epoch in epochs],
        seeds=[_seed(one) for one in seeds],
        turns=sorted({turn for one in seeds for turn in _turns(one)}),
    )


def _seed(rows: Rows) -> Seed:
    low, high = ([row[name] for row in rows] for name in BANDS[0])
    return Seed([row["epoch"] for row in rows], [100.0 * row["correct"] for row in rows], (low, high))


def _turns(rows: Rows) -> list[float]:
    return [(row["epoch"] + after["epoch"]) / 2 for row, after in pairwise(rows) if row["phase"] != after["phase"]]


def _panel(model: Model, course: Course, high: float) -> str:
    canvas = Canvas(WIDTH, HEIGHT)
    across = Scale(*course_ends(course), 34.0, WIDTH - 6)
    upward = Scale(0.0, high, 112.0, 8.0, math.log1p)
    correct = Scale(0.0, 100.0, HEIGHT - 20, 138.0)
    _axes(canvas, across, upward, loss_ticks(high, apart=0.19))
    _axes(canvas, across, correct, ACCURACIES)
    for mark in epoch_ticks(course):
        canvas.text(across(mark), correct.start + 15, label(mark), css="tick", anchor="middle")
    for (low, top), css in zip(BANDS, ("band", "area"), strict=True):
        lower, upper = (_points(course.sides, course.band(name), across, upward) for name in (low, top))
        canvas.path([*lower, *reversed(upper)], css=css, closed=True)
    for seed in course.seeds if len(course.seeds) > 1 else []:
        for values, scale in ((seed.edges[0], upward), (seed.edges[1], upward), (seed.correct, correct)):
            _line(canvas, _points(seed.epochs, values, across, scale), css="each")
    _line(canvas, _points(course.epochs, course.fan[MEDIAN], across, upward), css="average")
    _line(canvas, _points(course.epochs, course.correct, across, correct), css="average")
    for turn in course.turns:
        for scale in (upward, correct):
            canvas.line(across(turn), scale.start, across(turn), scale.end, css="reference")
    name = plain(model.named)
    described = f"Median and two bands of the cross-entropies of single forget images of {name} after each epoch, and "
    described += "below them the share of the forget images that it still gets right; means over the seeds."
    return canvas.finish(title=f"Losses of the forget images of {name}", description=described)


def _axes(canvas: Canvas, across: Scale, upward: Scale, marks: Sequence[float]) -> None:
    for mark in marks:
        css = "grid" if mark else "axis"
        canvas.line(across.start, upward(mark), across.end, upward(mark), css=css)
        canvas.text(across.start - 5, upward(mark) + 4, label(mark), css="tick", anchor="end")


def _points(
    places: Sequence[float], values: Sequence[float], across: Scale, upward: Scale
) -> list[tuple[float, float]]:
    return [(across(place), upward(value)) for place, value in zip(places, values, strict=True)]


def _line(canvas: Canvas, points: Sequence[tuple[float, float]], *, css: str) -> None:
    if len(points) == 1:  # a line of one point is invisible
        canvas.dot(*points[0], 3.0, css=f"point {css}")
    else:
        canvas.path(points, css=css)
