"""Ctrl-C ends a run in a line: whatever is unfinished is found by the next one, so there is nothing else to tell.

Prefect waits for the cell that runs in a thread before it ends, which may take long: a second Ctrl-C does not.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

CODE = 128 + signal.SIGINT
"""Exit code that shells expect."""


@contextmanager
def interruptible(who: str) -> Iterator[None]:
    """While the block runs, Ctrl-C ends this process with `CODE` and one line; for the main thread.

    Other errors pass, but not those that follow from the interrupt.
    """
    before = signal.getsignal(signal.SIGINT)
    pressed = False

    def press(_signal: int, _frame: FrameType | None) -> None:
        nonlocal pressed
        if pressed:
            # Threads cannot be ended otherwise. The next run finds what a killed one left.
            _tell(f"{who}: stopped; the same command goes on where it was")
            os._exit(CODE)
        pressed = True
        _tell(f"{who}: stopping after the step that runs now; Ctrl-C again stops at once")
        raise KeyboardInterrupt

    # Left alone where it is ignored, as in a background job.
    if before is signal.default_int_handler:
        signal.signal(signal.SIGINT, press)
    try:
        yield
    except BaseException as error:
        if not _was_interrupted(error):
            raise
        _tell(f"{who}: stopped; the same command goes on where it was")
        sys.exit(CODE)
    finally:
        signal.signal(signal.SIGINT, before)


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _was_interrupted(error: BaseException) -> bool:
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        if isinstance(cause, KeyboardInterrupt):
            return True
        seen.add(id(cause))
        cause = cause.__cause__ or cause.__context__
    return False
