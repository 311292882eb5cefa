"""Damage below the database: flipped bits and values of the wrong kind are faults or errors, never a silent success."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import pytest
import sqlalchemy as sa

from qunlearn.deletion import schema
from qunlearn.deletion.ledger import Asked, Batch, Ledger, LedgerError, State, TransitionError, Worker

Make = Callable[..., Asked]
WORKER, OTHER = Worker("elsewhere", 7, "boot:1:7"), Worker("elsewhere", 8, "boot:1:8")


def checkpointed(folder: Path) -> Path:
    """The file with all that was written, and no other files beside it."""
    with closing(sqlite3.connect(folder / ".qunlearn" / "ledger.db")) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return folder / ".qunlearn" / "ledger.db"


def test_every_byte_of_a_stored_event_counts(folder: Path, asked: Make) -> None:
    """Bits that flip on the disk, below the database: each is a fault or an error, whatever the byte becomes."""
    ledger = Ledger.open(root=folder)
    for name in "abc":
        ledger.add(asked(name))
    path = folder / ".qunlearn" / "ledger.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        number, body, digest = connection.execute("SELECT number, body, hash FROM deletion_events").fetchall()[1]
    content = path.read_bytes()
    stored = (body + digest).encode()
    start = content.index(stored)
    for place in range(start, start + len(stored)):
        with path.open("r+b") as file:
            file.seek(place)
            file.write(bytes([content[place] ^ (1 << place % 8)]))
        fault = ledger.verify()
        assert fault is not None
        assert fault.number == number
        with path.open("r+b") as file:
            file.seek(place)
            file.write(content[place : place + 1])
    assert ledger.verify() is None


def test_an_index_that_no_longer_fits_its_table_is_found(folder: Path, asked: Make) -> None:
    """Every copy of a request's id counts, also the one by which the database looks it up."""
    ledger = Ledger.open(root=folder)
    name = ledger.add(asked()).id.encode()
    path = checkpointed(folder)
    content = path.read_bytes()
    places = [place for place in range(len(content)) if content.startswith(name, place)]
    assert len(places) == 3, "in the event, the row, and the index"
    rows = []
    for place in places:
        path.write_bytes(content[:place] + b"q" + content[place + 1 :])
        fault = ledger.verify()
        assert fault is not None
        rows.append(fault.row)
    assert set(rows) == {"event 1", f"request {name.decode()}", "database file"}


@pytest.mark.parametrize("table", [schema.events, schema.head, schema.requests, schema.batches], ids=str)
@pytest.mark.parametrize("odd", ["'odd'", "''", "x'ff00'", "x'7b7d'", "'{}'", "'[]'", "-7", "1.5", "NULL"])
def test_values_of_another_kind_are_faults_too(folder: Path, asked: Make, table: sa.Table, odd: str) -> None:
    """A SQLite file takes any value in any column."""
    ledger = Ledger.open(root=folder)
    ledger.add(asked())
    batch = ledger.claim(WORKER)
    assert batch is not None
    content = checkpointed(folder).read_bytes()
    copy = folder / "copy.db"
    for column in table.c:
        copy.write_bytes(content)
        copy.chmod(0o600)
        if changed(copy, f"UPDATE {table.name} SET {column.name} = {odd} WHERE {column.name} IS NOT {odd}"):
            other = Ledger.open(f"sqlite:///{copy}", root=folder)
            assert faulty(other) or column.name == "lease_until", column.name
            say_nothing_but_ledger_errors(other, batch, asked())


def changed(file: Path, statement: str) -> bool:
    """Whether the database took the change."""
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("DROP TRIGGER deletion_events_no_update")
        connection.execute("PRAGMA ignore_check_constraints = ON")
        try:
            count = connection.execute(statement).rowcount
            connection.commit()
        except sqlite3.IntegrityError:
            return False
    return count > 0


def faulty(ledger: Ledger) -> bool:
    try:
        return ledger.verify() is not None
    except LedgerError:
        return True


def say_nothing_but_ledger_errors(ledger: Ledger, batch: Batch, asked: Asked) -> None:
    calls: tuple[Callable[[], object], ...] = (
        ledger.requests,
        ledger.events,
        ledger.head,
        lambda: ledger.batch(batch.id),
        lambda: ledger.claim(OTHER),
        lambda: ledger.renew(batch),
        lambda: ledger.advance(batch, State.UNLEARNED),
        lambda: ledger.add(asked),
    )
    for call in calls:
        with suppress(LedgerError, TransitionError):
            call()


def test_flipped_bits_are_found_or_change_nothing(folder: Path, asked: Make) -> None:
    """Anywhere in the file, not only in rows: the check finds it, or says so, or every request is still as it was."""
    ledger = Ledger.open(root=folder)
    for name in "abcde":
        ledger.add(asked(name))
    ledger.claim(Worker("elsewhere", 7, "boot:1:7"))
    requests = ledger.requests()
    path = checkpointed(folder)
    content = path.read_bytes()
    draw = random.Random(0)
    found = 0
    for _ in range(300):
        place, bit = draw.randrange(len(content)), draw.randrange(8)
        path.write_bytes(content[:place] + bytes([content[place] ^ (1 << bit)]) + content[place + 1 :])
        with suppress(LedgerError):
            if ledger.verify() is None:
                assert ledger.requests() == requests
                found -= 1
        found += 1
        for beside in ("-wal", "-shm"):
            path.with_name(path.name + beside).unlink(missing_ok=True)
    assert found > 10
