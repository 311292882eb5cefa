"""What a ledger was begun with: the check value of the identity key."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make the table; the value is written with the next request, or when the next batch is claimed."""
    op.create_table(
        "deletion_settings",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("value", sa.Text, nullable=False),
    )
