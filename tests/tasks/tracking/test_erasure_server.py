"""The same through an MLflow server that keeps all files to itself."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from urllib.error import URLError

import pytest
from purge_store import MARK

from qunlearn.config import TrackingConfig
from qunlearn.deletion.traces import Traces
from tasks.tracking import Store
from tasks.tracking.erasure import custody, erase, files_of, quarantine, stored_models, traces_in_models
from tasks.tracking.run_artifacts import ownerless, remove_ownerless, remove_run_file, run_files

pytestmark = pytest.mark.servers

SAMPLE = "all-000001-abc"


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    """Address of a server."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    root = tmp_path_factory.mktemp("served")
    options = ["--backend-store-uri", f"sqlite:///{root}/mlflow.db", "--artifacts-destination", str(root / "hidden")]
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "mlflow",
            "server",
            *options,
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
            "--workers",
            "1",
        ],
        cwd=root,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield _when_it_answers(process, f"http://127.0.0.1:{port}")
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=60)


def _when_it_answers(process, url):
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        assert process.poll() is None, "the server ended"
        try:
            urllib.request.urlopen(f"{url}/health", timeout=5).close()
            return url
        except (URLError, ConnectionError, TimeoutError):
            time.sleep(0.3)
    raise AssertionError(f"no answer from {url}")


@pytest.fixture
def store(url, unique, monkeypatch, tmp_path):
    """An experiment of its own."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
    return Store.open(TrackingConfig(experiment=unique()), root=tmp_path / "client")


def names(store, record):
    model = store.connection.client.get_logged_model(record.model_id)
    return files_of(store.connection, model).names()


def test_models_are_found_erased_and_moved_aside(store, make_cell, tmp_path):
    parent = make_cell("original seed 0", where=store, stage="pretrain")
    child = make_cell(where=store, parents=[parent.model_id])
    found = {model.id: model for model in stored_models(store.connection, frozenset({SAMPLE}))}
    assert {one.erased for one in found.values()} == {1}
    assert found[child.model_id].parents == (parent.model_id,)
    traces = Traces(frozenset({SAMPLE}))
    hits, count = traces_in_models(store.connection, [found[child.model_id]], traces)
    assert ([name for _, name, _ in hits], count) == (["trained_ids.txt"], 3)

    for _ in range(2):
        erase(store.connection, child.model_id, why="was trained on it", mark=MARK)
        quarantine(store.connection, parent.model_id, tmp_path / "kept", why="was trained on it", mark=MARK)
    assert (names(store, child), names(store, parent)) == ([], [])
    assert len(list((tmp_path / "kept" / parent.model_id).iterdir())) == 3
    tags = store.connection.client.get_logged_model(child.model_id).tags
    assert (tags["erased_at"], tags["erased_because"]) == (MARK.at, MARK.because)


def test_files_of_runs_are_found_and_removed(store, make_cell):
    record = make_cell(where=store)
    run = store.run(record.run_id)
    run.json("deep/samples.json", [SAMPLE])
    run.table("samples", {"id": [SAMPLE, "another"]})
    run.json("audit.json", {})
    traces = Traces(frozenset({SAMPLE}))
    files, count = run_files(store.connection, traces)
    assert {file.path: file.found for file in files} == {
        "deep/samples.json": "1 erased id",
        "tables/samples.parquet": "1 erased id",
    }
    assert count == 3
    for file in files * 2:
        remove_run_file(store.connection, f"{file.run_id}/{file.path}", MARK)
    assert run_files(store.connection, traces) == ([], 1)


def test_bytes_without_a_record_are_found_and_removed(store, make_cell):
    record = make_cell(where=store)
    store.connection.client.delete_logged_model(record.model_id)
    traces = Traces(frozenset({SAMPLE}))
    (item,) = ownerless([store.connection], traces)
    assert item.name == f"models/{record.model_id}"
    remove_ownerless(store.connection, item.target)
    assert ownerless([store.connection], traces) == []


def test_other_experiments_of_a_server_are_not_the_projects(store, url, unique, tmp_path):
    other = Store.open(TrackingConfig(experiment=unique()), root=tmp_path / "other").connection
    own, others = custody(store.connection)
    assert [one.experiment_id for one in own] == [store.connection.experiment_id]
    assert other.experiment_id in {one.experiment_id for one in others}
