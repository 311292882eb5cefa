"""A small project with a released model, made once, and copies of it to delete from."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import deletion_project
import pytest
from prefect.context import get_settings_context
from prefect.logging import disable_run_logger
from prefect.settings import PREFECT_API_URL, temporary_settings


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder after the stages ingest, split and pretrain, and a release. Tests work on a `project`, a copy."""
    with pytest.MonkeyPatch.context() as patch:
        for name in deletion_project.ENVIRONMENT:
            patch.delenv(name, raising=False)
        return deletion_project.built(tmp_path_factory.mktemp("trained") / "project")


@pytest.fixture
def project(trained: Path, tmp_path: Path) -> Path:
    """A copy with its own runs, its own bytes of models and its own history."""
    return deletion_project.copied(trained, tmp_path / "project")


@pytest.fixture
def served(project: Path) -> deletion_project.Served:
    return deletion_project.Served(project)


@pytest.fixture
def without_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No Prefect server, also where other tests of this process have one, and in threads."""
    with temporary_settings(restore_defaults={PREFECT_API_URL}):
        monkeypatch.setattr("prefect.context.GLOBAL_SETTINGS_CONTEXT", get_settings_context())
        yield


@pytest.fixture
def plainly(without_server: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """The flow's own code as plain functions: no Prefect server, no run to log to."""
    for name in deletion_project.ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    # The purge searches the folder for temporary files: what others leave there now is not these tests' concern.
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    deletion_project.plain_steps(monkeypatch.setattr)
    with disable_run_logger():
        yield
