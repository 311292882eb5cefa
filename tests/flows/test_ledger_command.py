"""`qunlearn ledger`: the check names the first bad row, the log prints what happened."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from datetime import date
from pathlib import Path

import pytest
from deletion import evidence_examples as examples
from typer.testing import CliRunner, Result

from flows.commands.ledger import app
from flows.errors import is_ours
from qunlearn.deletion import evidence, signing
from qunlearn.deletion.chain import GENESIS, digest
from qunlearn.deletion.identity import FILE, Key
from qunlearn.deletion.ledger import Asked, Ledger, LedgerError, State, UnavailableError, Worker


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    """A ledger with four events."""
    monkeypatch.delenv("QUNLEARN_LEDGER_URL", raising=False)
    made = Ledger.open(root=tmp_path)
    for name in "ab":
        made.add(Asked("sample", (name,), (), None, None, date(2026, 12, 21)))
    batch = made.claim(Worker("elsewhere", 7, "boot:1:7"))
    assert batch is not None
    made.advance(batch, State.REJECTED, only=[made.requests()[0].id], reason="would leave nothing", facts={"a": "\x9b"})
    return made


def run(root: Path, *arguments: str) -> Result:
    (root / "params.yaml").touch()
    return CliRunner().invoke(app, [*arguments, "--params", str(root / "params.yaml")])


def test_an_intact_ledger_tells_its_head(ledger: Ledger, tmp_path: Path) -> None:
    done = run(tmp_path, "verify")
    assert done.exit_code == 0
    assert done.stdout.splitlines()[0] == "The ledger is intact: 4 events."
    assert ledger.head()[1] in done.stdout


def test_the_first_bad_row_is_named(ledger: Ledger, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / ".qunlearn" / "ledger.db")) as connection:
        connection.execute("DROP TRIGGER deletion_events_no_update")
        connection.execute("UPDATE deletion_events SET body = replace(body, 'sample', 'Sample') WHERE number >= 2")
        connection.commit()
    done = run(tmp_path, "verify")
    assert done.exit_code == 1
    assert done.stdout == ""
    assert done.stderr.startswith("The ledger was changed or is damaged: event 2: its hash does not fit")


def test_an_old_copy_is_not_called_intact(ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(signing.VARIABLE, examples.key_text())
    document = examples.document(ledger=evidence.LedgerHead(number=17, hash=examples.sha("event 17")))
    evidence.write_evidence(tmp_path, evidence.sign(document, signing.SigningKey.load(tmp_path)), "page")
    done = run(tmp_path, "verify")
    assert (done.exit_code, done.stdout) == (1, "")
    assert isinstance(done.exception, LedgerError)
    assert is_ours(done.exception)
    assert "its last event is 4, and it lacks event 17" in str(done.exception)


def test_another_identity_key_is_accepted_once_and_requests_that_wait_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("QUNLEARN_LEDGER_URL", "QUNLEARN_KEY"):
        monkeypatch.delenv(name, raising=False)
    old, made = Key.load(tmp_path), Ledger.open(root=tmp_path)
    made.add(Asked("sample", ("a",), (), None, None, date(2026, 12, 21)))
    waiting = made.add(Asked("sample", ("a",), (old.hashed("sample", "b"),), None, None, date(2026, 12, 21)))
    assert "already" in run(tmp_path, "accept-key").stdout
    (tmp_path / FILE).unlink()
    done = run(tmp_path, "accept-key")
    assert done.exit_code == 0
    assert done.stdout.splitlines()[0] == "The identity key in .qunlearn/identity.key is the ledger's from now on."
    assert done.stdout.splitlines()[1].endswith(f"cancel them and ask again: {waiting.id}")
    assert Key.load(tmp_path) != old
    assert "identity key" in run(tmp_path, "log").stdout


def test_what_cannot_be_read_is_no_intact_ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("QUNLEARN_LEDGER_URL", raising=False)
    done = run(tmp_path, "verify")
    assert isinstance(done.exception, LedgerError)
    assert is_ours(done.exception)
    assert not (tmp_path / ".qunlearn").exists()
    (tmp_path / ".qunlearn").write_text("not a folder")
    done = run(tmp_path, "log")
    assert isinstance(done.exception, UnavailableError)
    assert is_ours(done.exception)


def test_the_log_has_a_line_an_event(ledger: Ledger, tmp_path: Path) -> None:
    first, second = ledger.requests()
    lines = run(tmp_path, "log").stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["1", "2", "3", "4"]
    assert [line.split()[3] for line in lines] == ["received", "received", "claimed", "rejected"]
    assert f"{first.batch}  2 requests" in lines[2]
    assert first.id in lines[3]
    assert '"would leave nothing" {"facts": {"a": "\\u009b"}}' in lines[3]
    assert second.id not in lines[3]


def test_the_log_of_a_request(ledger: Ledger, tmp_path: Path) -> None:
    _, second = ledger.requests()
    lines = run(tmp_path, "log", second.id).stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["2", "3"]
    done = run(tmp_path, "log", "anna@example.org")
    assert isinstance(done.exception, LedgerError)
    assert "anna" not in str(done.exception)


def test_the_log_in_json_is_enough_to_recompute_the_chain(ledger: Ledger, tmp_path: Path) -> None:
    events = json.loads(run(tmp_path, "log", "--json").stdout)
    previous = GENESIS
    for event in events:
        assert event.pop("previous") == previous
        before, previous = previous, event.pop("hash")
        assert digest(before, event) == previous
    assert ledger.head() == (4, previous)
    assert json.loads(run(tmp_path, "log", ledger.requests()[1].id, "--json").stdout)[0]["number"] == 2


def test_a_time_of_a_clock_that_was_set_back_is_marked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("QUNLEARN_LEDGER_URL", raising=False)
    ledger = Ledger.open(root=tmp_path)
    now = ledger.add(Asked("sample", ("a",), (), None, None, date(2026, 12, 21))).received_at
    monkeypatch.setattr("qunlearn.deletion.ledger_database.wall_clock", lambda: now.replace(year=now.year - 1))
    ledger.add(Asked("sample", ("a",), (), None, None, date(2026, 12, 21)))
    lines = run(tmp_path, "log").stdout.splitlines()
    assert [line.endswith("clock behind") for line in lines] == [False, True]
