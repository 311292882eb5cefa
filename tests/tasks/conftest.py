"""Copies of a project that has all a purge deals with, and a temporary folder and a home of DVC for each test."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest


@pytest.fixture
def project(tmp_path, monkeypatch):
    """See `purge_project`. No test may look at, let alone remove, temporary folders of other programs."""
    from purge_project import copied

    (tmp_path / "temporary").mkdir()
    made = copied(tmp_path / "copy")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return made


@pytest.fixture
def temporary(project) -> Path:
    """The folder that stands for this computer's temporary one."""
    return Path(tempfile.gettempdir())


@pytest.fixture
def erased(project):
    """The project after a deletion has released the champion and listed the samples."""
    project.erase()
    return project
