"""Runs: how they hang together, how they end, and whose they are."""

import json
import os
import signal
import subprocess
import sys

import pytest

from qunlearn.config import TrackingConfig
from tasks.tracking import Store, TrackingError
from tasks.tracking.processes import identity


def status(store, run_id):
    return store.connection.client.get_run(run_id).info.status


def tags_of(store, run_id):
    return store.connection.client.get_run(run_id).data.tags


def test_the_database_and_the_bytes_lie_under_the_root(store, root):
    experiment = store.connection.client.get_experiment(store.connection.experiment_id)
    assert (root / "mlflow.db").is_file()
    assert experiment.artifact_location == (root / "mlartifacts").as_uri()
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"


def test_opening_again_gives_the_same_experiment(store, root):
    assert Store.open(TrackingConfig(), root=root).connection.experiment_id == store.connection.experiment_id


def test_the_environment_names_another_database(root, monkeypatch, tmp_path):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/elsewhere.db")
    other = Store.open(TrackingConfig(), root=root)
    assert (tmp_path / "elsewhere.db").is_file()
    assert list(other.connection.runs("")) == []


def test_a_server_that_does_not_answer_is_told_at_once(root, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(TrackingError, match=r"no server answers .*qunlearn up"):
        Store.open(TrackingConfig(), root=root)


def test_a_folder_in_which_mlflow_could_not_erase_bytes_is_refused(tmp_path):
    with pytest.raises(TrackingError, match="percent sign"):
        Store.open(TrackingConfig(), root=tmp_path / "100%25")


def test_a_new_store_says_nothing(tmp_path):
    code = (
        "from pathlib import Path; from qunlearn.config import TrackingConfig; from tasks.tracking import Store;"
        f"s = Store.open(TrackingConfig(), root=Path({str(tmp_path)!r}));"
        "p = s.pipeline('ab', params={});\n"
        "with s.stage('split', p) as run: run.text('a.txt', 'x')"
    )
    done = subprocess.run([sys.executable, "-W", "error::UserWarning", "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_pipeline_is_created_once_and_then_found(store, unique):
    key = unique()
    first = store.pipeline(key, params={"split": {"seed": 3}}, tags={"git_commit": "abc"})
    assert store.pipeline(key, params={"split": {"seed": 3}}) == first
    assert store.pipeline(unique(), params={}) != first
    run = store.connection.client.get_run(first)
    assert run.data.params == {"split.seed": "3"}
    assert run.data.tags["pipeline_key"] == key


def test_stage_and_cell_hang_below_each_other_and_can_be_read(store, unique):
    pipeline = store.pipeline(unique(), params={})
    with store.stage("unlearn", pipeline, params={"seeds": [0, 1]}) as stage:
        assert status(store, stage.id) == "RUNNING"
        assert status(store, pipeline) == "RUNNING"
        with store.cell("oeu seed 0", stage.id, fingerprint=unique(), params={}, tags={"method": "oeu"}) as cell:
            pass
    assert stage.parent == pipeline
    assert tags_of(store, cell.id)["mlflow.parentRunId"] == stage.id
    assert store.connection.client.get_run(cell.id).info.run_name == "oeu seed 0"
    assert "| method | `oeu` |" in tags_of(store, cell.id)["mlflow.note.content"]
    assert [status(store, run) for run in (cell.id, stage.id, pipeline)] == ["FINISHED"] * 3


@pytest.mark.parametrize(
    ("error", "expected"),
    [(ValueError("no such class"), "FAILED"), (KeyboardInterrupt(), "KILLED"), (SystemExit(1), "KILLED")],
)
def test_errors_end_a_run_with_their_reason_and_go_on(store, unique, error, expected):
    pipeline = store.pipeline(unique(), params={})
    with pytest.raises(type(error)), store.stage("split", pipeline) as run:
        raise error
    assert status(store, run.id) == expected
    assert status(store, pipeline) == expected
    assert tags_of(store, run.id)["error"] == f"{type(error).__name__}: {error}"


def test_a_pipeline_that_failed_once_is_finished_by_its_next_stage(store, unique):
    pipeline = store.pipeline(unique(), params={})
    with pytest.raises(ValueError, match="broken"), store.stage("split", pipeline):
        raise ValueError("broken")
    with store.stage("split", pipeline):
        pass
    assert status(store, pipeline) == "FINISHED"


def test_an_existing_run_can_be_written_to(store, unique):
    with store.stage("unlearn", store.pipeline(unique(), params={})) as stage:
        store.run(stage.id).tag({"note": "later"})
    again = store.run(stage.id)
    assert (again.parent, again.name, again.tags["note"]) == (stage.parent, "unlearn", "later")
    assert (
        again.url
        == f"http://127.0.0.1:5000/#/experiments/{store.connection.experiment_id}/runs/{stage.id}?workflowType=machine_learning"
    )


@pytest.mark.parametrize("run_id", ["0" * 32, "nonsense", ""])
def test_an_unknown_run_is_refused(store, run_id):
    with pytest.raises(TrackingError, match="no such run"):
        store.run(run_id)


CHILD = """
import os, sys, time
from pathlib import Path
from qunlearn.config import TrackingConfig
from tasks.tracking import Store
store = Store.open(TrackingConfig(), root=Path(sys.argv[1]))
pipeline = store.pipeline(sys.argv[2], params={})
with store.stage("unlearn", pipeline) as stage, store.cell("c", stage.id, fingerprint=None, params={}) as cell:
    print(pipeline, stage.id, cell.id, flush=True)
    time.sleep(60)
"""


def test_runs_of_a_killed_process_are_marked_and_those_of_a_living_one_stay(store, root, unique):
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(root), unique()], stdout=subprocess.PIPE, text=True)
    try:
        ids = child.stdout.readline().split()
        with store.stage("split", store.pipeline(unique(), params={})) as mine:
            assert store.mark_orphans() == []
            os.kill(child.pid, signal.SIGKILL)
            os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # dead, but still in the list of processes
            assert set(store.mark_orphans()) == set(ids)
            assert store.mark_orphans() == []
            assert status(store, mine.id) == "RUNNING"
    finally:
        child.kill()
        child.wait()
    assert [status(store, run) for run in ids] == ["KILLED"] * 3


DYING = """
import os, signal, sys
from pathlib import Path
from mlflow import MlflowClient
from qunlearn.config import TrackingConfig
from tasks.tracking import Store
store = Store.open(TrackingConfig(), root=Path(sys.argv[1]))
pipeline = store.pipeline(sys.argv[2], params={})
print(pipeline, flush=True)
if sys.argv[3] == "before":
    os.kill(os.getpid(), signal.SIGKILL)
end = MlflowClient.set_terminated
def die(client, run_id, *rest):
    if run_id == pipeline:
        os.kill(os.getpid(), signal.SIGKILL)
    end(client, run_id, *rest)
with store.stage("unlearn", pipeline) as stage:
    print(stage.id, flush=True)
    MlflowClient.set_terminated = die
"""


def died(root, key, moment):
    """Ids of a pipeline and of its stage, if it had one, whose process died `moment` the stage."""
    child = subprocess.run(
        [sys.executable, "-c", DYING, str(root), key, moment], stdout=subprocess.PIPE, text=True, timeout=100
    )
    assert child.returncode == -signal.SIGKILL
    return child.stdout.split()


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_pipeline_whose_process_died_while_no_stage_ran_is_marked(store, root, unique, moment):
    pipeline, *stages = died(root, unique(), moment)
    assert [status(store, run) for run in (pipeline, *stages)] == ["RUNNING", *(["FINISHED"] * len(stages))]
    assert store.mark_orphans() == [pipeline]
    assert [status(store, run) for run in (pipeline, *stages)] == ["KILLED", *(["FINISHED"] * len(stages))]


def test_a_pipeline_is_that_of_its_latest_stage(store, root, unique):
    key = unique()
    (pipeline,) = died(root, key, "before")
    assert store.pipeline(key, params={}) == pipeline
    with store.stage("split", pipeline):
        assert store.mark_orphans() == []
        # Another process's stage ends; ours is still running.
        assert died(root, key, "after")[0] == pipeline
        assert store.mark_orphans() == []
    assert status(store, pipeline) == "FINISHED"


def test_a_stage_outlives_its_cells(store, unique):
    with store.stage("unlearn", store.pipeline(unique(), params={})) as stage:
        with store.cell("c", stage.id, fingerprint=None, params={}) as cell:
            cell.tag({"process_start": "another"})
            assert store.mark_orphans() == [cell.id]
        assert status(store, stage.id) == "RUNNING"


@pytest.mark.parametrize(
    ("changes", "marked"),
    [
        ({"process_start": "another"}, True),  # the same number was given to a later process
        ({"pid": str(2**22 + 1)}, True),
        ({"host": "elsewhere", "pid": "1"}, False),
        ({"pid": ""}, False),
    ],
)
def test_only_processes_known_to_be_gone_count_as_gone(store, unique, changes, marked):
    with store.stage("split", store.pipeline(unique(), params={})) as run:
        run.tag(identity() | changes)
        if "" in changes.values():
            store.connection.client.delete_tag(run.id, "pid")
        assert (run.id in store.mark_orphans()) is marked


def test_parameters_beyond_one_call_are_all_kept(store, unique):
    params = {"unlearn": {f"method{i}": {"rate": i / 8} for i in range(250)}, "none": None, "list": [1, "a"]}
    run = store.run(store.pipeline(unique(), params=params))
    kept = store.connection.client.get_run(run.id).data.params
    assert len(kept) == 252
    assert (kept["unlearn.method3.rate"], kept["none"], json.loads(kept["list"])) == ("0.375", "null", [1, "a"])
