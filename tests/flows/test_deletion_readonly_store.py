"""A store that must not be written: one line with file and way out, nothing begun; it goes on when it may be again."""

from __future__ import annotations

import sqlite3

import pytest
from deletion_project import Served, run, told_by
from typer.testing import CliRunner

from flows import cli
from qunlearn.deletion.ledger import Outcome, State
from tasks.cells import CellContext
from tasks.tracking.connection import Connection
from tasks.tracking.outages import OutageError
from tasks.tracking.writable import check_writable
from tasks.training import train_cell

UNWRITABLE = "mlflow.db: cannot be written (attempt to write a readonly database)"
SAID = {"database": UNWRITABLE, "folder": ".servers: Permission denied", "folder with locks": UNWRITABLE}
"""What is closed, see `deletion_readonly` -> what is said of it."""


def another(served: Served) -> str:
    """A second original of the pipeline; its model id."""
    with served.store.stage("pretrain", served.store.pipeline("abc", params={})) as above:
        context = CellContext(stage="pretrain", stage_run=above.id, concurrent=False)
        cell = train_cell.fn(served.workspace, context, "original", 1)
    return served.store.record_by_digest(cell.sha256).model_id


@pytest.mark.slow
@pytest.mark.usefixtures("plainly")
def test_a_deletion_and_a_release_begin_nothing_and_go_on_later(served, tmp_path):
    model, request = another(served), served.ask(*served.training_ids[:2])
    before, head = served.champion, served.ledger.head()
    told = told_by("deletion_readonly", str(served.root), model, folder=tmp_path)
    assert [(one["case"], one["who"]) for one in told] == [(c, who) for c in SAID for who in ("deletion", "qunlearn")]
    for one in told:
        (line,) = one["printed"].splitlines()
        assert line.startswith(f"{one['who']}: error: "), one
        assert SAID[one["case"]] in line, one
        assert "let this user write" in line
        assert not [sample for sample in served.training_ids if sample in line]
        assert (one["code"], one["unchanged"]) == (1, True), one
    assert (served.now(request).state, served.ledger.head()) == (State.RECEIVED, head)
    assert (served.champion, served.versions(), served.statuses()) == (before, 1, {"FINISHED"})
    assert served.ledger.verify() is None

    released = CliRunner().invoke(cli.app, ["release", model, "--params", served.params_file])
    assert (released.exit_code, served.champion.model_id) == (0, model), released.output
    assert run(served) == "1 request done, 0 rejected; 2 samples unlearned"
    assert (served.now(request).outcome, served.champion.version) == (Outcome.UNLEARNED, 3)
    assert served.evidence(request).purge.scan.found == 0


def test_to_ask_changes_no_byte_and_a_writer_is_waited_for(served, monkeypatch):
    connection, file = served.store.connection, served.root / "mlflow.db"
    content = file.read_bytes()
    check_writable(connection)
    assert file.read_bytes() == content
    monkeypatch.setattr("tasks.tracking.writable.PATIENCE", 0.01)
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    check_writable(connection)
    other.close()


def test_what_is_no_file_of_ours_is_not_asked_and_what_is_no_database_is_told(tmp_path):
    def at(uri: str) -> Connection:
        return Connection(None, uri, "0", tmp_path / "lock", "")  # type: ignore[arg-type]

    check_writable(at("http://127.0.0.1:1"))
    with pytest.raises(OutageError, match=r"missing/mlflow\.db: cannot be written \(unable to open database file\)"):
        check_writable(at(f"sqlite:///{tmp_path}/missing/mlflow.db"))
