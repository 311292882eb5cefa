"""Files of runs, and files without a record, are found and go; records stay and say so."""

from __future__ import annotations

from purge_store import MARK, folder

from qunlearn.deletion.traces import Traces
from tasks.tracking.artifact_files import ArtifactFiles
from tasks.tracking.run_artifacts import ownerless, remove_ownerless, remove_run_file, run_files

# --- files of runs ---------------------------------------------------------------------------------------------------


def test_files_of_runs_are_found_by_what_they_hold_or_may_hold(project, connection):
    files, count = run_files(connection, Traces(frozenset(project.gone)))
    assert {file.path: file.found for file in files} == {
        "samples.json": "1 erased id",
        "tables/samples.parquet": "5 erased ids",
        "tables/losses.parquet": "",
        "cache/logits.npz": "",
        "export/model.onnx": "",
    }
    used = {file.path: project.roles(file.models) for file in files}
    assert used["cache/logits.npz"] == {"original"}
    assert used["tables/losses.parquet"] == {"original", "champion"}
    assert count > len(files)


def test_exported_weights_are_found_by_their_digest(project, connection, found):
    run = project.store.run(connection.client.get_logged_model(project.models["clean"]).source_run_id)
    run.file(folder(connection, project.models["original"]) / "weights.safetensors", "copy")
    weights = frozenset({found["original"].weights.removeprefix("sha256:")})
    files, _ = run_files(connection, Traces(frozenset(), weights=weights))
    assert [file.found for file in files if file.path.startswith("copy/")] == ["weights of an erased model"]


def test_a_file_of_a_run_goes_and_the_run_says_so(project, connection):
    files, _ = run_files(connection, Traces(frozenset(project.gone)))
    (file,) = (one for one in files if one.path == "tables/samples.parquet")
    for _ in range(2):
        remove_run_file(connection, f"{file.run_id}/{file.path}", MARK)
    left = ArtifactFiles(connection, connection.client.get_run(file.run_id).info.artifact_uri).names()
    assert "tables/samples.parquet" not in left
    assert "samples.json" in left
    assert connection.client.get_run(file.run_id).data.tags["erased_because"] == MARK.because


def test_files_of_deleted_runs_are_found_and_go(project, connection):
    files, _ = run_files(connection, Traces(frozenset(project.gone)))
    (file,) = (one for one in files if one.path == "samples.json")
    connection.client.delete_run(file.run_id)
    again, _ = run_files(connection, Traces(frozenset(project.gone)))
    assert "samples.json" in [one.path for one in again]
    remove_run_file(connection, f"{file.run_id}/{file.path}", MARK)
    again, _ = run_files(connection, Traces(frozenset(project.gone)))
    assert "samples.json" not in [one.path for one in again]


def test_what_a_killed_upload_left_is_found(project, connection):
    run = connection.client.get_run(connection.client.get_logged_model(project.models["clean"]).source_run_id)
    place = ArtifactFiles(connection, run.info.artifact_uri).folder
    place.mkdir(parents=True, exist_ok=True)
    (place / ".mlflow-artifact-abc").write_text(project.gone[0])
    files, _ = run_files(connection, Traces(frozenset(project.gone)))
    (file,) = (one for one in files if one.path.startswith(".mlflow"))
    remove_run_file(connection, f"{file.run_id}/{file.path}", MARK)
    assert not (place / ".mlflow-artifact-abc").exists()


def test_a_run_without_a_record_is_no_error(connection):
    remove_run_file(connection, f"{'0' * 32}/a.json", MARK)


# --- files without a record ------------------------------------------------------------------------------------------


def test_bytes_of_models_and_runs_whose_records_were_deleted_are_found_and_go(project, connection):
    place = folder(connection, project.models["retrain"])
    connection.client.delete_logged_model(project.models["retrain"])
    lost = place.parents[2] / ("f" * 32) / "artifacts"
    lost.mkdir(parents=True)
    (lost / "samples.txt").write_text(project.gone[0])
    traces = Traces(frozenset(project.gone))
    items = ownerless([connection], traces)
    assert {item.name: item.why for item in items} == {
        f"models/{project.models['retrain']}": "holds 2 erased ids",
        "f" * 32: "holds 1 erased id",
    }
    # Where another project keeps its files, too, they may have an owner that we do not know.
    assert ownerless([connection], traces, others=[connection]) == []
    for item in items:
        remove_ownerless(connection, item.target)
    assert not (place / "weights.safetensors").exists()
    assert not (lost / "samples.txt").exists()
    assert ownerless([connection], traces) == []


def test_a_model_made_from_erased_weights_is_known_without_its_record(project, connection, found):
    connection.client.delete_logged_model(project.models["candidate"])
    weights = frozenset({found["original"].weights.removeprefix("sha256:")})
    (item,) = ownerless([connection], Traces(frozenset(project.gone), weights=weights))
    assert item.why == "holds a model that was made from an erased one"


def test_other_folders_beside_the_artifacts_are_not_ours(project, connection):
    root = folder(connection, project.models["retrain"]).parents[2]
    (root / "data" / "prepared").mkdir(parents=True)
    (root / "data" / "prepared" / "ids.txt").write_text(project.gone[0])
    (root / "models" / "mine").mkdir()
    (root / "models" / "mine" / "ids.txt").write_text(project.gone[0])
    assert ownerless([connection], Traces(frozenset(project.gone))) == []
