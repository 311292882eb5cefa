"""Logs of flow runs without tracebacks of the user's own mistakes."""

from __future__ import annotations

import logging

from flows.errors import PlainErrors

LOGGERS = ("prefect.flow_runs", "prefect.task_runs")
PLAIN = PlainErrors()


def plain_logs() -> None:
    """From now on this process tells such a mistake in one line; to call it again changes nothing."""
    for name in LOGGERS:
        logging.getLogger(name).addFilter(PLAIN)
