"""The file of the ledger: closed to others, whole or not there, and one clear error for whatever is wrong with it."""

from __future__ import annotations

import os
import random
import resource
import shutil
import sqlite3
import stat
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from pathlib import Path

import postgres_server
import pytest
import sqlalchemy as sa

from qunlearn.deletion import ledger_database, ledger_files
from qunlearn.deletion.ledger import Asked, Ledger, LedgerError, UnavailableError, Worker
from qunlearn.deletion.ledger_place import SqliteFile

Make = Callable[..., Asked]
NOBODY = 65534
SECRET = "correct-" + "horse"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def database(folder: Path) -> Path:
    return folder / ".qunlearn" / "ledger.db"


def checkpointed(folder: Path) -> Path:
    """The file with all that was written, and no other files beside it."""
    with closing(sqlite3.connect(database(folder))) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return database(folder)


@pytest.fixture
def open_umask() -> Iterator[None]:
    """Nothing is taken from the mode that a file is made with."""
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.fixture
def unprivileged() -> Iterator[Path]:
    """A folder of a user who is not root, and that user."""
    folder = Path(tempfile.mkdtemp())
    root = os.geteuid() == 0
    if root:
        os.chown(folder, NOBODY, NOBODY)
        os.setegid(NOBODY)
        os.seteuid(NOBODY)
    try:
        yield folder
    finally:
        if root:
            os.seteuid(0)
            os.setegid(0)
        for path in folder.rglob("*"):
            path.chmod(0o700)
        folder.chmod(0o700)
        shutil.rmtree(folder)


@pytest.mark.usefixtures("open_umask")
def test_nobody_else_can_read_any_of_its_files(folder: Path, asked: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, int] = {}
    connect = ledger_database.connect

    def watched(path: Path) -> sqlite3.Connection:
        seen.update({one.name: mode(one) for one in path.parent.iterdir()})
        return connect(path)

    monkeypatch.setattr(ledger_database, "connect", watched)
    ledger = Ledger.open(root=folder)
    with closing(connect(database(folder))):
        ledger.add(asked())
        seen |= {one.name: mode(one) for one in (folder / ".qunlearn").iterdir()}
    names = ("ledger.db", "ledger.db-wal", "ledger.db-shm", "ledger.db.lock", "ledger.db.new")
    assert {name: seen.get(name) for name in names} == dict.fromkeys(names, 0o600)
    assert set(seen.values()) == {0o600}
    assert mode(folder / ".qunlearn") == 0o700


def test_a_folder_that_another_command_made_is_closed(folder: Path) -> None:
    (folder / ".qunlearn").mkdir(mode=0o755)
    Ledger.open(root=folder)
    assert mode(folder / ".qunlearn") == 0o700


def test_a_folder_that_is_not_the_services_stays_as_it_is(folder: Path) -> None:
    folder.chmod(0o755)
    Ledger.open("sqlite:///ledgers/one/ledger.db", root=folder)
    assert mode(folder / "ledgers" / "one") == 0o700
    Ledger.open("sqlite:///ledger.db", root=folder)
    assert mode(folder) == 0o755


def test_it_is_written_ahead_waits_for_others_and_checks_references(folder: Path) -> None:
    Ledger.open(root=folder)
    with closing(ledger_database.connect(database(folder))) as connection:
        settings = ("journal_mode", "busy_timeout", "foreign_keys", "synchronous")
        assert [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in settings] == ["wal", 30_000, 1, 2]


def test_a_ledger_that_was_copied_without_its_log_is_written_ahead_again(folder: Path, asked: Make) -> None:
    Ledger.open(root=folder).add(asked())
    with closing(sqlite3.connect(database(folder))) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
    assert len(Ledger.open(root=folder).requests()) == 1
    with closing(sqlite3.connect(database(folder))) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"


def test_where_there_must_be_one_none_is_made(folder: Path) -> None:
    with pytest.raises(LedgerError, match=r"ledger\.db does not exist; it is made by the first request"):
        Ledger.open(root=folder, must_exist=True)
    assert list(folder.iterdir()) == []


