"""Bytes of models and files of runs go, records stay and say so."""

from __future__ import annotations

import json
import os
import shutil
import socket
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
from mlflow.exceptions import MlflowException
from purge_store import MARK, folder

from qunlearn import checkpoint
from qunlearn.config import TrackingConfig
from qunlearn.deletion.traces import Traces
from tasks.tracking import MissingCheckpointError, Store, TrackingError
from tasks.tracking.artifact_files import ArtifactFiles
from tasks.tracking.checkpoints import file_digests
from tasks.tracking.erasure import (
    custody,
    erase,
    files_of,
    quarantine,
    recorded_files,
    stored_models,
    traces_in_models,
)
from tasks.tracking.processes import identity
from tasks.tracking.run_artifacts import at_work, ownerless, remove_run_file

TAINTED = {"original", "retrain", "shadow", "noop", "unlearned", "candidate"}


def names(connection, model_id: str) -> list[str]:
    return files_of(connection, connection.client.get_logged_model(model_id)).names()


COMPLETE = ["config.json", "quantization.json", "trained_ids.txt", "weights.safetensors"]


# --- what is there ---------------------------------------------------------------------------------------------------


def test_each_model_tells_how_many_erased_samples_it_was_trained_on(found):
    counts = {role: model.erased for role, model in found.items()}
    zero = dict.fromkeys(("clean", "candidate", "champion"), 0)
    # Two of the four training images are to forget in the pipeline's split, so reference and unlearned know the others.
    assert counts == {"original": 4, "retrain": 2, "shadow": 2, "noop": 2, "unlearned": 2} | zero


def test_parents_are_the_models_that_the_run_started_from(project, found):
    made = {role for role, model in found.items() if model.parents == (project.models["original"],)}
    assert made == {"noop", "unlearned", "candidate", "champion"}
    assert all(found[role].parents == () for role in found.keys() - made)


def test_roles_are_told_from_registry_and_stage(found):
    assert {role for role, model in found.items() if model.served} == {"champion"}
    assert {role for role, model in found.items() if model.registered} == {"champion", "original"}
    benchmark = {role for role, model in found.items() if model.benchmark}
    assert benchmark == {"original", "retrain", "noop", "unlearned", "clean"}
    assert found["champion"].place.endswith(", registered as qunlearn-served v2 (champion)")
    assert all(model.kept and not model.marked for model in found.values())


def test_models_with_equal_weights_are_two_models(found):
    assert found["noop"].weights == found["original"].weights
    assert found["noop"].erased != found["original"].erased


def test_a_model_whose_list_of_training_images_is_damaged_cannot_be_told(project, connection):
    for role in ("clean", "candidate", "champion"):  # all that have this list
        (folder(connection, project.models[role]) / "trained_ids.txt").write_text("all-000000-000000000000\n")
    found = stored_models(connection, frozenset(project.gone))
    assert {model.erased for model in found if model.id in (project.models["clean"], project.models["champion"])} == {
        None
    }


def test_the_list_of_a_model_without_bytes_is_that_of_another_with_the_same(project, connection):
    erase(connection, project.models["candidate"], why="was made from it", mark=MARK)
    found = {model.id: model for model in stored_models(connection, frozenset(project.gone))}
    assert (found[project.models["candidate"]].erased, found[project.models["candidate"]].kept) == (0, False)


def test_a_parent_that_only_a_tag_names_is_found_by_its_weights(project, connection, found):
    client = connection.client
    digest = found["original"].weights.removeprefix("sha256:")
    for parent, expected in ((digest, {project.models["original"], project.models["noop"]}), ("0" * 64, None)):
        client.set_logged_model_tags(project.models["clean"], {"parent_sha256": parent})
        (model,) = (one for one in stored_models(connection, frozenset()) if one.id == project.models["clean"])
        assert set(model.parents) == (expected or {f"weights {parent}"})


def test_models_of_another_program_are_not_ours_to_judge(project, connection, found):
    connection.client.create_logged_model(connection.experiment_id, name="theirs")
    assert len(stored_models(connection, frozenset(project.gone))) == len(found)


# --- models ----------------------------------------------------------------------------------------------------------


