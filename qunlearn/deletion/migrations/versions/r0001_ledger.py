"""Requests, batches, the chain of events and its head."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

# Written out, not taken from the program: a later version may know other words, and this revision must not change.
STATES = "('received', 'claimed', 'unlearned', 'verified', 'promoted', 'purged', 'completed', 'rejected')"
OUTCOMES = "('unlearned', 'retrained', 'not trained', 'already erased', 'not present')"
APPEND_ONLY = "the events of the ledger are append-only"


def upgrade() -> None:
    """Make all tables, and the head of an empty chain."""
    _make_batches()
    _make_requests()
    _make_events()
    _forbid_changes()


def _make_batches() -> None:
    op.create_table(
        "deletion_batches",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("token", sa.Text, nullable=False),
        sa.Column("worker", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("is_open", sa.Boolean, nullable=False),
        sa.Column("facts", sa.Text, nullable=False),
        sa.Column("lease_until", sa.Text, nullable=False),
        sa.CheckConstraint(f"state in {STATES}", name="batch_state"),
    )
    where = sa.text("is_open")
    op.create_index(
        "one_open_batch", "deletion_batches", ["is_open"], unique=True, sqlite_where=where, postgresql_where=where
    )


def _make_requests() -> None:
    op.create_table(
        "deletion_requests",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("arrival", sa.Integer, nullable=False, unique=True),
        sa.Column("asked", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("outcome", sa.Text),
        sa.Column("reason", sa.Text),
        sa.Column("batch", sa.Text, sa.ForeignKey("deletion_batches.id")),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("received_at", sa.Text, nullable=False),
        sa.Column("changed_at", sa.Text, nullable=False),
        sa.CheckConstraint(f"state in {STATES}", name="request_state"),
        sa.CheckConstraint(f"outcome in {OUTCOMES}", name="request_outcome"),
    )
    op.create_index("ix_deletion_requests_state", "deletion_requests", ["state"])
    op.create_index("ix_deletion_requests_batch", "deletion_requests", ["batch"])


def _make_events() -> None:
    op.create_table(
        "deletion_events",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("hash", sa.Text, nullable=False),
    )
    head = op.create_table(
        "deletion_head",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("hash", sa.Text, nullable=False),
        sa.Column("at", sa.Text, nullable=False),
        sa.CheckConstraint("id = 1", name="one_head"),
    )
    op.bulk_insert(head, [{"id": 1, "number": 0, "hash": "0" * 64, "at": ""}])


def _forbid_changes() -> None:
    """Against mistakes. Who means to change an event removes the triggers first; that is what the chain is for."""
    if op.get_bind().dialect.name == "sqlite":
        for what in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER deletion_events_no_{what.lower()} BEFORE {what} ON deletion_events "
                f"BEGIN SELECT RAISE(ABORT, '{APPEND_ONLY}'); END"
            )
        return
    op.execute(
        "CREATE FUNCTION deletion_events_append_only() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION '{APPEND_ONLY}'; END $$"
    )
    op.execute(
        "CREATE TRIGGER deletion_events_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON deletion_events "
        "FOR EACH STATEMENT EXECUTE FUNCTION deletion_events_append_only()"
    )
