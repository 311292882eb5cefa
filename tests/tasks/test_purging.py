"""After a purge nothing that was made from the erased samples is left, also if it was killed anywhere in between."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from filelock import FileLock
from mlflow import MlflowClient
from purge_project import Project, copied, dvc

from qunlearn import checkpoint
from qunlearn.data import imageset
from qunlearn.data.erased import append_erased
from qunlearn.data.splits import check_gate, load_split
from qunlearn.deletion.purge import Action
from qunlearn.deletion.purge_errors import PurgeBusyError, PurgeError
from qunlearn.deletion.purge_inventory import DATA, MODEL, OBJECT, QUARANTINED, RUN_FILE, SCRATCH, TEMPORARY
from qunlearn.deletion.traces import Traces
from tasks import purging
from tasks.dvc_objects import ObjectStore
from tasks.purge_notes import Notes
from tasks.purge_outside import outside_custody
from tasks.purging import STEPS, close, plan_purge, purge
from tasks.tracking import processes
from tasks.tracking.artifact_files import ArtifactFiles
from tasks.workspace import Workspace

TAINTED = {"original", "retrain", "shadow", "noop", "unlearned", "candidate"}
BENCHMARK = {"retrain", "noop", "unlearned"}


@pytest.fixture
def erased(project) -> Project:
    """The project after a deletion has released the champion and listed the samples."""
    project.erase()
    return project


def everything(project: Project) -> dict[str, bytes]:
    """All files of the project and of its remote, but locks and what DVC and SQLite note for themselves."""
    folder = project.root.parent
    skipped = ("/.dvc/tmp/", "/site/", ".lock", "/.git/")
    return {
        name: path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not any(part in (name := f"/{path.relative_to(folder)}") for part in skipped)
    }


def remains(project: Project) -> set[str]:
    """Files with an erased id or image, by a search of its own; the list of ids and the database are left out."""
    images = original_images(project)
    found = set()
    for path in project.root.parent.rglob("*"):
        if not path.is_file() or path.name in ("erased.txt", "mlflow.db"):
            continue
        content = path.read_bytes()
        if path.suffix == ".parquet":
            content = repr(pq.read_table(path).to_pylist()).encode()
        if any(one.encode() in content for one in project.gone) or any(image in content for image in images):
            found.add(path.relative_to(project.root.parent).as_posix())
    return found


def original_images(project: Project) -> list[bytes]:
    """The pixels of the erased samples, from the project that this one is a copy of."""
    from purge_project import built

    images = imageset.load(built().workspace.prepared)
    return [images.images[place].tobytes() for place in images.index_of(project.gone)]


def models_without_bytes(project: Project) -> set[str]:
    client = project.store.connection.client
    ids = [
        model_id
        for model_id in project.models.values()
        if not ArtifactFiles(project.store.connection, client.get_logged_model(model_id).artifact_location).names()
    ]
    return project.roles(ids)


# --- looking ---------------------------------------------------------------------------------------------------------


def test_a_plan_changes_nothing(erased):
    before = everything(erased)
    plan = plan_purge(erased.workspace, models="purge")
    assert everything(erased) == before
    assert len(plan.to_do) > 40


def test_the_plan_lists_data_objects_models_and_files(erased):
    plan = plan_purge(erased.workspace, models="purge")
    assert [entry.name for entry in plan.of(Action.REWRITE, kind=DATA)] == ["data/prepared", "data/splits"]
    assert erased.roles([entry.target for entry in plan.of(kind=MODEL)]) == TAINTED
    stores = [entry.place for entry in plan.of(kind=OBJECT)]
    assert {name: stores.count(name) for name in stores} == {"DVC cache": 18, "DVC remote store": 18}
    assert sorted(entry.name for entry in plan.of(kind=RUN_FILE)) == [
        "cache/logits.npz",
        "export/model.onnx",
        "samples.json",
        "tables/losses.parquet",
        "tables/samples.parquet",
    ]
    kinds = {entry.kind for entry in plan.of(Action.OUTSIDE)}
    assert kinds == {"raw data", "backups", "remote backups", "git history", "devices", "copies"}


def test_digests_are_those_that_evidence_takes(erased):
    from pydantic import TypeAdapter

    from qunlearn.deletion.evidence.fields import ObjectDigest

    digest = TypeAdapter(ObjectDigest | None)
    for entry in plan_purge(erased.workspace, models="purge").entries:
        assert digest.validate_python(entry.digest) == entry.digest


def test_nothing_erased_nothing_to_do(project):
    before = everything(project)
    assert plan_purge(project.workspace, models="purge").entries == ()
    report = purge(project.workspace, models="purge")
    assert (report.plan.entries, report.scan.places, report.is_complete) == ((), {}, True)
    assert everything(project) == before


# --- the purge -------------------------------------------------------------------------------------------------------


def test_nothing_made_from_the_samples_is_left_and_all_else_is(erased, tmp_path):
    lock = (erased.root / "dvc.lock").read_bytes()
    assert len(remains(erased)) > 20
    steps: list[str] = []
    report = purge(erased.workspace, models="purge", because="deletion b-1", on_step=steps.append)
    assert tuple(steps) == STEPS
    assert report.is_complete, report.scan.found
    close(erased.workspace)
    assert remains(erased) == set()
    assert models_without_bytes(erased) == TAINTED
    assert (erased.root / "dvc.lock").read_bytes() == lock
    assert (erased.root / "models" / "pretrain.json").exists()
    assert (erased.root / "metrics" / "evaluation.json").exists()

    champion = erased.store.champion()
    found = checkpoint.load(erased.store.fetch(champion.digest, tmp_path / "fetched"), digest=champion.digest)
    split = load_split(erased.workspace.splits)
    check_gate(
        trained_ids=found.trained_ids,
        forget_ids=split.ids("train", "forget"),
        retain_ids=split.ids("train", "retain"),
        held_out_ids=[*split.ids("validation"), *split.ids("test")],
    )
    imageset.load(erased.workspace.prepared).index_of(found.trained_ids)


def test_the_report_has_what_evidence_needs(erased):
    report = purge(erased.workspace, models="purge")
    content = json.loads(json.dumps(report.as_dict()))
    assert content["scan"]["found"] == []
    assert [place["what"] for place in content["scan"]["places"]] == [
        "data/prepared and data/splits",
        "DVC cache",
        "DVC cache, layout of version 2",
        "DVC remote store",
        "DVC remote store, layout of version 2",
        "MLflow, recorded models",
        "MLflow, files of runs",
        "temporary and scratch folders",
        "MLflow, files of models that stay",
    ]
    counts = {place["what"]: place["objects"] for place in content["scan"]["places"]}
    # Of the metrics two copies for the run-cache, and the entries of it that lead to no erased sample.
    assert counts["data/prepared and data/splits"] == 7
    assert counts["MLflow, files of models that stay"] == 8
    assert counts["MLflow, recorded models"] == 8
    assert not any(one in json.dumps(content) for one in erased.gone)


def test_dvc_says_truthfully_that_the_data_have_changed(erased):
    purge(erased.workspace, models="purge")
    status = dvc(erased.root, "status")
    assert "modified:           data/prepared" in status
    assert "modified:           data/erased.txt" in status


def test_a_second_purge_has_nothing_to_do(erased):
    purge(erased.workspace, models="purge")
    close(erased.workspace)
    before = everything(erased)
    report = purge(erased.workspace, models="purge")
    assert (report.plan.to_do, report.is_complete) == ((), True)
    close(erased.workspace)
    assert everything(erased) == before


def test_further_samples_are_purged_from_what_the_first_purge_left(erased):
    purge(erased.workspace, models="purge", because="first")
    more = load_split(erased.workspace.splits).ids("validation")[0]
    append_erased(erased.workspace.erased, [more])
    report = purge(erased.workspace, models="purge", because="second")
    # No model was trained on it; only the data, which are no version of DVC's now, have to go.
    assert [entry.name for entry in report.plan.to_do] == ["data/prepared", "data/splits"]
    assert report.is_complete


@pytest.mark.parametrize("link", ["symlink", "hardlink"])
def test_data_that_link_into_the_cache_are_written_anew_and_the_cache_never_through_them(erased, link):
    dvc(erased.root, "config", "cache.type", link)
    dvc(erased.root, "checkout", "--relink")
    linked = erased.workspace.prepared / "images.npy"
    assert linked.is_symlink() if link == "symlink" else linked.stat().st_nlink == 2
    original = linked.read_bytes()
    kept = erased.root.parent / "second name"
    os.link(linked.resolve(), kept)
    report = purge(erased.workspace, models="purge")
    assert report.is_complete
    assert kept.read_bytes() == original
    kept.unlink()
    assert not linked.is_symlink()
    assert remains(erased) == set()


def test_a_present_version_without_erased_samples_keeps_its_objects(erased):
    purge(erased.workspace, models="purge")
    dvc(erased.root, "commit", "--force", "ingest", "split")
    dvc(erased.root, "push")
    before = everything(erased)
    append_erased(erased.workspace.erased, ["all-999999-0123456789ab"])
    report = purge(erased.workspace, models="purge")
    assert [entry.name for entry in report.plan.to_do] == ["data/splits"]
    changed = {name for name, content in everything(erased).items() if before.get(name) != content}
    assert {name for name in changed if "/.dvc/cache/" in name or name.startswith("/remote/")} == set()


def test_files_of_an_interrupted_push_go_too(erased):
    # Without the list of a version's files its labels are bytes like others.
    for listing in erased.remote.rglob("*.dir"):
        listing.unlink()
    report = purge(erased.workspace, models="purge")
    assert report.is_complete
    assert not list(erased.remote.glob("files/md5/*/*"))


def test_without_dvc_data_and_models_are_purged(erased):
    shutil.rmtree(erased.root / ".dvc")
    report = purge(erased.workspace, models="purge")
    assert report.is_complete
    assert models_without_bytes(erased) == TAINTED
    assert {entry.kind for entry in report.plan.to_do} == {DATA, MODEL, RUN_FILE}


def test_an_erased_image_with_an_exact_copy_that_stays_is_no_finding(project):
    images = imageset.load(project.workspace.prepared)
    one, copy = images.index_of(project.gone[:2])
    pixels = np.array(images.images)
    pixels[copy] = pixels[one]
    np.save(project.workspace.prepared / "images.npy", pixels)
    split = json.loads((project.workspace.splits / "manifest.json").read_text())
    split["image_set_digest"] = imageset.load(project.workspace.prepared).digest()
    (project.workspace.splits / "manifest.json").write_text(json.dumps(split))
    append_erased(project.workspace.erased, [project.gone[0]])
    assert purge(project.workspace, models="purge").is_complete


# --- quarantine ------------------------------------------------------------------------------------------------------


def test_models_of_the_benchmark_can_be_moved_aside_until_a_later_purge(erased):
    report = purge(erased.workspace, models="quarantine")
    assert report.is_complete
    assert erased.roles([entry.target for entry in report.plan.of(Action.QUARANTINE)]) == BENCHMARK
    kept = erased.root / ".qunlearn" / "quarantine"
    assert erased.roles([path.name for path in kept.iterdir()]) == BENCHMARK
    assert len(report.plan.of(Action.OUTSIDE, kind=QUARANTINED)) == len(BENCHMARK)
    assert models_without_bytes(erased) == TAINTED
    close(erased.workspace)

    report = purge(erased.workspace, models="purge")
    assert report.is_complete
    assert [entry.kind for entry in report.plan.to_do] == [QUARANTINED] * len(BENCHMARK)
    assert remains(erased) <= {"project/.qunlearn/purge.json"}
    assert list(kept.iterdir()) == []


# --- what a killed process left --------------------------------------------------------------------------------------


def age(folder: Path, seconds: float) -> None:
    for path in folder.rglob("*"):
        os.utime(path, (time.time() - seconds,) * 2)


def test_temporary_folders_of_killed_processes_go_and_those_of_others_stay(erased, temporary):
    client = erased.store.connection.client

    def place(role):
        return Path(client.get_logged_model(erased.models[role]).artifact_location.removeprefix("file://"))

    shutil.copytree(place("original"), temporary / "qunlearn-recorded" / "parent")
    shutil.copytree(place("champion"), temporary / "qunlearn-champion" / "champion")
    for name in ("qunlearn-young", "qunlearn-old", "qunlearn-clean", "another"):
        (temporary / name).mkdir()
        (temporary / name / "trained_ids.txt").write_text("x" if name == "qunlearn-clean" else f"{erased.gone[0]}\n")
    age(temporary / "qunlearn-old", 3700)
    (temporary / "qunlearn-empty").mkdir()
    (temporary / "qunlearn-link").symlink_to(temporary / "another")
    report = purge(erased.workspace, models="purge")
    assert report.is_complete
    gone = {"qunlearn-recorded", "qunlearn-old", "qunlearn-champion"}
    assert {entry.name for entry in report.plan.of(Action.REMOVE, kind=TEMPORARY)} == gone
    (young,) = report.plan.of(Action.OUTSIDE, kind=TEMPORARY)
    assert (young.name, "perhaps in use" in young.why) == ("qunlearn-young", True)
    left = {path.name for path in temporary.iterdir()}
    assert left == {"qunlearn-young", "qunlearn-clean", "another", "qunlearn-empty", "qunlearn-link"}


def test_logits_and_downloads_of_killed_processes_go(erased):
    home = erased.root / ".qunlearn"
    for name in ("stage-abc", "purge-def"):
        (home / name).mkdir(parents=True)
        (home / name / "original-0.npz").write_bytes(b"logits")
    shutil.copytree(erased.workspace.prepared, erased.root / "data" / ".prepared.retired")
    report = purge(erased.workspace, models="purge")
    assert report.is_complete
    names = {entry.name for entry in report.plan.of(Action.REMOVE) if entry.kind in (TEMPORARY, SCRATCH)}
    assert names == {"stage-abc", "purge-def"}
    assert not (erased.root / "data" / ".prepared.retired").exists()
    assert [path.name for path in home.iterdir() if path.is_dir()] == []


def test_data_that_a_killed_writer_left_half_replaced_are_named_and_settled(project):
    append_erased(project.workspace.erased, ["all-999999-0123456789ab"])
    purge(project.workspace, models="purge", because="before")
    shutil.copytree(project.workspace.prepared, project.root / "data" / ".prepared.retired")
    (entry,) = plan_purge(project.workspace, models="purge").to_do
    assert (entry.name, entry.why) == ("data/prepared", "is half replaced")
    assert purge(project.workspace, models="purge", because="after").is_complete
    assert not (project.root / "data" / ".prepared.retired").exists()


def test_logits_that_a_running_stage_uses_stop_the_purge(erased):
    folder = erased.root / ".qunlearn" / "stage-abc"
    folder.mkdir(parents=True)
    with FileLock(folder / "owned.lock"), pytest.raises(PurgeError, match="a stage is at work in it"):
        purge(erased.workspace, models="purge")
    assert purge(erased.workspace, models="purge").is_complete


# --- refusals --------------------------------------------------------------------------------------------------------


def test_a_champion_that_has_not_unlearned_the_samples_stops_the_purge_before_anything_changes(erased):
    erased.store.set_champion(1)
    before = everything(erased)
    for function in (plan_purge, purge):
        with pytest.raises(PurgeError, match="was trained on 4 of the erased samples; run the deletion flow first"):
            function(erased.workspace, models="purge")
    assert everything(erased) == before


def test_data_that_cannot_be_rewritten_stop_the_purge_before_anything_changes(project):
    append_erased(project.workspace.erased, load_split(project.workspace.splits).ids("test"))
    before = everything(project)
    with pytest.raises(ValueError, match="all test images would be erased"):
        purge(project.workspace, models="purge")
    assert everything(project) == before


def test_a_stage_at_work_keeps_the_purge_away(erased):
    with erased.store.stage("retrain", erased.store.pipeline("abc", params={})) as run:
        run.tag({"pid": str(os.getppid()), "process_start": processes._start(os.getppid())})
        with pytest.raises(PurgeBusyError, match="stage retrain of the pipeline is at work"):
            purge(erased.workspace, models="purge")
    assert purge(erased.workspace, models="purge").is_complete


def test_a_stage_on_another_computer_is_told(erased):
    with erased.store.stage("retrain", erased.store.pipeline("abc", params={})) as run:
        run.tag({"host": "elsewhere"})
        plan = plan_purge(erased.workspace, models="purge")
    assert [entry.name for entry in plan.of(Action.OUTSIDE, kind="running stage")] == ["retrain"]


def test_a_dvc_command_at_work_keeps_the_purge_away_and_nothing_is_removed(erased):
    reader = {"read": {str(erased.workspace.prepared): [{"pid": os.getppid(), "cmd": "dvc repro"}]}, "write": {}}
    (erased.root / ".dvc" / "tmp" / "rwlock").write_text(json.dumps(reader))
    left = remains(erased)
    with pytest.raises(PurgeBusyError, match="a dvc command is at work"):
        purge(erased.workspace, models="purge")
    assert remains(erased) == left


def test_two_purges_at_once_are_one_too_many(erased):
    (erased.root / ".qunlearn").mkdir(exist_ok=True)
    with FileLock(erased.root / ".qunlearn" / "purge.lock"), pytest.raises(PurgeBusyError, match="another purge"):
        purge(erased.workspace, models="purge")


@pytest.mark.parametrize("place", ["data", ".qunlearn", "models"])
def test_a_disk_that_refuses_is_told_and_the_next_call_goes_on(erased, monkeypatch, place):
    """A full disk: what is written to a file is refused from some moment on."""
    real = os.fsync

    def refuse(descriptor):
        if f"/{place}/" in os.readlink(f"/proc/self/fd/{descriptor}"):
            raise OSError(28, "No space left on device")
        return real(descriptor)

    with monkeypatch.context() as patch:
        if place == "models":
            patch.setattr(shutil, "rmtree", lambda *_, **__: refuse_removal())
        else:
            patch.setattr(os, "fsync", refuse)
        with pytest.raises(PurgeError, match=r"(No space left on device|Read-only file system); make room or mend"):
            purge(erased.workspace, models="purge")
    report = purge(erased.workspace, models="purge")
    assert report.is_complete
    assert remains(erased) == set()


def refuse_removal() -> None:
    raise OSError(30, "Read-only file system")


def test_damaged_notes_of_an_interrupted_purge_are_told(erased):
    (erased.root / ".qunlearn").mkdir(exist_ok=True)
    for content in ("{", "{}", '{"format": 2}', "[]"):
        (erased.root / ".qunlearn" / "purge.json").write_text(content)
        with pytest.raises(PurgeError, match=r"purge\.json: damaged .*; remove it and run the purge again"):
            purge(erased.workspace, models="purge")


# --- the search ------------------------------------------------------------------------------------------------------


def planted(project: Project, what: str) -> None:
    """Something that no step of the purge removes."""
    client, one = project.store.connection.client, project.gone[0]
    if what == "model":
        place = client.get_logged_model(project.models["clean"]).artifact_location.removeprefix("file://")
        (Path(place) / "notes.txt").write_text(one)
    if what == "data":
        (project.workspace.splits / "notes.txt").write_text(one)


@pytest.mark.parametrize(("what", "place"), [("model", "MLflow, model m-"), ("data", "data")])
def test_what_is_left_is_found_and_the_purge_not_complete(erased, what, place, monkeypatch):
    real = purging._carry_out

    def carry_out(*args):
        told = real(*args)
        planted(erased, what)
        return told

    monkeypatch.setattr(purging, "_carry_out", carry_out)
    report = purge(erased.workspace, models="purge")
    assert not report.is_complete
    (found,) = report.scan.found
    assert found.place.startswith(place)
    assert (found.name, found.what) == ("notes.txt", "holds 1 erased id")
    close(erased.workspace)
    assert Notes.read(erased.root) is not None, "an unfinished purge must not be forgotten"


def test_what_comes_back_while_the_purge_runs_is_found(erased, monkeypatch):
    cache = erased.root / ".dvc" / "cache" / "files" / "md5"
    backup = erased.root.parent / "site" / "backup"
    shutil.copytree(cache, backup)
    real = purging._carry_out

    def carry_out(*args):
        told = real(*args)
        shutil.copytree(backup, cache, dirs_exist_ok=True)
        return told

    with monkeypatch.context() as patch:
        patch.setattr(purging, "_carry_out", carry_out)
        report = purge(erased.workspace, models="purge")
    assert {finding.place for finding in report.scan.found} == {"DVC cache"}
    assert len(report.scan.found) == 18
    assert purge(erased.workspace, models="purge").is_complete


# --- what lies outside -----------------------------------------------------------------------------------------------


def test_files_of_the_user_with_erased_ids_are_told_and_not_touched(erased):
    requests = erased.root / "data" / "requests"
    requests.mkdir()
    (requests / "request.txt").write_text("\n".join(erased.gone))
    (erased.root / "report").mkdir()
    (erased.root / "report" / "index.html").write_text("no id")
    report = purge(erased.workspace, models="purge")
    (told,) = report.plan.of(Action.OUTSIDE, kind="file")
    assert (told.name, told.why) == (
        "data/requests/request.txt",
        "holds 5 erased ids; a file of yours, to be removed or changed by hand",
    )
    assert (requests / "request.txt").exists()
    assert report.is_complete


def test_data_that_a_person_tracks_are_told_and_not_touched(erased):
    (erased.root / "mine").mkdir()
    (erased.root / "mine" / "table.csv").write_text(f"sample_id\n{erased.gone[0]}\n")
    dvc(erased.root, "add", "mine")
    report = purge(erased.workspace, models="purge")
    (told,) = report.plan.of(Action.OUTSIDE, kind=OBJECT)
    assert told.why == "holds 1 erased id, but belongs to data that you track yourself; take it out there"
    assert report.is_complete
    assert dvc(erased.root, "status", "mine.dvc").strip() == "Data and pipelines are up to date."


def test_a_list_of_samples_to_forget_in_the_parameters_is_told(erased):
    from qunlearn.config import IdsScenario

    (erased.root / "forget.txt").write_text("\n".join(erased.gone[:2]))
    scenario = IdsScenario(kind="ids", file=Path("forget.txt"))
    split = erased.workspace.params.split.model_copy(update={"scenario": scenario})
    params = erased.workspace.params.model_copy(update={"split": split})
    (told,) = plan_purge(Workspace(erased.root, params), models="purge").of(kind="file")
    assert (told.name, told.why) == ("forget.txt", "holds 2 erased ids, which `split` will refuse; take them out")


def test_models_in_experiments_of_other_projects_are_told(erased):
    traces = Traces(frozenset(erased.gone))
    found = outside_custody(erased.workspace, traces, others=[erased.store.connection], unreachable=[])
    (told,) = (one for one in found if one.kind == "experiment")
    assert told.why.startswith("has 5 models that were trained on erased samples")


def test_raw_files_and_their_table_are_told(erased):
    from qunlearn.config import ImageFolderSource

    data = ImageFolderSource(source="image_folder", root=Path("data/raw"), metadata=Path("data/raw/table.csv"))
    params = erased.workspace.params.model_copy(update={"data": data})
    (erased.root / "data" / "raw").mkdir()
    (erased.root / "data" / "raw" / "table.csv").write_text(erased.gone[0])
    plan = plan_purge(Workspace(erased.root, params), models="purge")
    assert {entry.name for entry in plan.of(kind="raw data")} == {"data/raw", "data/raw/table.csv"}
    assert plan.of(kind="file") == ()


def test_a_remote_that_cannot_be_purged_is_told(erased):
    config = erased.root / ".dvc" / "config"
    config.write_text(config.read_text() + "['remote \"web\"']\n    url = https://127.0.0.1:9/store\n")
    (told,) = plan_purge(erased.workspace, models="purge").of(kind="DVC remote")
    assert told.name == "DVC remote web"
    assert "served over HTTP" in told.why


# --- killed anywhere -------------------------------------------------------------------------------------------------

PRIMITIVES: tuple[tuple[type, str], ...] = (
    (ObjectStore, "_remove"),
    (ArtifactFiles, "remove"),
    (MlflowClient, "set_tag"),
    (MlflowClient, "set_logged_model_tags"),
    (MlflowClient, "set_model_version_tag"),
    (Notes, "write"),
    (Path, "rename"),
)
"""What a purge changes the world with."""


def in_child(action: Callable[[], object]) -> int:
    """Exit code of a process that does this; 0 where it comes to its end."""
    child = os.fork()
    if child == 0:
        try:
            action()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def killed_at_call(project: Project, number: int, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Purge in a process that ends before the n-th change; False if there are fewer."""

    def action() -> None:
        calls = 0

        def counted(function):
            def wrapper(*args, **kwargs):
                nonlocal calls
                calls += 1
                if calls == number:
                    os._exit(9)
                return function(*args, **kwargs)

            return wrapper

        for owner, name in PRIMITIVES:
            monkeypatch.setattr(owner, name, counted(getattr(owner, name)))
        purge(project.workspace, models="purge", because="deletion b-1")

    return in_child(action) == 9


