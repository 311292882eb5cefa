"""A retrained model to judge a candidate by, where the store happens to have one."""

from __future__ import annotations

from qunlearn.checkpoint import Checkpoint
from qunlearn.deletion.plan import Plan
from tasks.deletion.service import Service
from tasks.tracking import MissingCheckpointError
from tasks.tracking.membership import TrainingLists
from tasks.tracking.run import flatten

FULLY_TRAINED = ("original", "retrain")
"""What the pipeline calls them."""


def retrained_reference(service: Service, plan: Plan, parent: Checkpoint) -> tuple[str, Checkpoint] | None:
    """Id and weights of a model of the pipeline that was trained from fresh weights on what is retained.

    Such is the pipeline's reference where the request is for the images that its split forgets. It has the structure of
    the served model and was trained with the settings of today. Models that deletions retrained are none: one that
    failed its gates would be what all later ones are measured by.
    """
    training = service.workspace.params.training.model_dump(mode="json")
    lists = TrainingLists.read(service.store.connection)
    for model_id, digest in lists.models_of(frozenset(plan.retain), params=dict(flatten({"training": training}))):
        try:
            found = service.fetch(digest, model_id=model_id)
        except MissingCheckpointError:
            # Purged or damaged: it can be done without.
            continue
        # Those of deletions list their parents, also where there are none.
        of_pipeline = found.extra.get("method") in FULLY_TRAINED and "parents" not in found.extra
        if of_pipeline and found.blueprint == parent.blueprint:
            return model_id, found
    return None
