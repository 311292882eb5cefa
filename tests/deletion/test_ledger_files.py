"""The file of the ledger: closed to others, whole or not there, and one clear error for whatever is wrong with it."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from deletion.ledger_file import checkpointed, database

from qunlearn.deletion import ledger_database, ledger_files
from qunlearn.deletion.ledger import Asked, Ledger, LedgerError
from qunlearn.deletion.ledger_place import SqliteFile

Make = Callable[..., Asked]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


@pytest.fixture
def open_umask() -> Iterator[None]:
    """Nothing is taken from the mode that a file is made with."""
    before = os.umask(0)
    yield
    os.umask(before)


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


@pytest.mark.parametrize("must_exist", [False, True])
def test_under_the_log_of_a_ledger_that_is_gone_none_is_made(folder: Path, asked: Make, must_exist: bool) -> None:
    ledger = Ledger.open(root=folder)
    with closing(sqlite3.connect(database(folder))) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM deletion_requests").fetchone()  # the log outlives its writer
        ledger.add(asked())
        log = database(folder).with_name("ledger.db-wal")
        kept = log.read_bytes()
        database(folder).unlink()
    log.write_bytes(kept)
    with pytest.raises(LedgerError, match=r"ledger\.db is gone, but ledger\.db-wal beside it is not"):
        Ledger.open(root=folder, must_exist=must_exist)
    assert not database(folder).exists()
    assert log.read_bytes() == kept
    log.unlink()
    Ledger.open(root=folder).add(asked())
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
        (garble, r"is damaged \(file is not a database\); move it away together"),
        (cut, r"is damaged \(database disk image is malformed\); move it away"),
        (empty, "is damaged: it is empty; move it away"),
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
