"""The cells of a stage on other runners: other processes, the same weights."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from prefect.settings import PREFECT_API_URL
from small_pipeline import write_params

pytestmark = [pytest.mark.slow, pytest.mark.servers]


@pytest.mark.parametrize("kind", ["processes", "dask"])
def test_result_does_not_depend_on_the_runner(kind, finished: Path, tmp_path: Path):
    if kind == "dask":
        pytest.importorskip("prefect_dask")
    shutil.copytree(finished / "data", tmp_path / "data")
    params = yaml.safe_load((finished / "params.yaml").read_text())
    write_params(tmp_path, {**params, "runner": {"kind": kind, "workers": 2}})
    environment = {**os.environ, "PREFECT_API_URL": str(PREFECT_API_URL.value())}
    done = subprocess.run(
        [sys.executable, "-m", "flows.pretrain"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "models" / "pretrain.json").read_text() == (finished / "models" / "pretrain.json").read_text()
