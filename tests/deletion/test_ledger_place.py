"""Which database a URL names; what is wrong with a URL is said without its password."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.engine import URL

from qunlearn.deletion.ledger_place import VARIABLE, PostgresServer, SqliteFile, place
from qunlearn.deletion.records import LedgerError

ROOT = Path("/project")
SECRET = "correct-horse"


@pytest.fixture(autouse=True)
def _no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)


def test_without_a_url_it_is_a_file_of_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    own = SqliteFile(ROOT / ".qunlearn" / "ledger.db", own_folder=True)
    assert place(None, root=ROOT) == own
    monkeypatch.setenv(VARIABLE, "  ")
    assert place(None, root=ROOT) == own


def test_the_variable_is_used_where_no_url_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "sqlite:////var/lib/ledger.db")
    assert place(None, root=ROOT) == SqliteFile(Path("/var/lib/ledger.db"), own_folder=False)
    assert place("sqlite:///other.db", root=ROOT) == SqliteFile(ROOT / "other.db", own_folder=False)


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_postgresql_is_reached_by_psycopg(scheme: str) -> None:
    found = place(f"{scheme}://anna:{SECRET}@db.example.org:5433/ledger?sslmode=require", root=ROOT)
    assert isinstance(found, PostgresServer)
    assert found.url.render_as_string(hide_password=False) == (
        f"postgresql+psycopg://anna:{SECRET}@db.example.org:5433/ledger?sslmode=require"
    )
    assert SECRET not in repr(found) + str(found)


@pytest.mark.parametrize(
    "url",
    [
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:///file:ledger.db?uri=true",
        "sqlite:///ledger.db?mode=ro",
        "sqlite://host/ledger.db",
        f"mysql://anna:{SECRET}@host/ledger",
        f"postgresql+psycopg2://anna:{SECRET}@host/ledger",
        f"postgresql://anna:{SECRET}@host",
        f"postgresql://anna:{SECRET}@host/",
        f"postgresql://anna:{SECRET}@host:54x/ledger",
        f"postgresql://anna:x@{SECRET}@host/ledger",
        f"postgresql://anna:x@y{SECRET}/z@host/ledger",
        f"anna:{SECRET}@host/ledger",
        SECRET,
    ],
)
def test_other_urls_are_refused_without_their_password(url: str) -> None:
    with pytest.raises(LedgerError, match="QUNLEARN_LEDGER_URL") as refused:
        place(url, root=ROOT)
    assert SECRET not in str(refused.value)
    assert "anna" not in str(refused.value)
    assert refused.value.__suppress_context__ or refused.value.__context__ is None


@given(st.text(min_size=1).filter(lambda one: bool(one.strip())))
def test_any_text_is_a_place_or_is_refused(text: str) -> None:
    with suppress(LedgerError):
        assert isinstance(place(text, root=ROOT), SqliteFile | PostgresServer)


def test_passwords_are_starred_wherever_they_are() -> None:
    query = {"sslpassword": SECRET + "-battery", "options": "x", "passfile": ""}
    server = PostgresServer(URL.create("postgresql", "anna", SECRET, "host", 5432, "ledger", query))
    said = server.without_secrets(f"no entry {SECRET}-battery for {SECRET}, options x")
    assert said == "no entry *** for ***, options x"
    assert PostgresServer(URL.create("postgresql")).without_secrets("as it is") == "as it is"
