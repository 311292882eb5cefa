"""Who may work: claims on batches, their leases, and how a batch goes over to another worker."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from qunlearn.deletion import rows, schema
from qunlearn.deletion.journal import CHECK_IT, TAKEN_OVER, Turn
from qunlearn.deletion.records import Batch, LedgerError, LostClaimError, new_id, time_text
from qunlearn.deletion.states import State
from qunlearn.deletion.worker import Worker, is_gone

LEASE = timedelta(minutes=10)
"""How long a claim lasts without a sign of life; `Ledger.renew` and every change of state are such signs."""


@dataclass(frozen=True)
class Busy:
    """The open batch is another worker's, which may be alive."""

    batch: str
    worker: Worker
    until: str

    def __str__(self) -> str:
        return (
            f"batch {self.batch} is being carried out by process {self.worker.pid} on {self.worker.host}; unless that "
            f"gives a sign of life its claim ends at {self.until}: try again later"
        )


def claim(turn: Turn, worker: Worker, *, lease: timedelta) -> Batch | Busy | None:
    """Take over the open batch if its worker has ended, else make a batch of all that was received; None: no work.

    A batch is also taken over from `worker` itself: a process that begins anew after an exception has lost the first
    claim.
    """
    found = rows.batch_row(turn.connection, schema.batches.c.is_open)
    if found is None:
        return _new_batch(turn, worker, lease)
    try:
        holder = Worker.parse(found["worker"])
    except ValueError:
        raise LedgerError(f"the row of batch {found['id']} is damaged; {CHECK_IT}") from None
    why = _why_free(found, holder, worker, turn.now)
    if why is not None:
        return _take_over(turn, found, worker, why, lease)
    latest = time_text(turn.now + lease)
    if found["lease_until"] > latest:
        # The clock was set back since: without this the batch of a worker elsewhere would stay claimed for as long.
        _set_lease(turn, found["id"], latest)
    return Busy(found["id"], holder, min(found["lease_until"], latest))


def held(turn: Turn, batch: Batch) -> sa.RowMapping:
    """The row of a batch that is still the caller's.

    Raises:
        LostClaimError: somebody else has taken it over.
    """
    found = rows.batch_row(turn.connection, schema.batches.c.id == batch.id)
    if found is None:
        raise LedgerError(f"there is no batch {batch.id} in this ledger; was another one opened?")
    if found["token"] != batch.token:
        raise LostClaimError(f"batch {batch.id} was taken over by another worker; this one must stop")
    return found


def renew(turn: Turn, batch: str, lease: timedelta) -> None:
    """Let the claim last `lease` from now. No event: nothing was done to any request."""
    _set_lease(turn, batch, time_text(turn.now + lease))


def _why_free(found: sa.RowMapping, holder: Worker, worker: Worker, now: datetime) -> str | None:
    """Why the batch may be taken over; None where it may not."""
    if holder == worker:
        return "same worker"
    if is_gone(holder):
        return "worker gone"
    return "lease ran out" if found["lease_until"] <= time_text(now) else None


def _new_batch(turn: Turn, worker: Worker, lease: timedelta) -> Batch | None:
    waiting = rows.requests(turn.connection, rows.in_state([State.RECEIVED]))
    if not waiting:
        return None
    batch, token = new_id("b"), new_id("t")
    at = turn.append(
        State.CLAIMED,
        batch=batch,
        requests={one.id: one.standing(state=State.CLAIMED, batch=batch, reason=None) for one in waiting},
        payload={"token": token, "worker": str(worker)},
    )
    turn.connection.execute(
        schema.batches.insert().values(
            id=batch,
            token=token,
            worker=str(worker),
            state=str(State.CLAIMED),
            is_open=True,
            facts="{}",
            lease_until=time_text(turn.now + lease),
        )
    )
    turn.connection.execute(
        schema.requests.update()
        .where(rows.in_state([State.RECEIVED]))
        .values(state=str(State.CLAIMED), batch=batch, reason=None, changed_at=at)
    )
    return rows.batch(turn.connection, batch)


def _take_over(turn: Turn, found: sa.RowMapping, worker: Worker, why: str, lease: timedelta) -> Batch:
    token = new_id("t")
    said = {"token": token, "worker": str(worker), "from": found["worker"], "why": why}
    turn.append(TAKEN_OVER, batch=found["id"], requests={}, payload=said)
    turn.connection.execute(
        schema.batches.update()
        .where(schema.batches.c.id == found["id"])
        .values(token=token, worker=str(worker), lease_until=time_text(turn.now + lease))
    )
    return rows.batch(turn.connection, found["id"])


def _set_lease(turn: Turn, batch: str, until: str) -> None:
    turn.connection.execute(schema.batches.update().where(schema.batches.c.id == batch).values(lease_until=until))
