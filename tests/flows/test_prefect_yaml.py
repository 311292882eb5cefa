"""`prefect.yaml` describes the deployments that `qunlearn up` serves, for workers of a work pool."""

from __future__ import annotations

import importlib
import os
import re
import socket
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

import pytest
import small_requests as small
import yaml
from small_requests import TRAIN

from flows import services, serving
from flows.services import DEPLOYMENTS, LIMIT
from qunlearn.config import load
from qunlearn.deletion.ledger import Ledger

REPOSITORY = Path(__file__).resolve().parents[2]
FILE = REPOSITORY / "prefect.yaml"
CONTENT = yaml.safe_load(FILE.read_text())
POOL = "qunlearn"


@pytest.fixture(scope="module")
def served():
    """What `qunlearn up` serves with the parameters of the repository, by name."""
    cron = load(REPOSITORY / "params.yaml").deletion.cron
    found = serving.deployments(str(REPOSITORY / "params.yaml"), cron)
    return {f"{one.flow_name}/{one.name}": one for one in found}


@pytest.fixture(scope="module")
def described():
    """The entries of the file, by the names that Prefect gives to the deployments."""
    found = {}
    for entry in CONTENT["deployments"]:
        module, _, name = entry["entrypoint"].rpartition(".")
        found[f"{getattr(importlib.import_module(module), name).name}/{entry['name']}"] = entry
    return found


def test_what_is_served_is_what_up_waits_for(served):
    assert tuple(served) == DEPLOYMENTS


def test_both_name_the_same_deployments(served, described):
    assert list(described) == list(served)


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_both_run_the_same_flow_with_the_same_parameters(served, described, name):
    entry = described[name]
    assert entry["entrypoint"] == served[name].entrypoint
    assert ":" not in entry["entrypoint"], "a file would be loaded under a name of its own, beside the imported module"
    assert entry["description"] == served[name].description
    (parameters,) = entry["parameters"].items()
    assert {parameters[0]: str((REPOSITORY / parameters[1]).resolve())} == served[name].parameters
    assert set(entry) <= {
        "name",
        "entrypoint",
        "description",
        "parameters",
        "schedules",
        "concurrency_limit",
        "work_pool",
    }
    assert entry["work_pool"] == {"name": POOL}


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_both_run_at_the_same_times(served, described, name):
    here = [(one["cron"], one["timezone"]) for one in described[name].get("schedules", [])]
    there = [(one.schedule.cron, one.schedule.timezone or "UTC") for one in served[name].schedules or []]
    assert here == there


def test_only_the_deletion_has_a_schedule_and_it_is_that_of_the_parameters(described):
    cron = load(REPOSITORY / "params.yaml").deletion.cron
    scheduled = {name: entry["schedules"] for name, entry in described.items() if "schedules" in entry}
    assert scheduled == {"deletion/deletion": [{"cron": cron, "timezone": "UTC"}]}


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_both_limit_how_many_run_at_once_and_let_the_others_wait(served, described, name):
    options = served[name].concurrency_options
    there = None if options is None else (served[name].concurrency_limit, options.collision_strategy)
    limit = described[name].get("concurrency_limit")
    assert (limit and (limit["limit"], limit["collision_strategy"])) == there
    assert there == (None if name.startswith("submit") else (1, "ENQUEUE"))


def test_the_servers_check_what_the_form_is_given(served):
    assert all(one.enforce_parameter_schema for one in served.values())


def test_the_commands_at_its_top_name_the_pool_and_the_limit():
    top = FILE.read_text().partition("name:")[0]
    assert f"work-pool create {POOL} --type process" in top
    assert f"gcl create {LIMIT} --limit 1" in top
    assert f"worker start --pool {POOL}" in top


def test_it_was_written_for_the_version_that_is_locked():
    locked = (REPOSITORY / "requirements.lock").read_text()
    assert re.search(rf"^prefect=={re.escape(CONTENT['prefect-version'])}$", locked, re.MULTILINE)
    assert metadata.version("prefect") == CONTENT["prefect-version"]


# --- with a server ---------------------------------------------------------------------------------------------------


@pytest.fixture
def project(tmp_path, tmp_path_factory, monkeypatch):
    for name in ("MLFLOW_TRACKING_URI", "QUNLEARN_KEY", "QUNLEARN_LEDGER_URL"):
        monkeypatch.delenv(name, raising=False)
    root = small.plain_project(tmp_path / "project", small.tracking_uri(tmp_path_factory))
    (root / "prefect.yaml").write_text(FILE.read_text())
    return root


@pytest.fixture
def environment(project):
    """That of commands which use the server of this test."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
    own = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    own |= {
        "PYTHONPATH": str(REPOSITORY),
        "PWD": str(project),
        "PREFECT_HOME": str(project / ".prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    }
    log = (project / "server.log").open("wb")
    line = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", services.port_of(url)]
    with log, subprocess.Popen(line, env=own, cwd=project, stdout=log, stderr=log) as server:
        deadline = time.monotonic() + 120
        while services.get_json(f"{url}/api/health") is not True:
            assert server.poll() is None, (project / "server.log").read_text()
            assert time.monotonic() < deadline, (project / "server.log").read_text()
            time.sleep(0.2)
        yield {**own, "PREFECT_API_URL": f"{url}/api"}
        server.terminate()


@pytest.mark.servers
def test_a_worker_takes_in_a_request(project, environment):
    def prefect(*words):
        line = [sys.executable, "-m", "prefect", "--no-prompt", *words]
        done = subprocess.run(
            line, cwd=project, env=environment, capture_output=True, text=True, check=False, timeout=120
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    prefect("work-pool", "create", POOL, "--type", "process")
    prefect("deploy", "--all")
    prefect("deployment", "run", "submit-request/submit-request", "--param", f'samples=["{TRAIN[0]}"]')
    worked = prefect("worker", "start", "--pool", POOL, "--run-once")
    (request,) = Ledger.open(root=project, must_exist=True).requests()
    assert request.asked.samples == (TRAIN[0],)
    assert f"request {request.id}, due {request.asked.due}" in worked.replace("\n", " ")
