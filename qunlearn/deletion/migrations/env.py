"""Run by alembic: migrates over the connection, and in the transaction, that the caller has."""

from __future__ import annotations

from alembic import context

from qunlearn.deletion.schema import VERSION_TABLE, metadata

context.configure(
    connection=context.config.attributes["connection"], target_metadata=metadata, version_table=VERSION_TABLE
)
with context.begin_transaction():
    context.run_migrations()
