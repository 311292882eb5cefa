"""What is wrong with images that are about people is told on the terminal, and is in nothing that is stored."""

from __future__ import annotations

import pickle

import pytest
from security import people
from security.planted import find

from flows.errors import STORED, tell
from tasks import preparation
from tasks.workspace import Workspace

DAMAGES = {
    "image": lambda project: (project / people.FIRST).write_bytes(b"broken"),
    "subject": lambda project: change(project, people.SUBJECT, people.TYPED),
    "sample_id": lambda project: change(project, "s5,", f"{people.SAMPLE},"),
    "missing row": lambda project: change(project, f"0/{people.PATH}.png,s0,{people.SUBJECT}\r\n", ""),
}


def change(project, old, new):
    table = project / "people.csv"
    table.write_bytes(table.read_bytes().replace(old.encode(), new.encode(), 1))


@pytest.mark.parametrize("damage", DAMAGES)
def test_nobody_is_named_in_an_error_of_ingest(tmp_path, capsys, monkeypatch, damage):
    people.written(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "erased.txt").touch()
    DAMAGES[damage](tmp_path)
    workspace = Workspace.open(tmp_path / "params.yaml")
    with pytest.raises(ValueError, match=r"data\.root or data\.metadata") as caught:
        preparation.ingest.fn(workspace)
    error = caught.value
    assert error.__context__ is None
    kept = {"message": f"{error} {error!r}", "as Prefect stores it": pickle.dumps(error).decode("latin-1")}
    assert find([], people.PLANTED, others=kept) == set()
    tell("ingest", error)
    assert find([], people.PLANTED, others={"terminal": capsys.readouterr().err})
    monkeypatch.setenv(STORED, "1")
    tell("ingest", error)
    assert find([], people.PLANTED, others={"log": capsys.readouterr().err}) == set()
