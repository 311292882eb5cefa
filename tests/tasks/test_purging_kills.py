"""Killed anywhere and called again, a purge ends where an undisturbed one does, and tells all of it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient
from purge_checks import everything
from purge_project import Project, copied

from tasks.dvc_objects import ObjectStore
from tasks.purge_notes import Notes
from tasks.purging import STEPS, close, purge
from tasks.tracking.artifact_files import ArtifactFiles

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


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> tuple:
    folder = tmp_path_factory.mktemp("undisturbed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("temporary")))
        patch.setenv("DVC_SITE_CACHE_DIR", str(folder / "site"))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        project = copied(folder / "copy")
        project.erase()
        return outcome(project)


@pytest.mark.parametrize("step", STEPS)
def test_after_a_kill_at_any_boundary_the_next_call_ends_where_an_undisturbed_one_does(erased, undisturbed, step):
    killed_at_step(erased, step)
    assert outcome(erased) == undisturbed


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


@pytest.mark.usefixtures("project")
def test_after_a_kill_at_some_changes_the_next_call_ends_where_an_undisturbed_one_does(
    undisturbed, tmp_path, monkeypatch
):
    assert check_kills(undisturbed, tmp_path, monkeypatch, every=23, start=3) > 60


@pytest.mark.slow
@pytest.mark.usefixtures("project")
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
