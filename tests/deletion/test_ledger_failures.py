"""What the system refuses: read-only folders, full disks, locks that are held, servers that do not answer."""

from __future__ import annotations

import os
import resource
import shutil
import sqlite3
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

import postgres_server
import pytest
from deletion.ledger_file import checkpointed, database

from qunlearn.deletion import ledger_database, ledger_files
from qunlearn.deletion.ledger import Asked, Ledger, LedgerError, UnavailableError
from qunlearn.deletion.ledger_place import SqliteFile

Make = Callable[..., Asked]
NOBODY = 65534
SECRET = "correct-" + "horse"


@pytest.fixture
def lent() -> Iterator[Path]:
    """A folder that `its_owner` can be given."""
    folder = Path(tempfile.mkdtemp())
    yield folder
    for path in folder.rglob("*"):
        path.chmod(0o700)
    folder.chmod(0o700)
    shutil.rmtree(folder)


@contextmanager
def its_owner(folder: Path) -> Iterator[None]:
    """Work as the folder's owner, who is not root: for root no folder is read-only.

    What needs files of the program has to come first, since those may lie where nobody else can read.
    """
    if os.geteuid() != 0:
        yield
        return
    for path in (folder, *folder.rglob("*")):
        os.chown(path, NOBODY, NOBODY)
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


def test_a_ledger_that_vanishes_is_not_made_anew_by_a_transaction(folder: Path, asked: Make) -> None:
    ledger = Ledger.open(root=folder)
    database(folder).unlink()
    with pytest.raises(UnavailableError, match="unable to open database file"):
        ledger.add(asked())
    assert not database(folder).exists()


def test_in_a_read_only_folder_no_ledger_is_made(lent: Path) -> None:
    lent.chmod(0o500)
    message = r"ledger\.db cannot be used: Permission denied; its folder must be"
    with its_owner(lent), pytest.raises(UnavailableError, match=message):
        Ledger.open(root=lent)
    assert list(lent.iterdir()) == []


@pytest.mark.parametrize("closed", [".qunlearn", ".qunlearn/ledger.db"])
def test_a_ledger_that_became_read_only_says_so_and_recovers(lent: Path, asked: Make, closed: str) -> None:
    ledger = Ledger.open(root=lent)
    added = ledger.add(asked())
    assert (ledger.requests(), ledger.verify()) == ([added], None)
    with its_owner(lent):
        (lent / closed).chmod(0o500 if closed == ".qunlearn" else 0o400)
        with pytest.raises(UnavailableError, match=r"cannot be used: .*(readonly database \(its owner|unable to open)"):
            ledger.add(asked())
        (lent / ".qunlearn").chmod(0o700)
        for file in (lent / ".qunlearn").iterdir():
            file.chmod(0o600)
        assert ledger.requests() == [added]
        ledger.add(asked())
        assert ledger.verify() is None


def test_somebody_elses_folder_is_refused(lent: Path) -> None:
    Ledger.open(root=lent)
    (lent / ".qunlearn").chmod(0)
    with its_owner(lent), pytest.raises(UnavailableError, match="Permission denied"):
        Ledger.open(root=lent)


