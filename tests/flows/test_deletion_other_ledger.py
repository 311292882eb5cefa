"""The flow with what is not the project's own: an old copy of its ledger, or another identity key."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import Any

import pytest
from deletion_project import Served, run

from flows.existing_ledger import existing_ledger
from flows.overdue import overdue_requests
from qunlearn.deletion import evidence
from qunlearn.deletion.identity import FILE, IdentityError
from qunlearn.deletion.key_check import OtherKeyError
from qunlearn.deletion.ledger import LedgerError, Outcome, State

pytestmark = pytest.mark.usefixtures("plainly")


def test_an_old_copy_of_the_ledger_carries_nothing_out_and_leaves_the_evidence(served: Served) -> None:
    request = served.ask("nobody")
    database, copy = served.root / ".qunlearn" / "ledger.db", served.root / "old.db"
    with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
    run(served)
    written = evidence.evidence_file(served.root, request.id).read_bytes()
    for file in database.parent.glob("ledger.db*"):
        file.unlink()
    copy.chmod(0o600)
    copy.rename(database)
    assert served.ledger.verify() is None
    with pytest.raises(LedgerError, match=f"old copy or another project's.*signed evidence of {request.id} names"):
        run(served)
    assert served.now(request).state is State.RECEIVED
    assert evidence.evidence_file(served.root, request.id).read_bytes() == written


def test_a_scheduled_run_makes_no_ledger(served: Served) -> None:
    folder = served.root / ".qunlearn"
    assert run(served) == "nothing to do"
    assert not list(folder.glob("ledger.db*"))
    served.ask("nobody")
    for file in folder.glob("ledger.db*"):
        file.unlink()
    # Nothing tells yet that there was one.
    assert run(served) == "nothing to do"
    assert not list(folder.glob("ledger.db*"))


@pytest.mark.servers
def test_in_an_empty_postgresql_there_is_nothing_to_do(
    served: Served, postgres: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUNLEARN_LEDGER_URL", postgres.new_place())
    assert existing_ledger(served.root) is None
    assert overdue_requests(served.root) is None
    assert run(served) == "nothing to do"
    assert existing_ledger(served.root) is None
    request = served.ask("nobody")
    run(served)
    assert served.now(request).outcome is Outcome.NOT_PRESENT
    monkeypatch.setenv("QUNLEARN_LEDGER_URL", postgres.new_place())
    with pytest.raises(LedgerError, match="the ledger is gone"):
        run(served)


def test_a_ledger_that_is_gone_after_a_completed_request_is_told(served: Served) -> None:
    served.ask("nobody")
    run(served)
    for file in (served.root / ".qunlearn").glob("ledger.db*"):
        file.unlink()
    with pytest.raises(LedgerError, match=r"the ledger is gone: there is none, but \.qunlearn/evidence has evidence"):
        run(served)
    assert not list((served.root / ".qunlearn").glob("ledger.db"))


def test_a_run_that_died_before_the_ledgers_last_event_is_repeated(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = served.ask("nobody")
    advance = type(served.ledger).advance

    def killed(ledger, batch, to, **options):  # type: ignore[no-untyped-def]
        if to is State.COMPLETED:
            raise KeyboardInterrupt
        return advance(ledger, batch, to, **options)

    with monkeypatch.context() as patch:
        patch.setattr("qunlearn.deletion.ledger.Ledger.advance", killed)
        with pytest.raises(KeyboardInterrupt):
            run(served)
    assert evidence.evidence_file(served.root, request.id).exists()
    assert served.ledger.evidence_digest(request.id) is None
    run(served)
    assert served.now(request).outcome is Outcome.NOT_PRESENT
    assert served.evidence(request).request.id == request.id


def test_another_identity_key_takes_no_request_and_carries_none_out(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = served.ask("nobody")
    with monkeypatch.context() as patch:
        patch.setenv("QUNLEARN_KEY", "1" * 64)
        for refused in (lambda: served.ask("somebody"), lambda: run(served)):
            with pytest.raises(OtherKeyError, match="the identity key in QUNLEARN_KEY is not the one"):
                refused()
    (served.root / FILE).unlink()
    for refused in (lambda: served.ask("somebody"), lambda: run(served)):
        with pytest.raises(IdentityError, match="is gone, but the ledger was written with it"):
            refused()
    assert not (served.root / FILE).exists()
    assert [one.id for one in served.ledger.requests()] == [request.id]
    assert served.now(request).state is State.RECEIVED
