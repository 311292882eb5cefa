"""Names of flow runs in Prefect; it would make up names of its own."""

from __future__ import annotations

from datetime import UTC, datetime

from prefect.runtime import flow_run


def flow_and_time() -> str:
    """The flow that is about to run and the minute of its start, such as ``unlearn 2026-11-21 03:12 UTC``."""
    return f"{flow_run.flow_name} {datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
