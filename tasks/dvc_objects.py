"""The objects that DVC keeps: in its cache, in its remotes, and the run-cache of both.

The only module that imports DVC. `dvc gc` would also drop what other checkouts and other projects keep in the same
place, so objects are removed one by one. DVC's calls for that are semi-internal: each has a test. Nothing here writes
`dvc.lock` or a file of the workspace.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from dvc.config import RemoteConfigError
from dvc.exceptions import DvcException, NotDvcRepoError
from dvc.fs import LocalFileSystem
from dvc.lock import LockError
from dvc.repo import Repo
from dvc.rwlock import rwlock
from dvc_data.hashfile.db import get_index

from qunlearn.deletion.purge_errors import PurgeBusyError, PurgeError
from qunlearn.deletion.purge_objects import Version

LEGACY = "md5-dos2unix"
"""Name of the hash by which DVC 2 kept objects, in a layout of its own beside the present one."""
DIRECTORY = ".dir"


class DvcError(PurgeError):
    """DVC's stores cannot be read or changed; the message says which and why."""


@dataclass(frozen=True)
class ObjectStore:
    """The cache or a remote, in one of its two layouts.

    Args:
        name: in words. Never its address, which can hold credentials.
        odb: DVC's own object.
        runs: folder of the run-cache in the same file system; None where another layout of the place has it.
    """

    name: str
    odb: Any
    runs: str | None

    @property
    def is_local(self) -> bool:
        """Whether its objects are files of this computer."""
        return isinstance(self.odb.fs, LocalFileSystem)

    def oids(self) -> frozenset[str]:
        """Names of all objects there.

        Raises:
            DvcError: the store cannot be listed.
        """
        with _explained(self.name):
            return frozenset(self.odb.all()) if self.odb.fs.exists(self.odb.path) else frozenset()

    def file(self, oid: str, folder: Path) -> Path:
        """The object as a local file, to be read only: where it lies, or a copy in `folder`."""
        return self._local(self.odb.oid_to_path(oid), folder / oid)

    def version(self, oid: str, folder: Path) -> Version | None:
        """The folder that an object lists; None if it is no such object, or a damaged one."""
        if not oid.endswith(DIRECTORY):
            return None
        try:
            content = json.loads(self.file(oid, folder).read_bytes())
            return Version(oid, {entry["relpath"]: entry["md5"] for entry in content})
        except (ValueError, KeyError, TypeError):
            return None

    def run_cache(self, folder: Path) -> Iterator[tuple[str, Path, frozenset[str]]]:
        """Entries of the run-cache: name, local file, and the objects that it would bring back."""
        if self.runs is None or not self.odb.fs.exists(self.runs):
            return
        with _explained(self.name):
            found = sorted(self.odb.fs.find(self.runs))
        for path in found:
            name = self.odb.fs.relpath(path, self.runs)
            local = self._local(path, folder / name.replace("/", "-"))
            yield name, local, _outs(local)

    def remove(self, oids: Iterable[str]) -> None:
        """Remove objects, in this order; those that are not there count as removed.

        Raises:
            DvcError: the store refuses, or still has an object afterwards.
        """
        with _explained(self.name):
            # DVC remembers what a remote has, and would not push it again; forgotten first, in case we are killed.
            get_index(self.odb).clear()
            for oid in oids:
                self._remove(self.odb.oid_to_path(oid))

    def remove_run(self, name: str) -> None:
        """Remove an entry of the run-cache; DvcError as for `remove`."""
        assert self.runs is not None, "only a place with a run-cache has entries"
        with _explained(self.name):
            self._remove(self.odb.fs.join(self.runs, name))

    def _remove(self, path: str) -> None:
        if self.odb.fs.exists(path):
            self.odb.fs.remove(path)
        if self.odb.fs.exists(path):
            raise DvcError(f"{self.name}: an object is still there after it was removed; look after its permissions")

    def _local(self, path: str, copy: Path) -> Path:
        if self.is_local:
            return Path(path)
        if not copy.exists():
            with _explained(self.name):
                self.odb.fs.get_file(path, str(copy))
        return copy


@dataclass(frozen=True)
class Stores:
    """All places of objects of a project; none where it is no DVC project.

    Args:
        stores: what can be listed and changed.
        unreachable: name -> why not, for those that cannot.
        tracked: objects that anything tracked now, but our own data, needs.
    """

    stores: tuple[ObjectStore, ...] = ()
    unreachable: tuple[tuple[str, str], ...] = ()
    tracked: frozenset[str] = frozenset()

    def named(self, name: str) -> ObjectStore:
        """The store of this name; DvcError if it is not configured any more."""
        for store in self.stores:
            if store.name == name:
                return store
        raise DvcError(
            f"{name}: an interrupted purge has work to do there, but it is not configured any more; configure it again "
            "until the purge is complete"
        )


