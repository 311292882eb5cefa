"""One flow after the other at the served model, or at the data it came from: each waits for its turn."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import Timeout
from prefect import get_run_logger
from prefect.client.orchestration import get_client
from prefect.concurrency.sync import concurrency
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_URL

from flows.holding import lock
from flows.servers import LIMIT

LEASE_SECONDS = 60.0
"""A run that was killed keeps the slot this long at most."""


class TurnError(ValueError):
    """The server does not know what runs wait for."""


@contextmanager
def in_turn(root: Path) -> Iterator[None]:
    """Hold the served model: a file lock for all runs on this computer, and the server's limit where there is one.

    Raises:
        LockFileError: the lock of the served model cannot be written.
        TurnError: the server lacks the limit.
    """
    held = lock(root)
    try:
        held.acquire(timeout=0)
    except Timeout:
        get_run_logger().info("somebody else holds the served model; waiting for them to end")
        held.acquire()
    with ExitStack() as stack:
        stack.callback(held.release)
        # A temporary server is this run's own: it has no limit that others could share.
        if PREFECT_API_URL.value() is not None:
            _check_limit()
            stack.enter_context(concurrency(LIMIT, occupy=1, strict=True, lease_duration=LEASE_SECONDS))
        yield


def _check_limit() -> None:
    with get_client(sync_client=True) as client:
        try:
            client.read_global_concurrency_limit_by_name(LIMIT)
        except ObjectNotFound:
            raise TurnError(
                f"Prefect's server has no concurrency limit {LIMIT!r}, which keeps deletions apart; make it with "
                f"`prefect gcl create {LIMIT} --limit 1`, then run this again"
            ) from None