@contextmanager
def no_byte_more(size: int) -> Iterator[None]:
    """No file of this process may become larger."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def no_page_more() -> Iterator[None]:
    """No database may become larger."""
    connect = ledger_database.connect

    def limited(path: Path) -> sqlite3.Connection:
        connection = connect(path)
        connection.execute("PRAGMA max_page_count = 1")  # SQLite raises this to what the file has
        return connection

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ledger_database, "connect", limited)
        yield


@pytest.mark.parametrize(
    ("full", "said"), [(no_page_more(), "database or disk is full"), (no_byte_more(100_000), "disk I/O error")]
)
def test_on_a_full_disk_a_change_happens_not_at_all(
    folder: Path, asked: Make, full: AbstractContextManager[None], said: str
) -> None:
    ledger = Ledger.open(root=folder)
    added = ledger.add(asked())
    many = asked(*(f"s{number}" for number in range(20_000)))
    checkpointed(folder)
    with full, pytest.raises(UnavailableError, match=f"cannot be used: {said}; nothing was changed"):
        ledger.add(many)
    assert ledger.requests() == [added]
    assert ledger.head()[0] == 1
    assert ledger.verify() is None
    ledger.add(many)


def test_on_a_full_disk_no_half_ledger_is_made(folder: Path) -> None:
    with no_byte_more(16_384), pytest.raises(UnavailableError, match="cannot be used"):
        Ledger.open(root=folder)
    assert not database(folder).exists()
    assert Ledger.open(root=folder).verify() is None


def test_whoever_holds_the_ledger_too_long_is_not_waited_for(
    folder: Path, asked: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_database, "PATIENCE", 0.1)
    ledger = Ledger.open(root=folder)
    with closing(sqlite3.connect(database(folder), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(UnavailableError, match="was held by another process"):
            ledger.add(asked())
        assert ledger.requests() == []
    ledger.add(asked())


@pytest.mark.servers
def test_whoever_holds_a_server_too_long_is_not_waited_for(
    postgres: postgres_server.Server, folder: Path, asked: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_database, "PATIENCE", 1)
    import psycopg

    url = postgres.new_place()
    ledger = Ledger.open(url, root=folder)
    with psycopg.connect(url) as other:
        other.execute("SELECT * FROM deletion_head FOR UPDATE")
        with pytest.raises(UnavailableError, match="was held by another process for 1 s"):
            ledger.add(asked())
        assert ledger.requests() == []
    ledger.add(asked())


def test_a_lock_that_is_held_too_long_is_not_waited_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_files, "PATIENCE", 0.1)
    with (
        ledger_files.locked(SqliteFile(database(folder), own_folder=True)),
        pytest.raises(UnavailableError, match="is being made or migrated by another process"),
    ):
        Ledger.open(root=folder)


def test_a_server_that_cannot_be_reached_is_named_without_the_password(folder: Path) -> None:
    pytest.importorskip("psycopg", reason="pip install 'qunlearn[postgres]'")
    url = f"postgresql://anna:{SECRET}@127.0.0.1:1/ledger"
    with pytest.raises(UnavailableError, match="the ledger in PostgreSQL cannot be used") as refused:
        Ledger.open(url, root=folder)
    told = "".join(traceback.format_exception(refused.value))
    assert SECRET not in told
    assert "anna" not in told
    assert len(str(refused.value).splitlines()) == 1


def test_without_its_driver_a_server_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(LedgerError, match=r"pip install 'qunlearn\[postgres\]'"):
        Ledger.open(f"postgresql://anna:{SECRET}@127.0.0.1:1/ledger", root=folder)


@pytest.mark.servers
def test_what_a_server_refuses_is_told_without_the_password(postgres: postgres_server.Server, folder: Path) -> None:
    for url, said in (
        (postgres.url(password=SECRET), "password authentication failed"),
        (postgres.url("nowhere", user="qunlearn"), 'database "nowhere" does not exist'),
        (postgres.url() + f"?sslmode=require&sslpassword={SECRET}", "server does not support SSL"),
        (postgres.new_database(encoding="SQL_ASCII"), "must have the encoding UTF8, not SQL_ASCII"),
    ):
        with pytest.raises(LedgerError, match=said) as refused:
            Ledger.open(url, root=folder)
        told = "".join(traceback.format_exception(refused.value))
        assert SECRET not in told
        assert postgres.password not in told
    with pytest.raises(LedgerError, match="does not exist; it is made by the first request"):
        Ledger.open(postgres.new_place(), root=folder, must_exist=True)


@pytest.mark.servers
def test_a_server_that_ends_is_an_error_and_not_a_silent_success(folder: Path, asked: Make) -> None:
    binaries = postgres_server.find()
    if binaries is None:
        pytest.skip(postgres_server.MISSING)
    with postgres_server.running(binaries) as server:
        ledger = Ledger.open(server.new_place(), root=folder)
        ledger.add(asked())
    with pytest.raises(UnavailableError, match="Connection refused"):
        ledger.add(asked())
    with pytest.raises(UnavailableError):
        ledger.verify()
