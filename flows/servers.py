"""The servers on this computer: MLflow, Prefect, and the process that serves the deletion flow.

`up` starts what does not run yet and waits until it answers; `down` ends what `up` started, and nothing else. Pid files
and logs lie in `.servers/` beside `params.yaml`. Everything listens on 127.0.0.1 only.

Prefect is imported only where a flow is about to run anyway.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from flows import processes
from flows.children import watch_servers
from flows.processes import Process
from flows.services import (
    ANSWERS,
    HOST,
    LIMIT,
    ServerError,
    Service,
    create_store,
    folder,
    get_json,
    is_remote,
    port_of,
    record,
    services_of,
)
from qunlearn.config import Params

__all__ = ["LIMIT", "ServerError", "State", "down", "folder", "prefect_api", "prefect_url", "status", "up"]


@dataclass(frozen=True)
class State:
    """What `status` says of one server: state is `up`, `not answering`, `down`, or `elsewhere` (not run here)."""

    name: str
    state: str
    url: str
    pid: int | None
    log: Path


def prefect_url(root: Path = Path(".")) -> str | None:
    """API address of this project's Prefect server; None unless its process lives and answers."""
    server = record(root, "prefect")
    if server is None or not server.alive() or get_json(f"{server.url}/api/health") is not True:
        return None
    return f"{server.url}/api"


@contextmanager
def prefect_api(root: Path = Path(".")) -> Iterator[str | None]:
    """Let flows started inside use this project's Prefect server, when it is up.

    An address in the environment variable PREFECT_API_URL wins. Without a server Prefect starts a temporary one, which
    ends with this process.

    Yields:
        the API address in use, None for a temporary server.
    """
    given = os.environ.get("PREFECT_API_URL")
    url = given or prefect_url(root)
    if url is None:
        watch_servers()
    if given or url is None:
        yield url
        return
    from prefect.settings import PREFECT_API_URL, temporary_settings  # noqa: PLC0415

    with temporary_settings({PREFECT_API_URL: url}):
        yield url


# --- up, status, down ------------------------------------------------------------------------------------------------


def up(
    root: Path,
    params: Params,
    *,
    params_file: Path,
    mlflow_port: int | None = None,
    prefect_port: int | None = None,
    announce: Callable[[str], object] | None = None,
) -> list[State]:
    """Start what does not run yet and wait until all answer. A second call finds everything running and returns.

    Args:
        root: folder of `params.yaml`; servers run there.
        params: gives the ports where no port is named and no server runs, the tracking store and the cron.
        params_file: file that the served deletion flow reads at each run.
        announce: called with the name of each server that is about to be started.

    Raises:
        ServerError: a port is taken, a server runs with other settings, ends at once, or does not answer in time.
            What this call started is ended again.
    """
    root = root.resolve()
    folder(root).mkdir(exist_ok=True)
    began: list[Process] = []
    with FileLock(folder(root) / "lock"):
        services = services_of(root, params, params_file.resolve(), mlflow_port, prefect_port)
        _check_ports(root, services)
        create_store(root, params)
        try:
            waiting = [_begin(root, s, began, announce) for s in services if s.name != "deletion"]
            _await(root, waiting, params.servers.start_timeout)
            waiting = [_begin(root, s, began, announce) for s in services if s.name == "deletion"]
            _await(root, waiting, params.servers.start_timeout)
        except BaseException:
            for process in reversed(began):
                processes.stop(process)
            raise
    return status(root, params)


def status(root: Path, params: Params | None = None) -> list[State]:
    """The state of each server, without changing any.

    Args:
        params: tell whether MLflow is a server elsewhere; without them it is taken for one of ours.
    """
    root = root.resolve()
    states = []
    for name, answers in ANSWERS.items():
        process = record(root, name)
        log = folder(root) / f"{name}.log"
        if process is None or not process.alive():
            elsewhere = name == "mlflow" and params is not None and is_remote(params)
            states.append(State(name, "elsewhere" if elsewhere else "down", "", None, log))
            continue
        state = "up" if answers(process) else "not answering"
        states.append(State(name, state, process.url, process.pid, log))
    return states


def down(root: Path) -> list[str]:
    """End what `up` started, the deletion flow first, and nobody else's process; names of what was ended."""
    root = root.resolve()
    if not folder(root).is_dir():
        return []
    ended = []
    with FileLock(folder(root) / "lock"):
        for name in reversed(ANSWERS):
            process = record(root, name)
            if process is not None and processes.stop(process):
                ended.append(name)
            (folder(root) / f"{name}.json").unlink(missing_ok=True)
    return ended


# --- starting and waiting --------------------------------------------------------------------------------------------


def _check_ports(root: Path, services: list[Service]) -> None:
    for service in services:
        running = record(root, service.name)
        if running is not None and running.alive():
            if running.command != service.command and not service.restarts:
                raise ServerError(
                    f"{service.name} already runs with other settings at {running.url}; run `qunlearn down` first"
                )
            continue
        if running is not None:
            # Children of a server that was killed may still hold its port.
            processes.stop(running)
        if service.name != "deletion":
            _check_free(service.name, int(port_of(service.url)))


def _check_free(name: str, port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # A port that only waits for the end of old connections counts as free, as it does for the servers.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            raise ServerError(
                f"port {port} on {HOST} is taken by another program, {name} cannot have it; choose another with "
                f"`qunlearn up --{name}-port <number>` or servers.{name}_port in params.yaml"
            ) from None


def _begin(
    root: Path, service: Service, began: list[Process], announce: Callable[[str], object] | None
) -> tuple[Service, Process, int]:
    """Start the service unless it runs; returns it with its process and the place in its log to explain a failure."""
    path = folder(root) / f"{service.name}.json"
    log = path.with_suffix(".log")
    running = processes.read(path)
    if running is not None and running.alive() and running.command == service.command:
        return service, running, log.stat().st_size if log.exists() else 0
    if running is not None:
        processes.stop(running)
    if announce is not None:
        announce(service.name)
    process, before = processes.launch(
        service.command, log=log, cwd=root, environment=service.environment, url=service.url
    )
    began.append(process)
    processes.write(process, path)
    return service, process, before


def _await(root: Path, waiting: list[tuple[Service, Process, int]], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    for service, process, before in waiting:
        log = folder(root) / f"{service.name}.log"
        while not service.answers(process):
            problem = None
            if not process.alive():
                problem = "ended right after its start"
            elif time.monotonic() > deadline:
                problem = f"did not answer within {seconds:g} s (servers.start_timeout)"
            if problem:
                raise ServerError(f"{service.name} {problem}; its log {log} ends with: {_tail(log, before)}")
            time.sleep(0.1)


def _tail(log: Path, start: int) -> str:
    """The last line that was written after `start`."""
    with log.open("rb") as file:
        file.seek(start)
        lines = file.read().decode("utf-8", errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "(nothing)")
