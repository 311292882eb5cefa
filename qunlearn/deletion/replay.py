"""Whether the rows of requests and batches are what the events say: the events are carried out again and compared.

The leases of claims are the one thing in these rows that no event tells.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import sqlalchemy as sa

from qunlearn.deletion import journal, schema
from qunlearn.deletion.chain import GENESIS, Fault, canonical, verify
from qunlearn.deletion.records import STANDING, Event, asked_digest, time_text
from qunlearn.deletion.states import FINAL, State, TransitionError, batch_state, check

CHANGES = frozenset({*State, journal.TAKEN_OVER, journal.GIVEN_BACK, journal.FACTS})
"""Kinds of events that change rows; all others are notes."""

Table = dict[str, dict[str, Any]]
"""Id -> column -> value."""


class Replay:
    """Requests and batches as the events make them."""

    def __init__(self) -> None:
        self.requests: Table = {}
        self.batches: Table = {}
        self._facts: Table = {}
        self._members: dict[str, set[str]] = {}

    def apply(self, event: Event) -> None:
        """Carry out one event.

        Raises:
            ValueError: the event is not possible after those before it; KeyError, TypeError: it is no event.
        """
        if event.kind not in CHANGES:
            if event.requests:
                raise TransitionError("a note changes requests")
            return
        for name, standing in event.requests.items():
            self._change(name, standing, event)
        if event.batch is not None:
            self._work(event.batch, event)

    def _change(self, name: str, standing: Mapping[str, Any], event: Event) -> None:
        at, new = time_text(event.at), {column: standing[column] for column in STANDING}
        if name not in self.requests:
            if State(new["state"]) is not State.RECEIVED:
                raise TransitionError("a request that never arrived changes its state")
            asked = event.payload["asked"]["sha256"]
            self.requests[name] = {**new, "arrival": event.number, "asked": asked, "received_at": at, "changed_at": at}
            return
        row = self.requests[name]
        check(State(row["state"]), State(new["state"]))
        self._members.get(row["batch"], set()).discard(name)
        self._members.setdefault(new["batch"], set()).add(name)
        row |= {**new, "changed_at": at}

    def _work(self, name: str, event: Event) -> None:
        row = self.batches.setdefault(name, {})
        if event.kind in (State.CLAIMED, journal.TAKEN_OVER):
            row |= {"token": event.payload["token"], "worker": event.payload["worker"]}
        facts = self._facts.setdefault(name, {})
        facts |= event.payload.get("facts", {})
        states = {State(self.requests[member]["state"]) for member in self._members[name]}
        row |= {"facts": canonical(facts), "state": str(batch_state(states)), "is_open": not FINAL.issuperset(states)}


def first_fault(connection: sa.Connection) -> Fault | None:
    """The first row of the ledger that is wrong: of the events, the head, the requests, the batches, in this order."""
    broken = verify(journal.rows(connection))
    if broken is not None:
        return broken
    replay, last = Replay(), None
    for event in _readable(connection):
        if isinstance(event, Fault):
            return event
        try:
            replay.apply(event)
        except (KeyError, TypeError, ValueError, AttributeError):
            return Fault(f"event {event.number}", "cannot have happened after the events before it", event.number)
        last = event
    return _wrong_head(connection, last) or next(_wrong_rows(connection, replay), None)


def _readable(connection: sa.Connection) -> Iterator[Event | Fault]:
    previous = GENESIS
    for row in journal.rows(connection):
        try:
            yield Event.from_row(row.body, previous=previous, digest=row.hash)
        except (KeyError, TypeError, ValueError):
            yield Fault(f"event {row.number}", "is not an event of a ledger", row.number)
        previous = row.hash


def _wrong_head(connection: sa.Connection, last: Event | None) -> Fault | None:
    row = connection.execute(sa.select(schema.head)).mappings().one_or_none()
    if row is None:
        return Fault("head", "is missing")
    number = last.number if last else 0
    if isinstance(row["number"], int) and row["number"] > number:
        missing = f"events {number + 1} to {row['number']} are missing at the end"
        return Fault(f"event {number + 1}", missing, number + 1)
    expected = (number, last.hash if last else GENESIS, time_text(last.at) if last else "")
    if (row["number"], row["hash"], row["at"]) != expected:
        return Fault("head", f"does not agree with the last event, {number}")
    return None


def _wrong_rows(connection: sa.Connection, replay: Replay) -> Iterator[Fault]:
    for table, expected, kind in (
        (schema.requests, replay.requests, "request"),
        (schema.batches, replay.batches, "batch"),
    ):
        # As they are stored: as a truth value, "no" would be true.
        stored = [sa.type_coerce(column, sa.types.NullType()).label(column.name) for column in table.c]
        found = {row["id"]: dict(row) for row in connection.execute(sa.select(*stored)).mappings()}
        for row in found.values():
            if isinstance(row.get("asked"), str):
                row["asked"] = asked_digest(row["asked"])
        yield from _differences(found, expected, kind)


def _differences(found: Table, expected: Table, kind: str) -> Iterator[Fault]:
    for name in [*expected, *(found.keys() - expected.keys())]:
        if name not in found:
            yield Fault(f"{kind} {name}", "is missing, but events tell of it")
        elif name not in expected:
            # An id that no event made can be any text.
            yield Fault(f"a {kind} that no event tells of", "is in the ledger")
        else:
            for column in sorted(expected[name]):
                if found[name][column] != expected[name][column]:
                    yield Fault(f"{kind} {name}", f"its {column.replace('_', ' ')} is not what the events say")
