"""Ends and ticks of axes: whole numbers at both ends where that costs little, nothing cut that is drawn."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from qunlearn.reporting.svg import Scale, ticks

STEPS = (50.0, 20.0, 10.0, 5.0, 2.0, 1.0, 0.5, 0.2, 0.1)
ROOTS = (0.1, 0.2, 0.5, 1.0, 2.0, 3.0, 5.0, 7.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 75.0, 100.0, 110.0)
"""Ends of an axis on a square-root scale; those that fit are its ticks."""


def long_tailed(values: Sequence[float]) -> bool:
    """Whether one value would squeeze the others into a corner of a linear scale."""
    return max(values, default=0.0) > 6 * max(statistics.median(values or [1.0]), 1e-9)


def limit(highest: float, *, bent: bool) -> float:
    """End of an axis from 0 that shows `highest`, in points, with some space above it: one of its own ticks.

    Args:
        bent: the axis has a square-root scale.
    """
    wanted = 1.04 * max(highest, 0.1)
    if bent:
        return next((end for end in ROOTS if end >= wanted), ROOTS[-1])
    step, high = 0.0, wanted
    # A longer axis can have wider steps, of which its end must be a multiple, too.
    while (wider := _step(high, 5)) != step:
        step = wider
        high = round(math.ceil(wanted / step - 1e-9) * step, 10)
    return high


def ticks_from_zero(high: float, *, bent: bool, apart: float) -> list[float]:
    """Ticks from 0 to `high`, the end of `limit`, both included.

    Args:
        apart: least distance of two ticks of a square-root scale, as a share of the axis.
    """
    if not bent:
        return ticks(0.0, high, count=5)
    # Large numbers first: near zero a square root leaves more space than there is to tell.
    marks = [mark for mark in ROOTS[::-1] if mark < high]
    return spaced(Scale(0.0, high, 0.0, 1.0, math.sqrt), [0.0, high, *marks], apart)


def around(
    values: Sequence[float], centre: float, ends: tuple[float, float], margin: float, *, apart: float
) -> tuple[Scale, list[float]]:
    """A scale for percentages over `values` and the margin around `centre`, and its ticks; it ends at ticks.

    Where a few values lie far off, it is linear near the centre and bends.

    Args:
        ends: where the scale begins and ends on the canvas.
        apart: least distance of two ticks, in user units.
    """
    low, high = min(*values, max(centre - margin, 0.0)), max(*values, min(centre + margin, 100.0))
    distances = [abs(value - centre) for value in values]
    if long_tailed(distances):
        bend = _Compressed(centre, max(2.0 * statistics.median(distances), 0.5))
        low, high = _beyond(low, centre, math.floor), _beyond(high, centre, math.ceil)
        scale = Scale(*_possible(low, high, 0.3 * bend.width), *ends, bend)
        steps = [step for step in STEPS if step >= (high - low) / 40]
    else:
        steps = [_step(max(high - low, 0.4), 8)]
        low, high = (
            steps[0] * whole for whole in (math.floor(low / steps[0] - 0.15), math.ceil(high / steps[0] + 0.15))
        )
        scale = Scale(*_possible(low, high, 0.3 * steps[0]), *ends)
    low, high = max(low, 0.0), min(high, 100.0)
    return scale, spaced(scale, [low, high, *(mark for step in steps for mark in _multiples(step, low, high))], apart)


def spaced(scale: Scale, marks: Sequence[float], apart: float) -> list[float]:
    """As many of `marks` as fit, the first ones preferred, at most twelve."""
    kept: list[float] = []
    for mark in marks:
        if len(kept) < 12 and all(abs(scale(mark) - scale(other)) >= apart for other in kept):
            kept.append(mark)
    return sorted(kept)


@dataclass(frozen=True)
class _Compressed:
    """Inverse hyperbolic sine around `centre`: linear within `width`, logarithmic outside."""

    centre: float
    width: float

    def __call__(self, value: float) -> float:
        return math.asinh((value - self.centre) / self.width)


def _step(span: float, count: int) -> float:
    """The step of about `count` round numbers in `span`."""
    first, second, *_ = ticks(0.0, span, count=count)
    return second - first


def _beyond(end: float, centre: float, whole: Callable[[float], int]) -> float:
    """The next round number outwards; the further from the centre, the rounder."""
    step = next((step for step in STEPS if 0.5 <= step <= 0.3 * abs(end - centre)), 0.5)
    space = 0.1 if whole is math.ceil else -0.1
    return round(step * whole(end / step + space), 10)


def _possible(low: float, high: float, space: float) -> tuple[float, float]:
    """Ends from 0 to 100 at most; a little space beyond, for what lies there must not be cut."""
    return (low if low >= 0.0 else -space), (high if high <= 100.0 else 100.0 + space)


def _multiples(step: float, low: float, high: float) -> list[float]:
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(i * step, 6) for i in range(first, last + 1)]