def killed_at_step(project: Project, step: str) -> None:
    def action() -> None:
        def on_step(name: str) -> None:
            if name == step:
                os._exit(9)

        purge(project.workspace, models="purge", because="deletion b-1", on_step=on_step)

    assert in_child(action) == 9


def outcome(project: Project) -> tuple:
    """What is left, what the records say (but for times) and what the report tells."""
    report = purge(project.workspace, models="purge", because="deletion b-1")
    assert report.is_complete, report.scan.found
    close(project.workspace)
    client = project.store.connection.client
    tags = {
        role: {
            key: value
            for key, value in client.get_logged_model(model_id).tags.items()
            if key not in ("erased_at", "mlflow.note.content")
        }
        for role, model_id in project.models.items()
    }
    files = {name: content for name, content in everything(project).items() if not name.endswith("mlflow.db")}
    entries = {(entry.kind, entry.place, entry.target, entry.action) for entry in report.plan.to_do}
    return files, tags, entries


@pytest.fixture
def undisturbed(erased) -> tuple:
    return outcome(erased)


@pytest.mark.parametrize("step", STEPS)
def test_after_a_kill_at_any_boundary_the_next_call_ends_where_an_undisturbed_one_does(undisturbed, tmp_path, step):
    project = copied(tmp_path / "killed")
    project.erase()
    killed_at_step(project, step)
    assert outcome(project) == undisturbed


