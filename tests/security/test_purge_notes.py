"""Notes of an interrupted purge that came from elsewhere cannot make it remove a folder of somebody's."""

from __future__ import annotations

import pytest
import small_requests as small

from qunlearn.deletion.purge_errors import PurgeError
from qunlearn.deletion.purge_inventory import QUARANTINED, TEMPORARY
from tasks.leftovers import quarantine_folder, remove_leftover
from tasks.workspace import Workspace

TARGETS = {
    "folder of somebody": "{elsewhere}/precious",
    "up from a place of ours": "{root}/.qunlearn/../precious",
    "up from a temporary folder": "{elsewhere}/../precious/../elsewhere/qunlearn-x",
    "the project itself": "{root}",
    "link": "{elsewhere}/qunlearn-link",
}


@pytest.fixture
def workspace(tmp_path):
    return Workspace.open(small.plain_project(tmp_path / "project", "sqlite:///mlflow.db") / "params.yaml")


@pytest.mark.parametrize("kind", [TEMPORARY, QUARANTINED])
@pytest.mark.parametrize("target", TARGETS)
def test_a_folder_that_is_no_leftover_is_not_removed(workspace, tmp_path, kind, target):
    elsewhere = tmp_path / "elsewhere"
    names = ("elsewhere/precious", "elsewhere/qunlearn-x", "project/precious", "precious")
    for folder in (tmp_path / name for name in names):
        folder.mkdir(parents=True)
    (workspace.root / ".qunlearn").mkdir(exist_ok=True)
    (elsewhere / "qunlearn-link").symlink_to(elsewhere / "precious")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(PurgeError, match="no folder that a purge of this project may remove"):
        remove_leftover(workspace, kind, TARGETS[target].format(root=workspace.root, elsewhere=elsewhere))
    assert sorted(tmp_path.rglob("*")) == before


def test_leftovers_are_removed(workspace, tmp_path):
    home = workspace.root / ".qunlearn"
    places = [quarantine_folder(workspace.root) / "m-1", home / "purge-1-x", tmp_path / "qunlearn-x"]
    for place in places:
        place.mkdir(parents=True)
        remove_leftover(workspace, TEMPORARY, str(place))
        assert not place.exists()
