"""After a purge nothing that was made from the erased samples is left, and all else is."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from purge_checks import everything, models_without_bytes, remains
from purge_project import Project, dvc

from qunlearn import checkpoint
from qunlearn.data import imageset
from qunlearn.data.erased import append_erased
from qunlearn.data.splits import check_gate, load_split
from qunlearn.deletion.purge import Action
from qunlearn.deletion.purge_inventory import DATA, MODEL, OBJECT, QUARANTINED, RUN_FILE
from tasks import purging
from tasks.dvc_objects import ObjectStore
from tasks.purge_notes import Notes
from tasks.purging import STEPS, close, plan_purge, purge

TAINTED = {"original", "retrain", "shadow", "noop", "unlearned", "candidate"}
BENCHMARK = {"retrain", "noop", "unlearned"}


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


def test_an_object_that_the_present_data_link_to_stays_though_an_erased_version_has_it(erased):
    purge(erased.workspace, models="purge")
    cache = erased.root / ".dvc" / "cache" / "files" / "md5"

    def put(content: bytes, suffix: str = "") -> Path:
        name = hashlib.md5(content, usedforsecurity=False).hexdigest() + suffix
        path = cache / name[:2] / name[2:]
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        return path

    meta, ids = erased.workspace.prepared / "meta.json", "".join(f"{one}\n" for one in erased.gone).encode()
    shared, listing, labels = put(meta.read_bytes()), put(ids), put(b"labels")
    meta.unlink()
    meta.symlink_to(shared)
    members = {"meta.json": shared, "ids.txt": listing, "images.npy": labels, "labels.npy": labels}
    version = put(
        json.dumps([{"md5": path.parent.name + path.name, "relpath": name} for name, path in members.items()]).encode(),
        ".dir",
    )
    assert purge(erased.workspace, models="purge", because="again").is_complete
    assert [path.exists() for path in (shared, listing, labels, version)] == [True, False, False, False]
    imageset.load(erased.workspace.prepared)


def test_files_of_an_interrupted_push_go_too(erased):
    # Without the list of a version's files its labels are bytes like others.
    for listing in erased.remote.rglob("*.dir"):
        listing.unlink()
    report = purge(erased.workspace, models="purge")
    assert report.is_complete
    assert not list(erased.remote.glob("files/md5/*/*"))


def test_a_remote_elsewhere_is_searched_and_purged_too(erased, monkeypatch):
    monkeypatch.setattr(ObjectStore, "is_local", property(lambda self: "remote" not in self.name))
    shutil.rmtree(erased.root / ".dvc" / "cache")
    report = purge(erased.workspace, models="purge")
    assert report.is_complete
    assert len(report.plan.of(kind=OBJECT)) == 18
    assert remains(erased) == set()
    assert [path for path in (erased.root / ".qunlearn").iterdir() if path.is_dir()] == []


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