@contextmanager
def open_stores(root: Path, *, ours: Iterable[Path]) -> Iterator[Stores]:
    """Find the cache and all configured remotes.

    Args:
        root: of the project.
        ours: folders whose versions are judged by what they hold.

    Raises:
        DvcError: the configuration, `dvc.yaml` or `dvc.lock` cannot be read.
    """
    repo = _repo(root)
    if repo is None:
        yield Stores()
        return
    with closing(repo):
        with _explained("DVC"):
            stores = [
                ObjectStore("DVC cache", repo.cache.local, repo.stage_cache.cache_dir),
                ObjectStore("DVC cache, layout of version 2", repo.cache.legacy, None),
            ]
            tracked = _tracked(repo, {os.path.abspath(path) for path in ours})
        unreachable = []
        for name in sorted(repo.config["remote"]):
            try:
                stores += _remote(repo, name)
            except DvcError as error:
                unreachable.append((f"DVC remote {name}", str(error)))
        yield Stores(tuple(stores), tuple(unreachable), tracked)


@contextmanager
def exclusive(root: Path, *folders: Path) -> Iterator[None]:
    """Keep every `dvc` command away from DVC's stores and from `folders` while the block runs.

    Raises:
        PurgeBusyError: one is at work, for example `dvc repro` in a stage that reads the data.
    """
    repo = _repo(root)
    with ExitStack() as held:
        if repo is not None:
            held.enter_context(closing(repo))
            guard = repo.config["core"].get("hardlink_lock", False)
            paths = [os.path.abspath(folder) for folder in folders]
            try:
                held.enter_context(repo.lock)
                held.enter_context(rwlock(repo.tmp_dir, repo.fs, "qunlearn purge", [], paths, guard))
            except LockError:
                raise PurgeBusyError(
                    "a dvc command is at work on the data (`dvc repro` reads them until its stage ends); let it end, "
                    "then run the purge again"
                ) from None
        yield


def _repo(root: Path) -> Any | None:
    try:
        return Repo(str(root))
    except NotDvcRepoError:
        return None
    except DvcException as error:
        raise DvcError(f"DVC: {_one_line(error)}") from None


def _remote(repo: Any, name: str) -> list[ObjectStore]:
    """Both layouts of a remote; DvcError if its objects cannot be listed and removed one by one."""
    try:
        remote = repo.cloud.get_remote(name, "purge")
        odbs = [repo.cloud.get_remote_odb(name, "purge", hash_name=kind) for kind in ("md5", LEGACY)]
    except RemoteConfigError:
        raise DvcError(
            "keeps versions of its own (version_aware or worktree), which DVC cannot remove; remove them with the "
            "tools of that storage"
        ) from None
    except (DvcException, ImportError) as error:
        raise DvcError(f"cannot be opened: {_one_line(error)}") from None
    if not remote.fs.CAN_TRAVERSE:
        raise DvcError("cannot be listed, as it is served over HTTP; remove its objects where it is kept")
    title = f"DVC remote {name}"
    return [
        ObjectStore(title, odbs[0], remote.fs.join(remote.path, "runs")),
        ObjectStore(f"{title}, layout of version 2", odbs[1], None),
    ]


def _tracked(repo: Any, ours: set[str]) -> frozenset[str]:
    found: set[str] = set()
    for out in repo.index.outs:
        if out.fs_path in ours or not out.hash_info:
            continue
        oid = str(out.hash_info.value)
        found.add(oid)
        for odb in (repo.cache.local, repo.cache.legacy):
            listed = ObjectStore("DVC cache", odb, None)
            if oid.endswith(DIRECTORY) and odb.exists(oid) and (version := listed.version(oid, Path())):
                found |= version.oids
    return frozenset(found)


def _outs(file: Path) -> frozenset[str]:
    """The objects that an entry of the run-cache names as outputs; none if it is damaged."""
    try:
        content = yaml.safe_load(file.read_bytes())
        return frozenset(out["md5"] for out in content["outs"] if "md5" in out)
    except (yaml.YAMLError, KeyError, TypeError):
        return frozenset()


@contextmanager
def _explained(name: str) -> Iterator[None]:
    try:
        yield
    except (DvcException, OSError) as error:
        raise DvcError(
            f"{name}: {_one_line(error)}; the purge cannot go on before it can be read and changed"
        ) from None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
