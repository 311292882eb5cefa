"""Whether the store takes what is written, asked before work begins that would come to nothing."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from tasks.tracking.connection import SQLITE, Connection
from tasks.tracking.outages import OutageError

PATIENCE = 20.0
"""Seconds to wait for somebody else who writes."""
PRIMARY = 0xFF
"""The part of SQLite's codes that tells the kind of an error."""


def check_writable(connection: Connection) -> None:
    """Write to a local database and take it back: the file stays as it is. Servers judge each request for themselves.

    Raises:
        OutageError: the file, or the folder, where SQLite keeps its journal, must not be written.
    """
    if not connection.uri.startswith(SQLITE):
        return
    file = Path(connection.uri.removeprefix(SQLITE))
    try:
        with closing(sqlite3.connect(file, timeout=PATIENCE, isolation_level=None)) as database:
            database.execute("BEGIN IMMEDIATE")
            (version,) = database.execute("PRAGMA user_version").fetchone()
            database.execute(f"PRAGMA user_version = {version}")
            database.execute("ROLLBACK")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & PRIMARY == sqlite3.SQLITE_BUSY:
            return  # whoever holds it can write
        raise OutageError(
            f"{file}: cannot be written ({error}); let this user write the file and its folder, and make room, then "
            "run this again"
        ) from None
