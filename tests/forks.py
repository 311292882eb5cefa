"""Processes of a test: forked, waited for, killed."""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable

PATIENCE = 240.0
"""Seconds that a program may take."""
OWN: set[int] = set()
"""Open files of this process that no forked one may keep."""


class StoryError(Exception):
    """A process ended as it must not."""


def fork(work: Callable[[], object]) -> int:
    """Do it in a process of its own; its number."""
    sys.stdout.flush()
    pid = os.fork()
    if not pid:
        code = 1
        try:
            for one in OWN:
                os.close(one)
            work()
            code = 0
        finally:
            if code:
                traceback.print_exc()
            sys.stderr.flush()
            os._exit(code)
    return pid


def ended(pid: int) -> int:
    """How a forked process ended, negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def forked(work: Callable[[], object], *, kill_after: float | None = None) -> int:
    """How a process that does it ended: by SIGKILL after so many seconds, if it still ran."""
    pid = fork(work)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(pid, signal.SIGKILL)
    return ended(pid)
