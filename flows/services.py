"""What the three servers are: how each is started, where it listens, and how to ask whether it answers.

Nothing here imports Prefect or MLflow before it must: both take seconds.
"""

from __future__ import annotations

import http.client
import json
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from flows import pages, processes
from flows.processes import Process
from qunlearn.config import Params

HOST = "127.0.0.1"
EXPERIMENTS = "/#/experiments?workflowType=machine_learning"
"""MLflow's list of experiments; without the last part it would open in its mode for language models."""
DEPLOYMENTS = ("deletion/deletion", "submit-request/submit-request", "refresh-benchmark/refresh-benchmark")
"""Flows and deployments that one process serves, as Prefect names them."""
LIMIT = "served-model"
"""Prefect's global concurrency limit that lets one flow at a time work on the served model."""
POLL_SECONDS = 120.0
"""The process of the flows asks for work every few seconds; after this long without it counts as not answering."""


class ServerError(ValueError):
    """A server that cannot be started or reached; the message names it and what to do."""


@dataclass(frozen=True)
class Service:
    """How to start one server, and how to ask whether it answers."""

    name: str
    command: tuple[str, ...]
    environment: dict[str, str]
    url: str
    answers: Callable[[Process], bool]
    restarts: bool = False
    """Whether other settings than those in force are applied by a restart; otherwise they are an error."""


def folder(root: Path) -> Path:
    """Where pid files and logs lie."""
    return root / ".servers"


def record(root: Path, name: str) -> Process | None:
    """The process that was last started under this name."""
    return processes.read(folder(root) / f"{name}.json")


def get_json(url: str, headers: Mapping[str, str] | None = None) -> Any:
    """The JSON (or text) at a loopback address, past any proxy of the environment; None when nothing answers 200."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(urllib.request.Request(url, headers=dict(headers or {})), timeout=5.0) as reply:
            body = reply.read().decode("utf-8", errors="replace")
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError):
        return None
    try:
        return json.loads(body)
    except json.JSONDecodeError:
        return body


def landing_page(url: str, experiment: str) -> str:
    """What to open at a running MLflow: the experiment's models, or the list of experiments before it exists.

    In that list a click on the experiment's name would open it in the mode for language models.
    """
    found = get_json(f"{url}/api/2.0/mlflow/experiments/get-by-name?experiment_name={quote(experiment, safe='')}")
    if not isinstance(found, dict):
        return f"{url}{EXPERIMENTS}"
    return f"{url}/#/experiments/{found['experiment']['experiment_id']}/models?workflowType=machine_learning"


def _mlflow_answers(process: Process) -> bool:
    return bool(get_json(f"{process.url}/health") == "OK")


def _prefect_answers(process: Process) -> bool:
    return get_json(f"{process.url}/api/health") is True


def _deletion_answers(process: Process) -> bool:
    """The process has asked Prefect for work of all deployments since it started, and lately."""
    return all(_polled(process, name) for name in DEPLOYMENTS)


def _polled(process: Process, name: str) -> bool:
    deployment = get_json(f"{process.url}/api/deployments/name/{quote(name)}", pages.authorization())
    polled = deployment.get("last_polled") if isinstance(deployment, dict) else None
    if polled is None:
        return False
    last, now = datetime.fromisoformat(polled).timestamp(), time.time()
    # Where the clock was set back, the start lies ahead of it: then it is enough to have asked lately.
    since = process.since if process.since <= now else now - POLL_SECONDS
    return last >= since and now - last < POLL_SECONDS


ANSWERS: dict[str, Callable[[Process], bool]] = {
    "mlflow": _mlflow_answers,
    "prefect": _prefect_answers,
    "deletion": _deletion_answers,
}


def services_of(
    root: Path, params: Params, params_file: Path, mlflow_port: int | None, prefect_port: int | None
) -> list[Service]:
    """The services in the order of their start; without MLflow where the tracking URI names a server elsewhere."""
    mlflow = _address(root, "mlflow", mlflow_port, params.servers.mlflow_port)
    prefect = _address(root, "prefect", prefect_port, params.servers.prefect_port)
    if mlflow == prefect:
        raise ServerError(f"MLflow and Prefect cannot both have {mlflow}; name another --mlflow-port or --prefect-port")
    services = [
        Service("prefect", _prefect_command(prefect), _prefect_environment(root, prefect), prefect, _prefect_answers),
        Service(
            "deletion",
            (sys.executable, "-m", "flows.serving", str(params_file), params.deletion.cron),
            _environment(root, PREFECT_API_URL=f"{prefect}/api"),
            prefect,
            _deletion_answers,
            restarts=True,
        ),
    ]
    if not is_remote(params):
        command = _mlflow_command(root, params, mlflow)
        services.insert(0, Service("mlflow", command, _mlflow_environment(root), mlflow, _mlflow_answers))
    return services


def _address(root: Path, name: str, asked: int | None, default: int) -> str:
    """The port asked for; else that of the running server; else the parameter's."""
    running = record(root, name)
    if asked is None and running is not None and running.alive():
        return running.url
    return f"http://{HOST}:{asked or default}"


