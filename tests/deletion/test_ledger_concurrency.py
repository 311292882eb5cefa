"""Eight processes ask and four work on one ledger that is not there yet; workers are killed and stopped meanwhile."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from qunlearn.deletion.ledger import Ledger

WRITERS, REQUESTS = 8, 5
TESTS = Path(__file__).parents[1]


def run(url: str, root: Path, **plan: Any) -> dict[str, int]:
    """Let the processes run to their end."""
    done = subprocess.run(
        [sys.executable, "-m", "ledger_actors", json.dumps({"url": url, "root": str(root), **plan})],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)])},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    found: dict[str, int] = json.loads(done.stdout)
    return found


def test_each_request_is_completed_once_whoever_is_killed(url: str, folder: Path) -> None:
    said = run(url, folder, writers=WRITERS, workers=4, requests=REQUESTS, blows=6)
    ledger = Ledger.open(url, root=folder, must_exist=True)
    assert ledger.verify() is None
    requests, events = ledger.requests(), ledger.events()
    assert len(requests) == WRITERS * REQUESTS
    assert {one.state for one in requests} == {"completed"}
    completions = Counter(
        name for event in events for name, standing in event.requests.items() if standing["state"] == "completed"
    )
    assert completions == Counter(one.id for one in requests)
    arrivals = [name for event in events if event.kind == "received" for name in event.requests]
    assert arrivals == [one.id for one in requests]
    # Nobody believes to have completed what another one completed too; who was killed could not say so any more.
    believed = (folder / "completed").read_text(encoding="ascii").split()
    assert len(set(believed)) == len(believed) == said["completed"] <= len(requests)
    assert said["watched"] > 0
    # A server has one clock, which is read by whoever has the turn: it never seems to run backwards.
    assert url.startswith("sqlite") or {event.clock for event in events} == {None}
    kinds = Counter(event.kind for event in events)
    assert kinds["taken over"] > 0
    assert sum(one.attempts for one in requests) == sum(
        len(event.requests) for event in events if event.kind == "given back"
    )


def test_many_processes_may_make_the_ledger_at_once(url: str, folder: Path) -> None:
    run(url, folder, writers=8, workers=0, requests=1, blows=0)
    ledger = Ledger.open(url, root=folder, must_exist=True)
    assert (len(ledger.requests()), ledger.verify()) == (8, None)
    assert Counter(event.kind for event in ledger.events()) == {"received": 8, "claimed": 1}
