"""The ledger's file on the disk, as tests look at it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path


def database(folder: Path) -> Path:
    return folder / ".qunlearn" / "ledger.db"


def checkpointed(folder: Path) -> Path:
    """The file with all that was written, and no other files beside it."""
    with closing(sqlite3.connect(database(folder))) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return database(folder)
