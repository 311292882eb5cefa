"""Requests before any work: written down, or cancelled."""

from __future__ import annotations

from typing import Any

from qunlearn.deletion import rows, schema
from qunlearn.deletion.journal import Turn
from qunlearn.deletion.records import Asked, Request, asked_digest, check_line, new_id
from qunlearn.deletion.states import State, TransitionError


def add(turn: Turn, asked: Asked) -> Request:
    """See `Ledger.add`. The event names what was asked by its digest and does not repeat a million ids."""
    text, name = asked.as_json(), new_id("r")
    summary = {
        "kind": asked.kind,
        "samples": len(asked.samples),
        "unknown": len(asked.unknown),
        "due": asked.due.isoformat(),
        "sha256": asked_digest(text),
    }
    standing: dict[str, Any] = {
        "state": str(State.RECEIVED),
        "outcome": None,
        "reason": None,
        "batch": None,
        "attempts": 0,
    }
    at = turn.append(State.RECEIVED, batch=None, requests={name: standing}, payload={"asked": summary})
    row = {"id": name, "arrival": turn.number + 1, "asked": text, "received_at": at, "changed_at": at, **standing}
    turn.connection.execute(schema.requests.insert().values(row))
    return rows.request(turn.connection, name)


def cancel(turn: Turn, name: str, reason: str) -> Request:
    """See `Ledger.cancel`."""
    check_line(reason, "the reason")
    found = rows.request(turn.connection, name)
    if found.state is not State.RECEIVED:
        raise TransitionError(f"request {name} is {found.state}; only a received request can be cancelled")
    after = found.standing(state=State.REJECTED, reason=reason)
    at = turn.append(State.REJECTED, batch=None, requests={name: after}, payload={})
    turn.connection.execute(schema.requests.update().where(schema.requests.c.id == name).values(**after, changed_at=at))
    return rows.request(turn.connection, name)
