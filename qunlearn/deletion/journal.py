"""The chain of events in the database: appended to by one writer at a time, read in order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from qunlearn.deletion import schema
from qunlearn.deletion.chain import GENESIS, Row, canonical, digest_text
from qunlearn.deletion.ledger_database import Database
from qunlearn.deletion.records import Event, LedgerError, time_text

CHECK_IT = "run `qunlearn ledger verify`, and restore the ledger from a backup"
TAKEN_OVER, GIVEN_BACK, FACTS = "taken over", "given back", "facts"
"""Kinds of events besides the states and the notes."""


@dataclass(frozen=True)
class Turn:
    """A transaction that writes. Nobody else writes meanwhile, so what it reads stays true until its end."""

    connection: sa.Connection
    now: datetime
    """The clock's time, UTC; an event's time may be later, see `append`."""
    number: int
    hash: str
    at: str
    """Of the last event."""

    @classmethod
    @contextmanager
    def take(cls, database: Database) -> Iterator[Turn]:
        """Wait for one's turn; all that is written in the block is kept, or nothing of it.

        Raises:
            LedgerError: the ledger cannot be used, or has no head.
        """
        with database.write() as connection:
            found = head(connection, lock=True)
            yield cls(connection, database.now(connection), found["number"], found["hash"], found["at"])

    def append(
        self,
        kind: str,
        *,
        batch: str | None,
        requests: Mapping[str, Mapping[str, Any]],
        payload: Mapping[str, Any],
    ) -> str:
        """Write the event of this transaction; a transaction has one, and changes nothing without it.

        Args:
            requests: id -> `Request.standing` after the event; those that it changes.

        Returns:
            its time: the clock's, or the last event's where the clock shows an earlier one, and the event says so.
        """
        number, at = self.number + 1, max(time_text(self.now), self.at)
        body: dict[str, Any] = {"number": number, "at": at, "kind": kind, "batch": batch, "requests": requests}
        body |= {"payload": payload} if at == time_text(self.now) else {"payload": payload, "clock": "behind"}
        text = canonical(body)
        digest = digest_text(self.hash, text)
        self.connection.execute(schema.events.insert().values(number=number, body=text, hash=digest))
        self.connection.execute(schema.head.update().values(number=number, hash=digest, at=at))
        return at


def head(connection: sa.Connection, *, lock: bool = False) -> sa.RowMapping:
    """Number, hash and time of the last event.

    Args:
        lock: let no other process have it until the transaction's end (where a transaction does not have all anyway).

    Raises:
        LedgerError: it is missing or damaged.
    """
    query = sa.select(schema.head)
    found = connection.execute(query.with_for_update() if lock else query).mappings().one_or_none()
    if found is None or not schema.is_sound(found, schema.head):
        raise LedgerError(f"the head of the ledger is missing or damaged; {CHECK_IT}")
    return found


def events(connection: sa.Connection) -> Iterator[Event]:
    """All events in order.

    Raises:
        LedgerError: one of them cannot be read.
    """
    previous = GENESIS
    for row in rows(connection):
        try:
            event = Event.from_row(row.body, previous=previous, digest=row.hash)
        except (KeyError, TypeError, ValueError):
            raise LedgerError(f"event {row.number} of the ledger is damaged; {CHECK_IT}") from None
        yield event
        previous = row.hash


def rows(connection: sa.Connection) -> Iterator[Row]:
    """All events in order, as they are stored."""
    table = schema.events
    query = sa.select(table.c.number, table.c.body, table.c.hash).order_by(table.c.number)
    return (Row(*row) for row in connection.execute(query.execution_options(yield_per=1000)))


def of_request(found: Iterator[Event], request: str) -> Iterator[Event]:
    """The events of a request: those that changed it, and notes and takeovers of the batch that it was in by then."""
    batch: str | None = None
    for event in found:
        if request in event.requests:
            batch = event.requests[request]["batch"]
            yield event
        elif batch is not None and event.batch == batch and not event.requests:
            yield event
