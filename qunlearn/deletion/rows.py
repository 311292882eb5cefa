"""Reading requests and batches from their tables."""

from __future__ import annotations

import json
from collections.abc import Iterable

import sqlalchemy as sa

from qunlearn.deletion import schema
from qunlearn.deletion.journal import CHECK_IT
from qunlearn.deletion.records import Batch, LedgerError, Request, check_request_id
from qunlearn.deletion.states import State


def requests(connection: sa.Connection, *conditions: sa.ColumnElement[bool]) -> list[Request]:
    """Requests in the order of their arrival.

    Raises:
        LedgerError: a row cannot be read.
    """
    found = connection.execute(sa.select(schema.requests).where(*conditions).order_by(schema.requests.c.arrival))
    return [_request(row) for row in found.mappings()]


def request(connection: sa.Connection, name: str) -> Request:
    """The request with the id `name`.

    Raises:
        LedgerError: there is none.
    """
    found = requests(connection, schema.requests.c.id == check_request_id(name))
    if not found:
        raise LedgerError(f"there is no request {name}; `qunlearn request list` shows all of them")
    return found[0]


def in_state(states: Iterable[State]) -> sa.ColumnElement[bool]:
    """The condition that a request is in one of these states."""
    return schema.requests.c.state.in_([str(state) for state in states])


def batch(connection: sa.Connection, name: str) -> Batch:
    """The batch with the id `name`, with its requests.

    Raises:
        LedgerError: there is none, or its row cannot be read.
    """
    row = batch_row(connection, schema.batches.c.id == name)
    if row is None:
        raise LedgerError("there is no such batch; the request says which batch it is in")
    held = requests(connection, schema.requests.c.batch == name)
    try:
        state, facts = State(row["state"]), dict(json.loads(row["facts"]))
    except (TypeError, ValueError):
        raise LedgerError(f"the row of batch {name} is damaged; {CHECK_IT}") from None
    return Batch(name, row["token"], row["worker"], tuple(held), state, facts)


def batch_row(connection: sa.Connection, *conditions: sa.ColumnElement[bool]) -> sa.RowMapping | None:
    """The one row of the table of batches that fulfils the conditions, or None.

    Raises:
        LedgerError: the row is damaged.
    """
    row = connection.execute(sa.select(schema.batches).where(*conditions)).mappings().one_or_none()
    if row is not None and not schema.is_sound(row, schema.batches):
        raise LedgerError(f"the row of a batch is damaged; {CHECK_IT}")
    return row


def _request(row: sa.RowMapping) -> Request:
    if not schema.is_sound(row, schema.requests):
        raise LedgerError(f"the row of a request is damaged; {CHECK_IT}")
    try:
        return Request.from_row(dict(row))
    except (KeyError, TypeError, ValueError):
        raise LedgerError(f"the row of request {row['id']} is damaged; {CHECK_IT}") from None
