"""The same with the real servers: nobody is named in what Prefect and MLflow store and log; all listen on loopback."""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path

import deletion_project
import psutil
import pytest
import yaml
from security import people
from security.planted import find

from flows import servers
from qunlearn.data.erased import read_erased

pytestmark = [pytest.mark.servers, pytest.mark.slow]

PATIENCE = 400.0
LOOPBACK = {"127.0.0.1", "::1"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def keys() -> dict[str, str]:
    """Secrets that the environment holds, in place of files."""
    return {"QUNLEARN_KEY": secrets.token_hex(32), "QUNLEARN_SIGNING_KEY": b64encode(secrets.token_bytes(32)).decode()}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A released project whose parameters name free ports and a cron of every minute."""
    for name in deletion_project.ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    folder = people.built(tmp_path / "project")
    params = yaml.safe_load((folder / "params.yaml").read_text())
    params["servers"] = {"mlflow_port": free_port(), "prefect_port": free_port(), "start_timeout": 240}
    params["deletion"]["cron"] = "* * * * *"
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    return folder


Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(project: Path, keys: dict[str, str], tmp_path: Path) -> Iterator[Command]:
    """Runs a module of the program in the project, in a temporary folder of the test's own."""
    (tmp_path / "temporary").mkdir()
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "MLFLOW_"))} | keys
    environment |= {
        "PYTHONPATH": os.getcwd(),
        "TMPDIR": str(tmp_path / "temporary"),
        "PREFECT_HOME": str(project / ".prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
    }

    def started(module: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", module, *map(str, arguments)]
        return subprocess.run(line, cwd=project, env=environment, capture_output=True, text=True, check=False)

    yield started
    servers.down(project)


def listening(root: Path) -> dict[tuple[str, int], str]:
    """(address, port) -> process, for everything that the project's servers and their children listen on."""
    found = {}
    for state in servers.status(root):
        assert state.pid is not None, state
        leader = psutil.Process(state.pid)
        for process in [leader, *leader.children(recursive=True)]:
            for connection in process.net_connections(kind="inet"):
                if connection.status == psutil.CONN_LISTEN or connection.type == socket.SOCK_DGRAM:
                    found[connection.laddr.ip, connection.laddr.port] = state.name
    return found


def test_after_a_scheduled_deletion_only_the_raw_data_name_anybody(project, run, keys, tmp_path):
    printed = []

    def command(*arguments: object, code: int = 0) -> str:
        done = run("flows.cli", *arguments)
        printed.extend([done.stdout, done.stderr])
        assert done.returncode == code, done.stderr
        return done.stdout

    command("up")
    sockets = listening(project)
    assert {"mlflow", "prefect"} <= set(sockets.values())
    assert {address for address, _ in sockets} <= LOOPBACK, sockets

    for code, words in people.commands(people.request_file(tmp_path / "inbox")):
        command("request", *words, code=code)
    deadline = time.monotonic() + PATIENCE
    while any(one["state"] != "completed" for one in json.loads(command("request", "list", "--json"))):
        assert time.monotonic() < deadline, (servers.folder(project) / "deletion.log").read_text()[-3000:]
        time.sleep(3)
    requests = json.loads(command("request", "list", "--json"))
    for one in requests:
        command("evidence", "verify", one["id"])
        command("evidence", "show", one["id"])
    command("status")
    assert {address for address, _ in listening(project)} <= LOOPBACK
    command("down")

    assert len(read_erased(project / "data" / "erased.txt")) == 4
    stores = {path.name for path in project.rglob("*") if path.is_file()}
    assert {"prefect.db", "mlflow.db", "ledger.db", "mlflow.log", "prefect.log", "deletion.log"} <= stores
    # What Prefect has is looked into: its artifacts have the requests' ids.
    assert find([project / ".prefect"], [one["id"] for one in requests])
    folders = [project, tmp_path / "temporary"]
    found = find(folders, people.PLANTED, others={"printed": "\n".join(printed)})
    assert {place for place, _ in found} == people.raw(project)
    hidden = [*keys.values(), bytes.fromhex(keys["QUNLEARN_KEY"])]
    assert find(folders, hidden, others={"printed": "\n".join(printed)}) == set()
