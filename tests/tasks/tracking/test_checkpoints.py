"""Weights are found and fetched only while every byte is the recorded one."""

import shutil
from pathlib import Path

import pytest
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.utils.file_utils import local_file_uri_to_path

from tasks.tracking import MissingCheckpointError, records
from tasks.tracking.checkpoints import file_digests
from tasks.tracking.records import settings_digest
from tasks.tracking.run import SETTINGS_TAG


def bytes_of(store, record):
    return Path(local_file_uri_to_path(store.connection.client.get_logged_model(record.model_id).artifact_location))


def damage(folder):
    """Ways in which a checkpoint is not what was recorded."""

    def truncate():
        (folder / "weights.safetensors").write_bytes((folder / "weights.safetensors").read_bytes()[:-1])

    def remove():
        (folder / "config.json").unlink()

    def change():
        (folder / "trained_ids.txt").write_text("all-000002-def\n")

    def add():
        (folder / "more.txt").write_text("")

    return [truncate, remove, change, add, lambda: shutil.rmtree(folder)]


def test_a_model_and_its_run_know_each_other(store, make_cell):
    record = make_cell("oeu seed 0")
    client = store.connection.client
    model = client.get_logged_model(record.model_id)
    run = client.get_run(record.run_id)
    assert model.source_run_id == record.run_id
    assert [output.model_id for output in run.outputs.model_outputs] == [record.model_id]
    assert (model.name, str(model.status)) == ("oeu-seed-0", "READY")
    assert model.tags["weights_sha256"] == record.digest
    assert (model.tags["stage"], model.tags["cell"], model.tags["method"]) == ("unlearn", "oeu seed 0", "oeu")
    assert record.digest in model.tags["mlflow.note.content"]


def test_a_models_description_names_its_data_and_links_to_its_parent(store, make_cell):
    parent = make_cell("original seed 0")
    child = make_cell("oeu seed 0", parents=[parent.model_id])
    text = store.connection.client.get_logged_model(child.model_id).tags["mlflow.note.content"]
    page = f"#/experiments/{store.connection.experiment_id}/models/{parent.model_id}?workflowType=machine_learning"
    assert f"| parent model | [original-seed-0]({page}) |" in text
    assert f"| data split-random | `{'2' * 32}.dir` |" in text


def test_fetched_bytes_are_those_that_were_kept(store, make_cell, tmp_path):
    record = make_cell(content=b"weights of a model")
    folder = store.fetch(record.digest, tmp_path / "new" / "folder")
    assert folder == tmp_path / "new" / "folder"
    assert sorted(file_digests(folder)) == ["config.json", "trained_ids.txt", "weights.safetensors"]
    assert (folder / "weights.safetensors").read_bytes() == b"weights of a model"


@pytest.mark.parametrize("how", range(5))
def test_damaged_bytes_are_neither_found_nor_fetched(store, make_cell, unique, tmp_path, how):
    mark = unique()
    record = make_cell(mark=mark)
    assert store.find_cell(mark) == record
    damage(bytes_of(store, record))[how]()
    assert store.find_cell(mark) is None
    told = f"{record.model_id}, but the files were erased or damaged: .* purged .*`dvc repro`"
    with pytest.raises(MissingCheckpointError, match=told):
        store.fetch(record.digest, tmp_path / "target")
    assert list((tmp_path / "target").iterdir()) == []


def test_after_a_purge_the_record_remains_without_bytes(store, make_cell, unique, tmp_path):
    mark = unique()
    record = make_cell(mark=mark)
    location = store.connection.client.get_logged_model(record.model_id).artifact_location
    get_artifact_repository(location).delete_artifacts()
    assert store.find_cell(mark) is None
    with pytest.raises(MissingCheckpointError):
        store.fetch(record.digest, tmp_path / "target")
    assert store.record_by_digest(record.digest) == record


def test_another_model_with_the_same_weights_stands_in(store, make_cell, tmp_path):
    older = make_cell("a seed 0", content=b"the same weights")
    newer = make_cell("b seed 0", content=b"the same weights")
    shutil.rmtree(bytes_of(store, newer))
    assert store.fetch(older.digest, tmp_path / "target").is_dir()
    assert store.record_by_digest(older.digest).run_id == older.run_id
    shutil.rmtree(bytes_of(store, older))
    assert store.record_by_digest(older.digest).run_id == newer.run_id
    assert store.record_by_digest(older.digest, cell="a seed 0").run_id == older.run_id


