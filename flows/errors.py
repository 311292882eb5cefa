"""Mistakes of the user are told in plain lines; mistakes of the program keep their traceback."""

from __future__ import annotations

import logging
import os
import sys

STORED = "QUNLEARN_OUTPUT_IS_STORED"
"""Set in the environment of a stage whose output goes into a log, where nobody may be named."""
OUR_PACKAGES = ("qunlearn", "flows", "tasks", "studies")


def is_ours(error: BaseException) -> bool:
    """Whether it is divergence, an unreachable Prefect server, or a ValueError that our own code raised on purpose."""
    if _is_divergence(error) or _is_unreachable(error):
        return True
    if not isinstance(error, ValueError):
        return False
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    module = frame.tb_frame.f_globals.get("__name__", "") if frame else ""
    # A stage that is run as a command is called __main__.
    return module == "__main__" or module.partition(".")[0] in OUR_PACKAGES


def _is_divergence(error: BaseException) -> bool:
    # The module brings PyTorch, which the command line does without: before its import nothing can have diverged.
    loop = sys.modules.get("qunlearn.training.loop")
    return loop is not None and isinstance(error, loop.DivergedError)


def _is_unreachable(error: BaseException) -> bool:
    # Prefect's client is httpx, and nothing else here is.
    httpx = sys.modules.get("httpx")
    if httpx is not None and isinstance(error, httpx.TransportError):
        return True
    return isinstance(error, RuntimeError) and str(error).startswith("Failed to reach API at ")


def tell(who: str, error: Exception) -> None:
    """Print each line of the message to the standard error stream, of what must not be stored only to a terminal."""
    told = "" if os.environ.get(STORED) else getattr(error, "told", "")
    if _is_unreachable(error):
        told = "Prefect's server does not answer; start it with `qunlearn up`, or unset PREFECT_API_URL, then go on"
    for line in (told or str(error)).splitlines():
        print(f"{who}: error: {line}", file=sys.stderr)


class PlainErrors(logging.Filter):
    """Leaves the traceback of such mistakes out of a log; Prefect would print it more than once."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and record.exc_info[1] is not None and is_ours(record.exc_info[1]):
            record.exc_info, record.exc_text = None, None
        return True
