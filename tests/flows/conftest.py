"""A small project with a trained original model on real digits, made once, and copies of it to delete from."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml
from prefect.logging import disable_run_logger

PARAMS = {
    "data": {"source": "digits", "subset": 300},
    "split": {"scenario": {"kind": "random", "fraction": 0.1}},
    "seeds": [0],
    "model": {"name": "resnet8", "width": 4},
    "training": {"epochs": 8, "batch_size": 64, "learning_rate": 0.05, "crop_padding": 0, "flip": False},
    "unlearn": {"neg_grad_plus": {"epochs": 1}},
    "deletion": {"method": "neg_grad_plus"},
    "runner": {"torch_threads": 1},
}


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder after the stages ingest, split and pretrain. Tests work on a `project`, a copy."""
    from tasks import preparation
    from tasks.cells import CellContext
    from tasks.manifests import write_manifest
    from tasks.tracking import Store
    from tasks.training import train_cell
    from tasks.workspace import Workspace

    folder = tmp_path_factory.mktemp("trained")
    (folder / "params.yaml").write_text(yaml.safe_dump(PARAMS))
    (folder / "data").mkdir()
    (folder / "data" / "erased.txt").touch()
    workspace = Workspace.open(folder / "params.yaml")
    store = Store.open(workspace.params.tracking, root=folder)
    with disable_run_logger():
        preparation.ingest.fn(workspace)
        preparation.split.fn(workspace)
        with store.stage("pretrain", store.pipeline("abc", params={})) as run:
            context = CellContext(stage="pretrain", stage_run=run.id, concurrent=False)
            cell = train_cell.fn(workspace, context, "original", 0)
    write_manifest(workspace.models("pretrain"), [cell])
    return folder


@pytest.fixture
def project(trained: Path, tmp_path: Path) -> Path:
    """A copy with its own database of runs; the bytes of the models are shared and only read."""
    folder = tmp_path / "project"
    shutil.copytree(trained, folder, ignore=shutil.ignore_patterns("mlartifacts"))
    (folder / "data" / "requests").mkdir()
    return folder
