"""A small project with a trained and released model on real digits, and copies of it to delete from."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from prefect.logging import disable_run_logger
from purge_project import LOCATIONS

from flows import deletion as flow_module
from qunlearn import checkpoint
from qunlearn.data.erased import read_erased
from qunlearn.data.imageset import load as load_images
from qunlearn.data.splits import load_split
from qunlearn.deletion import evidence
from qunlearn.deletion.ledger import Ledger, Request
from qunlearn.deletion.signing import trusted_keys
from tasks import deletion as steps
from tasks import preparation
from tasks.cells import CellContext
from tasks.deletion import claiming, course
from tasks.intake import submit
from tasks.manifests import write_manifest
from tasks.tracking import Champion, Store
from tasks.tracking.registry import SERVED
from tasks.training import train_cell
from tasks.workspace import Workspace

TESTS = Path(__file__).parent
PARAMS: dict[str, Any] = {
    "data": {"source": "digits", "subset": 300},
    "split": {"scenario": {"kind": "random", "fraction": 0.1}},
    "seeds": [0],
    "model": {"name": "resnet8", "width": 4},
    "training": {"epochs": 8, "batch_size": 64, "learning_rate": 0.05, "crop_padding": 0, "flip": False},
    "unlearn": {"neg_grad_plus": {"epochs": 2, "beta": 0.1}},
    # A method that forgets by force, and limits that let it: these tests are about what follows from the gates.
    "deletion": {
        "method": "neg_grad_plus",
        "gates": {"utility_drop": 100, "retain_drop": 100, "auc_margin": 0.49, "auc_low": 0, "resamples": 100},
    },
    "runner": {"torch_threads": 1},
}
STEPS = (
    "plan_batch",
    "unlearn_batch",
    "verify_candidate",
    "promote_candidate",
    "erase_samples",
    "purge_batch",
    "complete_batch",
    "give_back",
)
"""Of `tasks.deletion.course`."""
ENVIRONMENT = ("MLFLOW_TRACKING_URI", "QUNLEARN_KEY", "QUNLEARN_LEDGER_URL", "QUNLEARN_SIGNING_KEY")
"""Variables that would lead out of the project."""


def built(folder: Path) -> Path:
    """The project after the stages ingest, split and pretrain, in a repository, its original model released."""
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "erased.txt").touch()
    (folder / "params.yaml").write_text(yaml.safe_dump(PARAMS))
    (folder / ".gitignore").write_text("*\n!params.yaml\n!data\n!data/erased.txt\n!.gitignore\n")
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    git(folder, "-c", "user.name=x", "-c", "user.email=x@localhost", "commit", "--quiet", "-m", "The project")
    workspace = Workspace.open(folder / "params.yaml")
    store = Store.open(workspace.params.tracking, root=folder)
    with disable_run_logger():
        preparation.ingest.fn(workspace)
        preparation.split.fn(workspace)
        with store.stage("pretrain", store.pipeline("abc", params={})) as run:
            context = CellContext(stage="pretrain", stage_run=run.id, concurrent=False)
            cell = train_cell.fn(workspace, context, "original", 0)
    write_manifest(workspace.models("pretrain"), [cell])
    version = store.register(store.record_by_digest(cell.sha256).model_id, tags={"origin": "pretrain"})
    store.set_champion(version, base=0)
    return folder


def copied(original: Path, folder: Path) -> Path:
    """A copy with runs and bytes of its own, which may be changed and purged."""
    shutil.copytree(original, folder)
    with sqlite3.connect(folder / "mlflow.db") as database:
        for table, column in LOCATIONS:
            database.execute(f"UPDATE {table} SET {column} = replace({column}, ?, ?)", (str(original), str(folder)))
    return folder


def git(root: Path, *words: str) -> str:
    """Run git in a project; what it printed."""
    return subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, check=True).stdout.strip()


def plain_steps(replace: Any) -> None:
    """Let the flow call its steps as plain functions; `replace` is `setattr`, or pytest's."""
    for name in STEPS:
        replace(course, name, getattr(course, name).fn)
    replace(steps, "claim_batch", claiming.claim_batch.fn)


def run(served: Served) -> str:
    """Run the flow once; its message."""
    return flow_module.deletion.fn(served.params_file).message


def told_by(module: str, *arguments: str, folder: Path, before: Sequence[str] = ()) -> Any:
    """What a module beside this one prints as the last line, JSON, when it runs as a program of its own.

    Args:
        folder: where it runs.
        before: a command that starts it.
    """
    done = subprocess.run(
        [*before, sys.executable, "-m", module, *arguments],
        cwd=folder,
        env={name: value for name, value in os.environ.items() if name not in ENVIRONMENT}
        | {"PYTHONPATH": os.pathsep.join((str(TESTS), str(TESTS.parent)))},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-5000:]
    return json.loads(done.stdout.splitlines()[-1])


class Served:
    """What an observer sees of a project."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.params_file = str(root / "params.yaml")
        self.split = load_split(self.workspace.splits)
        """As it was at first."""
        self.training_ids = self.split.ids("train")

    @property
    def workspace(self) -> Workspace:
        return Workspace.open(self.params_file)

    @property
    def store(self) -> Store:
        return Store.open(self.workspace.params.tracking, root=self.root)

    @property
    def ledger(self) -> Ledger:
        return Ledger.open(root=self.root)

    def set(self, **changes: Any) -> None:
        """Change the block `deletion` of the parameters; a dict is merged into what is there."""
        path = self.root / "params.yaml"
        params = yaml.safe_load(path.read_text())
        params["unlearn"] |= changes.pop("unlearn", {})
        params["deletion"] |= changes
        path.write_text(yaml.safe_dump(params))

    def ask(self, *samples: str) -> Request:
        return submit(self.params_file, samples=samples).request

    def now(self, request: Request) -> Request:
        return self.ledger.request(request.id)

    @property
    def champion(self) -> Champion:
        found = self.store.champion()
        assert found is not None
        return found

    def made(self, folder: Path, champion: Champion | None = None) -> checkpoint.Checkpoint:
        """A model, by default the champion, whose bytes are fetched and verified."""
        one = champion or self.champion
        found = self.store.fetch(one.digest, folder / f"fetched-{one.version}", model_id=one.model_id)
        return checkpoint.load(found, digest=one.digest)

    def versions(self) -> int:
        return len(self.store.connection.client.search_model_versions(f"name = '{SERVED}'"))

    def statuses(self) -> set[str]:
        return {run.info.status for run in self.store.connection.runs("")}

    @property
    def erased(self) -> frozenset[str]:
        return read_erased(self.workspace.erased)

    def data_ids(self) -> set[str]:
        """All ids in prepared data and splits."""
        split = load_split(self.workspace.splits)
        parts = [split.ids(name) for name in ("train", "validation", "test")]
        return {*load_images(self.workspace.prepared).ids}.union(*parts)

    def evidence(self, request: Request) -> evidence.Document:
        """A request's evidence, which must verify."""
        content = evidence.read_evidence(evidence.evidence_file(self.root, request.id))
        hashes = {event.number: event.hash for event in self.ledger.events()}
        findings = evidence.verify(content, trusted_keys(self.root), request=request.id, ledger_head_lookup=hashes.get)
        assert evidence.first_fault(findings) is None, findings
        return evidence.parse(content).document
