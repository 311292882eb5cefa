"""Makes and upgrades the ledger's tables; many processes may do so at once."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.util.exc import CommandError

from qunlearn.deletion import ledger_files
from qunlearn.deletion.ledger_database import Database
from qunlearn.deletion.ledger_place import PostgresServer, SqliteFile
from qunlearn.deletion.records import LedgerError
from qunlearn.deletion.schema import REVISION, VERSION_TABLE

ADVISORY_LOCK = 0x71756E6C6561726E
"""PostgreSQL's lock on migrations of this program: "qunlearn" in ASCII."""
NO_LEDGER = "does not exist; it is made by the first request, and if there was one before, restore it from a backup"


def opened(place: SqliteFile | PostgresServer, *, must_exist: bool) -> Database:
    """The database at `place` with all tables of this version.

    Args:
        must_exist: refuse to make a new ledger.

    Raises:
        LedgerError: it cannot be made, read or upgraded, or is not there and must be.
    """
    if isinstance(place, SqliteFile):
        return _opened_file(place, must_exist=must_exist)
    return _opened_server(place, must_exist=must_exist)


def _opened_file(file: SqliteFile, *, must_exist: bool) -> Database:
    database = Database.at(file)
    if not ledger_files.exists(file):
        if must_exist:
            raise LedgerError(f"there is no request yet: {file} {NO_LEDGER}")
        with ledger_files.locked(file):
            # Another process may have been faster.
            if not ledger_files.exists(file):
                ledger_files.create(file, _fill)
    with database.read() as connection:
        found, mode = _revision(connection), connection.scalar(sa.text("PRAGMA journal_mode"))
    if found is None:
        raise LedgerError(f"{file} is the database of another program; name a place where no file is")
    if found != REVISION or mode != "wal":
        with ledger_files.locked(file):
            _upgrade(database)
            _write_ahead(database)
    return database


def _fill(draft: Path) -> None:
    database = Database.at(SqliteFile(draft, own_folder=False))
    _upgrade(database)
    _write_ahead(database)


def _write_ahead(database: Database) -> None:
    """Let readers read while one process writes. The setting stays in the file; it cannot be made in a transaction."""
    with database.autocommit() as connection:
        mode = connection.scalar(sa.text("PRAGMA journal_mode = WAL"))
    if mode != "wal":
        raise LedgerError(
            f"{database.place}: its file system cannot keep a write-ahead log; use a local disk, or PostgreSQL"
        )


def _opened_server(server: PostgresServer, *, must_exist: bool) -> Database:
    database = Database.at(server)
    with database.read() as connection:
        found, encoding = _revision(connection), connection.scalar(sa.text("SHOW server_encoding"))
    if encoding != "UTF8":
        raise LedgerError(f"{server}: the database must have the encoding UTF8, not {encoding}; make another one")
    if found is None and must_exist:
        raise LedgerError(f"there is no request yet: {server} {NO_LEDGER}")
    if found != REVISION:
        _upgrade(database)
    return database


def has_tables(database: Database) -> bool:
    """Whether somebody has made a ledger in this database."""
    with database.read() as connection:
        return _revision(connection) is not None


def _revision(connection: sa.Connection) -> str | None:
    """The revision of the ledger's tables; None where there are none."""
    if not sa.inspect(connection).has_table(VERSION_TABLE):
        return None
    found: str | None = connection.scalar(sa.select(sa.column("version_num")).select_from(sa.table(VERSION_TABLE)))
    return found


def _upgrade(database: Database) -> None:
    """Migrate in one transaction; nothing happens where another process has done it."""
    config = Config()
    # As a package, not as a path: alembic would read a "%" in a path as the beginning of a variable.
    config.set_main_option("script_location", "qunlearn.deletion:migrations")
    with database.write() as connection:
        if not database.is_sqlite:
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": ADVISORY_LOCK})
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "head")
        except CommandError:
            raise LedgerError(
                f"{database.place} was written by another version of qunlearn; install that version or a later one"
            ) from None