def test_bytes_go_and_all_records_stay_and_say_so(project, connection, tmp_path):
    model_id = project.models["original"]
    before = connection.client.get_logged_model(model_id)
    erase(connection, model_id, why="was trained on 4 erased samples", mark=MARK)
    assert names(connection, model_id) == []
    with pytest.raises(MissingCheckpointError, match="erased or damaged"):
        project.store.fetch(before.tags["weights_sha256"], tmp_path / "fetched", model_id=model_id)
    after = connection.client.get_logged_model(model_id)
    tags = {"erased_at": MARK.at, "erased_because": MARK.because}
    assert tags.items() <= after.tags.items()
    assert tags.items() <= connection.client.get_run(before.source_run_id).data.tags.items()
    version = connection.client.get_model_version("qunlearn-served", "1")
    assert tags.items() <= version.tags.items()
    kept = {key: value for key, value in before.tags.items() if key != "mlflow.note.content"}
    assert kept.items() <= after.tags.items()
    head = f"**Its bytes were erased** at {MARK.at} ({MARK.because}): it was trained on 4 erased samples."
    assert after.tags["mlflow.note.content"].startswith(head)
    assert "**Its bytes were erased**" in version.description
    assert after.tags["mlflow.note.content"].endswith(before.tags["mlflow.note.content"])


def test_no_other_model_is_touched(project, connection):
    erase(connection, project.models["original"], why="was trained on it", mark=MARK)
    others = [model_id for role, model_id in project.models.items() if role != "original"]
    assert [names(connection, model_id) for model_id in others] == [COMPLETE] * len(others)
    assert not any("erased_at" in connection.client.get_logged_model(model_id).tags for model_id in others)


def test_a_second_time_changes_nothing(project, connection):
    model_id = project.models["retrain"]
    erase(connection, model_id, why="was trained on it", mark=MARK)
    before = connection.client.get_logged_model(model_id).tags
    erase(connection, model_id, why="was trained on it", mark=replace(MARK, at="later"))
    assert connection.client.get_logged_model(model_id).tags == before


def test_marks_are_written_after_a_kill_between_bytes_and_marks(project, connection):
    model_id = project.models["retrain"]
    files_of(connection, connection.client.get_logged_model(model_id)).remove()
    erase(connection, model_id, why="was trained on it", mark=MARK)
    assert connection.client.get_logged_model(model_id).tags["erased_at"] == MARK.at


def test_bytes_that_came_back_go_again(project, connection, tmp_path):
    model_id = project.models["retrain"]
    place = folder(connection, model_id)
    shutil.copytree(place, tmp_path / "backup")
    erase(connection, model_id, why="was trained on it", mark=MARK)
    shutil.copytree(tmp_path / "backup", place, dirs_exist_ok=True)
    erase(connection, model_id, why="was trained on it", mark=replace(MARK, at="later"))
    assert names(connection, model_id) == []


def test_a_record_that_a_person_deleted_is_no_error(project, connection, tmp_path):
    connection.client.delete_logged_model(project.models["retrain"])
    erase(connection, project.models["retrain"], why="was trained on it", mark=MARK)
    quarantine(connection, project.models["retrain"], tmp_path / "quarantine", why="was trained on it", mark=MARK)


def test_deleted_runs_and_versions_are_no_error(project, connection):
    model_id = project.models["original"]
    connection.client.delete_run(connection.client.get_logged_model(model_id).source_run_id)
    connection.client.delete_model_version("qunlearn-served", "1")
    erase(connection, model_id, why="was trained on it", mark=MARK)
    assert names(connection, model_id) == []
    assert connection.client.get_logged_model(model_id).tags["erased_at"] == MARK.at


def test_what_stays_after_its_removal_is_an_error(project, connection, monkeypatch):
    monkeypatch.setattr(
        "mlflow.store.artifact.local_artifact_repo.LocalArtifactRepository.delete_artifacts", lambda *_: None
    )
    with pytest.raises(TrackingError, match="still there after the artifact store was told to remove"):
        erase(connection, project.models["retrain"], why="was trained on it", mark=MARK)
    assert "erased_at" not in connection.client.get_logged_model(project.models["retrain"]).tags


def test_quarantine_keeps_the_bytes_where_this_user_alone_reads_them(project, connection, tmp_path):
    model_id, kept = project.models["retrain"], tmp_path / "deep" / "quarantine"
    digest = connection.client.get_logged_model(model_id).tags["weights_sha256"]
    for _ in range(2):
        quarantine(connection, model_id, kept, why="was trained on it", mark=MARK)
    assert names(connection, model_id) == []
    assert len(checkpoint.load(kept / model_id, digest=digest).trained_ids) > 100
    assert [path.stat().st_mode & 0o777 for path in (kept, kept / model_id)] == [0o700, 0o700]
    tags = connection.client.get_logged_model(model_id).tags
    assert (tags["quarantined"], tags["erased_at"]) == ("true", MARK.at)
    assert tags["mlflow.note.content"].startswith("**Its bytes were moved aside**")


