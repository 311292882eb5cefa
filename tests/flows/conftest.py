"""A small project with a released model, made once, and copies of it to delete from."""

from __future__ import annotations

from pathlib import Path

import deletion_project
import pytest


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
