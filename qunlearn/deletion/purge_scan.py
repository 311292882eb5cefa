"""What a search of every store found after a purge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Finding:
    """Something that should have been gone: where, its name there, and what it holds."""

    place: str
    name: str
    what: str


@dataclass(frozen=True)
class Scan:
    """A search by digest and by content.

    Args:
        places: what was searched, in words -> how many objects were looked at.
        found: what should have been gone.
    """

    places: Mapping[str, int]
    found: tuple[Finding, ...]

    @property
    def is_clean(self) -> bool:
        """Whether nothing was found."""
        return not self.found

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "places": [{"what": what, "objects": count} for what, count in self.places.items()],
            "found": [asdict(one) for one in self.found],
        }
