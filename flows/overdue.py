"""Deletion requests that should have been completed by now: for `qunlearn status`, and for Prefect's pages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.existing_ledger import existing_ledger

if TYPE_CHECKING:
    from qunlearn.deletion.ledger import Request

KEY = "overdue-requests"
"""Of the artifact; each run of the deletion flow adds a version."""
MOST_LINES = 20
"""Requests that `qunlearn status` names."""


def overdue_requests(root: Path, *, today: date | None = None) -> list[Request] | None:
    """Requests that are overdue, the longest first; None where the project has no ledger yet, which is not made.

    Args:
        today: in UTC, where it is not now.

    Raises:
        LedgerError: the ledger cannot be read.
    """
    ledger = existing_ledger(root)
    return None if ledger is None else ledger.overdue(today or datetime.now(UTC).date())


def overdue_lines(root: Path, *, today: date | None = None) -> Iterator[str]:
    """What `qunlearn status` says: how many are overdue, then each with its date; nothing without a ledger.

    A ledger that cannot be read is told likewise: whether the servers answer is another question.
    """
    from qunlearn.deletion.records import LedgerError  # noqa: PLC0415

    try:
        found = overdue_requests(root, today=today)
    except LedgerError as error:
        yield f"overdue requests: unknown, {error}"
        return
    if found is None:
        return
    yield sentence(found)
    for request in found[:MOST_LINES]:
        yield f"  {request.id}  {request.state:<10}  due {request.asked.due}"
    if len(found) > MOST_LINES:
        yield f"  and {len(found) - MOST_LINES} more, see `qunlearn request list`"


def sentence(found: Sequence[Request]) -> str:
    """How many there are."""
    if not found:
        return "No request is overdue."
    return "1 request is overdue:" if len(found) == 1 else f"{len(found):,} requests are overdue:"


def publish_overdue(root: Path, *, today: date | None = None) -> None:
    """Keep the overdue requests as an artifact of this flow run; also that there are none. Nothing outside of a run.

    Raises:
        LedgerError: the ledger cannot be read.
    """
    from prefect.artifacts import create_table_artifact  # noqa: PLC0415
    from prefect.context import FlowRunContext  # noqa: PLC0415

    if FlowRunContext.get() is None:
        return
    day = today or datetime.now(UTC).date()
    found = overdue_requests(root, today=day) or []
    create_table_artifact(
        [_row(request, day) for request in found],
        key=KEY,
        description=f"{sentence(found).rstrip(':.')} on {day} (UTC). See `qunlearn request list`.",
    )


def _row(request: Request, today: date) -> dict[str, Any]:
    return {
        "request": request.id,
        "due": request.asked.due.isoformat(),
        "days overdue": (today - request.asked.due).days,
        "state": str(request.state),
        "times given back": request.attempts,
    }
