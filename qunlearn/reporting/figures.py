"""Pictures of the same figures for an experiment tracker, drawn with matplotlib."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from qunlearn.evaluation.summary import REFERENCE
from qunlearn.reporting.charts import long_tailed
from qunlearn.reporting.conflict import COSINE, REMOVED, has_conflicts
from qunlearn.reporting.content import Evaluation

BLUE, VERMILION, GREY = "#0072B2", "#D55E00", "#767c85"
"""From the palette of Okabe and Ito, made for colour-blind readers."""


def conflict_figure(columns: Mapping[str, Any]) -> Figure:
    """Cosine between forget and retain gradient, and the removed fraction, over the steps of one run.

    Args:
        columns: `step`, `cosine_before`, `removed_fraction`, of equal length.

    Raises:
        ValueError: a column is missing or empty.
    """
    if not has_conflicts(columns):
        raise ValueError(f"columns {sorted(columns)}: step, {COSINE} and {REMOVED} are needed, with at least one step")
    figure = Figure(figsize=(9.0, 3.4), dpi=150, layout="constrained")
    step = np.asarray(columns["step"])
    panels = ((COSINE, "cosine of forget and retain gradient", BLUE), (REMOVED, "removed fraction", VERMILION))
    for axes, (name, title, colour) in zip(figure.subplots(1, 2), panels, strict=True):
        axes.axhline(0.0, color=GREY, linewidth=0.8)
        axes.plot(step, np.asarray(columns[name], dtype=np.float64), color=colour, linewidth=0.9)
        axes.set(title=title, xlabel="optimizer step")
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def gap_figure(evaluation: Evaluation) -> Figure:
    """Average gap of each method with 95 % interval, against the noise floor between retrained models."""
    rows = [row for row in evaluation["summary"] if row["method"] != REFERENCE]
    rows.sort(key=lambda row: row["mean"]["average_gap"], reverse=True)
    figure = Figure(figsize=(8.0, 1.2 + 0.42 * len(rows)), dpi=150, layout="constrained")
    axes = figure.subplots()
    for place, row in enumerate(rows):
        mean, interval = row["mean"]["average_gap"], row["interval"]["average_gap"]
        if interval is not None:
            axes.plot([max(0.0, interval[0]), interval[1]], [place, place], color=BLUE, alpha=0.4, linewidth=4)
        axes.plot(mean, place, "o", color=BLUE, markersize=7)
    floor = evaluation["context"]["noise_floor"]
    if floor is not None:
        axes.axvspan(0.0, floor, color=GREY, alpha=0.15, linewidth=0)
        axes.axvline(floor, color=GREY, linestyle="--", linewidth=1.2)
        top = (floor, 1.0)
        axes.annotate(f" noise floor {floor:.2f}", top, xycoords=("data", "axes fraction"), va="bottom", color=GREY)
    crowded = long_tailed([row["mean"]["average_gap"] for row in rows])
    if crowded:
        axes.set_xscale("function", functions=(lambda x: np.sqrt(np.maximum(x, 0.0)), np.square))
    axes.set_yticks(range(len(rows)), [row["method"] for row in rows])
    axes.set_xlim(left=0.0)
    unit = "percentage points" + (" (square-root scale)" if crowded else "")
    axes.set_xlabel(unit)
    axes.set_title("Average gap to the retrained model", pad=18)
    axes.spines[["top", "right"]].set_visible(False)
    return figure
