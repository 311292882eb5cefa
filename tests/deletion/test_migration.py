"""The migrations make the tables that the program knows, with the words that it knows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from postgres_server import Server
from sqlalchemy.exc import IntegrityError

from qunlearn.deletion import schema
from qunlearn.deletion.ledger import Asked, Ledger, Outcome, State, Worker

Make = Callable[..., Asked]


@pytest.fixture
def engine(ledger: Ledger, url: str) -> Iterator[sa.Engine]:
    made = sa.create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    yield made
    made.dispose()


def test_the_tables_are_those_that_the_program_knows(engine: sa.Engine) -> None:
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": schema.VERSION_TABLE})
        assert compare_metadata(context, schema.metadata) == []
        for table in schema.metadata.tables.values():
            named = {str(one.name) for one in table.constraints if isinstance(one, sa.CheckConstraint) and one.name}
            assert {one["name"] for one in sa.inspect(connection).get_check_constraints(table.name)} == named


def test_the_last_revision_is_the_one_that_the_program_expects() -> None:
    config = Config()
    config.set_main_option("script_location", "qunlearn.deletion:migrations")
    assert ScriptDirectory.from_config(config).get_heads() == [schema.REVISION]


@pytest.mark.parametrize(
    ("table", "column", "words"),
    [
        ("deletion_requests", "state", State),
        ("deletion_requests", "outcome", Outcome),
        ("deletion_batches", "state", State),
    ],
)
def test_the_database_knows_the_same_words(
    engine: sa.Engine, ledger: Ledger, asked: Make, table: str, column: str, words: type[State] | type[Outcome]
) -> None:
    ledger.add(asked())
    ledger.claim(Worker("elsewhere", 7, "boot:1:7"))
    for word in words:
        with engine.begin() as connection:
            connection.execute(sa.text(f"UPDATE {table} SET {column} = :word"), {"word": str(word)})
    with pytest.raises(IntegrityError), engine.begin() as connection:
        connection.execute(sa.text(f"UPDATE {table} SET {column} = 'lost'"))


def test_a_second_open_batch_is_refused_by_the_database_itself(engine: sa.Engine, ledger: Ledger, asked: Make) -> None:
    copy = (
        "INSERT INTO deletion_batches SELECT 'b-2', token, worker, state, {}, facts, lease_until FROM deletion_batches"
    )
    ledger.add(asked())
    ledger.claim(Worker("elsewhere", 7, "boot:1:7"))
    with pytest.raises(IntegrityError), engine.begin() as connection:
        connection.execute(sa.text(copy.format("is_open")))
    with engine.begin() as connection:
        connection.execute(sa.text(copy.format("NOT is_open")))


def test_a_project_may_have_any_path(folder: Path, asked: Make) -> None:
    root = folder / "100 % of é? #1 & more"
    root.mkdir()
    Ledger.open(root=root).add(asked())
    assert (root / ".qunlearn" / "ledger.db").exists()
    assert len(Ledger.open(root=root, must_exist=True).requests()) == 1


def test_a_ledger_is_migrated_once(url: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    migrated, upgrade = list[str](), command.upgrade

    def counted(config: Config, revision: str) -> None:
        migrated.append(revision)
        upgrade(config, revision)

    monkeypatch.setattr(command, "upgrade", counted)
    for _ in range(3):
        Ledger.open(url, root=folder)
    assert migrated == ["head"]


@pytest.mark.servers
def test_other_programs_may_have_their_tables_in_the_same_database(postgres: Server, folder: Path, asked: Make) -> None:
    url = postgres.new_database()
    engine = sa.create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE alembic_version (version_num text)"))
        connection.execute(sa.text("CREATE TABLE events (id int)"))
    engine.dispose()
    Ledger.open(url, root=folder).add(asked())
    assert Ledger.open(url, root=folder).verify() is None
