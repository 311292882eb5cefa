"""The check of the whole ledger finds whatever was changed in it, and names the row."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, IntegrityError

from qunlearn.deletion import schema
from qunlearn.deletion.chain import canonical, digest_text
from qunlearn.deletion.ledger import Asked, Fault, Ledger, LedgerError, Outcome, State, Worker

Make = Callable[..., Asked]
WORKER, OTHER = Worker("elsewhere", 7, "boot:1:7"), Worker("elsewhere", 8, "boot:1:8")
OTHER_VALUES = {"state": ("unlearned", "verified"), "outcome": ("retrained", "not present")}


@pytest.fixture
def ledger(url: str, folder: Path, asked: Make, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    """A ledger in which everything has happened: two batches, one of them open, a takeover, a note, every end."""
    ledger = Ledger.open(url, root=folder)
    names = [ledger.add(asked(name)).id for name in "abcdef"]
    ledger.cancel(names[0], "withdrawn")
    batch = ledger.claim(WORKER)
    assert batch is not None
    with monkeypatch.context() as patch:
        patch.setattr("qunlearn.deletion.claims.is_gone", lambda _: True)
        batch = ledger.claim(OTHER)
    assert batch is not None
    batch = ledger.advance(batch, State.COMPLETED, only=[names[1]], outcome={names[1]: Outcome.NOT_PRESENT})
    batch = ledger.advance(batch, State.REJECTED, only=[names[2]], reason="would leave nothing")
    batch = ledger.advance(batch, State.RECEIVED, only=[names[3]], reason="every gate failed")
    for state in (State.UNLEARNED, State.VERIFIED, State.PROMOTED, State.PURGED):
        batch = ledger.advance(batch, state, facts={state: "yes"})
    ledger.note(batch, "gate informative", {"gate": "membership"})
    ledger.advance(batch, State.COMPLETED, outcome=dict.fromkeys(names[4:], Outcome.UNLEARNED))
    assert ledger.claim(WORKER) is not None
    assert ledger.verify() is None
    return ledger


@pytest.fixture
def raw(ledger: Ledger, url: str) -> Iterator[sa.Engine]:
    """The database as somebody sees it who means to change events: without the triggers against that."""
    engine = sa.create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as connection:
        if url.startswith("sqlite"):
            for what in ("update", "delete"):
                connection.execute(sa.text(f"DROP TRIGGER deletion_events_no_{what}"))
        else:
            connection.execute(sa.text("DROP TRIGGER deletion_events_append_only ON deletion_events"))
    yield engine
    engine.dispose()


def change(raw: sa.Engine, *statements: str) -> None:
    with raw.begin() as connection:
        for statement in statements:
            connection.execute(sa.text(statement))


def another(value: Any, column: str) -> Any:
    """A value that the column may have, but not this one."""
    if column in OTHER_VALUES:
        return next(other for other in OTHER_VALUES[column] if other != value)
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 100
    return "something" if value is None else value[:-1] + ("0" if value[-1] != "0" else "1")


@pytest.mark.parametrize("table", [schema.events, schema.head, schema.requests, schema.batches], ids=str)
def test_any_value_that_was_changed_is_found_in_its_row(ledger: Ledger, raw: sa.Engine, table: sa.Table) -> None:
    key = next(iter(table.primary_key))
    columns = [column for column in table.c if column.name != "lease_until"]
    kind = table.name.removeprefix("deletion_").removesuffix("es" if table is schema.batches else "s")
    changed, (ledger_length, _) = 0, ledger.head()
    with raw.connect() as connection:
        rows = connection.execute(sa.select(table)).mappings().all()
    assert rows
    for row in rows:
        for column in columns:
            value = another(row[column.name], column.name)
            update = table.update().where(key == row[key.name])
            try:
                with raw.begin() as connection:
                    connection.execute(update.values({column.name: value}))
            except IntegrityError:
                continue  # the database itself prevents it
            fault = ledger.verify()
            assert fault is not None, (table.name, row[key.name], column.name)
            # A head with a higher number tells of events that are not there.
            named = {"head", f"event {ledger_length + 1}"} if table is schema.head else {f"{kind} {row[key.name]}"}
            assert fault.row in named, (column.name, str(fault))
            changed += 1
            back = table.update().where(key == (value if column.name == key.name else row[key.name]))
            with raw.begin() as connection:
                connection.execute(back.values({column.name: row[column.name]}))
    assert ledger.verify() is None
    assert changed >= len(rows) * (len(columns) - 3)


@pytest.mark.parametrize("number", [1, 5, 14])
def test_a_removed_event_is_named(ledger: Ledger, raw: sa.Engine, number: int) -> None:
    change(raw, f"DELETE FROM deletion_events WHERE number = {number}")
    fault = ledger.verify()
    assert fault is not None
    assert str(fault) == f"event {number}: is missing; event {number + 1} comes in its place"


def test_a_removed_event_is_named_when_the_others_are_renumbered(ledger: Ledger, raw: sa.Engine) -> None:
    change(raw, "DELETE FROM deletion_events WHERE number = 5")
    for number in range(6, ledger.head()[0] + 1):
        change(raw, f"UPDATE deletion_events SET number = {number - 1} WHERE number = {number}")
    fault = ledger.verify()
    assert fault is not None
    assert fault.number == 5


def test_two_exchanged_events_are_found_at_the_first(ledger: Ledger, raw: sa.Engine) -> None:
    change(
        raw,
        "UPDATE deletion_events SET number = 1000 WHERE number = 9",
        "UPDATE deletion_events SET number = 9 WHERE number = 4",
        "UPDATE deletion_events SET number = 4 WHERE number = 1000",
    )
    fault = ledger.verify()
    assert fault is not None
    assert fault.number == 4


def test_events_removed_at_the_end_are_found_by_the_head_and_then_by_the_rows(ledger: Ledger, raw: sa.Engine) -> None:
    number, _ = ledger.head()
    change(raw, f"DELETE FROM deletion_events WHERE number > {number - 2}")
    assert ledger.verify() == Fault(
        f"event {number - 1}", f"events {number - 1} to {number} are missing at the end", number - 1
    )
    set_head(raw)
    fault = ledger.verify()
    assert fault is not None
    assert fault.row.startswith("request r-")


def test_an_end_removed_with_head_and_rows_needs_a_head_from_elsewhere(ledger: Ledger, raw: sa.Engine) -> None:
    """The limit of the check, as its documentation says: a note is in no row."""
    ledger.note(ledger.batch(ledger.requests()[3].batch or ""), "gate failed", {})
    number, digest = ledger.head()
    change(raw, f"DELETE FROM deletion_events WHERE number = {number}")
    set_head(raw)
    assert ledger.verify() is None
    assert ledger.head() != (number, digest)


def set_head(raw: sa.Engine) -> None:
    """Make the head fit the last event."""
    with raw.begin() as connection:
        last = connection.execute(sa.select(schema.events).order_by(schema.events.c.number.desc())).first()
        assert last is not None
        at = json.loads(last.body)["at"]
        connection.execute(schema.head.update().values(number=last.number, hash=last.hash, at=at))


def forge(raw: sa.Engine, number: int, edit: Callable[[dict[str, Any]], Any]) -> None:
    """Change the content of an event and all hashes from it on, and the head."""
    with raw.begin() as connection:
        rows = connection.execute(sa.select(schema.events).order_by(schema.events.c.number)).all()
        previous = rows[number - 2].hash if number > 1 else "0" * 64
        for row in rows[number - 1 :]:
            content = json.loads(row.body)
            if row.number == number:
                edit(content)
            text = canonical(content)
            previous = digest_text(previous, text)
            where = schema.events.c.number == row.number
            connection.execute(schema.events.update().where(where).values(body=text, hash=previous))
        connection.execute(schema.head.update().values(hash=previous))


def edit_all(content: dict[str, Any], **values: Any) -> None:
    for standing in content["requests"].values():
        standing.update(values)


@pytest.mark.parametrize(
    ("number", "edit"),
    [
        (1, lambda body: edit_all(body, state="claimed")),
        (2, lambda body: body["payload"].clear()),
        (8, lambda body: edit_all(body, state="verified")),
        (8, lambda body: edit_all(body, state="lost")),
        (8, lambda body: body["payload"].pop("token")),
        (8, lambda body: body.update(batch="b-0000000000000000")),
        (10, lambda body: body["requests"].update({"r-0000000000000000": {"state": "completed"}})),
        (10, lambda body: next(iter(body["requests"].values())).pop("attempts")),
        (10, lambda body: body.update(kind="a note")),
        (13, lambda body: body["payload"].update(facts=7)),
        (13, lambda body: body.update(requests=[1])),
        (13, lambda body: body.update(payload=None)),
    ],
)
def test_an_event_that_cannot_have_happened_is_named_though_its_hash_fits(
    ledger: Ledger, raw: sa.Engine, number: int, edit: Callable[[dict[str, Any]], Any]
) -> None:
    forge(raw, number, edit)
    assert ledger.verify() == Fault(f"event {number}", "cannot have happened after the events before it", number)


@pytest.mark.parametrize("edit", [lambda body: body.pop("kind"), lambda body: body.update(at="2026-13-01")])
def test_what_is_no_event_is_named_though_its_hash_fits(
    ledger: Ledger, raw: sa.Engine, edit: Callable[[dict[str, Any]], Any]
) -> None:
    number, _ = ledger.head()
    forge(raw, number, edit)
    assert ledger.verify() == Fault(f"event {number}", "is not an event of a ledger", number)
    with pytest.raises(LedgerError, match=f"event {number} of the ledger is damaged"):
        ledger.events()


def test_a_history_written_anew_is_found_by_the_rows(ledger: Ledger, raw: sa.Engine) -> None:
    forge(raw, 7, lambda body: edit_all(body, reason="another reason"))
    fault = ledger.verify()
    assert fault is not None
    assert fault == Fault(f"request {ledger.requests()[0].id}", "its reason is not what the events say")


def test_removed_and_added_rows_are_found(ledger: Ledger, raw: sa.Engine) -> None:
    first = ledger.requests()[0].id
    change(raw, f"UPDATE deletion_requests SET id = 'anna@example.org' WHERE id = '{first}'")
    assert ledger.verify() == Fault(f"request {first}", "is missing, but events tell of it")
    change(raw, f"UPDATE deletion_requests SET id = '{first}' WHERE id = 'anna@example.org'")
    change(
        raw,
        "INSERT INTO deletion_requests SELECT 'anna@example.org', 1000, asked, state, outcome, reason, batch, "
        f"attempts, received_at, changed_at FROM deletion_requests WHERE id = '{first}'",
    )
    assert ledger.verify() == Fault("a request that no event tells of", "is in the ledger")
    change(raw, "DELETE FROM deletion_requests WHERE id = 'anna@example.org'", "DELETE FROM deletion_head")
    assert ledger.verify() == Fault("head", "is missing")


def test_a_ledger_without_its_head_takes_nothing_more(ledger: Ledger, raw: sa.Engine, asked: Make) -> None:
    change(raw, "DELETE FROM deletion_head")
    with pytest.raises(LedgerError, match="the head of the ledger is missing or damaged; run `qunlearn ledger verify`"):
        ledger.add(asked())
    with pytest.raises(LedgerError, match="head of the ledger is missing"):
        ledger.head()


def test_a_head_that_was_set_back_takes_nothing_more(ledger: Ledger, raw: sa.Engine, asked: Make) -> None:
    before = ledger.requests()
    change(raw, "UPDATE deletion_head SET number = number - 1")
    with pytest.raises(LedgerError, match="contradicts itself; nothing was changed"):
        ledger.add(asked())
    assert ledger.requests() == before


@pytest.mark.parametrize("statement", ["UPDATE deletion_events SET body = '{}'", "DELETE FROM deletion_events"])
def test_the_database_refuses_to_change_events(ledger: Ledger, url: str, statement: str) -> None:
    engine = sa.create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with pytest.raises(DBAPIError, match="append-only"):
        change(engine, statement)
    engine.dispose()
    assert ledger.verify() is None


@pytest.mark.parametrize(
    ("table", "column", "call"),
    [
        ("requests", "asked = '[]'", lambda ledger: ledger.requests()),
        ("requests", "received_at = 'yesterday'", lambda ledger: ledger.requests()),
        ("batches", "facts = '{'", lambda ledger: ledger.claim(WORKER)),
        ("batches", "worker = 'anna'", lambda ledger: ledger.claim(WORKER)),
    ],
)
def test_a_damaged_row_is_named_and_not_repeated(
    ledger: Ledger, raw: sa.Engine, table: str, column: str, call: Callable[[Ledger], object]
) -> None:
    change(raw, f"UPDATE deletion_{table} SET {column}")
    with pytest.raises(LedgerError, match=r"the row of (request r|batch b)-[0-9a-f]{16} is damaged; run") as refused:
        call(ledger)
    assert "anna" not in str(refused.value)
    assert ledger.verify() is not None
