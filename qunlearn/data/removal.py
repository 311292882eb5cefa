"""Remove a folder with all that is in it, and say what could not be removed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any


def remove_folder(folder: Path) -> None:
    """Remove a folder; what is there no longer cannot be removed.

    Raises:
        OSError: something stays; its `filename` is the whole path. Before Python 3.13 `shutil.rmtree` gives the last
            part alone, and a file of that name can lie in many folders.
    """
    shutil.rmtree(folder, onerror=_with_whole_path)


def _with_whole_path(
    _: Callable[..., Any], path: str | Path, problem: tuple[type[BaseException], BaseException, TracebackType]
) -> None:
    error = problem[1]
    if isinstance(error, OSError):
        error.filename = os.fspath(path)
    raise error
