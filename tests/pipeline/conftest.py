"""A small pipeline on real digits, run once for all tests of this folder, and copies of it to damage."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from small_pipeline import SMALL, STAGES, write_params


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
