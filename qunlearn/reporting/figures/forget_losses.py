"""How the losses of single forget images moved over the epochs of each method, and how many it still gets right."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from qunlearn.reporting import series
from qunlearn.reporting.distribution import columns
from qunlearn.reporting.figures.style import (
    BLUE,
    GREY,
    VERMILION,
    described,
    empty,
    folded,
    mean_text,
    note,
    seeds_text,
)
from qunlearn.reporting.forget_losses import (
    ACCURACIES,
    BANDS,
    MEDIAN,
    Course,
    course_ends,
    courses,
    epoch_ticks,
    highest_loss,
    loss_ticks,
)
from qunlearn.reporting.study import Evaluation

TITLE = "Losses of the forget images over the epochs"
LABELS = {
    "median": "median",
    "half": "middle 50 %",
    "most": "middle 90 % of the images",
    "accuracy": "forget accuracy",
    "seed": "each seed",
    "turn": "between two phases",
}
"""What is drawn -> its name in the legend, in the legend's order."""


def forget_losses_figure(evaluation: Evaluation) -> Figure:
    """Two panels a method, one above the other: the fan of loss quantiles, and forget accuracy.

    All methods share both scales of height; each has an axis of its own epochs.
    """
    found = courses(series.forget_losses(evaluation))
    if not found:
        return empty(TITLE, "No method recorded the losses of its forget images after an epoch.")
    across = min(columns(len(found)), len(found))
    lines = math.ceil(len(found) / across)
    figure = Figure(figsize=(min(10.0, 4.4 + 2.0 * across), 1.5 + 2.45 * lines), layout="constrained")
    panels = figure.subplots(2 * lines, across, squeeze=False, height_ratios=[1.9, 1.0] * lines)
    models, high = described(evaluation, found), highest_loss(found)
    for place in range(lines * across):
        line, column = divmod(place, across)
        fan, accuracy = panels[2 * line, column], panels[2 * line + 1, column]
        if place >= len(found):
            fan.set_visible(False)
            accuracy.set_visible(False)
            continue
        _pair(fan, accuracy, found[models[place]["method"]], high=high)
        fan.set_title(folded(models[place]), fontsize=9)
        # Where the last row is not full, the axis above the gap is named, too.
        accuracy.set_xlabel("epoch" if place + across >= len(found) else "", fontsize=8)
        _left(fan, accuracy, first=column == 0)
    _legend(figure)
    note(figure, _sentences(evaluation), rows=models)
    return figure


def _pair(fan: Axes, accuracy: Axes, course: Course, *, high: float) -> None:
    _fan(fan, course)
    _accuracy(accuracy, course)
    _loss_scale(fan, high=high)
    accuracy.set_ylim(0.0, 100.0)
    accuracy.set_yticks(ACCURACIES)
    for axes in (fan, accuracy):
        for turn in course.turns:
            axes.axvline(turn, color=GREY, linestyle=(0, (4, 2)), linewidth=1.1, label=LABELS["turn"])
        axes.set_xlim(*course_ends(course))
        axes.set_xticks(epoch_ticks(course))
        axes.grid(axis="y")
        axes.set_axisbelow(True)
    fan.tick_params(labelbottom=False)


def _fan(axes: Axes, course: Course) -> None:
    for (low, top), alpha, name in zip(BANDS, (0.2, 0.38), ("most", "half"), strict=True):
        lower, upper = course.band(low), course.band(top)
        axes.fill_between(course.sides, lower, upper, color=VERMILION, alpha=alpha, linewidth=0, label=LABELS[name])
    for place in (0, 1):
        _seeds(axes, [(seed.epochs, seed.edges[place]) for seed in course.seeds], color=VERMILION)
    _line(axes, course.epochs, course.fan[MEDIAN], color=VERMILION, label=LABELS["median"])


def _accuracy(axes: Axes, course: Course) -> None:
    _seeds(axes, [(seed.epochs, seed.correct) for seed in course.seeds], color=BLUE)
    _line(axes, course.epochs, course.correct, color=BLUE, label=LABELS["accuracy"])


def _seeds(axes: Axes, curves: Sequence[tuple[list[int], list[float]]], *, color: str) -> None:
    """A thin line a seed; nothing where the only seed is the mean, too."""
    for epochs, values in curves if len(curves) > 1 else []:
        point = "o" if len(epochs) == 1 else ""  # a line of one point is invisible
        style: dict[str, Any] = {"linewidth": 0.7, "alpha": 0.45, "marker": point, "markersize": 3.0}
        axes.plot(epochs, values, color=color, clip_on=False, label=LABELS["seed"], **style)


def _line(axes: Axes, epochs: list[int], values: list[float], *, color: str, label: str) -> None:
    # Not clipped: a loss near 0 or an accuracy of 0 lies on the axis.
    axes.plot(epochs, values, color=color, linewidth=1.6, marker="o", markersize=2.8, clip_on=False, label=label)


def _loss_scale(axes: Axes, *, high: float) -> None:
    """From 0 to `high`: linear near zero, logarithmic above one."""
    axes.set_yscale("function", functions=(lambda x: np.log1p(np.maximum(x, 0.0)), np.expm1))
    axes.set_ylim(0.0, high)
    kept = loss_ticks(high, apart=0.15)
    axes.set_yticks(kept, [f"{mark:g}" for mark in kept])


def _left(fan: Axes, accuracy: Axes, *, first: bool) -> None:
    """Numbers and names at the left edge alone: the scales of all panels are the same."""
    for axes, text in ((fan, "loss, nats"), (accuracy, "correct, %")):
        axes.tick_params(labelleft=first)
        axes.set_ylabel(text if first else "", fontsize=8)


def _legend(figure: Figure) -> None:
    found: dict[str, Artist] = {}
    for axes in figure.axes:
        found |= {str(text): handle for handle, text in zip(*axes.get_legend_handles_labels(), strict=True)}
    shown = [text for text in LABELS.values() if text in found]
    across = len(shown) if figure.get_figwidth() > 9 else 3
    # The figure's title is the legend's: two texts at the upper edge would lie upon each other.
    look: dict[str, Any] = {"loc": "outside upper left", "ncols": across, "alignment": "left", "borderpad": 0.4}
    figure.legend([found[text] for text in shown], shown, title=TITLE, title_fontsize=11, **look)


def _sentences(evaluation: Evaluation) -> list[str]:
    several = seeds_text(evaluation) != "1 seed"
    means = f"{mean_text(evaluation)}{', of each quantile and of accuracy' if several else ''}"
    return [
        f"{means}; measured after each epoch on the same forget images, at most 1000",
        *(["Thin lines: each seed's accuracy, and the ends of its middle 90 %"] if several else []),
        "Losses are cross-entropies; their scale, that of all methods, is linear near 0 and logarithmic above 1",
        "An epoch of one method is not the work of an epoch of another",
    ]
