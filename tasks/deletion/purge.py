"""Purge a batch's samples, and every model that was trained on them, from all stores."""

from __future__ import annotations

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from qunlearn.deletion.ledger import Batch, State
from qunlearn.deletion.purge import Action
from tasks.deletion.service import Service
from tasks.purging import PurgeReport, close, purge


class PurgeIncompleteError(ValueError):
    """The search after the purge found what should be gone; the next run purges again."""


@task(name="purge", cache_policy=NO_CACHE)
def purge_batch(params_file: str, batch: Batch) -> Batch:
    """The batch as purged, with what was done and searched among its facts.

    Raises:
        PurgeIncompleteError: see there.
        PurgeError: a store refused, or a stage of the pipeline is at work; the next run goes on.
    """
    service = Service.open(params_file)
    models = service.workspace.params.deletion.models
    report = purge(service.workspace, models=models, because=f"deletion {batch.id}", on_step=get_run_logger().info)
    if not report.is_complete:
        found = [f"{one.place}, {one.name}: {one.what}" for one in report.scan.found]
        raise PurgeIncompleteError(
            f"the purge of {batch.id} left {len(found)} things, the first: {'; '.join(found[:3])}; it is tried again "
            "when the deletion runs again, or at once with `qunlearn purge`"
        )
    batch = service.ledger.advance(batch, State.PURGED, facts=_facts(report))
    # Only now: until the ledger has them, the purge's own notes are all that tells what was removed.
    close(service.workspace)
    return batch


def _facts(report: PurgeReport) -> dict[str, object]:
    named = ("kind", "name", "digest", "place")
    done = [{name: getattr(one, name) for name in named} | {"action": one.action.value} for one in report.plan.to_do]
    places = [{"what": what, "objects": count} for what, count in report.scan.places.items()]
    outside = [f"{one.kind} {one.name}, {one.place}: {one.why}" for one in report.plan.of(Action.OUTSIDE)]
    return {"purge": {"objects": done, "scan": {"places": places, "found": 0}}, "outside": outside}
