"""Changes of state of the requests of a batch: one transaction, one event."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from qunlearn.deletion import claims, rows, schema
from qunlearn.deletion.chain import canonical
from qunlearn.deletion.journal import FACTS, GIVEN_BACK, Turn
from qunlearn.deletion.records import STANDING, Batch, LedgerError, Request, check_line, check_request_id, time_text
from qunlearn.deletion.states import FINAL, Outcome, State, TransitionError, batch_state, check


def advance(
    turn: Turn,
    batch: Batch,
    to: State,
    *,
    facts: Mapping[str, Any],
    only: Sequence[str] | None,
    outcome: Mapping[str, Outcome],
    reason: str | None,
    lease: timedelta,
) -> Batch:
    """See `Ledger.advance`."""
    found = claims.held(turn, batch)
    if not found["is_open"]:
        raise TransitionError(f"batch {batch.id} is closed: it is {found['state']}, and nothing of it changes any more")
    held = rows.batch(turn.connection, batch.id)
    moving = _moving(held, to, only)
    _check_words(held, moving, to, outcome, reason)
    added = json.loads(canonical(facts))
    known = canonical({**held.facts, **added})
    if not moving and known == found["facts"]:
        claims.renew(turn, batch.id, lease)
        return held
    after = {one.id: _standing(one, to, outcome.get(one.id), reason) for one in moving}
    kind = GIVEN_BACK if to is State.RECEIVED else str(to)
    at = turn.append(
        kind if moving else FACTS, batch=batch.id, requests=after, payload={"facts": added} if added else {}
    )
    _move(turn, after, at)
    states = [State(after[one.id]["state"]) if one.id in after else one.state for one in held.requests]
    staying = [state for state in states if state is not State.RECEIVED]
    is_open = not FINAL.issuperset(staying)
    turn.connection.execute(
        schema.batches.update()
        .where(schema.batches.c.id == batch.id)
        .values(state=str(batch_state(staying)), is_open=is_open, facts=known, lease_until=time_text(turn.now + lease))
    )
    return rows.batch(turn.connection, batch.id)


def _moving(batch: Batch, to: State, only: Sequence[str] | None) -> list[Request]:
    """The requests that change their state; those that are in it already stay."""
    if only is None:
        chosen = [one for one in batch.requests if one.state not in FINAL]
    else:
        _check_members(only, batch)
        named = frozenset(only)
        chosen = [one for one in batch.requests if one.id in named]
    moving = [one for one in chosen if one.state is not to]
    for one in moving:
        try:
            check(one.state, to)
        except TransitionError as error:
            raise TransitionError(f"{one.id}: {error}") from None
    return moving


def _check_members(named: Iterable[str], batch: Batch) -> None:
    members = {one.id for one in batch.requests}
    for one in named:
        if check_request_id(one) not in members:
            raise LedgerError(f"request {one} is not in batch {batch.id}; it was given back, or never was")


def _check_words(
    batch: Batch, moving: list[Request], to: State, outcome: Mapping[str, Outcome], reason: str | None
) -> None:
    """Who completes a request says with what outcome; who rejects one says why."""
    _check_members(outcome, batch)
    if outcome and to is not State.COMPLETED:
        raise LedgerError(f"an outcome belongs to a completed request, not to one that becomes {to}")
    lacking = [one.id for one in moving if one.id not in outcome] if to is State.COMPLETED else []
    if lacking:
        raise LedgerError(
            f"completed requests need an outcome ({', '.join(Outcome)}): {', '.join(lacking[:3])} has none"
        )
    moved = {one.id for one in moving}
    for one in batch.requests:
        if one.id in moved or one.id not in outcome:
            continue
        if one.state is not State.COMPLETED:
            raise LedgerError(f"an outcome was given for request {one.id}, which this does not complete")
        if one.outcome is not outcome[one.id]:
            raise TransitionError(f"{one.id} is completed with another outcome; that is final")
    if reason is not None:
        check_line(reason, "the reason")
    elif to is State.REJECTED and moving:
        raise LedgerError("a rejected request needs a reason")


def _standing(request: Request, to: State, outcome: Outcome | None, reason: str | None) -> dict[str, Any]:
    if to is State.RECEIVED:
        return request.standing(state=to, reason=reason, batch=None, attempts=request.attempts + 1)
    return request.standing(state=to, reason=reason, outcome=outcome)


def _move(turn: Turn, after: Mapping[str, Mapping[str, Any]], at: str) -> None:
    if not after:
        return
    statement = (
        schema.requests.update()
        .where(schema.requests.c.id == sa.bindparam("request"))
        .values({column: sa.bindparam(f"new_{column}") for column in STANDING} | {"changed_at": at})
    )
    values = [
        {"request": request} | {f"new_{column}": standing[column] for column in STANDING}
        for request, standing in after.items()
    ]
    turn.connection.execute(statement, values)