def test_a_kill_while_the_original_is_removed_leaves_the_copy_whole(project, connection, tmp_path):
    model_id, kept = project.models["retrain"], tmp_path / "quarantine"
    shutil.copytree(folder(connection, model_id), kept / model_id)
    (folder(connection, model_id) / "weights.safetensors").unlink()
    quarantine(connection, model_id, kept, why="was trained on it", mark=MARK)
    assert sorted(path.name for path in (kept / model_id).iterdir()) == COMPLETE
    assert names(connection, model_id) == []


def test_digests_of_all_files_but_lists_of_ids_are_recorded(project, connection):
    recorded = recorded_files(connection)
    for role in ("original", "noop", "champion"):
        digests = file_digests(folder(connection, project.models[role]))
        assert {name for name, digest in digests.items() if digest in recorded} == set(digests) - {"trained_ids.txt"}


def test_files_of_models_are_searched(project, connection, found):
    traces = Traces(frozenset(project.gone))
    hits, count = traces_in_models(connection, [found["champion"], found["retrain"]], traces)
    assert [(model.id, name, text) for model, name, text in hits] == [
        (project.models["retrain"], "trained_ids.txt", "2 erased ids")
    ]
    assert count == 8


# --- other experiments, running stages -------------------------------------------------------------------------------


def test_all_experiments_of_a_local_database_are_the_projects(project, connection):
    other = Store.open(TrackingConfig(experiment="former name"), root=project.root).connection
    own, others = custody(connection)
    assert {one.experiment_id for one in own} == {"0", connection.experiment_id, other.experiment_id}
    assert others == []
    # Its files lie in the same folder, and have an owner.
    with Store(other).stage("report", Store(other).pipeline("abc", params={})) as run:
        run.text("ids.txt", project.gone[0])
    assert ownerless(own, Traces(frozenset(project.gone))) == []


@contextmanager
def running(store, **tags):
    with store.stage("retrain", store.pipeline("abc", params={})) as run:
        run.tag(tags)
        yield


def test_stages_of_other_processes_are_told(project, connection):
    store, parent = project.store, str(os.getppid())
    from tasks.tracking import processes

    start = processes._start(os.getppid())
    with running(store):
        assert at_work(connection) == ([], [])
    with running(store, pid=parent, process_start=start):
        assert at_work(connection) == (["retrain"], [])
    with running(store, pid=parent, process_start="of another process"):
        assert at_work(connection) == ([], [])
    with running(store, pid=parent, process_start=start, host="elsewhere"):
        assert at_work(connection) == ([], ["retrain"])
    with running(store, pid=parent, process_start=start, stage="deletion"):
        assert at_work(connection) == ([], [])
    assert identity()["host"] == socket.gethostname()


def test_names_of_files_are_relative_and_complete(project, connection, tmp_path):
    place = tmp_path / "a store"
    files = ArtifactFiles(connection, place.as_uri())
    assert (files.names(), files.children()) == ([], [])
    (place / "a b").mkdir(parents=True)
    (place / "a b" / "c#d.txt").write_text("x")
    assert (files.names(), files.children()) == (["a b/c#d.txt"], ["a b"])
    files.remove("a b/c#d.txt")
    files.remove("a b/c#d.txt")
    assert files.names() == []
    missing = ArtifactFiles(connection, (tmp_path / "missing").as_uri())
    missing.remove()
    missing.copy_to(tmp_path)
    assert (missing.names(), missing.children()) == ([], [])


def test_errors_of_the_store_are_not_swallowed(project, connection, monkeypatch):
    def fail(*_args, **_kwargs):
        raise MlflowException("database is locked")

    monkeypatch.setattr(connection.client, "get_logged_model", fail)
    monkeypatch.setattr(connection.client, "get_run", fail)
    with pytest.raises(MlflowException, match="locked"):
        erase(connection, "m-1", why="", mark=MARK)
    with pytest.raises(MlflowException, match="locked"):
        remove_run_file(connection, "r/a", MARK)


def test_the_fixture_has_the_roles_that_the_tests_speak_of(project):
    assert project.models.keys() == TAINTED | {"clean", "champion"}
    assert json.loads((project.root / "models" / "pretrain.json").read_text())["format"] == 1
    assert np.load(project.workspace.prepared / "images.npy").shape == (200, 1, 8, 8)
