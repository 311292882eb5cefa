"""Damage and tampering around the deletion flow: one clear line, nothing is done, and after the repair it completes."""

from __future__ import annotations

import re
import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from deletion_project import Served, git, run

from flows import cli
from flows.errors import is_ours
from qunlearn.deletion.evidence import evidence_file
from qunlearn.deletion.ledger import Outcome, Request, State
from tasks.deletion import claiming, course, promotion

pytestmark = pytest.mark.usefixtures("plainly")


def refused(served: Served) -> str:
    """Run the flow, which must fail with a line that a person can be shown; the line."""
    with pytest.raises(ValueError, match=r"\w") as failed:
        run(served)
    assert is_ours(failed.value), repr(failed.value)
    told = str(failed.value)
    assert len(told.splitlines()) == 1
    assert not [one for one in served.training_ids if one in told]
    return told


def untouched(served: Served) -> None:
    """The first model is the only version and serves, and everybody is still in the data."""
    assert (served.champion.version, served.versions(), served.erased) == (1, 1, frozenset())
    assert git(served.root, "log", "--format=%s") == "The project"
    assert not (served.root / ".qunlearn" / "evidence").exists()


def completes(served: Served, request: Request) -> None:
    """The next run carries out what waited."""
    assert run(served) == f"1 request done, 0 rejected; {len(request.asked.samples)} samples unlearned"
    assert (served.now(request).state, served.now(request).outcome) == (State.COMPLETED, Outcome.UNLEARNED)
    assert served.evidence(request).purge.scan.found == 0
    assert (served.champion.version, served.versions()) == (2, 2)
    assert served.erased == set(request.asked.samples)
    assert not served.data_ids() & served.erased
    assert git(served.root, "log", "--format=%s").splitlines()[1:] == ["The project"]
    assert served.ledger.verify() is None


@contextmanager
def changed(path: Path, place: float = 0.5) -> Iterator[None]:
    """One bit of a file is another one, at this part of its length; afterwards it is as it was."""
    content = path.read_bytes()
    damaged = bytearray(content)
    damaged[int(place * len(content))] ^= 1
    path.write_bytes(damaged)
    yield
    path.write_bytes(content)


# --- the served model and the data -----------------------------------------------------------------------------------


def test_nothing_is_made_from_a_corrupt_champion(served):
    request = served.ask(*served.training_ids[:2])
    model = served.store.connection.client.get_logged_model(served.champion.model_id)
    files = sorted(Path(model.artifact_location.removeprefix("file://")).iterdir())
    assert {"trained_ids.txt", "weights.safetensors"} <= {file.name for file in files}
    for file in files:
        with changed(file):
            assert "the files were erased or damaged" in refused(served), file.name
    untouched(served)
    assert served.now(request).state is State.CLAIMED
    completes(served, request)


