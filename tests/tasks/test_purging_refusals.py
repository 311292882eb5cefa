"""A purge that must not be carried out, or cannot be, says why and harms nothing."""

from __future__ import annotations

import json
import os
import shutil

import pytest
from filelock import FileLock
from purge_checks import everything, remains

from qunlearn.data.erased import append_erased
from qunlearn.data.splits import load_split
from qunlearn.deletion.purge import Action
from qunlearn.deletion.purge_errors import PurgeBusyError, PurgeError
from tasks.purging import plan_purge, purge
from tasks.tracking import processes


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
