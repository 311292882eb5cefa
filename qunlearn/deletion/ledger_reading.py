"""Looking at the ledger: what was asked, how far it is, what happened, and whether that is still what was written."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from pathlib import Path

import sqlalchemy as sa

from qunlearn.deletion import journal, replay, rows, schema
from qunlearn.deletion.chain import Fault
from qunlearn.deletion.evidence_heads import EARLIER, lost_heads, named_heads
from qunlearn.deletion.journal import CHECK_IT
from qunlearn.deletion.ledger_database import Database
from qunlearn.deletion.records import Batch, Event, LedgerError, Request, check_request_id
from qunlearn.deletion.regular_file import NotRegularError
from qunlearn.deletion.states import FINAL, State

MOST_NAMED = 20
"""Documents in one message."""


class LedgerReading:
    """What everybody may do with the ledger at any time; each call sees one state of it."""

    def __init__(self, database: Database, *, root: Path) -> None:
        self._database = database
        self._root = root

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
            LedgerError: naming the fault; or it is not the ledger that the project's evidence was written for.
        """
        if (fault := self.verify()) is not None:
            raise LedgerError(f"the ledger was changed from outside, so nothing is carried out: {fault}; {CHECK_IT}")
        self.check_evidence()

    def check_evidence(self) -> None:
        """Refuse a ledger without an event that the project's signed evidence names: an old copy, or another's.

        What was completed since an old copy would be carried out again, and its evidence written over.

        Raises:
            LedgerError: naming the newest such document; or a file of evidence cannot be read.
        """
        try:
            named = list(named_heads(self._root))
        except (NotRegularError, OSError) as error:
            said = error.strerror if isinstance(error, OSError) else error
            raise LedgerError(f"a file in {EARLIER.parent} cannot be read: {said}; mend it, or move it away") from None
        if not named:
            return
        lost = lost_heads(self._root, named, self._hashes())
        if lost:
            newest, (last, _) = lost[0], self.head()
            raise LedgerError(
                f"the ledger is an old copy or another project's, so nothing is carried out: its last event is {last}, "
                f"and it lacks event {newest.number}, which the signed evidence of {newest.file.stem} names; restore "
                "the newest backup of the ledger, or if there is no newer one move the documents that it lacks to "
                f"{EARLIER} (docs/operations.md, After a restore): {_listed([one.file.stem for one in lost])}"
            )

    def _hashes(self) -> dict[int, str]:
        """Number of each event -> its hash, as they are stored."""
        with self._database.read() as connection:
            return dict(connection.execute(sa.select(schema.events.c.number, schema.events.c.hash)).tuples().all())

    def evidence_digest(self, request: str) -> str | None:
        """sha256 of a request's evidence, as its event `completed` has it; None where it has not been completed.

        Raises:
            LedgerError: an event cannot be read.
        """
        with self._database.read() as connection:
            for event in journal.events(connection):
                if event.kind == State.COMPLETED and request in event.requests:
                    digest = event.payload.get("facts", {}).get("evidence", {}).get(request)
                    return digest if isinstance(digest, str) else None
        return None

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


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + more