def test_whoever_is_killed_while_making_it_leaves_none_and_the_next_makes_it(
    folder: Path, asked: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(_: sa.Connection, __: str) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("alembic.command.upgrade", killed)
        with pytest.raises(KeyboardInterrupt):
            Ledger.open(root=folder)
    assert not database(folder).exists()
    left = database(folder).with_name("ledger.db.new")
    assert left.exists()
    left.write_bytes(b"half a ledger")
    left.with_name("ledger.db.new-wal").write_bytes(b"and its log")
    Ledger.open(root=folder).add(asked())
    assert {one.name for one in database(folder).parent.iterdir()} == {"ledger.db", "ledger.db.lock"}


def test_another_process_that_was_faster_is_not_undone(
    folder: Path, asked: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    exists = ledger_files.exists

    def faster(file: SqliteFile) -> bool:
        """Says that there is none, and then there is one."""
        monkeypatch.setattr(ledger_files, "exists", exists)
        Ledger.open(root=folder).add(asked())
        return False

    monkeypatch.setattr(ledger_files, "exists", faster)
    assert len(Ledger.open(root=folder).requests()) == 1


def garble(path: Path) -> None:
    path.write_bytes(b"no database at all" * 1000)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:10_000])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def link(path: Path) -> None:
    path.rename(path.with_name("elsewhere.db"))
    path.symlink_to("elsewhere.db")


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o600)


def replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def replace_by_other_program(path: Path) -> None:
    path.write_bytes(b"")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE alembic_version (version_num TEXT)")


def lose_a_table(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TABLE deletion_events")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (garble, r"is damaged \(file is not a database\); restore it from a backup"),
        (cut, r"is damaged \(database disk image is malformed\); restore"),
        (empty, "is damaged: it is empty; restore"),
        (link, "is a link; name the file itself"),
        (pipe, "is not a regular file"),
        (replace_by_folder, "is not a regular file"),
        (replace_by_other_program, "is the database of another program"),
        (lose_a_table, "no such table: deletion_events"),
        (lambda path: path.chmod(0o640), r"others than its owner have rights to it \(mode 0640\); run chmod 600"),
    ],
)
def test_what_is_no_ledger_any_more_is_refused(
    folder: Path, asked: Make, damage: Callable[[Path], None], said: str
) -> None:
    ledger = Ledger.open(root=folder)
    for _ in range(5):
        ledger.add(asked())
    damage(checkpointed(folder))
    with pytest.raises(LedgerError, match=said) as refused:
        Ledger.open(root=folder).verify()
    assert len(str(refused.value).splitlines()) == 1


def test_a_ledger_of_a_later_version_is_refused(url: str, ledger: Ledger, folder: Path, asked: Make) -> None:
    engine = sa.create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE deletion_schema_version SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(LedgerError, match="was written by another version of qunlearn"):
        Ledger.open(url, root=folder)


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


def test_a_ledger_that_vanishes_is_not_made_anew_by_a_transaction(folder: Path, asked: Make) -> None:
    ledger = Ledger.open(root=folder)
    database(folder).unlink()
    with pytest.raises(UnavailableError, match="unable to open database file"):
        ledger.add(asked())
    assert not database(folder).exists()


def test_in_a_read_only_folder_no_ledger_is_made(unprivileged: Path) -> None:
    unprivileged.chmod(0o500)
    with pytest.raises(UnavailableError, match=r"ledger\.db cannot be used: Permission denied; its folder must be"):
        Ledger.open(root=unprivileged)
    assert list(unprivileged.iterdir()) == []


@pytest.mark.parametrize("closed", [".qunlearn", ".qunlearn/ledger.db"])
def test_a_ledger_that_became_read_only_says_so_and_recovers(unprivileged: Path, asked: Make, closed: str) -> None:
    ledger = Ledger.open(root=unprivileged)
    added = ledger.add(asked())
    (unprivileged / closed).chmod(0o500 if closed == ".qunlearn" else 0o400)
    with pytest.raises(UnavailableError, match=r"cannot be used: .*(readonly database \(its owner|unable to open)"):
        ledger.add(asked())
    (unprivileged / ".qunlearn").chmod(0o700)
    for file in (unprivileged / ".qunlearn").iterdir():
        file.chmod(0o600)
    assert ledger.requests() == [added]
    ledger.add(asked())
    assert ledger.verify() is None


def test_somebody_elses_folder_is_refused(unprivileged: Path) -> None:
    Ledger.open(root=unprivileged)
    (unprivileged / ".qunlearn").chmod(0)
    with pytest.raises(UnavailableError, match="Permission denied"):
        Ledger.open(root=unprivileged)


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
