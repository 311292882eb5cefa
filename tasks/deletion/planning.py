"""Decide what a batch means for the served model, and write the decision into the ledger before anything is done."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from qunlearn.deletion.evidence import ids_digest
from qunlearn.deletion.ledger import Batch, State
from qunlearn.deletion.plan import Plan, emptied_classes, make_plan
from tasks.deletion.service import Service, carried
from tasks.tracking import Champion


@task(name="plan", cache_policy=NO_CACHE)
def plan_batch(params_file: str, batch: Batch) -> Batch:
    """Reject what is impossible; the rest has its plan, and the model it starts from, among the batch's facts.

    Raises:
        ConfigError: no model is served.
    """
    service = Service.open(params_file)
    champion = service.champion()
    plan, _ = plan_of(service, batch, champion)
    trained = [*plan.forget, *plan.retain]
    for request, reason in plan.rejected.items():
        batch = service.ledger.advance(batch, State.REJECTED, only=[request], reason=reason)
        get_run_logger().warning("rejected request %s: %s", request, reason)
    if not plan.shares:
        return batch
    get_run_logger().info(
        "%d requests: %d samples to unlearn, %d to keep, %d to erase",
        len(plan.shares),
        len(plan.forget),
        len(plan.retain),
        len(plan.erase),
    )
    facts: dict[str, Any] = {
        "base": asdict(champion),
        "plan": {
            "shares": {request: asdict(share) for request, share in plan.shares.items()},
            "forget": len(plan.forget),
            "erase": len(plan.erase),
            "retained": ids_digest(plan.retain),
            "base": {"training_ids": ids_digest(trained), "training_samples": len(trained)},
        },
    }
    return service.ledger.advance(batch, State.CLAIMED, facts=facts)


def plan_of(service: Service, batch: Batch, champion: Champion) -> tuple[Plan, tuple[int, ...]]:
    """The plan for a batch's open requests, and the classes that it forgets whole."""
    trained = service.fetch(champion.digest, model_id=champion.model_id).trained_ids
    known = service.known(trained)
    plan = make_plan(carried(batch), known)
    return plan, emptied_classes(plan, known)
