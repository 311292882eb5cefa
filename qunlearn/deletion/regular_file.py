"""Files that somebody else names, opened without waiting: without care, a pipe is waited for until somebody writes."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


class NotRegularError(ValueError):
    """What was opened is a folder, a pipe, a socket or a device. The message does not repeat its name."""


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """The file, judged by what was really opened.

    Raises:
        NotRegularError: it is no regular file.
        OSError: it is not there, or cannot be opened.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise NotRegularError("is no regular file")
        with os.fdopen(descriptor, "rb", closefd=False) as stream:
            yield stream
    finally:
        os.close(descriptor)