def test_of_equal_weights_the_cell_with_the_settings_asked_for_is_meant(store, make_cell, unique):
    content = unique().encode()
    first, other = (settings_digest({"epochs": epochs}) for epochs in (1, 9))
    asked, newer = (make_cell(content=content, settings=one) for one in (first, other))
    assert store.connection.client.get_logged_model(asked.model_id).tags[SETTINGS_TAG] == first
    assert store.record_by_digest(asked.digest) == newer
    assert store.record_by_digest(asked.digest, settings=first) == asked
    assert store.record_by_digest(asked.digest, settings=other) == newer
    shutil.rmtree(bytes_of(store, asked))
    assert store.record_by_digest(asked.digest, settings=first) == asked


def test_cells_of_earlier_versions_stand_for_any_settings(store, make_cell, unique):
    content = unique().encode()
    old = make_cell(content=content)
    assert store.record_by_digest(old.digest, settings=settings_digest({"epochs": 1})) == old
    make_cell(content=content, settings=settings_digest({"epochs": 9}))
    assert store.record_by_digest(old.digest, settings=settings_digest({"epochs": 1})) == old


def test_one_cell_is_found_without_reading_its_bytes(store, make_cell, monkeypatch):
    record = make_cell()
    monkeypatch.setattr(records, "is_intact", None)
    assert store.record_by_digest(record.digest) == record


def test_a_cell_of_another_stage_is_not_meant(store, make_cell):
    record = make_cell(stage="retrain")
    assert store.record_by_digest(record.digest, stage="retrain") == record
    with pytest.raises(MissingCheckpointError, match="stage 'unlearn'"):
        store.record_by_digest(record.digest, stage="unlearn")


def test_the_newest_intact_cell_is_found(store, make_cell, unique):
    mark = unique()
    older, newer = make_cell(mark=mark), make_cell(mark=mark)
    assert store.find_cell(mark) == newer
    shutil.rmtree(bytes_of(store, newer))
    assert store.find_cell(mark) == older


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_cell_that_did_not_finish_is_not_found(store, unique, checkpoint, error):
    mark, (folder, digest) = unique(), checkpoint()

    def interrupted(stage):
        with store.cell("c", stage.id, fingerprint=mark, params={}) as run:
            run.output_model(folder, name="c", digest=digest, tags={})
            raise error

    with store.stage("unlearn", store.pipeline(unique(), params={})) as stage, pytest.raises(error):
        interrupted(stage)
    assert store.find_cell(mark) is None
    with pytest.raises(MissingCheckpointError, match="no finished run"):
        store.record_by_digest(digest)


def test_a_cell_without_model_is_not_found(store, unique):
    mark = unique()
    with (
        store.stage("unlearn", store.pipeline(unique(), params={})) as stage,
        store.cell("c", stage.id, fingerprint=mark, params={}),
    ):
        pass
    assert store.find_cell(mark) is None


def test_unknown_weights_are_refused(store, unique, tmp_path):
    with pytest.raises(MissingCheckpointError, match="no model in this store has them"):
        store.fetch(unique(), tmp_path / "target")


@pytest.mark.parametrize("digest", ["", "abc", "' or 1 = 1", "A" * 64])
def test_what_is_no_sha256_is_refused(store, tmp_path, digest):
    with pytest.raises(ValueError, match="not a sha256"):
        store.fetch(digest, tmp_path / "target")


def test_a_folder_with_content_is_not_overwritten(store, make_cell, tmp_path):
    (tmp_path / "precious").write_text("x")
    with pytest.raises(ValueError, match="new or empty folder"):
        store.fetch(make_cell().digest, tmp_path)
    assert (tmp_path / "precious").read_text() == "x"


def test_weights_with_another_digest_than_said_are_not_kept(store, unique, checkpoint):
    folder, digest = checkpoint()
    with store.stage("unlearn", store.pipeline(unique(), params={})) as run:
        with pytest.raises(ValueError, match="save the checkpoint again"):
            run.output_model(folder, name="c", digest=unique(), tags={})
        (folder / "weights.safetensors").unlink()
        with pytest.raises(ValueError, match="is missing"):
            run.output_model(folder, name="c", digest=digest, tags={})


def test_an_upload_that_breaks_leaves_no_usable_model(store, unique, checkpoint, monkeypatch, tmp_path):
    folder, digest = checkpoint()

    def full(*_arguments):
        raise OSError("no space left")

    monkeypatch.setattr(type(store.connection.client), "log_model_artifacts", full)
    with store.stage("unlearn", store.pipeline(unique(), params={})) as run, pytest.raises(OSError, match="no space"):
        run.output_model(folder, name="c", digest=digest, tags={})
    assert [str(m.status) for m in store.connection.models(f"tags.weights_sha256 = '{digest}'")] == ["FAILED"]
    with pytest.raises(MissingCheckpointError):
        store.fetch(digest, tmp_path / "target")
