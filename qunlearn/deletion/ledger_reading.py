"""Looking at the ledger: what was asked, how far it is, what happened, and whether that is still what was written."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date

import sqlalchemy as sa

from qunlearn.deletion import journal, replay, rows
from qunlearn.deletion.chain import Fault
from qunlearn.deletion.journal import CHECK_IT
from qunlearn.deletion.ledger_database import Database
from qunlearn.deletion.records import Batch, Event, LedgerError, Request, check_request_id
from qunlearn.deletion.states import FINAL, State


class LedgerReading:
    """What everybody may do with the ledger at any time; each call sees one state of it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def request(self, name: str) -> Request:
        """The request with the id `name`.

        Raises:
            LedgerError: there is none.
        """
        with self._database.read() as connection:
            return rows.request(connection, name)

    def requests(self, *, states: Iterable[State] | None = None) -> list[Request]:
        """All requests in the order of their arrival, or those in one of `states`."""
        with self._database.read() as connection:
            return rows.requests(connection, *([] if states is None else [rows.in_state(states)]))

    def overdue(self, today: date) -> list[Request]:
        """Requests that should have been completed before `today` and are not, the longest overdue first."""
        open_ones = self.requests(states=[state for state in State if state not in FINAL])
        return sorted((one for one in open_ones if one.asked.due < today), key=lambda one: one.asked.due)

    def batch(self, name: str) -> Batch:
        """The batch with the id `name`, to look at: only `Ledger.claim` lets one work on it.

        Raises:
            LedgerError: there is none.
        """
        with self._database.read() as connection:
            return rows.batch(connection, name)

    def events(self, *, request: str | None = None) -> list[Event]:
        """All events in order; or those of one request, with the notes on its batch while it was in it.

        Raises:
            LedgerError: there is no such request, or an event cannot be read.
        """
        with self._database.read() as connection:
            found = journal.events(connection)
            if request is None:
                return list(found)
            return list(journal.of_request(found, rows.request(connection, check_request_id(request)).id))

    def head(self) -> tuple[int, str]:
        """Number and hash of the last event; (0, `chain.GENESIS`) before the first."""
        with self._database.read() as connection:
            found = journal.head(connection)
        return found["number"], found["hash"]

    def check_intact(self) -> None:
        """Refuse a ledger in which `verify` finds a fault: whoever set a request to `completed` there would be obeyed.

        Raises:
            LedgerError: naming the fault.
        """
        if (fault := self.verify()) is not None:
            raise LedgerError(f"the ledger was changed from outside, so nothing is carried out: {fault}; {CHECK_IT}")

    def verify(self) -> Fault | None:
        """The first thing that is wrong with the ledger, or None.

        Found are events that were changed, exchanged, inserted or removed, and rows of requests and batches that are
        not what the events say. Events removed at the end are found by the head row, unless that was changed to fit,
        and nothing in here can tell that all events from one on were written anew with fitting hashes: for both,
        compare with a head that left this machine, such as the signed one in a request's evidence.

        Raises:
            LedgerError: the ledger cannot be read at all.
        """
        with self._database.read() as connection:
            fault = replay.first_fault(connection)
            if fault is None and self._database.is_sqlite:
                said = connection.scalar(sa.text("PRAGMA integrity_check(1)"))
                fault = None if said == "ok" else Fault("database file", "SQLite finds it damaged")
        return fault
