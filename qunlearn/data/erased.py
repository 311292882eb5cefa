"""The list of erased samples: an append-only text file that the experiment and the deletion flow share."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from qunlearn.data.idlist import checked, read_ids


@contextmanager
def lock(path: Path, *, timeout: float = 600.0) -> Iterator[None]:
    """Hold the file lock that every writer of `path` takes; hold it too while reading content and digest together.

    It may be taken again by the thread that holds it. The lock is the file `.<name>.lock` beside `path`.

    Raises:
        TimeoutError: another process held it for `timeout` seconds.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    place = path.absolute().with_name(f".{path.name}.lock")
    held = FileLock(place, is_singleton=True)
    try:
        held.acquire(timeout=timeout)
    except Timeout:
        raise TimeoutError(f"{place}: held by another process for more than {timeout:g} s") from None
    try:
        yield
    finally:
        held.release()


def read_erased(path: Path) -> frozenset[str]:
    """The ids in `path`; they need not be part of any image set, and an empty file means that nothing was erased.

    Raises:
        ValueError: the file is missing, not text, or has a line that is no sample id.
    """
    return frozenset(read_ids(path))


def append_erased(path: Path, ids: Iterable[str]) -> tuple[str, ...]:
    """Add the `ids` that are not in `path` yet, and return those; on the disk (fsync) before this returns.

    Raises:
        ValueError: one of `ids`, or a line of the file, is not a sample id; the file is unchanged then.
    """
    with lock(path):
        known = read_erased(path) if path.exists() else frozenset()
        added = tuple(sorted(set(checked(ids)) - known))
        if not added:
            return ()
        with path.open("ab+") as file:
            # A file edited by hand may end without a line break; two ids must not become one.
            file.seek(0, os.SEEK_END)
            if file.tell():
                file.seek(-1, os.SEEK_END)
                joint = "" if file.read(1) == b"\n" else "\n"
            else:
                joint = ""
            file.write((joint + "".join(f"{one}\n" for one in added)).encode())
            file.flush()
            os.fsync(file.fileno())
    return added


def digest(path: Path) -> str:
    """sha256 of the file's bytes, in hexadecimal.

    Raises:
        ValueError: the file cannot be read.
    """
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}; create an empty file where nothing was erased yet") from None
