"""Servers that are not there, or go away in the midst of a deletion: one line, and the next run goes on."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import deletion_project
import httpx
import pytest
from deletion_project import Served, run
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows import stage
from flows.deletion import deletion
from flows.errors import is_ours
from qunlearn.deletion.ledger import Ledger, Outcome, Request, State
from tasks.deletion import completion

CLOSED = "http://127.0.0.1:1"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def server(command: list[str], url: str, folder: Path, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that answers at `url`, unless the block kills it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "MLFLOW_TRACKING"))}
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *command], cwd=folder, env=kept | environment, stdout=log, stderr=log
        )
    try:
        deadline = time.monotonic() + 180
        while True:
            assert process.poll() is None, (folder / "server.log").read_text()
            assert time.monotonic() < deadline, "the server does not answer"
            with suppress(OSError), urllib.request.urlopen(url, timeout=5):
                break
            time.sleep(0.2)
        yield process
    finally:
        process.kill()
        process.wait()


def at_state(monkeypatch: pytest.MonkeyPatch, state: State, act: Callable[[], Any]) -> None:
    """Do something once, when a batch has come to a state."""
    advance, done = Ledger.advance, []

    def advanced(ledger: Ledger, batch: Any, to: State, **options: Any) -> Any:
        result = advance(ledger, batch, to, **options)
        if to is state and not done:
            done.append(act())
        return result

    monkeypatch.setattr(Ledger, "advance", advanced)


def completed(served: Served, request: Request) -> None:
    assert (served.now(request).state, served.now(request).outcome) == (State.COMPLETED, Outcome.UNLEARNED)
    assert served.evidence(request).purge.scan.found == 0
    assert served.erased == set(request.asked.samples)
    assert (served.champion.version, served.versions()) == (2, 2)
    assert served.ledger.verify() is None


def command_line(served: Served, capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str]]:
    """`python -m flows.deletion`, in this process: exit code, and what it says of errors."""
    code = 0
    try:
        stage.main(deletion, ["--params", served.params_file])
    except SystemExit as ended:
        code = int(ended.code or 0)
    told = capsys.readouterr().err
    assert "Traceback" not in told
    return code, [line for line in told.splitlines() if line.startswith("deletion: error: ")]


def test_without_the_prefect_server_that_was_named_nothing_is_done(served, monkeypatch, capsys):
    for name in deletion_project.ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    request = served.ask(*served.training_ids[:2])
    monkeypatch.setenv("PREFECT_API_URL", f"{CLOSED}/api")
    with temporary_settings({PREFECT_API_URL: f"{CLOSED}/api"}):
        code, told = command_line(served, capsys)
    assert (code, len(told)) == (1, 1)
    assert "Prefect's server does not answer; start it with `qunlearn up`, or unset PREFECT_API_URL" in told[0]
    assert served.now(request).state is State.RECEIVED
    assert served.ledger.head()[0] == 1


@pytest.mark.servers
@pytest.mark.slow
@pytest.mark.usefixtures("plainly")
def test_an_mlflow_server_that_dies_meanwhile_is_told_and_the_next_run_goes_on(served, monkeypatch):
    url = f"http://127.0.0.1:{free_port()}"
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    request = served.ask(*served.training_ids[:2])
    command = ["mlflow", "server", "--backend-store-uri", f"sqlite:///{served.root}/mlflow.db", "--no-serve-artifacts"]
    command += ["--host", "127.0.0.1", "--port", url.rpartition(":")[2], "--workers", "1"]
    more = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with server(command, f"{url}/health", served.root, **more) as process, monkeypatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", url)
        at_state(patch, State.UNLEARNED, lambda: (process.terminate(), process.wait()))
        with pytest.raises(ValueError, match=r"(no server answers|its server does not answer)") as failed:
            run(served)
    assert is_ours(failed.value)
    assert len(str(failed.value).splitlines()) == 1
    assert served.now(request).state is State.UNLEARNED
    assert (served.champion.version, served.erased) == (1, frozenset())
    run(served)
    completed(served, request)


@pytest.mark.usefixtures("plainly")
def test_what_prefects_server_does_not_take_leaves_no_request_open(served, monkeypatch):
    """The pages of a server that went away meanwhile lack the evidence; file and MLflow have it."""
    tried = []

    def unreachable(*_: Any, **options: Any) -> None:
        tried.append(options["key"])
        raise httpx.ConnectError("All connection attempts failed")

    monkeypatch.setattr(completion, "FlowRunContext", SimpleNamespace(get=lambda: "a run"))
    monkeypatch.setattr(completion, "create_markdown_artifact", unreachable)
    request = served.ask(*served.training_ids[:2])
    assert run(served) == "1 request done, 0 rejected; 2 samples unlearned"
    assert tried == [f"evidence-{request.id}"]
    completed(served, request)
