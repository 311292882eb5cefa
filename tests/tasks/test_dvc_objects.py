"""Objects of DVC are found and removed one by one, in the cache and in a remote, with calls that DVC may change."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from dvc.data_cloud import DataCloud
from dvc.fs import LocalFileSystem
from dvc_data.hashfile.db import get_index
from purge_project import dvc

from qunlearn.deletion.purge_errors import PurgeBusyError
from tasks import dvc_objects
from tasks.dvc_objects import DvcError, ObjectStore, exclusive, open_stores

NAMES = ["DVC cache", "DVC cache, layout of version 2", "DVC remote store", "DVC remote store, layout of version 2"]


@pytest.fixture
def opened(project):
    """Opens the project's stores."""
    ours = (project.workspace.prepared, project.workspace.splits)
    return lambda: open_stores(project.root, ours=ours)


def objects(folder: Path) -> set[str]:
    """Names of the objects in a cache or remote, as they lie on the disk."""
    return {path.parent.name + path.name for path in (folder / "files" / "md5").rglob("*") if path.is_file()}


def runs(folder: Path) -> set[str]:
    return {path.relative_to(folder / "runs").as_posix() for path in (folder / "runs").rglob("*") if path.is_file()}


def places(project) -> dict[str, Path]:
    return {"DVC cache": project.root / ".dvc" / "cache", "DVC remote store": project.remote}


def current(project, stage: str) -> str:
    """The object of a stage's present output, by `dvc.lock`."""
    import yaml

    return yaml.safe_load((project.root / "dvc.lock").read_text())["stages"][stage]["outs"][0]["md5"]


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# --- looking ---------------------------------------------------------------------------------------------------------


def test_all_objects_of_cache_and_remote_are_listed(project, opened):
    with opened() as stores:
        assert [store.name for store in stores.stores] == NAMES
        found = {store.name: store.oids() for store in stores.stores}
    # Two versions of six and of three objects each; of metrics, which are not cached, copies for the local run-cache.
    assert {name: len(oids) for name, oids in found.items() if oids} == {"DVC cache": 20, "DVC remote store": 18}
    for name, folder in places(project).items():
        assert found[name] == objects(folder)
        assert found[f"{name}, layout of version 2"] == frozenset()


def test_a_version_lists_the_files_of_a_folder(project, opened):
    with opened() as stores:
        for store in (stores.named("DVC cache"), stores.named("DVC remote store")):
            version = store.version(current(project, "ingest"), project.root)
            assert version.is_ours
            assert sorted(version.members) == ["coarse.npy", "ids.txt", "images.npy", "labels.npy", "meta.json"]
            content = store.file(version.members["ids.txt"], project.root).read_bytes()
            assert content == (project.workspace.prepared / "ids.txt").read_bytes()
            assert store.version(version.members["ids.txt"], project.root) is None


def test_the_run_cache_tells_what_it_would_bring_back(project, opened):
    with opened() as stores:
        for name, folder in places(project).items():
            entries = {entry: outs for entry, _, outs in stores.named(name).run_cache(project.root)}
            assert entries.keys() == runs(folder)
            assert len(entries) == 6
            assert frozenset({current(project, "split")}) in entries.values()
        assert list(stores.named(NAMES[1]).run_cache(project.root)) == []


def test_objects_of_a_remote_elsewhere_are_copied_to_be_read(project, opened, monkeypatch, tmp_path):
    monkeypatch.setattr(ObjectStore, "is_local", property(lambda self: "remote" not in self.name))
    work = tmp_path / "work"
    work.mkdir()
    with opened() as stores:
        store = stores.named("DVC remote store")
        version = store.version(current(project, "ingest"), work)
        file = store.file(version.members["ids.txt"], work)
        assert file == work / version.members["ids.txt"]
        assert file.read_bytes() == (project.workspace.prepared / "ids.txt").read_bytes()
        entries = list(store.run_cache(work))
        assert {entry for entry, _, _ in entries} == runs(project.remote)
        assert all(path.parent == work for _, path, _ in entries)


