"""Four deletion processes and eight who ask, at once, on SQLite and on PostgreSQL: each request is completed once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import deletion_project
import pytest
from deletion_project import Served, git

from qunlearn.deletion.ledger import Outcome, State

pytestmark = pytest.mark.slow

WRITERS, REQUESTS, WORKERS = 8, 2, 4
TESTS = Path(__file__).parents[1]


@pytest.fixture
def environment(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Of the processes; that of this one leads to the same ledger, of the kind that the test's parameter names."""
    for name in deletion_project.ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    if request.getfixturevalue("kind") == "postgresql":
        monkeypatch.setenv("QUNLEARN_LEDGER_URL", request.getfixturevalue("postgres").new_place())
    (tmp_path / "temporary").mkdir()
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("PREFECT_API")},
        "PYTHONPATH": os.pathsep.join((str(TESTS), str(TESTS.parent))),
        # The purge searches the folder for temporary files, where others may be at work.
        "TMPDIR": str(tmp_path / "temporary"),
    }


def played(project: Path, environment: dict[str, str], **plan: Any) -> dict[str, Any]:
    plan = {"project": str(project), "writers": WRITERS, "requests": REQUESTS, "workers": WORKERS, **plan}
    done = subprocess.run(
        [sys.executable, "-m", "deletion_actors", json.dumps(plan)],
        cwd=project.parent,
        env=environment,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-6000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize(
    ("kind", "apart"),
    [
        pytest.param("sqlite", False, id="SQLite"),
        pytest.param("sqlite", True, id="SQLite, apart"),
        pytest.param("postgresql", True, id="PostgreSQL, apart", marks=pytest.mark.servers),
    ],
)
def test_each_request_is_completed_once_whoever_works_meanwhile(
    project: Path, environment: dict[str, str], tmp_path: Path, kind: str, apart: bool
) -> None:
    """Apart nobody sees another's file lock, and a worker is stopped until another one has taken over."""
    seen = played(project, environment, apart=apart)
    served = Served(project)
    requests, events = served.ledger.requests(), served.ledger.events()
    assert served.ledger.verify() is None

    # Nobody's request is lost, and each is completed once.
    asked = {name: frozenset(samples) for name, samples in seen["written"]}
    assert len(asked) == WRITERS * REQUESTS
    assert {one.id for one in requests} == asked.keys()
    assert {one.state for one in requests} == {State.COMPLETED}
    completions = Counter(
        name for event in events for name, standing in event.requests.items() if standing["state"] == "completed"
    )
    assert completions == dict.fromkeys(asked, 1)
    assert sum(event.kind == "received" for event in events) == len(asked)
    for one in requests:
        assert served.evidence(one).request.outcome == one.outcome

    # Each sample is erased once, and nobody else's is.
    named = frozenset[str]().union(*asked.values())
    ours = {one for one in named if not one.startswith("unknown")}
    lines = served.workspace.erased.read_text().splitlines()
    assert sorted(lines) == sorted(ours)
    assert not served.data_ids() & ours
    before = served.split
    assert served.data_ids() == {one for part in ("train", "validation", "test") for one in before.ids(part)} - ours

    # The served model lost all of them, and no other: no batch undid what another one had done.
    made = served.made(tmp_path)
    assert set(made.trained_ids) == set(before.ids("train")) - ours
    batches = {one.batch for one in requests}
    # Which requests meet in a batch is chance, and whether the method passes the gates for them.
    changed = [one for one in requests if one.outcome in (Outcome.UNLEARNED, Outcome.RETRAINED)]
    changing = {one.batch for one in changed}
    assert served.versions() == served.champion.version == 1 + len(changing)
    documents = {one.batch: served.evidence(one) for one in changed}
    steps = sorted((found.model.before.version, found.model.after.version) for found in documents.values())
    assert steps == [(version, version + 1) for version in range(1, served.champion.version)]
    assert len(git(project, "log", "--format=%s").splitlines()) <= 1 + len(batches)
    assert git(project, "show", "HEAD:data/erased.txt").splitlines() == lines
    assert git(project, "status", "--porcelain") == ""

    # All of this happened beside each other, and there was a whole served model at any time.
    assert len(batches) > 1
    assert seen["seen"][0][0] == 1
    assert seen["seen"][0][-1] == served.champion.version
    assert "RUNNING" not in served.statuses()
    if apart:
        assert any(event.kind == "taken over" for event in events)
