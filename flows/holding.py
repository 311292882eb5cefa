"""The served model is held by one at a time: a deletion, a purge or a release on this computer."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from flows.services import folder


class HeldError(ValueError):
    """Somebody else is at work on the served model."""


class LockFileError(ValueError):
    """Nobody can hold the served model, since its lock file cannot be written."""


def lock(root: Path) -> FileLock:
    """The file lock of the served model.

    Raises:
        LockFileError: folder or file must not be written.
    """
    place = folder(root) / "served-model.lock"
    try:
        place.parent.mkdir(exist_ok=True)
        # As the lock itself will open it, which tells no reason and no way out.
        os.close(os.open(place, os.O_RDWR | os.O_CREAT, 0o644))
    except OSError as error:
        raise LockFileError(
            f"{error.filename}: {error.strerror}; it keeps others away from the served model: let this user write it "
            f"and the folder {root}, and make room, then run this again"
        ) from None
    return FileLock(place)


@contextmanager
def served_model(root: Path) -> Iterator[None]:
    """Keep others away from the served model, or refuse.

    Raises:
        HeldError: a deletion, a purge, a release or a refresh of the benchmark is at work.
        LockFileError: as from `lock`.
    """
    held = lock(root)
    try:
        held.acquire(timeout=0)
    except Timeout:
        raise HeldError(
            "a deletion, a purge, a release or a refresh of the benchmark is at work on the served model; "
            "let it end first"
        ) from None
    try:
        yield
    finally:
        held.release()
