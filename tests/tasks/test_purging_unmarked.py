"""Models that carry none of our marks are searched, too: in our experiments they go, elsewhere they are told."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from purge_store import folder

from qunlearn.deletion.purge import Action
from qunlearn.deletion.purge_inventory import MODEL
from qunlearn.deletion.traces import Traces
from tasks import purge_unmarked, purging
from tasks.purge_unmarked import find_unmarked
from tasks.purging import close, plan_purge, purge
from tasks.tracking import processes
from tasks.tracking.checkpoints import DIGEST_TAG
from tasks.tracking.erasure import files_of, stored_models


@pytest.fixture
def by_hand(erased):
    """Logs a model with MLflow's own client, with copies of files in it; its id."""
    connection = erased.store.connection

    def log(*sources: Path, run: bool = True, text: str = "") -> str:
        made = connection.client.create_run(connection.experiment_id, run_name="Jane Doe") if run else None
        model = connection.client.create_logged_model(
            connection.experiment_id, name="jane-doe", source_run_id=made.info.run_id if made else None
        )
        place = Path(str(model.artifact_location).removeprefix("file://"))
        place.mkdir(parents=True)
        for source in sources:
            shutil.copy(source, place)
        (place / "notes.txt").write_text(text)
        connection.client.finalize_logged_model(model.model_id, "READY")
        return str(model.model_id)

    return log


def names(erased, model_id: str) -> list[str]:
    connection = erased.store.connection
    return files_of(connection, connection.client.get_logged_model(model_id)).names()


@pytest.mark.parametrize("run", [True, False])
def test_a_model_logged_by_hand_goes_if_it_holds_a_trace_and_stays_if_not(erased, by_hand, run):
    place = folder(erased.store.connection, erased.models["original"])
    images = erased.workspace.prepared / "images.npy"
    lists, weights, pixels, clean = (
        by_hand(*sources, run=run)
        for sources in ((place / "trained_ids.txt",), (place / "weights.safetensors",), (images,), ())
    )
    planned = {entry.target for entry in plan_purge(erased.workspace, models="purge").of(Action.REMOVE, kind=MODEL)}
    assert {lists, pixels, weights} <= planned
    report = purge(erased.workspace, models="purge")
    assert report.is_complete
    # The original has the weights of another one that has to go, and whose list is another.
    assert [names(erased, one) for one in (lists, weights, pixels)] == [[], [], []]
    assert names(erased, clean) == ["notes.txt"]
    entries = {entry.target: entry for entry in report.plan.of(Action.REMOVE, kind=MODEL)}
    assert (entries[lists].name, entries[lists].place) == (lists, f"MLflow, model {lists}")
    assert "jane" not in str(report.as_dict()).lower()
    tags = erased.store.connection.client.get_logged_model(lists).tags
    assert "erased_at" in tags
    close(erased.workspace)
    assert purge(erased.workspace, models="purge").plan.to_do == ()


@pytest.mark.parametrize("role", ["original", "retrain", "unlearned", "candidate"])
def test_a_model_of_ours_goes_without_its_marks(erased, role):
    erased.store.connection.client.delete_logged_model_tag(erased.models[role], DIGEST_TAG)
    report = purge(erased.workspace, models="purge")
    assert report.is_complete
    assert names(erased, erased.models[role]) == []


def test_a_model_made_from_one_that_must_go_goes(erased, by_hand):
    connection = erased.store.connection
    model_id = by_hand(text="other weights")
    clean = by_hand(text="others")
    for one, parent in ((model_id, "original"), (clean, "champion")):
        weights = connection.client.get_logged_model(erased.models[parent]).tags[DIGEST_TAG]
        connection.client.set_logged_model_tags(one, {"parent_sha256": weights})
    assert purge(erased.workspace, models="purge").is_complete
    assert (names(erased, model_id), names(erased, clean)) == ([], ["notes.txt"])


def test_what_comes_while_the_purge_runs_is_found(erased, by_hand, monkeypatch):
    real = purging._carry_out

    def carry_out(*args):
        told = real(*args)
        by_hand(text=erased.gone[0])
        return told

    with monkeypatch.context() as patch:
        patch.setattr(purging, "_carry_out", carry_out)
        report = purge(erased.workspace, models="purge")
    (found,) = report.scan.found
    assert (found.what, report.is_complete) == ("holds 1 erased id", False)
    assert purge(erased.workspace, models="purge").is_complete


def test_models_of_another_project_are_told_and_not_removed(erased, by_hand, monkeypatch):
    model_id = by_hand(text=erased.gone[0])
    connection = erased.store.connection
    other = replace(connection, experiment_id=connection.client.create_experiment("ours"))
    monkeypatch.setattr(purge_unmarked, "custody", lambda _: ([other], [connection]))
    found = find_unmarked(other, stored_models(other, frozenset(erased.gone)), Traces(frozenset(erased.gone)))
    (entry,) = found.entries
    assert (entry.action, found.findings) == (Action.OUTSIDE, ())
    assert entry.why.startswith("has 1 models without marks")
    assert names(erased, model_id) == ["notes.txt"]


def test_a_served_model_that_lost_its_marks_is_never_removed(erased):
    connection, champion = erased.store.connection, erased.models["champion"]
    connection.client.delete_logged_model_tag(champion, DIGEST_TAG)
    traces = Traces(frozenset(erased.gone))
    assert find_unmarked(connection, (), traces).entries == ()
    (folder(connection, champion) / "notes.txt").write_text(erased.gone[0])
    found = find_unmarked(connection, (), traces)
    assert (found.entries, [one.name for one in found.findings]) == ((), [champion])


@pytest.mark.parametrize("ends", [False, True])
def test_a_stage_that_began_during_the_purge_keeps_it_from_being_complete(erased, monkeypatch, ends):
    real, survey = purging._carry_out, purging.survey
    stages = []

    def carry_out(*args):
        stage = erased.store.stage("retrain", erased.store.pipeline("abc", params={}))
        run = stage.__enter__()
        run.tag({"pid": str(os.getppid()), "process_start": processes._start(os.getppid())})
        stages.append(stage)
        return real(*args)

    def surveyed(*args):
        # Where it ends meanwhile, its model may have come after the look at the models.
        if stages and ends:
            stages[0].__exit__(None, None, None)
        return survey(*args)

    with monkeypatch.context() as patch:
        patch.setattr(purging, "_carry_out", carry_out)
        patch.setattr(purging, "survey", surveyed)
        report = purge(erased.workspace, models="purge")
    assert [(one.name, one.place) for one in report.scan.found] == [("stage retrain", "this computer")]
    assert not report.is_complete
    if not ends:
        stages[0].__exit__(None, None, None)
    assert purge(erased.workspace, models="purge").is_complete


def test_a_file_that_cannot_be_searched_is_told_and_does_not_stop_the_purge(erased, by_hand):
    model_id = by_hand(text="x")
    place = folder(erased.store.connection, model_id)
    (place / "strange.npz").write_bytes(b"PK\x03\x04" + b"junk" * 100)
    report = purge(erased.workspace, models="purge")
    assert report.is_complete
    (told,) = [entry for entry in report.plan.of(Action.OUTSIDE, kind="file") if "strange.npz" in entry.name]
    assert told.why == "damaged or encrypted (BadZipFile); look into it"
    assert told in plan_purge(erased.workspace, models="purge").entries
