"""The SQLite file of the ledger: private from its first byte on, and never half a ledger."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from qunlearn.deletion.ledger_place import SqliteFile
from qunlearn.deletion.records import LedgerError, UnavailableError

PATIENCE = 60.0
"""Seconds to wait for another process that makes or migrates the same ledger."""
LOGS = ("-wal", "-journal")
"""Ends of the files beside the database that SQLite carries out on whatever database it finds there."""
RESTORE = (
    "move it away together with the files beside it whose names end in -wal and -shm, and keep them: they are the "
    "record of what was done; then restore it from a backup"
)


@contextmanager
def locked(file: SqliteFile) -> Iterator[None]:
    """Hold the lock beside the file that whoever makes or migrates it holds; makes the folder, mode 0700.

    Raises:
        UnavailableError: the folder cannot be made or written, or another process held the lock too long.
    """
    folder = file.path.parent
    with told(file):
        folder.mkdir(mode=0o700, parents=not file.own_folder, exist_ok=True)
        if file.own_folder and stat.S_IMODE(folder.stat().st_mode) & 0o077:
            # Other commands make this folder too, with the usual mode.
            folder.chmod(0o700)
        held = FileLock(f"{file.path}.lock", mode=0o600)
    try:
        with told(file):
            held.acquire(timeout=PATIENCE)
    except Timeout:
        raise UnavailableError(f"{file} is being made or migrated by another process; try again later") from None
    try:
        yield
    finally:
        held.release()


def create(file: SqliteFile, fill: Callable[[Path], None]) -> None:
    """Make the file under another name, let `fill` make the tables, and rename it: it is whole or not there.

    The lock is held. What an earlier process that was killed left under the other name is removed.
    """
    draft = file.path.with_name(f"{file.path.name}.new")
    with told(file):
        for left in (draft, *(draft.with_name(f"{draft.name}{suffix}") for suffix in ("-wal", "-shm", "-journal"))):
            left.unlink(missing_ok=True)
        # SQLite would make it with the usual mode; its other files get the mode of this one.
        os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
    fill(draft)
    with told(file):
        _to_disk(draft)
        draft.rename(file.path)
        _to_disk(file.path.parent)


def exists(file: SqliteFile) -> bool:
    """Whether the ledger is there.

    Raises:
        LedgerError: what is there cannot be the ledger, or others than its owner have rights to it; or the ledger is
            gone, and the log of its last changes is not.
    """
    with told(file):
        logs = _logs(file)
        try:
            found = file.path.lstat()
        except FileNotFoundError:
            if logs:
                raise LedgerError(
                    f"{file} is gone, but {logs} beside it is not, and would spoil any ledger that comes in its place; "
                    "put the ledger back, or move that file away and restore both from a backup"
                ) from None
            return False
    if stat.S_ISLNK(found.st_mode):
        raise LedgerError(f"{file} is a link; name the file itself")
    if not stat.S_ISREG(found.st_mode):
        raise LedgerError(f"{file} is not a regular file; move it away, or name another place")
    if found.st_mode & 0o077:
        mode = stat.S_IMODE(found.st_mode)
        raise LedgerError(f"{file}: others than its owner have rights to it (mode {mode:04o}); run chmod 600 on it")
    if not found.st_size:
        raise LedgerError(f"{file} is damaged: it is empty; {RESTORE}")
    return True


def _logs(file: SqliteFile) -> str:
    """Names of the logs beside the file; empty where there is none."""
    names = [f"{file.path.name}{end}" for end in LOGS]
    return " and ".join(name for name in names if os.path.lexists(file.path.with_name(name)))


@contextmanager
def told(file: SqliteFile) -> Iterator[None]:
    """Say in one line what the file system refuses."""
    try:
        yield
    except Timeout:
        raise
    except OSError as error:
        raise UnavailableError(
            f"{file} cannot be used: {error.strerror or type(error).__name__}; its folder must be writable, with "
            "space left on its device"
        ) from None


def _to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
