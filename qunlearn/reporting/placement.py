"""Places for the labels of a scatter plot: near their points, apart from each other and from the points."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

Place = tuple[float, float]

RINGS = (15.0, 22.0, 30.0, 40.0, 52.0, 66.0, 84.0, 105.0, 130.0)
"""Distances from the point that are tried, in user units."""
DIRECTIONS = 24


@dataclass(frozen=True)
class Area:
    """The rectangle that labels must stay in."""

    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True)
class Label:
    """A label of the given half width around `centre`, with its leader line to `anchor`."""

    anchor: Place
    centre: Place
    half_width: float


@dataclass(frozen=True)
class Board:
    """What labels have to respect: the area, all labelled points, further points, and the labels' height."""

    area: Area
    anchors: Sequence[Place]
    obstacles: Sequence[Place]
    height: float

    def cost(self, label: Label, placed: Sequence[Label]) -> float:
        """How bad a place is: distance first, with surcharges for what would be hidden or hard to follow."""
        near = math.dist(label.centre, label.anchor)
        points = 120 * self._hidden(label, self.anchors, 5) + 60 * self._hidden(label, self.obstacles, 3)
        passed = sum(_passes(p, label.anchor, label.centre) for p in self.anchors if p != label.anchor)
        return near + 1e5 * self._outside(label) + points + 50 * passed + sum(self._clash(label, o) for o in placed)

    def _outside(self, label: Label) -> int:
        (x, y), half = label.centre, label.half_width
        across = self.area.left + half <= x <= self.area.right - half
        return (not across) + (not self.area.top + self.height / 2 <= y <= self.area.bottom - self.height / 2)

    def _hidden(self, label: Label, points: Sequence[Place], margin: float) -> int:
        (x, y), half = label.centre, label.half_width + margin
        return sum(abs(p[0] - x) < half and abs(p[1] - y) < self.height / 2 + margin for p in points)

    def _clash(self, label: Label, other: Label) -> float:
        apart = label.half_width + other.half_width + 2
        dx, dy = abs(label.centre[0] - other.centre[0]), abs(label.centre[1] - other.centre[1])
        crossed = _cross(label.anchor, label.centre, other.anchor, other.centre)
        covered = self._covers(label, other) + self._covers(other, label)
        return 1e4 * (dx < apart and dy < self.height + 2) + 60 * crossed + 40 * covered

    def _covers(self, label: Label, other: Label) -> bool:
        """Whether the label lies on the other's leader line."""
        x, y = label.centre
        points = [_between(other.anchor, other.centre, t) for t in (0.25, 0.5, 0.75)]
        return any(abs(px - x) < label.half_width and abs(py - y) < self.height / 2 for px, py in points)


def place_labels(
    anchors: Sequence[Place], *, widths: Sequence[float], height: float, obstacles: Sequence[Place], area: Area
) -> list[Place]:
    """Centre of each label, greedily: the crowded points choose first, each takes its cheapest place.

    The same input gives the same places.

    Args:
        anchors: the points that the labels belong to.
        widths, height: of the labels.
        obstacles: further points better left visible.
    """
    board = Board(area, anchors, obstacles, height)
    crowd = [sum(math.dist(one, other) < 40 for other in anchors) for one in anchors]
    placed: dict[int, Label] = {}
    for i in sorted(range(len(anchors)), key=lambda i: (-crowd[i], i)):
        places = [_around(anchors[i], ring, k) for ring in RINGS for k in range(DIRECTIONS)]
        costs = [board.cost(Label(anchors[i], place, widths[i] / 2), list(placed.values())) for place in places]
        placed[i] = Label(anchors[i], places[costs.index(min(costs))], widths[i] / 2)
    return [placed[i].centre for i in range(len(anchors))]


def _around(anchor: Place, distance: float, k: int) -> Place:
    angle = 2 * math.pi * k / DIRECTIONS
    return anchor[0] + distance * math.cos(angle), anchor[1] + distance * math.sin(angle)


def _between(start: Place, end: Place, t: float) -> Place:
    return start[0] + t * (end[0] - start[0]), start[1] + t * (end[1] - start[1])


def _passes(point: Place, start: Place, end: Place) -> bool:
    """Whether the leader from `start` to `end` passes so close to `point` that it seems to belong to it."""
    return any(math.dist(point, _between(start, end, t / 8)) < 6 for t in range(1, 9))


def _cross(a: Place, b: Place, c: Place, d: Place) -> bool:
    """Whether the segments a-b and c-d cross."""

    def side(p: Place, q: Place, r: Place) -> float:
        return (q[0] - p[0]) * (r[1] - p[1]) - (q[1] - p[1]) * (r[0] - p[0])

    return side(a, b, c) * side(a, b, d) < 0 and side(c, d, a) * side(c, d, b) < 0
