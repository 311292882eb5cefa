"""The served model is held by one at a time: a deletion, a purge or a release on this computer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from flows.services import folder


class HeldError(ValueError):
    """Somebody else is at work on the served model."""


def lock(root: Path) -> FileLock:
    """The file lock of the served model."""
    folder(root).mkdir(exist_ok=True)
    return FileLock(folder(root) / "served-model.lock")


@contextmanager
def served_model(root: Path) -> Iterator[None]:
    """Keep others away from the served model, or refuse.

    Raises:
        HeldError: a deletion, a purge, a release or a refresh of the benchmark is at work.
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