def test_damaged_listings_and_entries_tell_nothing(project, opened):
    cache = project.root / ".dvc" / "cache"
    oid = current(project, "ingest")
    listing, entry = cache / "files" / "md5" / oid[:2] / oid[2:], cache / "runs" / sorted(runs(cache))[0]
    for path, content in ((listing, b"[1]"), (entry, b"outs: [\xff")):
        path.chmod(0o644)
        path.write_bytes(content)
    with opened() as stores:
        assert stores.named("DVC cache").version(oid, project.root) is None
        outs = {name: outs for name, _, outs in stores.named("DVC cache").run_cache(project.root)}
        assert outs[sorted(outs)[0]] == frozenset()


def test_what_is_tracked_beside_the_data_is_needed(project, opened):
    (project.root / "mine").mkdir()
    (project.root / "mine" / "a.txt").write_text("a")
    dvc(project.root, "add", "mine")
    listing = json.loads(next(project.root.glob(".dvc/cache/files/md5/*/*.dir")).read_text())
    assert listing
    with opened() as stores:
        mine = [
            version
            for oid in stores.named("DVC cache").oids()
            if (version := stores.named("DVC cache").version(oid, project.root)) and "a.txt" in version.members
        ]
        assert mine[0].oids <= stores.tracked
        assert not mine[0].is_ours
        assert not {current(project, "ingest"), current(project, "split")} & stores.tracked
        assert current(project, "evaluate") in stores.tracked


def test_without_dvc_there_are_no_stores_and_nothing_to_lock(tmp_path):
    with open_stores(tmp_path, ours=()) as stores, exclusive(tmp_path, tmp_path / "data"):
        assert (stores.stores, stores.unreachable, stores.tracked) == ((), (), frozenset())


# --- removing --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["DVC cache", "DVC remote store"])
def test_exactly_the_objects_named_are_removed(project, opened, name):
    folder = places(project)[name]
    before, data = objects(folder), files(project.root / "data")
    with opened() as stores:
        store = stores.named(name)
        gone = store.version(current(project, "split"), project.root).oids
        store.remove(sorted(gone))
        assert store.oids() == before - gone
        # Again: what is not there counts as removed.
        store.remove([*sorted(gone), "ab" * 16])
    assert objects(folder) == before - gone
    assert files(project.root / "data") == data


@pytest.mark.parametrize("name", ["DVC cache", "DVC remote store"])
def test_entries_of_the_run_cache_are_removed(project, opened, name):
    folder = places(project)[name]
    before = runs(folder)
    with opened() as stores:
        for _ in range(2):
            stores.named(name).remove_run(sorted(before)[0])
    assert runs(folder) == before - {sorted(before)[0]}


def test_objects_of_version_2_have_a_place_of_their_own(project, opened):
    for name, folder in places(project).items():
        (folder / "ab").mkdir()
        (folder / "ab" / ("c" * 30)).write_text("old")
        with opened() as stores:
            store = stores.named(f"{name}, layout of version 2")
            assert store.oids() == {"ab" + "c" * 30}
            store.remove(store.oids())
            assert store.oids() == frozenset()
        assert not (folder / "ab" / ("c" * 30)).exists()


def test_dvc_pushes_again_what_was_removed_from_a_remote(project, opened):
    # DVC keeps a list of what a remote has. With a stale one it would take the new object for pushed.
    before = objects(project.remote)
    with opened() as stores:
        store = stores.named("DVC remote store")
        get_index(store.odb).update(*(sorted(store.oids()) for _ in range(2)))
        store.remove([current(project, "split")])
        assert list(get_index(store.odb)) == []
    dvc(project.root, "push")
    assert objects(project.remote) == before


def test_an_object_that_stays_after_its_removal_is_an_error(project, opened, monkeypatch):
    monkeypatch.setattr(LocalFileSystem, "remove", lambda *_: None)
    with opened() as stores, pytest.raises(DvcError, match="DVC cache: an object is still there after it was removed"):
        stores.named("DVC cache").remove([current(project, "split")])


