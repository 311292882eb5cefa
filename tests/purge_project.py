"""A small project that has all a purge deals with: DVC with a cache and a remote, and models of every role in MLflow.

Made once for all tests of a process, in some ten seconds; tests work on copies with a database and bytes of their own.
"""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from prefect.logging import disable_run_logger

from qunlearn import checkpoint
from qunlearn.checkpoint import Blueprint
from qunlearn.data.erased import append_erased
from qunlearn.data.splits import load_split
from tasks import preparation, purging
from tasks.cells import CellContext
from tasks.manifests import write_manifest
from tasks.material import Material
from tasks.tracking import Run, Store
from tasks.training import train_cell
from tasks.workspace import Workspace

PARAMS = {
    "data": {"source": "digits", "subset": 200},
    "split": {"scenario": {"kind": "random", "fraction": 0.1}},
    "seeds": [0],
    "model": {"name": "resnet8", "width": 4},
    "training": {"epochs": 1, "batch_size": 64, "learning_rate": 0.05, "crop_padding": 0, "flip": False},
    "unlearn": {"neg_grad_plus": {"epochs": 1}},
    "deletion": {"method": "neg_grad_plus"},
    "runner": {"torch_threads": 1},
}
STAGES = {
    "ingest": {
        "cmd": "cp -r made/prepared data",
        "deps": ["data/erased.txt", "made/version"],
        "outs": ["data/prepared"],
    },
    "split": {"cmd": "cp -r made/splits data", "deps": ["data/erased.txt", "data/prepared"], "outs": ["data/splits"]},
    "evaluate": {
        "cmd": "mkdir -p metrics && cp made/version metrics/evaluation.json",
        "deps": ["data/splits"],
        "metrics": [{"metrics/evaluation.json": {"cache": False}}],
    },
}
CONFIG = """
[core]
    analytics = false
    remote = store
['remote "store"']
    url = ../../remote
"""
LOCATIONS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
)
"""Columns of MLflow's database that hold the project's own path."""


@dataclass(frozen=True)
class Project:
    """Where it is, and who plays which role."""

    root: Path
    gone: tuple[str, ...]
    """Samples to erase: two to forget and two to retain among the training images, and a test image."""
    models: dict[str, str]
    """Role -> model id."""

    @property
    def workspace(self) -> Workspace:
        return Workspace.open(self.root / "params.yaml")

    @property
    def store(self) -> Store:
        return Store.open(self.workspace.params.tracking, root=self.root)

    @property
    def remote(self) -> Path:
        return self.root.parent / "remote"

    def erase(self) -> None:
        append_erased(self.workspace.erased, self.gone)

    def roles(self, ids: Sequence[str]) -> set[str]:
        names = {model_id: role for role, model_id in self.models.items()}
        return {names[one] for one in ids}


@functools.cache
def built() -> Project:
    """The one that others are copies of."""
    folder = Path(tempfile.mkdtemp(prefix="purge-project-"))
    atexit.register(shutil.rmtree, folder)
    return _build(folder / "project")


def copied(folder: Path) -> Project:
    """A copy in a folder of its own, which may be changed."""
    original = built()
    root = folder / "project"
    shutil.copytree(original.root.parent, folder, symlinks=True, dirs_exist_ok=True)
    with sqlite3.connect(root / "mlflow.db") as database:
        for table, column in LOCATIONS:
            database.execute(f"UPDATE {table} SET {column} = replace({column}, ?, ?)", (str(original.root), str(root)))
    return Project(root, original.gone, original.models)


def _build(root: Path) -> Project:
    (root / "data").mkdir(parents=True)
    (root / "data" / "erased.txt").write_text("# ids\n")
    (root / "params.yaml").write_text(yaml.safe_dump(PARAMS))
    workspace = Workspace.open(root / "params.yaml")
    with disable_run_logger():
        _versioned(workspace)
        split = load_split(workspace.splits)
        gone = (*split.ids("train", "forget")[:2], *split.ids("train", "retain")[:2], split.ids("test")[0])
        models = _models(workspace, gone)
    return Project(root, gone, models)


