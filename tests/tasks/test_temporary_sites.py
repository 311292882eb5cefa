"""All temporary folders are made where they get the mark by which a purge knows them."""

from __future__ import annotations

from pathlib import Path

from purge_store import folder

import tasks
from tasks import temporary
from tasks.temporary import is_ours
from tasks.tracking.artifact_files import ArtifactFiles


def test_no_other_module_makes_a_folder_with_the_prefix():
    package = Path(tasks.__file__).parent
    named = {path.relative_to(package).as_posix() for path in package.rglob("*.py") if '"qunlearn-' in path.read_text()}
    assert named == {"temporary.py", "tracking/registry.py"}


def test_the_store_knows_the_root_that_marks_its_folders(erased, monkeypatch):
    connection = erased.store.connection
    place = folder(connection, erased.models["original"])
    monkeypatch.setattr(ArtifactFiles, "folder", None)
    with ArtifactFiles(connection, place.as_uri()).local("trained_ids.txt") as path:
        made = next(one for one in path.parents if one.name.startswith(temporary.PREFIX))
        assert is_ours(made, erased.root)
    assert not made.exists()