def test_a_store_that_refuses_is_named(project, opened, monkeypatch):
    def refuse(*_args, **_kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(LocalFileSystem, "remove", refuse)
    with opened() as stores, pytest.raises(DvcError, match=r"DVC remote store: .*Permission denied; the purge cannot"):
        stores.named("DVC remote store").remove([current(project, "split")])


# --- remotes that cannot be purged -----------------------------------------------------------------------------------


def with_remote(project, text: str) -> None:
    config = project.root / ".dvc" / "config"
    config.write_text(config.read_text() + text)


def test_remotes_that_cannot_be_listed_or_opened_are_told(project, opened):
    with_remote(project, "['remote \"web\"']\n    url = https://user:secret@127.0.0.1:9/store\n")
    with_remote(project, "['remote \"cloud\"']\n    url = s3://bucket/store\n")
    with opened() as stores:
        told = dict(stores.unreachable)
        assert [store.name for store in stores.stores] == NAMES
    assert "served over HTTP; remove its objects where it is kept" in told["DVC remote web"]
    assert "cannot be opened" in told["DVC remote cloud"]
    assert "secret" not in str(told)


def test_remotes_with_versions_of_their_own_are_told(project, opened, monkeypatch):
    get_remote = DataCloud.get_remote

    def worktree(*args, **kwargs):
        remote = get_remote(*args, **kwargs)
        remote.worktree = True
        return remote

    monkeypatch.setattr(DataCloud, "get_remote", worktree)
    with opened() as stores:
        ((name, why),) = stores.unreachable
    assert (name, why.partition(" (")[0]) == ("DVC remote store", "keeps versions of its own")


def test_a_remote_that_is_not_configured_any_more_is_an_error(project, opened):
    with opened() as stores, pytest.raises(DvcError, match="DVC remote old: an interrupted purge has work to do there"):
        stores.named("DVC remote old")


@pytest.mark.parametrize("file", [".dvc/config", "dvc.yaml", "dvc.lock"])
def test_damaged_files_of_dvc_are_an_error_in_one_line(project, opened, file):
    (project.root / file).write_text("][")
    with pytest.raises(DvcError, match=r"^DVC: ") as caught, opened():
        pass
    assert "\n" not in str(caught.value)


# --- other commands --------------------------------------------------------------------------------------------------


def locked_by(project, pid: int) -> None:
    path = str(project.workspace.prepared)
    content = {"write": {}, "read": {path: [{"pid": pid, "cmd": "dvc repro"}]}}
    (project.root / ".dvc" / "tmp" / "rwlock").write_text(json.dumps(content))


def test_a_stage_that_reads_the_data_keeps_the_purge_away(project):
    folders = (project.workspace.prepared, project.workspace.splits)
    locked_by(project, os.getppid())
    with pytest.raises(PurgeBusyError, match="a dvc command is at work on the data"), exclusive(project.root, *folders):
        pass


def test_a_stage_that_was_killed_does_not(project):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    locked_by(project, ended.pid)
    with exclusive(project.root, project.workspace.prepared):
        pass
    assert json.loads((project.root / ".dvc" / "tmp" / "rwlock").read_text()).get("write", {}) == {}


def test_the_purge_keeps_dvc_away(project, monkeypatch):
    from dvc.lock import LockError
    from dvc.repo import Repo

    monkeypatch.setattr("dvc.lock.DEFAULT_TIMEOUT", 0)
    with exclusive(project.root, project.workspace.prepared), Repo(str(project.root)) as repo:
        with pytest.raises(LockError):
            repo.lock.lock()
        info = json.loads((project.root / ".dvc" / "tmp" / "rwlock").read_text())
        assert info["write"][str(project.workspace.prepared)]["pid"] == os.getpid()


def test_a_dvc_command_that_holds_the_repository_keeps_the_purge_away(project, monkeypatch):
    from dvc.repo import Repo

    monkeypatch.setattr("dvc.lock.DEFAULT_TIMEOUT", 0)
    with Repo(str(project.root)) as repo, repo.lock, pytest.raises(PurgeBusyError), exclusive(project.root):
        pass


def test_an_error_in_the_block_is_not_taken_for_a_busy_repository(project):
    with pytest.raises(dvc_objects.LockError), exclusive(project.root):
        raise dvc_objects.LockError("another one")
