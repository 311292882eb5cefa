"""Which identity key a ledger was written with: a check value of the key, from which the key cannot be found.

With another key nobody recognises what earlier requests named, and a request that waits under an unknown name would end
as `not present`. So the first who adds a request, or claims one, leaves the check value of the key; others must have
that key. A ledger below a folder without any key has none, until there is a key.
"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from qunlearn.deletion import ledger_files, schema
from qunlearn.deletion.ledger_database import Database
from qunlearn.deletion.ledger_place import SqliteFile, place
from qunlearn.deletion.migration import has_tables, opened
from qunlearn.deletion.records import LedgerError

NAME = "identity key check"
NOTE = "identity key"
"""Kind of the event that tells of a change of keys."""
ACCEPT = "`qunlearn ledger accept-key` (docs/operations.md, Keys)"


class OtherKeyError(LedgerError):
    """The ledger was written with another identity key; the message holds neither."""


def recorded(root: Path) -> str | None:
    """The check value in the ledger of the project at `root`; None where there is no ledger yet, or no value in it.

    Raises:
        LedgerError: the ledger cannot be read.
    """
    where = place(None, root=root)
    if isinstance(where, SqliteFile):
        if not where.path.parent.is_dir() or not ledger_files.exists(where):
            return None
    elif not has_tables(Database.at(where)):
        return None
    with opened(where, must_exist=True).read() as connection:
        return stored(connection)


def stored(connection: sa.Connection) -> str | None:
    """The check value in a ledger; None where it has none."""
    value: str | None = connection.scalar(sa.select(schema.settings.c.value).where(schema.settings.c.name == NAME))
    return value


def bind(connection: sa.Connection, check: str, *, source: str) -> None:
    """Leave the check value of one's key where there is none, in the caller's transaction.

    Args:
        source: where the key is from, for the error.

    Raises:
        OtherKeyError: another key's is there.
    """
    there = stored(connection)
    if there is None:
        connection.execute(schema.settings.insert().values(name=NAME, value=check))
    elif there != check:
        raise OtherKeyError(other_key(source))


def replace(connection: sa.Connection, check: str) -> str | None:
    """Let another key count from now on; the value before."""
    there = stored(connection)
    if there is None:
        connection.execute(schema.settings.insert().values(name=NAME, value=check))
    else:
        connection.execute(schema.settings.update().where(schema.settings.c.name == NAME).values(value=check))
    return there


def other_key(source: str) -> str:
    """What to say of a key that is not the ledger's."""
    return (
        f"the identity key in {source} is not the one that the ledger was written with: names in earlier requests "
        "would not be recognised; put back .qunlearn/identity.key from a backup, or set QUNLEARN_KEY as the service "
        f"has it (unset it where the service has none); if that key is gone for good: {ACCEPT}"
    )
