"""Prefect's server is killed in the midst of a deletion that it serves: the next `qunlearn up` is all that it takes."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from deletion_project import Served
from real_servers import RefusedError, Site, until

from flows import servers
from flows.processes import start_time
from qunlearn.deletion.ledger import Outcome, Request, State

pytestmark = [pytest.mark.servers, pytest.mark.slow]

AT_WORK = (State.CLAIMED, State.UNLEARNED, State.VERIFIED, State.PROMOTED, State.PURGED)


@pytest.fixture
def site(project: Path) -> Iterator[Site]:
    """A project with a served model."""
    yield Site(project)
    servers.down(project)


def process_of_prefect(site: Site) -> int:
    (pid,) = (state.pid for state in servers.status(site.root) if state.name == "prefect")
    assert pid is not None
    return pid


def killed_at_work(site: Site, served: Served, request: Request) -> State:
    """Kill Prefect's server as soon as the request is at work; the state that it was in."""
    pid, deadline = process_of_prefect(site), time.monotonic() + 120
    while (state := served.now(request).state) not in AT_WORK:
        assert state is State.RECEIVED, f"{state}: too late to kill anything"
        assert time.monotonic() < deadline, site.log()
        time.sleep(0.02)
    os.kill(pid, signal.SIGKILL)
    until(lambda: start_time(pid) is None, seconds=30, told=site.log)
    return state


def started(site: Site) -> str:
    """The id of a new run; empty while the server's database is busy, which clients shall ask again for."""
    try:
        return site.start("deletion")
    except RefusedError as error:
        if not str(error).startswith("503 "):
            raise
        return ""


def test_the_request_is_completed_once_after_the_next_start(site):
    served = Served(site.root)
    request = served.ask(*served.training_ids[:2])
    site.told("up")
    until(lambda: started(site), seconds=60, told=site.log)
    assert killed_at_work(site, served, request) is State.CLAIMED
    assert site.command("status").returncode == 1
    assert served.ledger.verify() is None

    site.told("up")
    until(lambda: served.now(request).state is State.COMPLETED, seconds=240, told=site.log)
    assert served.now(request).outcome is Outcome.UNLEARNED
    assert served.erased == set(request.asked.samples)
    assert (served.champion.version, served.versions()) == (2, 2)
    assert served.evidence(request).purge.scan.found == 0
    assert [one.id for one in served.ledger.requests()] == [request.id]
    assert served.ledger.verify() is None
    # The run that was cut off from its server does not keep later ones away.
    later = served.ask(*served.training_ids[2:3])
    until(lambda: started(site), seconds=60, told=site.log)
    until(lambda: served.now(later).state is State.COMPLETED, seconds=240, told=site.log)
    assert (served.champion.version, len(served.erased)) == (3, 3)
