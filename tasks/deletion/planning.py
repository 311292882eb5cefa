"""Decide what a batch means for the served model, and write the decision into the ledger before anything is done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from qunlearn.deletion.evidence import ids_digest
from qunlearn.deletion.ledger import Batch, State
from qunlearn.deletion.plan import Plan, RequestError, emptied_classes, make_plan
from tasks.deletion.service import Service, carried
from tasks.deletion.setbacks import DataChangedError, MissingImagesError
from tasks.rewriting import RewriteError, check_rewrite
from tasks.tracking import Champion
from tasks.tracking.outages import outages_told


@task(name="plan", cache_policy=NO_CACHE)
@outages_told()
def plan_batch(params_file: str, batch: Batch) -> Batch:
    """Reject what is impossible; the rest has its plan, and the model it starts from, among the batch's facts.

    Raises:
        ConfigError: no model is served.
        MissingImagesError: it was trained on images that are to be kept, and are not in the prepared data.
        ValueError: prepared data and splits do not fit each other.
    """
    service = Service.open(params_file)
    champion = service.champion()
    plan, _ = _plan(service, batch, champion)
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


def planned(service: Service, batch: Batch, champion: Champion) -> tuple[Plan, tuple[int, ...]]:
    """The plan that was decided on, with its samples, and the classes that it forgets whole.

    Raises:
        DataChangedError: data or list of erased ids are no longer what the plan was made from.
    """
    decided = batch.facts["plan"]
    plan, emptied = _plan(service, batch, champion)
    shares = {request: asdict(share) | {"found": list(share.found)} for request, share in plan.shares.items()}
    if plan.rejected or shares != decided["shares"] or ids_digest(plan.retain) != decided["retained"]:
        raise DataChangedError("the prepared data or data/erased.txt were changed since the batch was planned")
    return plan, emptied


def _plan(service: Service, batch: Batch, champion: Champion) -> tuple[Plan, tuple[int, ...]]:
    trained = service.fetch(champion.digest, model_id=champion.model_id).trained_ids
    known = service.known(trained)
    requests = carried(batch)
    plan = make_plan(requests, known)
    if not _is_writable(service, plan.erase):
        # One of them asks for too much: they are asked one by one, each beside those that were accepted before it.
        plan = make_plan(requests, known, check=lambda ids: _check_writable(service, ids))
    if plan.forget and (missing := frozenset(plan.retain) - frozenset(known.labels)):
        raise MissingImagesError(
            f"the served model was trained on {len(missing)} images that are to be kept, and are not in the prepared "
            "data; bring them back with `dvc repro split`, or release a model that was trained on today's data"
        )
    return plan, emptied_classes(plan, known)


def _is_writable(service: Service, erase: Sequence[str]) -> bool:
    try:
        _check_writable(service, frozenset(erase))
    except RequestError:
        return False
    return True


def _check_writable(service: Service, ids: frozenset[str]) -> None:
    """Refuse what would leave nothing to train or to measure on: after the release it would be too late."""
    try:
        check_rewrite(service.workspace, ids)
    except RewriteError as error:
        raise RequestError(str(error)) from None