def damages(content: bytes) -> Iterator[bytes]:
    """Emptied, cut off, something else before it, and one bit that flipped."""
    yield b""
    yield content[: len(content) // 2]
    yield b"\xff" * 10 + content
    middle = len(content) // 2
    yield content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def data_files(served: Served) -> list[Path]:
    folders = (served.workspace.prepared, served.workspace.splits)
    return sorted(path for folder in folders for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("part", ["train", "test"])
def test_nothing_is_made_from_damaged_data(served, part):
    """Also where no model has to be made: the data would be written anew from what is damaged."""
    request = served.ask(*served.split.ids(part)[:2])
    files = data_files(served)
    assert {"images.npy", "labels.npy", "ids.txt", "meta.json"} <= {file.name for file in files}
    for file in files:
        content = file.read_bytes()
        for damaged in damages(content):
            file.write_bytes(damaged)
            told = refused(served)
            assert re.search(r"data/(prepared|splits)", told), (file.name, told)
            assert file.read_bytes() == damaged
        file.write_bytes(content)
    untouched(served)
    assert served.now(request).state in (State.CLAIMED, State.RECEIVED)
    if part == "train":
        completes(served, request)
        return
    assert run(served) == "1 request done, 0 rejected; 0 samples unlearned"
    assert served.evidence(request).request.outcome == "not trained"
    assert served.erased == set(request.asked.samples)


# --- the ledger and the evidence -------------------------------------------------------------------------------------


def sql(served: Served, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(served.root / ".qunlearn" / "ledger.db")) as database:
        database.execute("DROP TRIGGER IF EXISTS deletion_events_no_update")
        database.execute("DROP TRIGGER IF EXISTS deletion_events_no_delete")
        assert database.execute(statement, values).rowcount == 1
        database.commit()


TAMPERED = (
    # Let another sample be erased.
    ("requests", "asked", "replace(asked, '{first}', '{other}')", "request {id}"),
    # Let nobody wait any more.
    ("requests", "state", "'completed'", "request {id}"),
    ("requests", "state", "'rejected'", "request {id}"),
    # Rewrite the past, or take its end away.
    ("events", "body", "replace(body, 'sample', 'person')", "event 1"),
    ("head", "number", "2", "event 2"),
)
"""Table, column, what it becomes, and the row that has to be named."""


def test_with_a_tampered_ledger_nothing_is_done(served):
    request = served.ask(*served.training_ids[:2])
    names = {"first": served.training_ids[0], "other": served.training_ids[9], "id": request.id}
    file = served.root / ".qunlearn" / "ledger.db"
    for table, column, value, row in TAMPERED:
        with closing(sqlite3.connect(file)) as database:
            database.execute("DROP TRIGGER IF EXISTS deletion_events_no_update")
            (before,) = database.execute(f"SELECT {column} FROM deletion_{table}").fetchone()
            database.execute(f"UPDATE deletion_{table} SET {column} = {value.format(**names)}")
            database.commit()
        content = file.read_bytes()
        assert row.format(**names) in refused(served), value
        assert file.read_bytes() == content
        with closing(sqlite3.connect(file)) as database:
            database.execute(f"UPDATE deletion_{table} SET {column} = ?", (before,))
            database.commit()
    untouched(served)
    completes(served, request)


def test_tampered_evidence_is_told_and_neither_mended_nor_in_the_way(served, monkeypatch, capsys):
    first = served.ask(served.training_ids[0])
    run(served)
    file = evidence_file(served.root, first.id)
    content = file.read_bytes()
    lied = content.replace(b'"unlearned"', b'"retrained"')
    assert lied != content
    file.write_bytes(lied)
    second = served.ask(served.training_ids[1])
    run(served)
    assert file.read_bytes() == lied

    def verified(request: Request) -> int:
        monkeypatch.setattr(sys, "argv", ["qunlearn", "evidence", "verify", request.id, "--params", served.params_file])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code or 0

    assert verified(first) == 1
    assert "The evidence is not genuine" in capsys.readouterr().err
    assert verified(second) == 0
    file.write_bytes(content)
    assert verified(first) == 0


def test_a_clock_that_is_set_back_again_and_again_changes_no_order(served, monkeypatch):
    """An hour at each look at it, from before the request on: also before the project itself was made."""
    now = datetime.now(UTC)

    def backwards() -> datetime:
        nonlocal now
        now -= timedelta(hours=1)
        return now

    monkeypatch.setattr("qunlearn.deletion.ledger_database.wall_clock", backwards)
    request = served.ask(*served.training_ids[:2])
    completes(served, request)
    events = served.ledger.events()
    times = [event.at for event in events]
    assert times == sorted(times)
    assert [event.clock for event in events] == [None, *["behind"] * (len(events) - 1)]
    found = served.evidence(request).request
    assert found.completed >= found.received


# --- around it -------------------------------------------------------------------------------------------------------


def test_a_commit_that_a_hook_refuses_is_told_and_made_by_the_next_run(served):
    hook = served.root / ".git" / "hooks" / "pre-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o700)
    request = served.ask(*served.training_ids[:2])
    for _ in range(2):
        told = refused(served)
        assert "erased.txt: git cannot commit it; see `git status`, then let the deletion run again" in told
        # From the release on there is only forwards.
        assert (served.champion.version, served.now(request).state) == (2, State.PROMOTED)
        assert set(request.asked.samples) == served.erased
        assert served.now(request).outcome is None
        assert git(served.root, "log", "--format=%s") == "The project"
    hook.unlink()
    completes(served, request)
    assert served.evidence(request).digests.erased_commit == git(served.root, "rev-parse", "HEAD")


def test_a_damaged_list_of_erased_ids_stops_the_flow(served):
    request = served.ask(*served.training_ids[:2])
    for damaged in (b"not an id\n", b"\xff\xfe"):
        served.workspace.erased.write_bytes(damaged)
        assert "erased.txt" in refused(served)
        assert served.workspace.erased.read_bytes() == damaged
    served.workspace.erased.write_bytes(b"")
    untouched(served)
    completes(served, request)


def test_without_the_store_nothing_is_claimed(served, monkeypatch):
    request = served.ask(*served.training_ids[:2])
    with monkeypatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
        assert "no server answers" in refused(served)
    assert served.now(request).state is State.RECEIVED
    assert served.ledger.head()[0] == 1
    untouched(served)
    completes(served, request)


def test_a_worker_that_has_lost_its_claim_brings_no_purged_model_back(served, monkeypatch):
    """It stands still right after the release; another one does the rest. Then its own look at the model fails."""
    look, looks = promotion._try, []

    def overtaken(*arguments: object) -> None:
        looks.append(arguments)
        if len(looks) == 2:
            with monkeypatch.context() as patch:
                patch.setattr(promotion, "_try", look)
                course.carry_out(served.params_file, claiming.claim_batch.fn(served.params_file))
            raise OSError(5, "Input/output error")
        look(*arguments)

    monkeypatch.setattr(promotion, "_try", overtaken)
    request = served.ask(*served.training_ids[:2])
    assert "was taken over by another worker" in refused(served)
    assert served.now(request).state is State.COMPLETED
    assert (served.champion.version, served.versions()) == (2, 2)
    with tempfile.TemporaryDirectory() as temporary:
        assert set(served.made(Path(temporary)).trained_ids) == set(served.training_ids[2:])
    assert served.ledger.verify() is None
