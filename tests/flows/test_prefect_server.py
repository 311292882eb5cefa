"""Prefect as `qunlearn up` starts it: other sites' pages are refused, its own and programs are served; passwords."""

from __future__ import annotations

import asyncio
import base64
import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import websockets
import yaml

from flows import pages, servers
from flows.servers import ServerError
from qunlearn.config import Params, load

pytestmark = pytest.mark.servers

JSON = {"Content-Type": "application/json"}
EVIL = "https://evil.example"
PASSWORD = "somebody:open sesame"
TOUCH = f"{sys.executable} -c \"open('pwned', 'w')\""


def project(root: Path) -> Params:
    """A folder with parameters; MLflow is said to be elsewhere, so it is not started."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    content = {
        "data": {"source": "digits"},
        "split": {"scenario": {"kind": "random", "fraction": 0.1}},
        "seeds": [0],
        "unlearn": {"oeu": {}},
        "tracking": {"uri": "http://127.0.0.1:9"},
        "servers": {"prefect_port": port, "start_timeout": 240},
    }
    (root / "params.yaml").write_text(yaml.safe_dump(content))
    (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"make": {"cmd": TOUCH, "always_changed": True}}}))
    (root / ".dvc").mkdir()
    (root / ".dvc" / "config").write_text("[core]\n    analytics = false\n    no_scm = true\n")
    return load(root / "params.yaml")


def started(root: Path, password: str) -> Iterator[str]:
    """The server's address; it and the process of the flows run until the generator ends."""
    params = project(root)
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("PREFECT_", "MLFLOW_TRACKING", pages.SETTING))]:
            patch.delenv(name)
        patch.setenv("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
        if password:
            patch.setenv(pages.PASSWORD, password)
            patch.setenv(pages.CLIENT_PASSWORD, password)
        try:
            states = servers.up(root, params, params_file=root / "params.yaml")
            assert {one.name: one.state for one in states} == {"mlflow": "elsewhere", "prefect": "up", "deletion": "up"}
            yield next(one.url for one in states if one.name == "prefect")
        finally:
            servers.down(root)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("project")


@pytest.fixture(scope="module")
def server(root):
    yield from started(root, "")


def ask(url: str, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any, http.client.HTTPMessage]:
    """Status, JSON or text, and headers of an answer. Without a body and headers: what a program's plain GET is."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=30)
    data = None if body is None else json.dumps(body).encode()
    connection.request(method, path, data, headers)
    reply = connection.getresponse()
    text = reply.read().decode()
    connection.close()
    return reply.status, json.loads(text) if "json" in reply.headers["Content-Type"] else text, reply.headers


def test_its_pages_and_what_they_ask_are_served(server):
    for own in (server, server.replace("127.0.0.1", "localhost")):
        host = own.removeprefix("http://")
        status, page, _ = ask(server, "GET", "/dashboard", Host=host, Accept="text/html")
        assert status == 200
        assert '<div id="app"' in page
        assert ask(server, "GET", "/ui-settings", Host=host)[1]["api_url"] == f"{server}/api"
        status, found, headers = ask(server, "POST", "/api/deployments/filter", {}, **JSON, Origin=own)
        assert (status, len(found)) == (200, 3)
        assert headers["Access-Control-Allow-Origin"] == own


@pytest.mark.parametrize(
    ("method", "path", "kind"),
    [
        ("GET", "/api/health", {}),
        ("POST", "/api/deployments/filter", JSON),
        ("POST", "/api/deployments/filter", {"Content-Type": "text/plain"}),
        ("POST", "/api/deployments/filter", {}),
        ("PATCH", "/api/deployments/0", JSON),
        ("OPTIONS", "/api/deployments/0", {"Access-Control-Request-Method": "PATCH"}),
        ("GET", "/", {}),
    ],
)
@pytest.mark.parametrize("foreign", [{"Origin": EVIL}, {"Origin": "null"}, {"Host": "evil.example"}])
def test_another_page_is_refused_with_and_without_a_preflight(server, method, path, kind, foreign):
    status, _, headers = ask(server, method, path, {} if method in ("POST", "PATCH") else None, **kind, **foreign)
    assert status == 403
    assert "Access-Control-Allow-Origin" not in headers


@pytest.mark.parametrize(
    ("origin", "served"), [(None, True), ("own", True), (EVIL, False), ("http://localhost:1", False)]
)
def test_only_programs_and_own_pages_can_open_a_websocket(server, origin, served):
    async def opened() -> Any:
        url = f"{server.replace('http', 'ws')}/api/events/in"
        given: Any = server if origin == "own" else origin
        async with websockets.connect(url, subprotocols=[websockets.Subprotocol("prefect")], origin=given) as socket:
            await socket.send('{"type": "auth", "token": null}')
            return json.loads(await socket.recv())["type"]

    if served:
        assert asyncio.run(opened()) == "auth_success"
    else:
        with pytest.raises(websockets.InvalidStatus, match="403"):
            asyncio.run(opened())


def test_background_services_run_the_schedule_is_filled(server):
    body = {"flows": {"name": {"any_": ["deletion"]}}, "flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}}
    deadline = time.monotonic() + 120
    while ask(server, "POST", "/api/flow_runs/count", body, **JSON)[1] == 0:
        assert time.monotonic() < deadline
        time.sleep(0.5)


def final(server: str, deployment: str, parameters: dict[str, Any], **headers: str) -> str:
    """Message of the last state of a run that a program asks for."""
    known = ask(server, "GET", f"/api/deployments/name/{deployment}/{deployment}", **headers)[1]
    body = {"state": {"type": "SCHEDULED"}, "parameters": parameters}
    run = ask(server, "POST", f"/api/deployments/{known['id']}/create_flow_run", body, **JSON, **headers)[1]["id"]
    deadline = time.monotonic() + 180
    while True:
        state = ask(server, "GET", f"/api/flow_runs/{run}", **headers)[1]["state"]
        if state["type"] in ("COMPLETED", "FAILED", "CRASHED"):
            return str(state["message"])
        assert time.monotonic() < deadline
        time.sleep(0.5)


def test_a_run_refreshes_its_own_project_and_no_other(server, root, tmp_path):
    project(tmp_path)
    foreign = final(server, "refresh-benchmark", {"params_file": str(tmp_path / "params.yaml")})
    assert "ForeignProjectError" in foreign
    assert not (tmp_path / "pwned").exists()
    assert final(server, "refresh-benchmark", {}).startswith("dvc.lock has changed")
    assert (root / "pwned").exists()


def test_a_password_that_the_running_server_does_not_ask_for_is_told(server, root, monkeypatch):
    monkeypatch.setenv(pages.PASSWORD, PASSWORD)
    monkeypatch.setenv(pages.CLIENT_PASSWORD, PASSWORD)
    with pytest.raises(ServerError, match=r"prefect already runs with other settings .*qunlearn down"):
        servers.up(root, load(root / "params.yaml"), params_file=root / "params.yaml")


# --- with a password -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def guarded(tmp_path_factory, root):
    # One server at a time is enough for a small computer.
    servers.down(root)
    yield from started(tmp_path_factory.mktemp("guarded"), PASSWORD)


def test_a_password_keeps_out_who_lacks_it_and_all_else_works(guarded):
    sent = {"Authorization": f"Basic {base64.b64encode(PASSWORD.encode()).decode()}"}
    assert ask(guarded, "POST", "/api/deployments/filter", {}, **JSON)[0] == 401
    assert ask(guarded, "POST", "/api/deployments/filter", {}, **JSON, **sent)[0] == 200
    assert ask(guarded, "POST", "/api/deployments/filter", {}, **JSON, **sent, Origin=EVIL)[0] == 403
    assert final(guarded, "deletion", {}, **sent) == "nothing to do"
    command = [sys.executable, "-m", "prefect", "deployment", "ls"]
    environment = {**os.environ, "PREFECT_API_URL": f"{guarded}/api"}
    told = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stdout + told.stderr
    assert "deletion" in told.stdout
