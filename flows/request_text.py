"""Requests of the ledger as a person or a program reads them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from qunlearn.deletion.counted import counted

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from qunlearn.deletion.ledger import Event, Request

COLUMNS = ("id", "state", "age", "due", "overdue", "samples", "outcome")
WORDS = {"attempts": "times given back"}
"""Names in `details` that are not those of JSON: a run that was killed and taken over is no attempt here."""
MOST = 20
"""Entries of a list in `details`."""
NAMES = 18
"""Width of the column of names in `details`."""


def summary(request: Request, *, overdue: bool) -> dict[str, Any]:
    """All about a request but its samples, for JSON."""
    asked = request.asked
    return {
        "id": request.id,
        "state": str(request.state),
        "outcome": None if request.outcome is None else str(request.outcome),
        "reason": request.reason,
        "kind": asked.kind,
        "classes": list(asked.classes),
        "samples": len(asked.samples),
        "unknown": len(asked.unknown),
        "subject_hash": asked.subject,
        "reference_hash": asked.reference,
        "received_at": request.received_at.isoformat(timespec="seconds"),
        "changed_at": request.changed_at.isoformat(timespec="seconds"),
        "age_seconds": int(_age(request).total_seconds()),
        "due": asked.due.isoformat(),
        "overdue": overdue,
        "batch": request.batch,
        "attempts": request.attempts,
    }


def full(request: Request, events: Iterable[Event], *, overdue: bool) -> dict[str, Any]:
    """All about a request, for JSON."""
    return {
        **summary(request, overdue=overdue),
        "sample_ids": list(request.asked.samples),
        "unknown_hashes": list(request.asked.unknown),
        "events": [
            {"number": event.number, "at": event.at.isoformat(timespec="seconds"), "kind": event.kind}
            for event in events
        ],
    }


def table(requests: Sequence[Request], *, overdue: Collection[str]) -> str:
    """One line a request, below the names of the columns.

    Args:
        overdue: ids of those that are.
    """
    rows = [COLUMNS, *(_row(request, overdue=request.id in overdue) for request in requests)]
    widths = [max(len(row[place]) for row in rows) for place in range(len(COLUMNS))]
    lines = ("  ".join(f"{text:<{width}}" for text, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def details(content: dict[str, Any]) -> str:
    """What `full` gives, as lines of a name and a value; of a list each entry on its own line."""
    return "\n".join(
        f"{WORDS.get(name, name.replace('_', ' ')):<{NAMES}}{_written(value)}" for name, value in content.items()
    )


def amount(request: Request) -> str:
    """Such as ``3 samples``, or ``3 samples, 1 unknown``."""
    known, unknown = len(request.asked.samples), len(request.asked.unknown)
    text = counted(known, "sample")
    return f"{text}, {unknown:,} unknown" if unknown else text


def _row(request: Request, *, overdue: bool) -> tuple[str, ...]:
    return (
        request.id,
        str(request.state),
        _short(_age(request)),
        str(request.asked.due),
        "overdue" if overdue else "-",
        amount(request),
        str(request.outcome or request.reason or "-"),
    )


def _age(request: Request) -> timedelta:
    """Since it was received; a clock that was set back makes it no younger than new."""
    return max(datetime.now(UTC) - request.received_at, timedelta())


def _short(age: timedelta) -> str:
    """In whole days, hours or minutes."""
    minutes = int(age.total_seconds()) // 60
    if minutes >= 24 * 60:
        return f"{minutes // (24 * 60)} d"
    return f"{minutes // 60} h" if minutes >= 60 else f"{minutes} min"


def _written(value: Any) -> str:
    if isinstance(value, list):
        entries = [" ".join(map(str, one.values())) if isinstance(one, dict) else str(one) for one in value[:MOST]]
        if len(value) > MOST:
            entries.append(f"and {len(value) - MOST:,} more; --json lists all")
        return ("\n" + " " * NAMES).join(entries) or "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value is None else str(value)
