"""Transactions on the ledger's database, one writer at a time, and its errors in one line.

A writer holds the whole ledger from its first statement on: SQLite by BEGIN IMMEDIATE, PostgreSQL by a lock on the head
row, which `journal.Turn` takes. Every transaction has a connection of its own; a forked process inherits none.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.pool import NullPool

from qunlearn.deletion.ledger_files import RESTORE
from qunlearn.deletion.ledger_place import PostgresServer, SqliteFile
from qunlearn.deletion.records import LedgerError, UnavailableError

PATIENCE = 30
"""Seconds that a writer waits for another."""
CONNECT_SECONDS = 10
LOCK_TIMEOUT = "55P03"
"""PostgreSQL's code for a lock that was waited for too long."""
WRITES = "ledger_writes"
"""Execution option of connections whose transactions write."""


def wall_clock() -> datetime:
    """The time of this machine's clock, which may be set back at any moment; UTC."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class Database:
    """An open database; holds no connection between transactions."""

    place: SqliteFile | PostgresServer
    engine: sa.Engine

    @classmethod
    def at(cls, place: SqliteFile | PostgresServer) -> Database:
        """The database of a ledger that need not have its tables yet."""
        engine = _sqlite(place.path) if isinstance(place, SqliteFile) else _postgres(place)
        return cls(place, engine)

    @property
    def is_sqlite(self) -> bool:
        return isinstance(self.place, SqliteFile)

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """A transaction that writes: committed at the end of the block, undone by any exception.

        Raises:
            UnavailableError, LedgerError: in place of the database's own errors.
        """
        with self._told(), self.engine.connect() as connection:
            # The head row is waited for and then read: under a stricter isolation that would fail.
            connection.execution_options(
                **({WRITES: True} if self.is_sqlite else {"isolation_level": "READ COMMITTED"})
            )
            with connection.begin():
                if not self.is_sqlite:
                    # Nobody waits for ever, neither for the lock nor for a holder that was stopped.
                    connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{PATIENCE}s'")
                    connection.exec_driver_sql(f"SET LOCAL idle_in_transaction_session_timeout = '{2 * PATIENCE}s'")
                yield connection

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A transaction that sees one state of the ledger throughout.

        Raises:
            UnavailableError, LedgerError: in place of the database's own errors.
        """
        with self._told(), self.engine.connect() as connection:
            if not self.is_sqlite:
                connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            with connection.begin():
                yield connection

    @contextmanager
    def autocommit(self) -> Iterator[sa.Connection]:
        """Without a transaction, for settings of SQLite that cannot be made in one."""
        with self._told(), self.engine.connect() as connection:
            yield connection.execution_options(isolation_level="AUTOCOMMIT")

    def now(self, connection: sa.Connection) -> datetime:
        """The time, UTC: the server's where there is one, for all workers have the same then.

        The time of the transaction's beginning would not do: it may have waited for its turn since.
        """
        if self.is_sqlite:
            return wall_clock()
        at: datetime = connection.scalar(sa.text("SELECT clock_timestamp()"))
        return at.astimezone(UTC)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            raise self._in_one_line(error) from None

    def _in_one_line(self, error: DBAPIError) -> LedgerError:
        # Never SQLAlchemy's own text: it holds the statement. Nor a second line: PostgreSQL shows values there.
        said = (str(error.orig).strip().splitlines() or ["no reason given"])[0]
        if isinstance(error, IntegrityError):
            return LedgerError(f"{self.place} contradicts itself; nothing was changed: run `qunlearn ledger verify`")
        name = getattr(error.orig, "sqlite_errorname", "")
        if name.startswith("SQLITE_BUSY") or getattr(error.orig, "sqlstate", None) == LOCK_TIMEOUT:
            return UnavailableError(f"{self.place} was held by another process for {PATIENCE} s; try again")
        if isinstance(self.place, PostgresServer):
            said = self.place.without_secrets(said)
            advice = "see that the server runs and that QUNLEARN_LEDGER_URL is right, then try again"
            return UnavailableError(f"{self.place} cannot be used: {said}; {advice}")
        if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
            return LedgerError(f"{self.place} is damaged ({said}); {RESTORE}")
        if name.startswith("SQLITE_READONLY"):
            # A file that is read while it is read-only leaves others of the same kind beside it.
            said += " (its owner must be able to write it, its folder, and the files beside it with -wal and -shm)"
        return UnavailableError(f"{self.place} cannot be used: {said}; nothing was changed")


def _sqlite(path: Path) -> sa.Engine:
    engine = sa.create_engine("sqlite://", creator=lambda: connect(path), poolclass=NullPool, hide_parameters=True)

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        # A transaction that begins to write later may find that another one has written meanwhile, and fails.
        options = connection.get_execution_options()
        if options.get("isolation_level") == "AUTOCOMMIT":
            return
        connection.exec_driver_sql("BEGIN IMMEDIATE" if options.get(WRITES) else "BEGIN")

    return engine


def connect(path: Path) -> sqlite3.Connection:
    """A connection to a file that exists; it is never made here, for it would be readable by others.

    Transactions are begun by hand: Python's own way begins them late.
    """
    connection = sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True, timeout=PATIENCE, isolation_level=None)
    # A flipped bit may leave text that is no UTF-8; the check of the chain must find it, not stumble over it.
    connection.text_factory = lambda stored: stored.decode("utf-8", errors="surrogateescape")
    with closing(connection.cursor()) as cursor:
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.execute("PRAGMA synchronous = FULL")
    return connection


def _postgres(place: PostgresServer) -> sa.Engine:
    options = {"client_encoding": "utf8"}
    if "connect_timeout" not in place.url.query:
        options["connect_timeout"] = str(CONNECT_SECONDS)
    try:
        return sa.create_engine(place.url, poolclass=NullPool, hide_parameters=True, connect_args=options)
    except ModuleNotFoundError:
        raise LedgerError(f"{place} needs a driver; run pip install 'qunlearn[postgres]'") from None
