"""Overdue requests: what `qunlearn status` says of them, and what Prefect's pages show."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import date
from unittest import mock

import pytest

from flows.overdue import KEY, MOST_LINES, overdue_lines, overdue_requests, publish_overdue
from qunlearn.deletion.ledger import Asked, Ledger, LedgerError, Worker

TODAY = date(2030, 6, 15)
YESTERDAY, TOMORROW = date(2030, 6, 14), date(2030, 6, 16)


@pytest.fixture(autouse=True)
def _only_this_project(monkeypatch):
    monkeypatch.delenv("QUNLEARN_LEDGER_URL", raising=False)


@pytest.fixture
def add(tmp_path):
    def one(due):
        asked = Asked(("sample"), ("all-000001-0123456789ab",), (), None, None, due)
        return Ledger.open(root=tmp_path).add(asked)

    return one


def lines(root):
    return list(overdue_lines(root, today=TODAY))


@pytest.fixture
def published(monkeypatch):
    """What would go to Prefect, as if a flow were running."""
    calls = []
    monkeypatch.setattr("prefect.artifacts.create_table_artifact", lambda table, **rest: calls.append((table, rest)))
    monkeypatch.setattr("prefect.context.FlowRunContext.get", mock.Mock())
    return calls


def test_a_project_without_a_ledger_has_nothing_to_say_and_gets_none(tmp_path):
    assert overdue_requests(tmp_path) is None
    assert lines(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_what_is_due_today_is_not_overdue(tmp_path, add):
    for due in (TODAY, TOMORROW):
        add(due)
    assert lines(tmp_path) == ["No request is overdue."]


def test_overdue_requests_are_named_with_their_dates_the_longest_overdue_first(tmp_path, add):
    late, later = add(YESTERDAY), add(date(2030, 5, 1))
    add(TOMORROW)
    assert lines(tmp_path) == [
        "2 requests are overdue:",
        f"  {later.id}  received    due 2030-05-01",
        f"  {late.id}  received    due 2030-06-14",
    ]


def test_a_request_that_is_being_carried_out_is_still_overdue_a_cancelled_one_is_not(tmp_path, add):
    ledger = Ledger.open(root=tmp_path)
    ledger.cancel(add(YESTERDAY).id, "cancelled: mistake")
    late = add(YESTERDAY)
    ledger.claim(Worker.current())
    assert lines(tmp_path) == ["1 request is overdue:", f"  {late.id}  claimed     due 2030-06-14"]


def test_of_very_many_some_are_named(tmp_path, add):
    for _ in range(MOST_LINES + 3):
        add(YESTERDAY)
    found = lines(tmp_path)
    assert (found[0], len(found)) == (f"{MOST_LINES + 3} requests are overdue:", MOST_LINES + 2)
    assert found[-1] == "  and 3 more, see `qunlearn request list`"


def test_a_ledger_that_cannot_be_read_is_told_in_one_line(tmp_path, add, published):
    add(YESTERDAY)
    (tmp_path / ".qunlearn" / "ledger.db").write_bytes(b"no database" * 100)
    (line,) = lines(tmp_path)
    assert line.startswith("overdue requests: unknown, the ledger ")
    assert "\n" not in line
    with pytest.raises(LedgerError):
        publish_overdue(tmp_path)
    assert published == []


def test_a_server_that_is_away_is_told_without_its_password(tmp_path, monkeypatch):
    monkeypatch.setenv("QUNLEARN_LEDGER_URL", "postgresql://me:secret@127.0.0.1:1/none")
    (line,) = lines(tmp_path)
    assert line.startswith("overdue requests: unknown, the ledger in PostgreSQL")
    assert "secret" not in line


def test_the_artifact_is_a_table_of_the_overdue_requests(tmp_path, add, published):
    late = add(YESTERDAY)
    publish_overdue(tmp_path, today=TODAY)
    ((table, rest),) = published
    row = {"request": late.id, "due": "2030-06-14", "days overdue": 1, "state": "received", "times given back": 0}
    assert table == [row]
    assert rest["key"] == KEY
    assert rest["description"].startswith("1 request is overdue on 2030-06-15 (UTC).")


@pytest.mark.parametrize("has_ledger", [True, False])
def test_the_artifact_says_that_none_is_overdue(tmp_path, add, published, has_ledger):
    if has_ledger:
        add(TOMORROW)
    publish_overdue(tmp_path, today=TODAY)
    ((table, rest),) = published
    assert table == []
    assert rest["description"].startswith("No request is overdue on 2030-06-15 (UTC).")


def test_outside_of_a_flow_run_nothing_is_published(tmp_path, add):
    add(YESTERDAY)
    with mock.patch("prefect.artifacts.create_table_artifact") as create:
        publish_overdue(tmp_path)
    create.assert_not_called()


def test_publishing_waits_for_neither_pytorch_nor_mlflow(tmp_path):
    """Most runs of the deletion flow have nothing to do but this."""
    code = (
        "import sys; from pathlib import Path; from flows.overdue import publish_overdue; import flows.deletion\n"
        "publish_overdue(Path('.')); print(sorted({'torch', 'mlflow', 'dvc'} & set(sys.modules)))"
    )
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    line = [sys.executable, "-c", code]
    done = subprocess.run(line, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
