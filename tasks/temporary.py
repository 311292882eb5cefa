"""Temporary folders that say whose they are, so that a purge removes those of this project and nobody else's.

Such a folder holds a file with the digest of the project's root, and a folder for the content. The process that made
it keeps that file locked. The lock ends with the process, even after kill -9: a mark whose lock is free has no owner
any more. A number of a process alone would not do, as numbers are given again.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from qunlearn.data.removal import remove_folder

PREFIX = "qunlearn-"
"""Begins the names of these folders."""
OWNER = "owner.json"
"""The mark: the digest of the project's root, and the number of the process, which is for people."""
CONTENT = "content"
OTHERS = (".git", "params.yaml")
"""What a project has and no temporary folder of ours."""
_LONGEST = 1000
"""Bytes of a mark are fewer."""


@contextmanager
def temporary_folder(root: Path) -> Iterator[Path]:
    """A new, empty folder, readable by this user alone; it is gone afterwards.

    Args:
        root: of the project, whose purge may remove it when this process has died.
    """
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    try:
        # Locked before it is written: whoever reads a whole mark and finds it free can rely on that.
        with (folder / OWNER).open("x", encoding="ascii") as mark:
            fcntl.flock(mark, fcntl.LOCK_EX)
            json.dump({"project": project_digest(root), "pid": os.getpid()}, mark)
            mark.flush()
            content = folder / CONTENT
            content.mkdir(mode=0o700)
            yield content
    finally:
        # A purge that took it for left behind may have been faster.
        if folder.exists():
            remove_folder(folder)


def project_digest(root: Path) -> str:
    """By which a mark names a project: sha256 of the path of its root."""
    return hashlib.sha256(os.fsencode(root.resolve())).hexdigest()


def is_ours(folder: Path, root: Path) -> bool:
    """Whether this project made a folder: a folder of this user, no link, with the mark of the project."""
    try:
        if folder.is_symlink() or folder.stat().st_uid != os.geteuid():
            return False
        mark = _read(folder)
        return mark is not None and mark["project"] == project_digest(root)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False  # not a mark that `temporary_folder` has written


def is_in_use(folder: Path) -> bool:
    """Whether the process that made a folder of ours still lives; True where its mark has just gone."""
    try:
        with (folder / OWNER).open("rb") as mark:
            # Shared, so that two who ask do not take each other for the owner.
            fcntl.flock(mark, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except (BlockingIOError, FileNotFoundError):
        return True
    return False


def is_protected(folder: Path, root: Path) -> bool:
    """Whether a folder must never be removed, whatever its mark says: it is a link, or may hold a project."""
    if folder.is_symlink() or root.resolve().is_relative_to(folder.resolve()):
        return True
    closed: list[OSError] = []
    names = [name for _, *both in os.walk(folder, onerror=closed.append) for part in both for name in part]
    return bool(closed) or any(name in OTHERS for name in names)


def remove_left(folder: Path) -> None:
    """Remove a folder of ours, its mark last: a purge that was killed meanwhile still knows what is left of it."""
    for path in sorted(folder.iterdir()):
        if path.is_dir() and not path.is_symlink():
            remove_folder(path)
        elif path.name != OWNER:
            path.unlink()
    (folder / OWNER).unlink(missing_ok=True)
    folder.rmdir()


def _read(folder: Path) -> dict[str, object] | None:
    path = folder / OWNER
    if path.is_symlink() or not path.is_file():
        return None
    with path.open("rb") as mark:
        found = json.loads(mark.read(_LONGEST))
    return found if isinstance(found, dict) else None
