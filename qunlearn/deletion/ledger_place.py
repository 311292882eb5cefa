"""Where the ledger is: a SQLite file, or a PostgreSQL server. No message repeats a password."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from qunlearn.deletion.records import LedgerError

VARIABLE = "QUNLEARN_LEDGER_URL"
FOLDER = ".qunlearn"
"""Below the project's root: the service's own files."""
ALLOWED = "sqlite:///<path> or postgresql://<user>:<password>@<host>:<port>/<database>"
HOST = re.compile(r"[A-Za-z0-9_.:-]*")


@dataclass(frozen=True)
class SqliteFile:
    """A ledger in a file.

    Args:
        path: absolute.
        own_folder: whether the file's folder is the service's own, closed to others.
    """

    path: Path
    own_folder: bool

    def __str__(self) -> str:
        return f"the ledger {self.path}"


@dataclass(frozen=True)
class PostgresServer:
    """A ledger in a database of a server."""

    url: URL = field(repr=False)

    def __str__(self) -> str:
        return "the ledger in PostgreSQL"

    def without_secrets(self, text: str) -> str:
        """`text` with every password of the URL replaced by stars."""
        secret = [str(self.url.password)] if self.url.password else []
        for name, value in self.url.query.items():
            if "pass" in name.lower():
                secret += [value] if isinstance(value, str) else value
        for password in sorted(filter(None, secret), key=len, reverse=True):
            text = text.replace(password, "***")
        return text


def place(url: str | None, *, root: Path) -> SqliteFile | PostgresServer:
    """The ledger that `url` names; without one the variable QUNLEARN_LEDGER_URL's, or `<root>/.qunlearn/ledger.db`.

    Args:
        root: the project; relative paths in a SQLite URL begin here.

    Raises:
        LedgerError: it is no URL, or one of a database that the ledger does not use.
    """
    given = url or os.environ.get(VARIABLE, "").strip()
    if not given:
        return SqliteFile(root.absolute() / FOLDER / "ledger.db", own_folder=True)
    try:
        parsed = make_url(given)
    except (ArgumentError, ValueError):
        raise LedgerError(
            f"the URL of the ledger ({VARIABLE}) cannot be read; write {ALLOWED}, with special characters in user and "
            "password percent-encoded"
        ) from None
    if parsed.drivername == "sqlite":
        return _file(parsed, root)
    if parsed.drivername in ("postgresql", "postgres", "postgresql+psycopg"):
        return _server(parsed)
    raise LedgerError(f"the ledger cannot be kept in {parsed.drivername!r}; {VARIABLE} must be {ALLOWED}")


def _file(url: URL, root: Path) -> SqliteFile:
    path = url.database or ""
    if path in ("", ":memory:") or path.startswith("file:") or url.query or url.host:
        raise LedgerError(f"a SQLite ledger must be a file that stays: {VARIABLE}=sqlite:///<path> and nothing more")
    return SqliteFile(root.absolute() / path, own_folder=False)


def _server(url: URL) -> PostgresServer:
    # An unencoded "@" in the password makes its end a part of host or database, which error messages would show.
    if not HOST.fullmatch(url.host or "") or "@" in (url.database or ""):
        raise LedgerError(
            f"the URL of the ledger ({VARIABLE}) has characters in its host or database that do not belong there; "
            "special characters in user and password must be percent-encoded (@ is %40)"
        )
    if not url.database:
        raise LedgerError(f"the URL of the ledger ({VARIABLE}) names no database; write {ALLOWED}")
    return PostgresServer(url.set(drivername="postgresql+psycopg"))
