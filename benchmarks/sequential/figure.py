"""The figure of a study: gap, test accuracy and accuracy on what was forgotten, against the number of the request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.sequential.course import ORIGINAL, REFERENCE
from benchmarks.sequential.setting import LIMIT, NEVER
from benchmarks.sequential.summary import curves, methods
from qunlearn.reporting.axes import limit, long_tailed, ticks_from_zero
from qunlearn.reporting.figures.style import BLACK, BLUE, GREY, VERMILION, note, square_root

Entries = Sequence[Mapping[str, Any]]

PANELS = {
    "average_gap": "gap to retraining, points",
    "test_accuracy": "test accuracy, %",
    "forget_accuracy": "accuracy on all forgotten, %",
}
"""Figure -> label of its axis, from top to bottom."""
STYLES: dict[str, dict[str, Any]] = {
    # Wide and below the other arm, so that both are seen where they are the same.
    NEVER: {"color": VERMILION, "marker": "o", "markersize": 6.5, "linewidth": 3.0},
    LIMIT: {"color": BLUE, "marker": "s", "markersize": 3.5, "linewidth": 1.5},
    ORIGINAL: {"color": GREY, "marker": "", "linestyle": ":", "linewidth": 1.5},
    REFERENCE: {"color": BLACK, "marker": "", "linestyle": "--", "linewidth": 1.3},
}


def sequential_figure(content: Mapping[str, Any]) -> Figure:
    """A column a method, a row a figure; lines are medians over seeds, shades the range.

    Args:
        content: as `publish.content` makes it.
    """
    entries = content["summary"]
    names = methods(entries)
    figure = Figure(figsize=(max(6.4, 1.6 + 3.6 * len(names)), 8.4), layout="constrained")
    panels = figure.subplots(len(PANELS), len(names), sharex=True, sharey="row", squeeze=False)
    for row, (metric, label) in zip(panels, PANELS.items(), strict=True):
        for axes, method in zip(row, names, strict=True):
            _panel(axes, entries, metric, method=method, limit_text=_limit_text(content))
        row[0].set_ylabel(label)
    for axes, method in zip(panels[0], names, strict=True):
        axes.set_title(method)
    _gap_scale(panels[0, 0], entries)
    for axes in panels[-1]:
        axes.set_xlabel("request")
        axes.set_xticks([entry["request"] for entry in curves(entries, arm=REFERENCE)])
    _legend(figure, list(panels[:, 0]))
    note(figure, _sentences(content, bent=panels[0, 0].get_yscale() == "function"))
    return figure


def _limit_text(content: Mapping[str, Any]) -> str:
    return f"max_sequential: {content['context']['setting']['limit']}"


def _panel(axes: Axes, entries: Entries, metric: str, *, method: str, limit_text: str) -> None:
    if metric == "average_gap":
        # One retrained network has no other to differ from.
        floors = [one for one in curves(entries, arm=REFERENCE) if one["noise_floor"] is not None]
        requests, heights = [one["request"] for one in floors], [one["noise_floor"] for one in floors]
        axes.fill_between(requests, heights, color=GREY, alpha=0.2, linewidth=0, label="noise floor")
    else:
        _curve(axes, curves(entries, arm=REFERENCE), metric, arm=REFERENCE, label="retrained reference")
    _curve(axes, curves(entries, arm=ORIGINAL), metric, arm=ORIGINAL, label="original, untouched")
    _curve(axes, curves(entries, arm=NEVER, method=method), metric, arm=NEVER, label="max_sequential: null")
    limited = curves(entries, arm=LIMIT, method=method)
    _curve(axes, limited, metric, arm=LIMIT, label=limit_text)
    anew = [one for one in limited if one["retrained"]]
    axes.plot(
        [one["request"] for one in anew],
        [one[metric]["median"] for one in anew],
        linestyle="none",
        marker="s",
        markersize=8.5,
        markerfacecolor="white",
        markeredgecolor=BLUE,
        markeredgewidth=1.6,
        zorder=4,
        clip_on=False,
        label="trained anew",
    )
    axes.grid(axis="y")
    axes.set_axisbelow(True)


def _curve(axes: Axes, entries: Entries, metric: str, *, arm: str, label: str) -> None:
    requests = [one["request"] for one in entries]
    spreads = [one[metric] for one in entries]
    style = STYLES[arm]
    if arm != ORIGINAL:
        lows, highs = [one["low"] for one in spreads], [one["high"] for one in spreads]
        axes.fill_between(requests, lows, highs, color=style["color"], alpha=0.13, linewidth=0)
    axes.plot(requests, [one["median"] for one in spreads], label=label, **style)


def _gap_scale(axes: Axes, entries: Entries) -> None:
    gaps = [one["average_gap"][place] for one in entries if "average_gap" in one for place in ("median", "high")]
    bent = long_tailed(gaps)
    high = limit(max([*gaps, *(one["noise_floor"] or 0.0 for one in entries)]), bent=bent)
    if bent:
        square_root(axes, "y", high=high)
    else:
        axes.set_ylim(0.0, high)
        axes.set_yticks(ticks_from_zero(high, bent=False, apart=0.07))


def _legend(figure: Figure, panels: Sequence[Axes]) -> None:
    """One legend above all panels, in which each name stands once."""
    handles: dict[str, Any] = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    figure.legend(handles.values(), handles.keys(), loc="outside upper left", ncols=3)


def _sentences(content: Mapping[str, Any], *, bent: bool) -> list[str]:
    seeds = len(content["context"]["seeds"])
    return [
        f"Lines: medians over {seeds} seeds, shades: the range" if seeds > 1 else "1 seed",
        "Gap: mean distance to a network retrained without all samples asked for so far, over four figures",
        "Noise floor: the mean gap between networks retrained for the same request",
        *(["Gaps on a square-root scale"] if bent else []),
    ]
