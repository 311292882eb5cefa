"""What changes between a purge that was cut short and the next: a release, a lost number of a process, other data."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from purge_checks import remains
from purge_project import cell, keep

from qunlearn.data import imageset
from qunlearn.deletion.purge_errors import PurgeError
from tasks.dvc_objects import DvcError, ObjectStore
from tasks.leftovers import WORK
from tasks.material import Material
from tasks.purging import plan_purge, purge
from tasks.release import release
from tasks.tracking import TrackingError, processes
from tasks.tracking.artifact_files import ArtifactFiles
from tasks.tracking.erasure import custody


def targets(entries):
    return [entry.target for entry in entries]


def benchmark_model(project):
    """One that never saw the samples: a purge takes it for a model of the benchmark, a release for a good one."""
    material = Material.load(project.workspace)
    rest = tuple(one for one in material.split.ids("train") if one not in project.gone)
    model = material.blueprint.build(seed=9).train()
    model(material.pool.batch(material.indices("train")[:32])[0])
    with cell(project.store, "unlearn", "oeu seed 7", [project.models["original"]]) as run:
        return keep(run, model.eval(), material.blueprint, rest, "oeu", None, interface=material.interface())


def files(project, model_id):
    connection = project.store.connection
    return ArtifactFiles(connection, connection.client.get_logged_model(model_id).artifact_location).names()


def test_a_model_that_was_released_since_a_purge_was_cut_short_is_served_and_stays(erased, monkeypatch):
    released, remove = benchmark_model(erased), ObjectStore.remove

    def refuses(store, oids):
        if "remote" in store.name:
            raise DvcError("DVC remote store: does not answer")
        return remove(store, oids)

    with monkeypatch.context() as patch:
        patch.setattr(ObjectStore, "remove", refuses)
        with pytest.raises(PurgeError, match="does not answer"):
            purge(erased.workspace, models="purge")
    release(erased.workspace, released)
    assert released not in targets(plan_purge(erased.workspace, models="purge").to_do)
    report = purge(erased.workspace, models="purge")
    assert report.is_complete
    assert files(erased, released)
    assert released not in targets(report.plan.to_do)
    assert remains(erased) == set()
    # What it did before counts as done, and is told.
    assert {entry.kind for entry in report.plan.to_do} >= {"model", "DVC object"}


def test_every_experiment_is_looked_at(erased, monkeypatch):
    monkeypatch.setattr("tasks.tracking.erasure.PAGE", 2)
    connection = erased.store.connection
    for number in range(5):
        connection.client.create_experiment(f"another {number}")
    own, others = custody(connection)
    assert (len(own), others) == (7, [])
    monkeypatch.setattr(type(connection), "is_server", True)
    own, others = custody(connection)
    assert ([one.experiment_id for one in own], len(others)) == ([connection.experiment_id], 6)


def test_without_the_projects_experiment_nothing_is_said(erased, monkeypatch):
    connection = erased.store.connection
    everything = "tasks.tracking.erasure.everything"
    monkeypatch.setattr(everything, lambda *_, **__: iter(()))
    with pytest.raises(TrackingError, match="does not list the project's own experiment"):
        custody(connection)


def test_downloads_of_a_purge_whose_number_another_process_has_are_removed(erased):
    home = erased.root / ".qunlearn"
    lives = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        running = f"{lives.pid}-{processes._digest(processes._start(lives.pid))}"
        for name in (f"{lives.pid}-0123456789ab", f"{lives.pid}", f"{os.getppid()}", processes.mark(), running):
            left = home / f"{WORK}{name}-a_b3c"
            left.mkdir(parents=True)
            (left / "ids.txt").write_text(f"{erased.gone[0]}\n")
        assert purge(erased.workspace, models="purge").is_complete
        assert [one.name for one in home.glob(f"{WORK}*/")] == [f"{WORK}{running}-a_b3c"]
    finally:
        lives.communicate(b"\n")
    assert purge(erased.workspace, models="purge").is_complete
    assert not list(home.glob(f"{WORK}*/"))


def test_erased_images_are_found_beside_data_of_another_size(erased):
    images = imageset.load(erased.workspace.prepared)
    stray = kept(erased.remote, array(images.images[images.index_of(erased.gone)]))
    cache = erased.root / ".dvc" / "cache"
    for number in range(400):
        other = {
            "images.npy": array(np.full((3, 1, 28, 28), number % 250, np.uint8)),
            "ids.txt": b"".join(b"other-%06d-0123456789ab\n" % one for one in range(3)),
            "labels.npy": b"labels %d" % number,
            "meta.json": b"{}",
        }
        listing = [{"md5": hashlib.md5(content).hexdigest(), "relpath": name} for name, content in other.items()]
        # One that comes last, whatever the order of the other data.
        if hashlib.md5(json.dumps(listing).encode()).hexdigest().startswith("ff"):
            break
    for place in (cache, erased.remote):
        for content in other.values():
            kept(place, content)
        kept(place, json.dumps(listing).encode(), ".dir")
    assert purge(erased.workspace, models="purge").is_complete
    assert not stray.exists()
    assert remains(erased) == set()


def array(values):
    sink = io.BytesIO()
    np.save(sink, np.ascontiguousarray(values))
    return sink.getvalue()


def kept(place, content, suffix=""):
    """The file of an object in a store of DVC."""
    name = hashlib.md5(content).hexdigest() + suffix
    path = place / "files" / "md5" / name[:2] / name[2:]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_a_folder_in_the_prepared_data_is_passed_over(erased):
    purge(erased.workspace, models="purge")
    (erased.workspace.prepared / ".ipynb_checkpoints").mkdir()
    assert purge(erased.workspace, models="purge").is_complete


CHURN = """
import sys, tempfile
from pathlib import Path
tempfile.tempdir = sys.argv[1]
from tasks.temporary import temporary_folder
print("begun", flush=True)
while True:
    with temporary_folder(Path("/")) as folder:
        for number in range(30):
            (folder / str(number)).mkdir()
            (folder / str(number) / "file").touch()
"""


def test_temporary_folders_that_vanish_meanwhile_do_not_disturb(erased, temporary):
    other = subprocess.Popen([sys.executable, "-c", CHURN, str(temporary)], stdout=subprocess.PIPE)
    try:
        assert other.stdout.readline() == b"begun\n"
        for _ in range(6):
            assert purge(erased.workspace, models="purge").is_complete
    finally:
        other.kill()
        other.communicate()
