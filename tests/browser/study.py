"""A small finished study with its servers: what a person has in front of them after the demo and one deletion."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from small_pipeline import STAGES

from qunlearn import checkpoint
from tasks.tracking import Store
from tasks.tracking.records import CellRecord
from tasks.workspace import Workspace

REPOSITORY = Path(__file__).resolve().parents[2]
METHODS = ("fine_tune", "qmul", "oeu")
SEEDS = (0, 1, 2)
DELETED = 3
"""Samples of the one deletion request."""

PARAMS: dict[str, Any] = {
    "data": {"source": "digits", "subset": 600},
    "split": {"scenario": {"kind": "random", "fraction": 0.1}},
    "seeds": list(SEEDS),
    "model": {"name": "resnet8", "width": 8},
    "quantization": {"quantizer": "lsq"},
    "training": {
        "epochs": 12, "batch_size": 64, "learning_rate": 0.05, "warmup_epochs": 3, "crop_padding": 0, "flip": False,
    },
    "unlearn": {
        "fine_tune": {"epochs": 2},
        "qmul": {"epochs": 2},
        "oeu": {"epochs": 3, "grid": {"learning_rate": [0.005, 0.01]}},
    },
    "evaluate": {"bootstrap": 50, "relearn": {"limit": 20}},
    "runner": {"torch_threads": 1},
    # The pages of the other models are looked at after the deletion.
    "deletion": {"method": "oeu", "models": "quarantine"},
}  # fmt: skip


@dataclass(frozen=True)
class Study:
    """A project folder, and the addresses of its servers."""

    root: Path
    mlflow: str
    prefect: str

    @property
    def store(self) -> Store:
        return Store.open(Workspace.open(self.root / "params.yaml").params.tracking, root=self.root, ui=self.mlflow)

    @property
    def evaluation(self) -> dict[str, Any]:
        """Content of `metrics/evaluation.json`."""
        return json.loads((self.root / "metrics" / "evaluation.json").read_text())

    def summary(self, method: str) -> dict[str, Any]:
        return next(row for row in self.evaluation["summary"] if row["method"] == method)

    def model_of(self, method: str, seed: int) -> CellRecord:
        """The model that was evaluated: its id, digest and run."""
        cells = self.evaluation["cells"]
        digest = next(c["stats"]["sha256"] for c in cells if (c["method"], c["seed"]) == (method, seed))
        return self.store.record_by_digest(digest)

    def name_of(self, method: str, seed: int) -> str:
        """The name of the model that was evaluated; a search's choice has the name of the trial."""
        return str(self.store.connection.client.get_logged_model(self.model_of(method, seed).model_id).name)

    def request(self) -> str:
        """The id of the one deletion request, which is completed."""
        return str(self._request()["id"])

    def batch(self) -> str:
        """The id of the batch that carried it out."""
        return str(self._request()["batch"])

    def _request(self) -> dict[str, Any]:
        (only,) = json.loads(python(self, "flows.cli", "request", "list", "--json"))
        assert only["state"] == "completed"
        return dict(only)

    def pages(self) -> dict[str, str]:
        """What `qunlearn status` names to be opened, by server."""
        return {line.split()[0]: line.split()[2] for line in python(self, "flows.cli", "status").splitlines()}

    def datasets(self, run_id: str) -> dict[str, str]:
        """Name -> digest of what a run read."""
        inputs = self.store.connection.client.get_run(run_id).inputs
        return {entry.dataset.name: entry.dataset.digest for entry in inputs.dataset_inputs}

    def pipeline_of(self, run_id: str) -> str:
        """Name of the run at the top of those that a run hangs below."""
        run = self.store.run(run_id)
        while run.parent is not None:
            run = self.store.run(run.parent)
        return run.name


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def prepare(root: Path) -> Study:
    """Write the parameters, with free ports, and the folders that a repository has."""
    mlflow, prefect = free_port(), free_port()
    ports = {"mlflow_port": mlflow, "prefect_port": prefect, "start_timeout": 240}
    (root / "params.yaml").write_text(yaml.safe_dump(PARAMS | {"servers": ports}, sort_keys=False))
    (root / "data").mkdir()
    (root / "data" / "erased.txt").touch()
    return Study(root, f"http://127.0.0.1:{mlflow}", f"http://127.0.0.1:{prefect}")


def carry_out(study: Study) -> None:
    """Start the servers, run the seven stages, serve a model, delete from it; the caller ends the servers."""
    python(study, "flows.cli", "up")
    python(study, "browser.stages", *STAGES)
    store, served = study.store, study.model_of("oeu", 0)
    python(study, "flows.cli", "release", served.model_id)
    trained = checkpoint.load(store.fetch(served.digest, study.root / "served"), digest=served.digest).trained_ids
    samples = [word for sample in trained[:DELETED] for word in ("--sample", sample)]
    python(study, "flows.cli", "request", "add", *samples)
    python(study, "flows.deletion")


def python(study: Study, *arguments: str) -> str:
    """Run a module in the project as a person would; its output. Its messages are told when it fails."""
    line = [sys.executable, "-m", *arguments]
    done = subprocess.run(line, cwd=study.root, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(arguments)} ended with {done.returncode}:\n{done.stderr[-4000:]}"
    return done.stdout


def environment() -> dict[str, str]:
    """This process's, without servers of others, and with the settings that the repository has for Prefect."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "MLFLOW_TRACKING"))}
    return kept | {
        "PYTHONPATH": f"{REPOSITORY}{os.pathsep}{REPOSITORY / 'tests'}",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
    }