def _versioned(workspace: Workspace) -> None:
    """Two versions of data and splits, made by `dvc repro`, in the cache, the run-cache and the remote."""
    root, made = workspace.root, workspace.root / "made"
    (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": STAGES}))
    subprocess.run(["git", "init", "--quiet"], cwd=root, check=True)
    (root / ".dvc").mkdir()
    (root / ".dvc" / "config").write_text(CONFIG)
    (root / ".dvc" / ".gitignore").write_text("/tmp\n/cache\n")
    for version, subset in enumerate((180, 200)):
        config = workspace.params.data.model_copy(update={"subset": subset})
        own = Workspace(root, workspace.params.model_copy(update={"data": config}))
        preparation.ingest.fn(own)
        preparation.split.fn(own)
        made.mkdir(exist_ok=True)
        (made / "version").write_text(f"{version}\n")
        for folder in (own.prepared, own.splits):
            shutil.rmtree(made / folder.name, ignore_errors=True)
            shutil.move(folder, made / folder.name)
        dvc(root, "repro")
        dvc(root, "push", "--run-cache")
    for folder in ("prepared", "splits"):
        shutil.rmtree(made / folder)


def leave_behind(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody writes an erased id beside the split after a purge has done its work, before it searches."""
    real = purging._carry_out

    def carry_out(*arguments: Any) -> Any:
        told = real(*arguments)
        (project.workspace.splits / "notes.txt").write_text(project.gone[0])
        return told

    monkeypatch.setattr(purging, "_carry_out", carry_out)


def dvc(root: Path, *words: str) -> str:
    """Run a `dvc` command in a project; what it printed."""
    command = [sys.executable, "-m", "dvc", *words]
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("DVC_")},
        "DVC_NO_ANALYTICS": "true",
        "DVC_SITE_CACHE_DIR": str(root.parent / "site"),
    }
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{words}: {done.stdout}\n{done.stderr}"
    return done.stdout


def _models(workspace: Workspace, gone: tuple[str, ...]) -> dict[str, str]:
    store = Store.open(workspace.params.tracking, root=workspace.root)
    material = Material.load(workspace)
    retain = material.split.ids("train", "retain")
    rest = tuple(one for one in material.split.ids("train") if one not in gone)
    models = {}
    for role, stage in (("original", "pretrain"), ("retrain", "retrain"), ("shadow", "evaluate")):
        with store.stage(stage, store.pipeline("abc", params={})) as above:
            context = CellContext(stage=stage, stage_run=above.id, concurrent=False)
            trained = train_cell.fn(workspace, context, role, 0)
        models[role] = store.record_by_digest(trained.sha256).model_id
        if role == "original":
            write_manifest(workspace.models("pretrain"), [trained])
    original = store.connection.client.get_logged_model(models["original"])
    folder = Path(original.artifact_location.removeprefix("file://"))
    parent = checkpoint.load(folder)
    with cell(store, "unlearn", "noop seed 0", [original.model_id]) as run:
        # Method of strength zero: the original's weights, and another list of training images.
        models["noop"] = keep(run, parent.model, parent.blueprint, retain, "noop", parent.digest)
    with cell(store, "unlearn", "oeu seed 0", [original.model_id]) as run:
        models["unlearned"] = keep(
            run, material.blueprint.build(seed=1), parent.blueprint, retain, "oeu", parent.digest
        )
    with cell(store, "retrain", "retrain seed 1", []) as run:
        models["clean"] = keep(run, material.blueprint.build(seed=2), parent.blueprint, rest, "retrain", None)
    with cell(store, "evaluate", "evaluate original seed 0", [original.model_id]) as run:
        _per_sample_files(run, gone)
    with cell(store, "deletion", "delete 5 samples, not good enough", [original.model_id]) as run:
        models["candidate"] = keep(run, material.blueprint.build(seed=3), parent.blueprint, rest, "oeu", parent.digest)
    with cell(store, "deletion", "delete 5 samples", [original.model_id]) as run:
        run.table("epochs", {"epoch": np.arange(2), "forget_loss": np.ones(2)})
        run.table("losses", {"loss": np.linspace(0, 1, 7)})
        models["champion"] = keep(run, material.blueprint.build(seed=4), parent.blueprint, rest, "oeu", parent.digest)
    store.set_champion(store.register(models["original"]), base=0)
    store.set_champion(store.register(models["champion"]), base=1)
    return models


@contextmanager
def cell(store: Store, stage: str, name: str, parents: Sequence[str]) -> Iterator[Run]:
    """The run of a cell that read these models, below a stage of its own."""
    with (
        store.stage(stage, store.pipeline("abc", params={})) as above,
        store.cell(name, above.id, fingerprint=None, params={}, tags={"stage": stage}) as run,
    ):
        for parent in parents:
            run.input_model(parent)
        yield run


def keep(
    run: Run, model, blueprint: Blueprint, ids: Sequence[str], method: str, parent: str | None, **more: Any
) -> str:
    """Keep a model as the output of a run; its id.

    Args:
        more: what else its checkpoint says.
    """
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "checkpoint"
        extra = {"method": method, **more} if parent is None else {"method": method, "parent": parent, **more}
        digest = checkpoint.save(model, folder, blueprint=blueprint, trained_ids=ids, extra=extra)
        tags = {"method": method} if parent is None else {"method": method, "parent_sha256": parent}
        return run.output_model(folder, name=f"{method}-seed0", digest=digest, tags=tags)


def _per_sample_files(run: Run, gone: tuple[str, ...]) -> None:
    """What no task keeps today, and one day some may."""
    run.json("samples.json", {"hardest": [gone[0]]})
    run.table("samples", {"id": np.array(gone), "loss": np.ones(len(gone))})
    run.json("quantization/audit.json", {"layers": []})
    with tempfile.TemporaryDirectory() as temporary:
        logits = Path(temporary) / "logits.npz"
        np.savez_compressed(logits, forget=np.ones((3, 10), dtype=np.float32))
        run.file(logits, "cache")
        exported = Path(temporary) / "model.onnx"
        exported.write_bytes(b"\x08\x07 an exported network")
        run.file(exported, "export")