def check_kills(undisturbed: tuple, folder: Path, monkeypatch: pytest.MonkeyPatch, *, every: int, start: int) -> int:
    number = start
    while True:
        project = copied(folder / f"killed-{number}")
        project.erase()
        if not killed_at_call(project, number, monkeypatch):
            return number
        assert outcome(project) == undisturbed, f"killed at change {number}"
        shutil.rmtree(folder / f"killed-{number}")
        number += every


def test_after_a_kill_at_some_changes_the_next_call_ends_where_an_undisturbed_one_does(
    undisturbed, tmp_path, monkeypatch
):
    assert check_kills(undisturbed, tmp_path, monkeypatch, every=17, start=3) > 60


@pytest.mark.slow
def test_after_a_kill_at_any_change_the_next_call_ends_where_an_undisturbed_one_does(
    undisturbed, tmp_path, monkeypatch
):
    assert check_kills(undisturbed, tmp_path, monkeypatch, every=1, start=1) > 60


def test_a_purge_that_nobody_recorded_is_told_again_and_one_for_another_reason_is_not(erased):
    first = purge(erased.workspace, models="purge", because="deletion b-1")
    again = purge(erased.workspace, models="purge", because="deletion b-1")
    assert again.plan.to_do == first.plan.to_do
    other = purge(erased.workspace, models="purge", because="deletion b-2")
    assert other.plan.to_do == ()


def test_notes_are_for_this_user_alone_and_hold_no_id(erased):
    purge(erased.workspace, models="purge")
    notes = erased.root / ".qunlearn" / "purge.json"
    assert notes.stat().st_mode & 0o777 == 0o600
    assert not any(one in notes.read_text() for one in erased.gone)
    close(erased.workspace)
    assert not notes.exists()
    close(erased.workspace)