def _tracking_uri(params: Params) -> str:
    """The store that the stages write to: a database in MLFLOW_TRACKING_URI wins over the parameter."""
    given = os.environ.get("MLFLOW_TRACKING_URI", "")
    return params.tracking.uri if given.startswith("http") else given or params.tracking.uri


def is_remote(params: Params) -> bool:
    """Whether MLflow is a server elsewhere, which is not started here."""
    return _tracking_uri(params).startswith("http")


def _mlflow_command(root: Path, params: Params, url: str) -> tuple[str, ...]:
    store = ["--backend-store-uri", _tracking_uri(params), "--no-serve-artifacts"]
    store += ["--default-artifact-root", str(root / params.tracking.artifacts)]
    return (sys.executable, "-m", "mlflow", "server", *store, "--host", HOST, "--port", port_of(url), "--workers", "1")


def _prefect_command(url: str) -> tuple[str, ...]:
    # A password in force only after the next start would leave a running server open unnoticed.
    options = ("--host", HOST, "--port", port_of(url), *(["--password"] if pages.has_password() else []))
    return (sys.executable, "-m", "flows.prefect_server", *options, "--pages", *pages.origins(url))


def _environment(root: Path, **more: str) -> dict[str, str]:
    """This process's environment, with Prefect's home in the project wherever the process runs."""
    return {"PREFECT_HOME": str(root / ".prefect"), **os.environ, "PYTHONUNBUFFERED": "1", **more}


def _prefect_environment(root: Path, url: str) -> dict[str, str]:
    # The pages ask the address below for their data; `--port` alone would leave it at the default port.
    # The new pages ask a statistics service on the internet, whatever the settings say; the classic ones do not.
    environment = _environment(
        root,
        PREFECT_SERVER_UI_API_URL=f"{pages.public_address() or url}/api",
        PREFECT_SERVER_CORS_ALLOWED_ORIGINS=",".join(pages.origins(url)),
        PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT="false",
        PREFECT_SERVER_UI_V2_ENABLED="false",
    )
    environment.pop("PREFECT_API_URL", None)
    return environment


def _mlflow_environment(root: Path) -> dict[str, str]:
    # The job runner serves generative AI features; it would add seven processes.
    environment = _environment(root, MLFLOW_DISABLE_TELEMETRY="true", MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false")
    environment.pop("MLFLOW_TRACKING_URI", None)
    return environment


def port_of(url: str) -> str:
    return url.rpartition(":")[2]


def create_store(root: Path, params: Params) -> None:
    """Create MLflow's database before the server does: two that create it at once both fail."""
    uri = _tracking_uri(params)
    if not uri.startswith("sqlite:///") or (root / uri.removeprefix("sqlite:///")).exists():
        return
    from tasks.tracking import Store  # noqa: PLC0415 - brings MLflow

    Store.open(params.tracking, root=root)
