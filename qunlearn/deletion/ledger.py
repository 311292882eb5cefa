"""The ledger of the deletion service: which requests there are, how far each is, and what happened when.

Every change is one transaction with one event; the events form a chain of hashes (see `chain`). There is at most one
open batch, and one worker holds it by a token that everybody who changes it must show. A process may die anywhere:
the ledger is then as if it had died before or after its last call, and `claim` gives its batch to the next worker.

    ledger = Ledger.open(root=Path("."))
    batch = ledger.claim(Worker.current())
    batch = ledger.advance(batch, State.UNLEARNED, facts={"method": "oeu"})
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from qunlearn.deletion import advancing, claims, key_check, receiving, replay
from qunlearn.deletion.chain import Fault
from qunlearn.deletion.claims import LEASE, Busy
from qunlearn.deletion.identity import Key
from qunlearn.deletion.journal import Turn
from qunlearn.deletion.ledger_database import Database
from qunlearn.deletion.ledger_place import place
from qunlearn.deletion.ledger_reading import LedgerReading
from qunlearn.deletion.migration import opened
from qunlearn.deletion.records import (
    Asked,
    Batch,
    BusyError,
    Event,
    LedgerError,
    LostClaimError,
    Request,
    UnavailableError,
    check_line,
)
from qunlearn.deletion.states import Outcome, State, TransitionError
from qunlearn.deletion.worker import Worker, is_gone

__all__ = [
    "Asked",
    "Batch",
    "BusyError",
    "Event",
    "Fault",
    "Ledger",
    "LedgerError",
    "LostClaimError",
    "Outcome",
    "Request",
    "State",
    "TransitionError",
    "UnavailableError",
    "Worker",
    "is_gone",
]


class Ledger(LedgerReading):
    """The ledger. Any number of processes may use it at once; an object may be used by several threads."""

    def __init__(self, database: Database, *, root: Path, lease: timedelta) -> None:
        super().__init__(database, root=root)
        self._lease = lease

    @classmethod
    def open(cls, url: str | None = None, *, root: Path, must_exist: bool = False, lease: timedelta = LEASE) -> Ledger:
        """Open the ledger, with its tables made or upgraded where necessary.

        Args:
            url: `sqlite:///<path>` or `postgresql://...`; by default the variable QUNLEARN_LEDGER_URL, or else the file
                `.qunlearn/ledger.db` below `root`.
            root: the project.
            must_exist: refuse to make a new ledger.
            lease: how long a claim lasts without a sign of life, see `renew`.

        Raises:
            LedgerError: it cannot be made, read, or upgraded.
        """
        return cls(opened(place(url, root=root), must_exist=must_exist), root=root, lease=lease)

    def add(self, asked: Asked) -> Request:
        """Write down a request.

        Raises:
            LedgerError: `asked` holds what must not be stored, or the project's identity key is not the ledger's.
            IdentityError: the project's identity key cannot be used.
        """
        key = Key.at_hand(self._root)
        with Turn.take(self._database) as turn:
            if key is not None:
                key_check.bind(turn.connection, key.check, source=key.source)
            return receiving.add(turn, asked)

    def cancel(self, name: str, reason: str) -> Request:
        """Reject a request on which no work has begun.

        Raises:
            LedgerError: there is no such request, or the reason is not one line of text.
            TransitionError: it is no longer `received`.
        """
        with Turn.take(self._database) as turn:
            return receiving.cancel(turn, name, reason)

    def claim(self, worker: Worker) -> Batch | None:
        """Work for `worker`: an unfinished batch that nobody else holds, else a new one of all received requests.

        An unfinished batch is taken over, with a new token, where its worker is gone or gave no sign of life for the
        time of a lease, or is `worker` itself.

        Returns:
            the batch; None where there is nothing to do.

        Raises:
            BusyError: another worker holds the open batch.
            LedgerError: the project's identity key is not the ledger's.
            IdentityError: the project's identity key cannot be used.
        """
        key = Key.at_hand(self._root)
        with Turn.take(self._database) as turn:
            if key is not None:
                key_check.bind(turn.connection, key.check, source=key.source)
            claimed = claims.claim(turn, worker, lease=self._lease)
        if isinstance(claimed, Busy):
            raise BusyError(str(claimed))
        return claimed

    def advance(
        self,
        batch: Batch,
        to: State,
        *,
        facts: Mapping[str, Any] | None = None,
        only: Sequence[str] | None = None,
        outcome: Mapping[str, Outcome] | None = None,
        reason: str | None = None,
    ) -> Batch:
        """Bring the requests of a batch to the state `to`, and add to its facts.

        Requests that are `to` already stay; when all are, this only adds facts, and nothing happens when those are
        known too. To `received` means to give back: the requests leave the batch, and have one more attempt behind
        them. A sign of life, like `renew`.

        Args:
            facts: JSON; a fact replaces that of the same name.
            only: ids of the requests that move; by default all of the batch that are neither completed nor rejected.
            outcome: request id -> outcome, for every request that becomes completed.
            reason: why; a rejected request needs one.

        Returns:
            the batch as it is now.

        Raises:
            LostClaimError: another worker has taken the batch over.
            TransitionError: a request cannot go there, or the batch is closed; nothing has changed.
            LedgerError: a request is not in the batch, or a reason or outcome is lacking.
            ValueError: the facts are no JSON.
        """
        with Turn.take(self._database) as turn:
            return advancing.advance(
                turn,
                batch,
                State(to),
                facts=facts or {},
                only=only,
                outcome={name: Outcome(word) for name, word in (outcome or {}).items()},
                reason=reason,
                lease=self._lease,
            )

    def note(self, batch: Batch, kind: str, payload: Mapping[str, Any]) -> None:
        """Write an event that changes no state, such as a gate that failed.

        Args:
            kind: what happened, one line; not one of the ledger's own kinds of events.
            payload: JSON.

        Raises:
            LostClaimError: another worker has taken the batch over.
            LedgerError: the kind is not allowed.
            ValueError: the payload is no JSON.
        """
        if check_line(kind, "the kind of a note") in replay.CHANGES:
            raise LedgerError(f"a note cannot be of the kind {kind!r}: such events change the state of requests")
        with Turn.take(self._database) as turn:
            claims.held(turn, batch)
            turn.append(kind, batch=batch.id, requests={}, payload=payload)

    def accept_key(self, key: Key) -> bool:
        """Let `key` be the identity key from now on; an event tells that it was changed.

        Returns:
            whether another key, or none, was the ledger's before.
        """
        with Turn.take(self._database) as turn:
            if key_check.replace(turn.connection, key.check) == key.check:
                return False
            turn.append(key_check.NOTE, batch=None, requests={}, payload={"check": key.check})
        return True

    def renew(self, batch: Batch) -> None:
        """A sign of life: the claim lasts for another lease from now.

        Raises:
            LostClaimError: another worker has taken the batch over.
        """
        with Turn.take(self._database) as turn:
            claims.held(turn, batch)
            claims.renew(turn, batch.id, self._lease)
