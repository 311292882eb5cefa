"""The deletion flow: requests that wait in, an unlearned champion and evidence out.

`qunlearn up` serves it on the cron of `params.yaml`; ``python -m flows.deletion`` runs it once, now.

The ledger says how far a batch of requests is, and each step leaves it there only when its work is done and can be
found again. So the process may die anywhere: the next run takes the batch over and goes on. Until `promoted` the
champion is untouched; from then on the rest is tried until it is done.
"""

from __future__ import annotations

from pathlib import Path

from prefect import State, flow
from prefect.states import Completed

from flows.existing_ledger import existing_ledger
from flows.naming import flow_and_time
from flows.overdue import publish_overdue
from flows.own_project import own_params
from flows.plain_logs import plain_logs
from flows.turns import in_turn
from qunlearn.config import load
from qunlearn.deletion import states

MOST_ATTEMPTS = 3
"""Times that one run begins anew when the champion was changed under it."""


@flow(name="deletion", flow_run_name=flow_and_time)
def deletion(params_file: str = "params.yaml") -> State[None]:
    """Carry out all deletion requests that wait, and release the new model."""
    plain_logs()
    path = own_params(params_file)
    load(path)
    publish_overdue(path.parent)
    # Most scheduled runs end here: before the imports that take seconds.
    if not _waiting(path.parent):
        return Completed(message="nothing to do")
    from tasks import deletion as steps  # noqa: PLC0415 - brings PyTorch and MLflow

    told: list[str] = []
    with in_turn(path.parent):
        for _ in range(MOST_ATTEMPTS):
            batch = steps.claim_batch(params_file)
            if batch is None:
                break
            with steps.kept(params_file, batch):
                told.append(steps.carry_out(params_file, batch))
    return Completed(message="; ".join(told) or "nothing to do")


def _waiting(root: Path) -> bool:
    """Whether any request is neither completed nor rejected.

    Raises:
        LedgerError: the ledger was changed from outside, or is gone.
    """
    # The first request makes it. A schedule that made one would hide that the ledger is gone.
    ledger = existing_ledger(root)
    if ledger is None:
        return False
    ledger.check_intact()
    open_states = [state for state in states.State if state not in states.FINAL]
    return bool(ledger.requests(states=open_states))


if __name__ == "__main__":
    from flows.stage import main

    main(deletion)
