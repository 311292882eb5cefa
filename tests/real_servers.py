"""A project with servers of its own: `qunlearn` as a person calls it there, Prefect's and MLflow's interfaces."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import yaml
from deletion_project import git

from flows import servers
from qunlearn.data import imageset

STAGES = {
    "ingest": {
        "cmd": "python -m flows.ingest",
        "deps": ["data/erased.txt"],
        "params": ["data"],
        "outs": ["data/prepared"],
    },
    "split": {
        "cmd": "python -m flows.split",
        "deps": ["data/erased.txt", "data/prepared"],
        "params": ["data", "split"],
        "outs": ["data/splits"],
    },
}
"""Of the repository's `dvc.yaml`; what depends on data and not on models."""
LAWFUL = ("data/erased.txt", ".git/", ".qunlearn/ledger.db", ".prefect/prefect.db")
"""Beginnings of the paths that may name erased ids: the list of them and its commit, the requests, and the parameters
of a run by which somebody requested. All hold ids only, which say nothing about a person or an image."""


class RefusedError(Exception):
    """A server said no; its words."""


@dataclass
class Site:
    """The project and its two ports."""

    root: Path
    mlflow: str = field(init=False)
    prefect: str = field(init=False)

    def __post_init__(self) -> None:
        """Free ports, a cron of every minute, and DVC for the data, in the project's parameters and repository."""
        ports = {"mlflow_port": free_port(), "prefect_port": free_port(), "start_timeout": 240}
        self.mlflow, self.prefect = (f"http://127.0.0.1:{ports[f'{name}_port']}" for name in ("mlflow", "prefect"))
        params = yaml.safe_load((self.root / "params.yaml").read_text())
        params["servers"], params["deletion"]["cron"] = ports, "* * * * *"
        (self.root / "params.yaml").write_text(yaml.safe_dump(params))
        (self.root / "dvc.yaml").write_text(yaml.safe_dump({"stages": STAGES}))
        (self.root / ".dvc").mkdir()
        (self.root / ".dvc" / "config").write_text("[core]\n    analytics = false\n")
        with (self.root / ".gitignore").open("a") as file:
            file.write("!dvc.yaml\n!dvc.lock\n")
        git(self.root, "add", "--all")
        git(self.root, "-c", "user.name=x", "-c", "user.email=x@localhost", "commit", "--quiet", "-m", "Stages")

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `qunlearn` in the project."""
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "MLFLOW_TRACKING"))}
        # The project has no pyproject.toml with the settings for Prefect; the repository's are given here.
        environment |= {
            "PYTHONPATH": os.getcwd(),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
        }
        line = [sys.executable, "-m", "flows.cli", *arguments]
        return subprocess.run(line, cwd=self.root, env=environment, capture_output=True, text=True, check=False)

    def told(self, *arguments: str) -> str:
        """What `qunlearn` prints; it must succeed."""
        done = self.command(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def start(self, deployment: str, **parameters: Any) -> str:
        """Ask Prefect for a run of a deployment now, as its form does; the run's id."""
        found = ask(f"{self.prefect}/api/deployments/name/{deployment}/{deployment}")
        body = {"parameters": parameters, "state": {"type": "SCHEDULED"}}
        return str(ask(f"{self.prefect}/api/deployments/{found['id']}/create_flow_run", body)["id"])

    def runs(self, flow: str) -> list[dict[str, Any]]:
        """All runs of a flow that Prefect knows, those to come too."""
        return list(ask(f"{self.prefect}/api/flow_runs/filter", {"flows": {"name": {"any_": [flow]}}}))

    def message(self, run: str) -> str:
        """The last words of a run, which must have completed; empty before."""
        state = ask(f"{self.prefect}/api/flow_runs/{run}")["state"]
        assert state["type"] not in ("FAILED", "CRASHED", "CANCELLED"), state
        return str(state["message"]) if state["type"] == "COMPLETED" else ""

    def artifact(self, key: str) -> dict[str, Any]:
        """The newest version of an artifact on Prefect's pages."""
        return dict(ask(f"{self.prefect}/api/artifacts/{key}/latest"))

    def log(self) -> str:
        """The end of what the process of the flows has said."""
        return (servers.folder(self.root) / "deletion.log").read_text()[-3000:]

    def holding(self, samples: list[str], images: list[bytes]) -> set[str]:
        """Files of the project with one of these ids or images in them, but where ids may stay."""
        found = set()
        for path in self.root.rglob("*"):
            name = path.relative_to(self.root).as_posix()
            if not path.is_file() or (content := self._content(path)) is None:
                continue
            named = any(sample.encode() in content for sample in samples)
            if any(image in content for image in images) or (named and not name.startswith(LAWFUL)):
                found.add(name)
        return found

    def _content(self, path: Path) -> bytes | None:
        try:
            raw = path.read_bytes()
        except FileNotFoundError:
            # A server's own temporary file.
            return None
        return raw + repr(pq.read_table(path).to_pylist()).encode() if raw.startswith(b"PAR1") else raw


def pixels(root: Path, samples: list[str]) -> list[bytes]:
    """The images as they lie in the prepared data."""
    images = imageset.load(root / "data" / "prepared")
    return [images.images[place].tobytes() for place in images.index_of(samples)]


def ask(url: str, body: dict[str, Any] | None = None) -> Any:
    """A server's answer.

    Raises:
        RefusedError: it refuses.
    """
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=30) as reply:
            return json.load(reply)
    except urllib.error.HTTPError as error:
        raise RefusedError(f"{error.code} {error.read().decode()}") from None


def until(condition: Callable[[], Any], *, seconds: float, told: Callable[[], str]) -> Any:
    """What `condition` gives once it is true."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"nothing after {seconds:g} s; {told()}"
        time.sleep(1)
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
