"""Replace a whole folder in one step: readers see the old content or the new one, never a mixture."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from qunlearn.data.removal import remove_folder


@contextmanager
def replaced_folder(folder: Path) -> Iterator[Path]:
    """An empty folder beside `folder` to write into; it takes `folder`'s place when the block ends without an error.

    Everything is on the disk (fsync) before the rename. When the block raises, the new folder is removed and `folder`
    is as before. Files are never written in place, so a `folder` that links into a cache leaves the cache alone.
    What a killed writer left behind is removed by the next one, since it may hold samples that were erased meanwhile.
    One writer a folder at a time; the caller sees to that.
    """
    folder = Path(os.path.abspath(folder))
    fresh, retired = (folder.with_name(f".{folder.name}.{state}") for state in ("writing", "retired"))
    folder.parent.mkdir(parents=True, exist_ok=True)
    if retired.exists() and not folder.exists():
        retired.rename(folder)
    for leftover in (fresh, retired):
        _remove(leftover)
    fresh.mkdir()
    try:
        yield fresh
        for path in (*fresh.rglob("*"), fresh):
            _to_disk(path)
        if folder.exists():
            folder.rename(retired)
        fresh.rename(folder)
    except BaseException:
        if retired.exists() and not folder.exists():
            retired.rename(folder)
        _remove(fresh)
        raise
    _to_disk(folder.parent)
    _remove(retired)


def _to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(folder: Path) -> None:
    if folder.is_symlink():
        folder.unlink()
    elif folder.exists():
        remove_folder(folder)
