"""Ledgers to try things on: in a file, and where the marker `servers` is chosen in PostgreSQL too."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import postgres_server
import pytest

from qunlearn.deletion.ledger import Asked, Ledger


@pytest.fixture
def folder() -> Iterator[Path]:
    """An empty folder, in memory where the system has such a place: every change of a ledger waits for the disk."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as made:
        yield Path(made)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.servers)])
def url(request: pytest.FixtureRequest, folder: Path) -> str:
    """The address of a ledger that is not there yet."""
    if request.param == "sqlite":
        return f"sqlite:///{folder}/ledger.db"
    server: postgres_server.Server = request.getfixturevalue("postgres")
    return server.new_place()


@pytest.fixture
def ledger(url: str, folder: Path) -> Ledger:
    """A new ledger."""
    return Ledger.open(url, root=folder)


@pytest.fixture
def asked() -> Callable[..., Asked]:
    """Makes what a request asks for."""

    def make(*samples: str, due: date = date(2026, 12, 21)) -> Asked:
        return Asked("sample", samples or ("train-000001-00000000000a",), (), None, None, due)

    return make


class Clock:
    """A clock that stands still unless a test moves it."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def move(self, **by: float) -> None:
        """Forwards, or with negative values backwards."""
        self.now += timedelta(**by)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of this machine, for ledgers in files."""
    made = Clock()
    monkeypatch.setattr("qunlearn.deletion.ledger_database.wall_clock", made)
    return made
