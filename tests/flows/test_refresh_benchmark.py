"""The flow `refresh-benchmark`, with the real `dvc` on pipelines of one line."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
import yaml
from prefect.logging import disable_run_logger

from flows import refresh_benchmark as module
from flows.holding import HeldError, lock, served_model
from flows.refresh_benchmark import RefreshError, dvc_repro, refresh_benchmark
from qunlearn.config import ConfigError

pytestmark = pytest.mark.usefixtures("without_server")

PARAMS = "data: {source: digits}\nsplit: {scenario: {kind: random, fraction: 0.1}}\nseeds: [0]\nunlearn: {oeu: {}}\n"
WRITE = "open('made.txt', 'w').write('1')"
UNCHANGED, CHANGED = "dvc.lock is unchanged: nothing to commit", "dvc.lock has changed: "


@pytest.fixture
def project(tmp_path):
    """A repository with DVC and one stage, which the tests replace by `stage`."""
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc" / "config").write_text("[core]\n    analytics = false\n")
    (tmp_path / "params.yaml").write_text(PARAMS)
    stage(tmp_path, WRITE)
    return tmp_path


@pytest.fixture
def log(monkeypatch, caplog):
    """What the flow writes into its run's log."""
    logger = logging.getLogger("refresh")
    monkeypatch.setattr(module, "get_run_logger", lambda: logger)
    caplog.set_level(logging.INFO, logger="refresh")
    return caplog


def stage(root: Path, code: str) -> None:
    made = {"cmd": f'python -c "{code}"', "deps": ["params.yaml"], "outs": [{"made.txt": {"cache": False}}]}
    (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"make": made}}, width=1000))


def run(root: Path):
    """The flow's own code, without a server: the final state."""
    with disable_run_logger():
        return refresh_benchmark.fn(params_file=str(root / "params.yaml"))


def eventually(condition) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


# --- what it does ----------------------------------------------------------------------------------------------------


def test_it_runs_what_is_stale_and_says_that_a_person_has_to_commit(project, log):
    stage(project, f"print('\x1b[31mhello\x1b[0m'); {WRITE}")
    state = run(project)
    assert state.is_completed()
    assert state.message.startswith(CHANGED)
    assert "commit" in state.message
    assert (project / "made.txt").exists()
    assert "Running stage 'make':" in log.messages
    assert "hello" in log.messages
    assert run(project).message == UNCHANGED


def test_it_commits_and_stages_nothing(project, log):
    run(project)
    shown = subprocess.run(["git", "status", "--short"], cwd=project, capture_output=True, text=True, check=True)
    assert "?? dvc.lock" in shown.stdout.splitlines()
    assert all(line.startswith("??") for line in shown.stdout.splitlines())
    assert subprocess.run(["git", "rev-parse", "--verify", "-q", "HEAD"], cwd=project, check=False).returncode == 1


def test_a_stage_that_fails_fails_the_flow_and_its_words_are_in_the_log(project, log):
    stage(project, "raise SystemExit('no such image')")
    with pytest.raises(RefreshError, match=r"^dvc repro ended with exit code \d+: .*make.*") as raised:
        run(project)
    assert "\n" not in str(raised.value)
    assert "no such image" in log.messages


def test_stages_run_in_this_python_and_are_not_taken_for_this_flows_run(project, log, monkeypatch):
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.setenv("PREFECT__FLOW_RUN_ID", "0123")
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:1/api")
    names = "[sys.prefix, 'PREFECT__FLOW_RUN_ID' in os.environ, os.environ['PREFECT_API_URL']]"
    stage(project, f"import json, os, sys; json.dump({names}, open('made.txt', 'w'))")
    assert dvc_repro(project)[0] == 0
    assert json.loads((project / "made.txt").read_text()) == [sys.prefix, False, "http://127.0.0.1:1/api"]


@pytest.mark.parametrize("name", ["dvc.yaml", "params.yaml"])
def test_where_there_is_no_pipeline_it_says_what_is_needed(project, name):
    (project / name).unlink()
    with pytest.raises((RefreshError, ConfigError), match=name):
        run(project)


def test_parameters_that_the_stages_do_not_read_are_refused(project):
    (project / "params.yaml").rename(project / "other.yaml")
    with disable_run_logger(), pytest.raises(RefreshError, match=r"makes from params\.yaml"):
        refresh_benchmark.fn(params_file=str(project / "other.yaml"))


# --- who else is at work ---------------------------------------------------------------------------------------------


def test_it_waits_until_a_deletion_has_ended(project, log):
    done = []
    thread = threading.Thread(target=lambda: done.append(run(project)))
    held = lock(project)
    with held:
        thread.start()
        time.sleep(1)
        assert not log.messages
        assert not (project / "made.txt").exists()
    thread.join(30)
    assert done[0].message.startswith(CHANGED)


def test_meanwhile_no_deletion_purge_or_release_begins(project, log):
    stage(project, f"import pathlib, time; [time.sleep(.05) for _ in iter(pathlib.Path('go').exists, True)]; {WRITE}")
    thread = threading.Thread(target=run, args=[project])
    thread.start()
    eventually(lambda: any("pathlib" in line for line in log.messages))
    with pytest.raises(HeldError), served_model(project):
        pass
    (project / "go").touch()
    thread.join(30)
    with served_model(project):
        assert (project / "made.txt").exists()


def test_a_refresh_that_is_cancelled_ends_its_stages(project, monkeypatch):
    """Else they would go on reading data that a purge may write anew by then."""
    stage(project, "import os, time; print('stage', os.getpid(), flush=True); time.sleep(60)")

    class Cancelled(logging.Logger):
        def info(self, message, text):
            if text.startswith("stage "):
                self.stage = int(text.split()[1])
                raise KeyboardInterrupt

    logger = Cancelled("cancelled")
    monkeypatch.setattr(module, "get_run_logger", lambda: logger)
    with pytest.raises(KeyboardInterrupt):
        dvc_repro(project)
    assert not psutil.pid_exists(logger.stage)
    with served_model(project):
        assert not (project / "made.txt").exists()
