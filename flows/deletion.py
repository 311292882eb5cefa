"""The deletion flow: requests that wait in, an unlearned champion and evidence out.

`qunlearn up` serves it on the cron of `params.yaml`; ``python -m flows.deletion`` runs it once, now.

The ledger says how far a batch of requests is, and each step leaves it there only when its work is done and can be
found again. So the process may die anywhere: the next run takes the batch over and goes on. Until `promoted` the
champion is untouched; from then on the rest is tried until it is done.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import Timeout
from prefect import State, flow, get_run_logger
from prefect.concurrency.sync import concurrency
from prefect.settings import PREFECT_API_URL
from prefect.states import Completed

from flows.holding import lock
from flows.naming import flow_and_time
from flows.servers import LIMIT
from qunlearn.config import load
from qunlearn.deletion import states
from qunlearn.deletion.ledger import Ledger

LEASE_SECONDS = 60.0
"""A run that was killed keeps the slot this long at most."""
MOST_ATTEMPTS = 3
"""Times that one run begins anew when the champion was changed under it."""


@flow(name="deletion", flow_run_name=flow_and_time)
def deletion(params_file: str = "params.yaml") -> State[None]:
    """Carry out all deletion requests that wait, and release the new model."""
    path = Path(params_file).resolve()
    load(path)
    # Most scheduled runs end here: before the imports that take seconds.
    if not _waiting(path.parent):
        return Completed(message="nothing to do")
    from tasks import deletion as steps  # noqa: PLC0415 - brings PyTorch and MLflow

    told: list[str] = []
    with _one_at_a_time(path.parent):
        for _ in range(MOST_ATTEMPTS):
            batch = steps.claim_batch(params_file)
            if batch is None:
                break
            with steps.kept(params_file, batch):
                told.append(steps.carry_out(params_file, batch))
    return Completed(message="; ".join(told) or "nothing to do")


def _waiting(root: Path) -> bool:
    """Whether any request is neither completed nor rejected."""
    open_states = [state for state in states.State if state not in states.FINAL]
    return bool(Ledger.open(root=root).requests(states=open_states))


@contextmanager
def _one_at_a_time(root: Path) -> Iterator[None]:
    """Hold the served model: a file lock for all runs on this computer, and the server's limit where there is one."""
    held = lock(root)
    try:
        held.acquire(timeout=0)
    except Timeout:
        get_run_logger().info("somebody else holds the served model; waiting for them to end")
        held.acquire()
    try:
        if PREFECT_API_URL.value() is None:
            # A temporary server is this run's own: it has no limit that others could share.
            yield
            return
        with concurrency(LIMIT, occupy=1, strict=True, lease_duration=LEASE_SECONDS):
            yield
    finally:
        held.release()


if __name__ == "__main__":
    from flows.stage import main

    main(deletion)
