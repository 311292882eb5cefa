"""A small drawing board for inline SVG.

Colours come from the page's style sheet, so figures follow dark mode and print.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape

from qunlearn.reporting.source import Phrase, plain, sources, svg

BADGE = 17.0
"""Height of a badge in user units."""


@dataclass
class Canvas:
    """Collects shapes in user units; `finish` wraps them.

    Coordinates grow to the right and down. `css` names classes of the style sheet.
    """

    width: float
    height: float
    _shapes: list[str] = field(default_factory=list)

    def line(self, x1: float, y1: float, x2: float, y2: float, *, css: str) -> None:
        self._shapes.append(f'<line class="{css}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>')

    def rectangle(self, x: float, y: float, width: float, height: float, *, css: str, radius: float = 0) -> None:
        self._shapes.append(
            f'<rect class="{css}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="{radius}"/>'
        )

    def dot(self, x: float, y: float, radius: float, *, css: str, tip: Phrase = "") -> None:
        self._shapes.append(f'<circle class="{css}" cx="{x:.1f}" cy="{y:.1f}" r="{radius}">{_tip(tip)}</circle>')

    def sign(self, x: float, y: float, text: str, *, css: str, radius: float, tip: Phrase = "") -> None:
        """A dot with a sign inside, so that it can be told without its colour."""
        self._shapes.append(
            f'<g class="sign {css}">{_tip(tip)}<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}"/>'
            f'<text x="{x:.1f}" y="{y + 0.52 * radius:.1f}" text-anchor="middle">{escape(text)}</text></g>'
        )

    def badge(self, x: float, y: float, text: str, *, css: str, width: float) -> None:
        """A small label with rounded ends, centred at (x, y)."""
        self._shapes.append(
            f'<g class="badge {css}"><rect x="{x - width / 2:.1f}" y="{y - BADGE / 2:.1f}" width="{width:.1f}" '
            f'height="{BADGE}" rx="{BADGE / 2}"/><text x="{x:.1f}" y="{y + 4:.1f}" text-anchor="middle">'
            f"{escape(text)}</text></g>"
        )

    def text(self, x: float, y: float, text: Phrase, *, css: str = "", anchor: str = "start") -> None:
        self._shapes.append(f'<text class="{css}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{svg(text)}</text>')

    def path(self, points: Sequence[tuple[float, float]], *, css: str, closed: bool = False) -> None:
        steps = " L".join(f"{x:.1f} {y:.1f}" for x, y in points)
        self._shapes.append(f'<path class="{css}" d="M{steps}{"Z" if closed else ""}"/>')

    def finish(self, *, title: str, description: Phrase, css: str = "") -> str:
        """The whole figure, with what a screen reader says."""
        return (
            f'<svg class="{css}" viewBox="0 0 {self.width:.0f} {self.height:.0f}" role="img" '
            f'xmlns="http://www.w3.org/2000/svg"><title>{escape(title)}</title>'
            f"<desc{sources(description)}>{escape(plain(description))}</desc>{''.join(self._shapes)}</svg>"
        )


def _tip(tip: Phrase) -> str:
    return f"<title{sources(tip)}>{escape(plain(tip))}</title>" if tip else ""


@dataclass(frozen=True)
class Scale:
    """Maps [low, high] to [start, end], after `transform` (identity; a square root for long tails)."""

    low: float
    high: float
    start: float
    end: float
    transform: Callable[[float], float] = float

    def __call__(self, value: float) -> float:
        bottom, top = self.transform(self.low), self.transform(self.high)
        position = (self.transform(min(max(value, self.low), self.high)) - bottom) / (top - bottom)
        return self.start + position * (self.end - self.start)


def ticks(low: float, high: float, *, count: int) -> list[float]:
    """About `count` round numbers (1, 2, 2.5 or 5 times a power of ten apart) inside [low, high]."""
    raw = (high - low) / max(count, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(i * step, 10) for i in range(first, last + 1)]


def label(value: float) -> str:
    """A tick's text: as short as it can be, with a real minus sign."""
    return f"{value:g}".replace("-", "\N{MINUS SIGN}")
