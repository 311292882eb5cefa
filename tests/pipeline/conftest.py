"""A small pipeline on real digits, run once for all tests of this folder, and copies of it to damage."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

STAGES = ("ingest", "split", "pretrain", "retrain", "unlearn", "evaluate", "report")

SMALL: dict[str, Any] = {
    "data": {"source": "digits", "subset": 400},
    "split": {"scenario": {"kind": "random", "fraction": 0.1}},
    "seeds": [0, 1],
    "model": {"name": "resnet8", "width": 4},
    "quantization": {"quantizer": "lsq"},
    "training": {"epochs": 2, "batch_size": 64, "learning_rate": 0.05, "crop_padding": 0, "flip": False},
    "unlearn": {"fine_tune": {"epochs": 1}, "qmul": {"epochs": 1}, "oeu": {"epochs": 1}},
    "evaluate": {"bootstrap": 20},
    "deletion": {"method": "oeu"},
}


def write_params(folder: Path, content: dict[str, Any]) -> Path:
    path = folder / "params.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[None]:
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=120):
        yield


@pytest.fixture(scope="session")
def run_stage(prefect_server: None) -> Callable[[str, Path], None]:
    """Run a stage as the command line does, in this process; SystemExit where the command would end with a code."""
    import importlib

    from flows.stage import main

    def run(stage: str, folder: Path) -> None:
        flow = getattr(importlib.import_module(f"flows.{stage}"), stage)
        main(flow, ["--params", str(folder / "params.yaml")])

    return run


@pytest.fixture(scope="session")
def finished(run_stage: Callable[[str, Path], None], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a pipeline that ran through. Read it; damage only a `copy` of it."""
    folder = tmp_path_factory.mktemp("pipeline")
    write_params(folder, SMALL)
    (folder / "data").mkdir()
    (folder / "data" / "erased.txt").touch()
    for stage in STAGES:
        run_stage(stage, folder)
    return folder


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    """Files of the finished pipeline in a folder of the test's own; its runs stay in the one MLflow database."""
    folder = tmp_path / "copy"
    shutil.copytree(finished, folder, ignore=shutil.ignore_patterns("mlflow.db*", "mlartifacts"))
    params = yaml.safe_load((folder / "params.yaml").read_text())
    params["tracking"] = {"uri": f"sqlite:///{finished}/mlflow.db", "artifacts": str(finished / "mlartifacts")}
    write_params(folder, params)
    return folder
