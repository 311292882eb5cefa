"""`dvc repro` in a checkout of its own: nothing to do twice, one cell per seed after one change, and kill -9."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from small_pipeline import SMALL, write_params

from qunlearn.config import TrackingConfig
from tasks.manifests import read_manifest
from tasks.tracking import Store

pytestmark = [pytest.mark.slow, pytest.mark.servers]
REPOSITORY = Path(__file__).parents[2]


def copy_repository(folder: Path) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY,
        capture_output=True,
        check=True,
    )
    for name in listed.stdout.decode().split("\0"):
        source = REPOSITORY / name
        # What an earlier run of the pipeline left in the repository is not part of it.
        if name and source.is_file() and name.split("/")[0] not in {"models", "metrics", "report", "dvc.lock"}:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(source.read_bytes())


class Checkout:
    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        self.environment = environment

    def command(self, *words: str, timeout: float = 900) -> str:
        done = subprocess.run(
            words, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=timeout
        )
        assert done.returncode == 0, f"{words}: {done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def repro(self) -> str:
        return self.command("dvc", "repro")

    def store(self) -> Store:
        return Store.open(TrackingConfig(), root=self.folder)

    def evaluation(self) -> dict[str, dict[str, float]]:
        """Metrics of every cell, without those that are times or memory."""
        content = json.loads((self.folder / "metrics" / "evaluation.json").read_text())
        costs = {"cost_ratio", "peak_memory_mb", "memory_ratio"}
        return {
            f"{cell['method']}/{cell['seed']}": {k: v for k, v in cell["metrics"].items() if k not in costs}
            for cell in content["cells"]
        }

    def manifests(self) -> dict[str, str]:
        return {path.name: path.read_text() for path in sorted((self.folder / "models").glob("*.json"))}


@pytest.fixture(scope="module")
def prefect_url(tmp_path_factory: pytest.TempPathFactory):
    from prefect.settings import PREFECT_API_URL
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=120):
        yield PREFECT_API_URL.value()


def make_checkout(folder: Path, prefect_url: str) -> Checkout:
    copy_repository(folder)
    write_params(folder, SMALL)
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith("DVC_")},
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(folder),
        "PREFECT_API_URL": prefect_url,
        "DVC_NO_ANALYTICS": "true",
        "GIT_CONFIG_GLOBAL": "/dev/null",
    }
    checkout = Checkout(folder, environment)
    checkout.command("git", "init", "--quiet")
    return checkout


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory, prefect_url: str) -> Checkout:
    made = make_checkout(tmp_path_factory.mktemp("checkout"), prefect_url)
    made.repro()
    return made


def cells_by_state(checkout: Checkout, stage: str) -> tuple[set[str], set[str]]:
    """(computed, reused) cells of the newest run of a stage, as MLflow has them."""
    connection = checkout.store().connection
    run = next(connection.runs(f"tags.kind = 'stage' and tags.stage = '{stage}'"))
    children = connection.runs(f"tags.kind = 'cell' and tags.`mlflow.parentRunId` = '{run.info.run_id}'")
    reused = {key.removeprefix("reused.") for key in run.data.tags if key.startswith("reused.")}
    return {child.info.run_name for child in children}, reused


def finished_cells(checkout: Checkout, stage: str) -> set[str]:
    condition = f"tags.kind = 'cell' and tags.stage = '{stage}' and attributes.status = 'FINISHED'"
    return {run.info.run_name for run in checkout.store().connection.runs(condition)}


def test_second_repro_has_nothing_to_do_in_under_ten_seconds(checkout):
    before = checkout.manifests()
    start = time.monotonic()
    output = checkout.repro()
    assert time.monotonic() - start < 10
    assert "Data and pipelines are up to date" in output
    assert checkout.manifests() == before


def test_split_digest_of_a_run_is_the_md5_of_dvc_lock(checkout):
    lock = yaml.safe_load((checkout.folder / "dvc.lock").read_text())
    md5 = lock["stages"]["split"]["outs"][0]["md5"]
    store = checkout.store()
    cell = next(c for c in read_manifest(checkout.folder / "models" / "unlearn.json") if c.method == "oeu")
    run = store.connection.client.get_run(store.record_by_digest(cell.sha256).run_id)
    assert md5 in [entry.dataset.digest for entry in run.inputs.dataset_inputs]


def test_one_changed_setting_recomputes_one_cell_a_seed(checkout):
    params = yaml.safe_load((checkout.folder / "params.yaml").read_text())
    params["unlearn"]["oeu"]["lambda"] = 0.75
    write_params(checkout.folder, params)
    checkout.repro()
    computed, reused = cells_by_state(checkout, "unlearn")
    assert computed == {"oeu seed 0", "oeu seed 1"}
    assert reused == {"fine_tune seed 0", "fine_tune seed 1", "qmul seed 0", "qmul seed 1"}


def test_killed_sweep_resumes_with_the_same_result(checkout, tmp_path, prefect_url):
    params = yaml.safe_load((checkout.folder / "params.yaml").read_text())
    killed = make_checkout(tmp_path / "killed", prefect_url)
    write_params(killed.folder, params)
    killed.command("dvc", "repro", "retrain")
    process = subprocess.Popen(
        ["dvc", "repro"],
        cwd=killed.folder,
        env=killed.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 300
    while len(finished := finished_cells(killed, "unlearn")) < 2:
        assert time.monotonic() < deadline, "no cell of unlearn was finished"
        assert process.poll() is None, "dvc repro ended before it could be killed"
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (killed.folder / "models" / "unlearn.json").exists()

    killed.repro()

    _, reused = cells_by_state(killed, "unlearn")
    assert finished <= reused
    assert killed.manifests() == checkout.manifests()
    assert killed.evaluation() == checkout.evaluation()
    assert not list(killed.store().connection.runs("attributes.status = 'RUNNING'"))
