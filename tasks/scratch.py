"""A folder for what tasks hand to each other within one stage: logits of people's data, which must not stay.

It is removed when the stage ends, also after an error. What a killed process left is removed when this is entered
again: by the next `evaluate`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from qunlearn.data.removal import remove_folder

FOLDER = ".qunlearn"
_PREFIX = "stage-"
_OWNED = "owned.lock"


@contextmanager
def scratch(root: Path) -> Iterator[Path]:
    """A new, empty folder below `root`, readable by this user alone, that every worker on this machine can open."""
    home = root / FOLDER
    home.mkdir(exist_ok=True)
    # The lock of a process ends with it, even after kill -9: a folder whose lock is free has no owner any more.
    with FileLock(home / "scratch.lock"):
        for left in home.glob(f"{_PREFIX}*"):
            _remove_if_left(left)
        folder = Path(tempfile.mkdtemp(dir=home, prefix=_PREFIX))
        owned = FileLock(folder / _OWNED)
        owned.acquire()
    try:
        yield folder
    finally:
        remove_folder(folder)
        owned.release()


def _remove_if_left(folder: Path) -> None:
    try:
        with FileLock(folder / _OWNED, timeout=0):
            remove_folder(folder)
    except Timeout:
        return  # its stage still runs
