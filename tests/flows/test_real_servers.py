"""`qunlearn up` with the real servers: the cron fires, and a request becomes a new champion without anybody's help."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows import servers
from flows.processes import start_time
from qunlearn.data.erased import read_erased
from qunlearn.data.splits import load_split
from tasks.tracking import MissingCheckpointError, Store
from tasks.workspace import Workspace

pytestmark = [pytest.mark.servers, pytest.mark.slow]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def ask(url: str, body: dict[str, Any] | None = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as reply:
        return json.load(reply)


def until(condition: Callable[[], Any], *, seconds: float, told: Callable[[], str]) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"nothing after {seconds:g} s; {told()}"
        time.sleep(1)
    return found


@pytest.fixture
def command(project: Path) -> Iterator[Callable[..., subprocess.CompletedProcess[str]]]:
    """Runs `qunlearn` in the project, whose parameters name free ports and a cron of every minute."""
    params = yaml.safe_load((project / "params.yaml").read_text())
    params["servers"] = {"mlflow_port": free_port(), "prefect_port": free_port(), "start_timeout": 240}
    params["deletion"]["cron"] = "* * * * *"
    (project / "params.yaml").write_text(yaml.safe_dump(params))
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "MLFLOW_TRACKING"))}
    # The project has no pyproject.toml with the settings for Prefect; the repository's are given here.
    environment |= {
        "PYTHONPATH": os.getcwd(),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
    }

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", "flows.cli", *arguments]
        return subprocess.run(line, cwd=project, env=environment, capture_output=True, text=True, check=False)

    yield run
    servers.down(project)


def test_a_scheduled_run_completes_and_the_champion_changes(project, command):
    workspace = Workspace.open(project / "params.yaml")
    store = Store.open(workspace.params.tracking, root=project)
    asked = load_split(workspace.splits).ids("train")[:3]
    assert store.champion() is None

    started = command("up")
    assert started.returncode == 0, started.stderr
    assert "workflowType=machine_learning" in started.stdout
    assert command("status").returncode == 0
    pids = {state.name: state.pid for state in servers.status(project)}
    begun = time.monotonic()
    assert command("up").returncode == 0
    assert time.monotonic() - begun < 10
    assert {state.name: state.pid for state in servers.status(project)} == pids

    released = command("release", "original-seed0")
    assert released.returncode == 0, released.stderr
    first = store.champion()
    asked_for = command("request", "add", *(word for one in asked for word in ("--sample", one)), "--json")
    assert asked_for.returncode == 0, asked_for.stderr
    request = json.loads(asked_for.stdout)["id"]

    def state() -> str:
        return json.loads(command("request", "show", request, "--json").stdout)["state"]

    log = servers.folder(project) / "deletion.log"
    until(lambda: state() == "completed", seconds=300, told=lambda: log.read_text()[-3000:])
    verified = command("evidence", "verify", request)
    assert verified.returncode == 0, verified.stderr
    assert command("ledger", "verify").returncode == 0
    with pytest.raises(MissingCheckpointError):
        store.fetch(first.digest, project / "purged", model_id=first.model_id)

    champion = store.champion()
    assert champion is not None
    assert champion.version == 2
    assert read_erased(workspace.erased) == set(asked)

    api = f"http://127.0.0.1:{workspace.params.servers.prefect_port}/api"
    completed = {"flow_runs": {"state": {"type": {"any_": ["COMPLETED"]}}}}
    runs = until(
        lambda: [
            run
            for run in ask(f"{api}/flow_runs/filter", completed)
            if run["state"]["message"] == "1 done, 0 rejected, 3 unlearned"
        ],
        seconds=60,
        told=lambda: str(ask(f"{api}/flow_runs/filter", completed)),
    )
    assert runs[0]["auto_scheduled"]
    assert set(runs[0]["parameters"]) == {"params_file"}

    mlflow = f"http://127.0.0.1:{workspace.params.servers.mlflow_port}/api/2.0/mlflow"
    served = ask(f"{mlflow}/registered-models/alias?name=qunlearn-served&alias=champion")["model_version"]
    assert served["source"] == f"models:/{champion.model_id}"

    told = command("lineage", "qunlearn-served@champion")
    assert told.returncode == 0, told.stderr
    assert champion.digest in told.stdout

    ended = command("down")
    assert ended.stdout == "Ended deletion, prefect, mlflow.\n"
    assert all(start_time(pid) is None for pid in pids.values())
    assert command("status").returncode == 1
