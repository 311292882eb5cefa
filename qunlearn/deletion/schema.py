"""The tables of the ledger, the same in SQLite and PostgreSQL.

Times are text, ISO 8601 in UTC with microseconds, always of the same width: they compare as text. JSON is text too, in
its canonical form, because the exact bytes are what was hashed. The migrations make these tables; a test compares.
"""

from __future__ import annotations

import sqlalchemy as sa

from qunlearn.deletion.states import Outcome, State

REVISION = "0002"
"""The migration that these tables belong to."""
VERSION_TABLE = "deletion_schema_version"
"""Where alembic keeps its revision. Not its default name: MLflow or Prefect may live in the same database."""

metadata = sa.MetaData()


def is_sound(row: sa.RowMapping, table: sa.Table) -> bool:
    """Whether each value is of its column's kind: a SQLite file takes any value in any column."""
    return all(
        isinstance(row[column.name], column.type.python_type) or (column.nullable and row[column.name] is None)
        for column in table.c
    )


def one_of(column: str, words: type[State] | type[Outcome]) -> str:
    """SQL: the column holds one of these words."""
    return f"{column} in ({', '.join(repr(str(word)) for word in words)})"


batches = sa.Table(
    "deletion_batches",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("token", sa.Text, nullable=False),
    sa.Column("worker", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("is_open", sa.Boolean, nullable=False),
    sa.Column("facts", sa.Text, nullable=False),
    # Not part of any event: it says who may work, not what was done.
    sa.Column("lease_until", sa.Text, nullable=False),
    sa.CheckConstraint(one_of("state", State), name="batch_state"),
)
sa.Index(
    "one_open_batch",
    batches.c.is_open,
    unique=True,
    sqlite_where=sa.text("is_open"),
    postgresql_where=sa.text("is_open"),
)

requests = sa.Table(
    "deletion_requests",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    # The number of the event by which it arrived: the order of requests.
    sa.Column("arrival", sa.Integer, nullable=False, unique=True),
    sa.Column("asked", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False, index=True),
    sa.Column("outcome", sa.Text),
    sa.Column("reason", sa.Text),
    sa.Column("batch", sa.Text, sa.ForeignKey("deletion_batches.id"), index=True),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("received_at", sa.Text, nullable=False),
    sa.Column("changed_at", sa.Text, nullable=False),
    sa.CheckConstraint(one_of("state", State), name="request_state"),
    sa.CheckConstraint(one_of("outcome", Outcome), name="request_outcome"),
)

events = sa.Table(
    "deletion_events",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("hash", sa.Text, nullable=False),
)

head = sa.Table(
    "deletion_head",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("hash", sa.Text, nullable=False),
    sa.Column("at", sa.Text, nullable=False),
    sa.CheckConstraint("id = 1", name="one_head"),
)

settings = sa.Table(
    "deletion_settings",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    # Not part of the chain of events: what a change of it means is told by an event of its own.
    sa.Column("value", sa.Text, nullable=False),
)
