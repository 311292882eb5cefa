"""What killed processes left goes with a purge, what others may use stays."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from filelock import FileLock

from qunlearn.data.erased import append_erased
from qunlearn.deletion.purge import Action
from qunlearn.deletion.purge_errors import PurgeError
from qunlearn.deletion.purge_inventory import SCRATCH, TEMPORARY
from tasks.purging import plan_purge, purge


def age(folder: Path, seconds: float) -> None:
    for path in folder.rglob("*"):
        os.utime(path, (time.time() - seconds,) * 2)


def test_temporary_folders_of_killed_processes_go_and_those_of_others_stay(erased, temporary):
    client = erased.store.connection.client

    def place(role):
        return Path(client.get_logged_model(erased.models[role]).artifact_location.removeprefix("file://"))

    shutil.copytree(place("original"), temporary / "qunlearn-recorded" / "parent")
    shutil.copytree(place("champion"), temporary / "qunlearn-champion" / "champion")
    # A download that was killed before the weights came.
    shutil.copytree(place("retrain"), temporary / "qunlearn-part", ignore=shutil.ignore_patterns("weights*"))
    for name in ("qunlearn-young", "qunlearn-old", "qunlearn-clean", "another"):
        (temporary / name).mkdir()
        (temporary / name / "trained_ids.txt").write_text("x" if name == "qunlearn-clean" else f"{erased.gone[0]}\n")
    age(temporary / "qunlearn-old", 1000)
    (temporary / "qunlearn-empty").mkdir()
    (temporary / "qunlearn-link").symlink_to(temporary / "another")
    report = purge(erased.workspace, models="purge")
    assert report.is_complete
    gone = {"qunlearn-recorded", "qunlearn-part", "qunlearn-old", "qunlearn-champion"}
    assert {entry.name for entry in report.plan.of(Action.REMOVE, kind=TEMPORARY)} == gone
    (young,) = report.plan.of(Action.OUTSIDE, kind=TEMPORARY)
    assert (young.name, "perhaps in use" in young.why) == ("qunlearn-young", True)
    left = {path.name for path in temporary.iterdir()}
    assert left == {"qunlearn-young", "qunlearn-clean", "another", "qunlearn-empty", "qunlearn-link"}


def test_logits_and_downloads_of_killed_processes_go(erased):
    home = erased.root / ".qunlearn"
    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    for name in ("stage-abc", "purge-def", f"purge-{other.pid}-ghi"):
        (home / name).mkdir(parents=True)
        (home / name / "original-0.npz").write_bytes(b"logits")
    shutil.copytree(erased.workspace.prepared, erased.root / "data" / ".prepared.retired")
    report = purge(erased.workspace, models="purge")
    assert report.is_complete
    names = {entry.name for entry in report.plan.of(Action.REMOVE) if entry.kind in (TEMPORARY, SCRATCH)}
    assert names == {"stage-abc", "purge-def"}
    assert not (erased.root / "data" / ".prepared.retired").exists()
    # Somebody else looks at what a purge would do.
    assert [path.name for path in home.iterdir() if path.is_dir()] == [f"purge-{other.pid}-ghi"]
    other.communicate(b"\n")


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
