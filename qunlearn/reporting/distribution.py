"""How sure each model is, and how large its losses are: small multiples over the retrained model's distribution."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from qunlearn.evaluation.arrays import Floats
from qunlearn.reporting.source import Piece, plain
from qunlearn.reporting.study import Model, Study
from qunlearn.reporting.svg import Canvas, Scale, label

KINDS = {"confidence": "probability of the true class", "loss": "loss, nats"}
MOST = 4
"""Small multiples side by side, at most."""
WIDTH, HEIGHT = 250.0, 120.0
SHARES = (0.01, 0.1, 0.3, 0.6, 1.0)


@dataclass(frozen=True)
class Panel:
    """One model's figure, with its name for the caption."""

    model: Model
    name: list[Piece]
    figure: str


def distribution_panels(study: Study, kind: str) -> list[Panel]:
    """A figure a model: shares of its forget set (filled) and test set (line) over the retrained model's forget set.

    The retrained model has none: it would be its own outline.

    Args:
        kind: `confidence` or `loss`. Shares are means over the seeds; models without histograms are left out.
    """
    reference = _mean(study, study.reference, kind, "forget")
    found = []
    for model in study.compared:
        forget, test = (_mean(study, model, kind, subset) for subset in ("forget", "test"))
        edges = _edges(study, model, kind)
        if forget is not None and test is not None and edges is not None:
            figure = _panel(model, kind, edges, forget, test, reference)
            found.append(Panel(model, model.named, figure))
    return found


def columns(count: int) -> int:
    """Columns for `count` small multiples: three or four, so that the last line is as full as can be."""
    lines = math.ceil(count / MOST)
    return min(MOST, max(3, math.ceil(count / max(lines, 1))))


def _mean(study: Study, model: Model, kind: str, subset: str) -> Floats | None:
    shares = [histogram[kind][subset] for histogram in study.stats(model, "histograms")]
    if not shares:
        return None
    mean: Floats = np.mean(np.asarray(shares, dtype=np.float64), axis=0)
    return mean


def _edges(study: Study, model: Model, kind: str) -> list[float] | None:
    return next((list(h[kind]["edges"]) for h in study.stats(model, "histograms")), None)


def _panel(
    model: Model, kind: str, edges: Sequence[float], forget: Floats, test: Floats, reference: Floats | None
) -> str:
    canvas = Canvas(WIDTH, HEIGHT)
    across = Scale(0.0, float(len(forget)), 34.0, WIDTH - 6)
    upward = Scale(0.0, 1.0, HEIGHT - 20, 8.0, lambda share: share**0.5)
    for mark in SHARES:
        canvas.line(across.start, upward(mark), across.end, upward(mark), css="grid")
        if mark != SHARES[0]:
            canvas.text(across.start - 5, upward(mark) + 4, f"{100 * mark:g}", css="tick", anchor="end")
    for place, text in _marks(edges):
        canvas.text(across(place), upward.start + 15, text, css="tick", anchor="middle")
    canvas.path(_outline(across, upward, forget, closed=True), css="area", closed=True)
    canvas.path(_outline(across, upward, test), css="line test")
    if reference is not None:
        canvas.path(_outline(across, upward, reference), css="line retrain")
    canvas.line(across.start, upward.start, across.end, upward.start, css="axis")
    name = plain(model.named)
    described = f"Distribution of the {KINDS[kind]} of {name} on the forget set and the test set, mean over "
    described += "the seeds, beside the retrained model's on the forget set."
    return canvas.finish(title=f"{kind.capitalize()} of {name}", description=described)


def _outline(across: Scale, upward: Scale, shares: Floats, *, closed: bool = False) -> list[tuple[float, float]]:
    """The histogram's upper edge as steps; `closed` takes it down to the axis at both ends."""
    points = [(across(i + end), upward(float(share))) for i, share in enumerate(shares) for end in (0.0, 1.0)]
    if closed:
        points = [(across.start, upward.start), *points, (across.end, upward.start)]
    return points


def _marks(edges: Sequence[float]) -> list[tuple[float, str]]:
    """(place in bins, text) of about five ticks: powers of ten on a logarithmic axis, quarters on a linear one."""
    logarithmic = edges[0] > 0 and edges[1] / edges[0] > 1.2
    places = np.asarray(edges, dtype=np.float64)
    if logarithmic:
        powers = range(int(np.ceil(np.log10(edges[0]) - 1e-9)), int(np.floor(np.log10(edges[-1]) + 1e-9)) + 1, 2)
        wanted = [10.0**power for power in powers]
        found = np.interp(np.log10(wanted), np.log10(places), np.arange(len(edges)))
        return [(float(place), _power(value)) for place, value in zip(found, wanted, strict=True)]
    wanted = [float(v) for v in np.linspace(edges[0], edges[-1], 5)]
    found = np.interp(wanted, places, np.arange(len(edges)))
    return [(float(place), label(value)) for place, value in zip(found, wanted, strict=True)]


def _power(value: float) -> str:
    exponent = round(np.log10(value))
    if -1 <= exponent <= 1:
        return f"{value:g}"
    return "10" + str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
