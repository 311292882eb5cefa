"""The deletion flow: pending requests in, an unlearned champion out.

`qunlearn up` serves it on the cron of `params.yaml`; ``python -m flows.deletion`` runs it once, now.

Order matters, because the process may die anywhere: the new model is complete in the registry before the champion
changes, the champion changes before the samples are written to the list of erased ids, and a request counts as done
last. Whatever is found half-way is continued by the next run: a request whose samples the champion no longer knows has
only its paperwork left.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from prefect import State, flow, get_run_logger
from prefect.concurrency.sync import concurrency
from prefect.settings import PREFECT_API_URL
from prefect.states import Completed

from flows.naming import flow_and_time
from flows.servers import LIMIT, folder
from qunlearn.config import load
from qunlearn.deletion.requests import pending

LEASE_SECONDS = 60.0
"""A run that was killed keeps the slot this long at most."""


@flow(name="deletion", flow_run_name=flow_and_time)
def deletion(params_file: str = "params.yaml") -> State[None]:
    """Unlearn the samples of all pending requests and release the new model."""
    path = Path(params_file).resolve()
    params = load(path)
    requests = path.parent / params.deletion.requests
    # Most scheduled runs end here: before the imports that take seconds.
    if not pending(requests):
        return Completed(message="nothing to do")
    from tasks import deletion as steps  # noqa: PLC0415 - brings PyTorch and MLflow

    with _one_at_a_time(path.parent):
        champion = steps.resolve_champion(params_file)
        plan = steps.plan_deletion(params_file, champion)
        steps.reject_requests(plan)
        if plan.forget:
            model = steps.unlearn_samples(params_file, champion, plan)
            steps.promote(params_file, champion, model)
        steps.complete_requests(params_file, plan)
    return Completed(message=f"{len(plan.accepted)} done, {len(plan.rejected)} rejected, {len(plan.forget)} unlearned")


@contextmanager
def _one_at_a_time(root: Path) -> Iterator[None]:
    """Hold the served model: a file lock for all runs on this computer, and the server's limit where there is one."""
    folder(root).mkdir(exist_ok=True)
    lock = FileLock(folder(root) / "served-model.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        get_run_logger().info("another deletion holds the served model; waiting for it to end")
        lock.acquire()
    try:
        if PREFECT_API_URL.value() is None:
            # A temporary server is this run's own: it has no limit that others could share.
            yield
            return
        with concurrency(LIMIT, occupy=1, strict=True, lease_duration=LEASE_SECONDS):
            yield
    finally:
        lock.release()


if __name__ == "__main__":
    from flows.stage import main

    main(deletion)
