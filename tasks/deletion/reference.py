"""A retrained model to judge a candidate by, where the store happens to have one."""

from __future__ import annotations

from qunlearn.checkpoint import Checkpoint
from qunlearn.deletion.plan import Plan
from tasks.deletion.methods import parents_of
from tasks.deletion.service import Service
from tasks.tracking import MissingCheckpointError
from tasks.tracking.membership import TrainingLists


def retrained_reference(
    service: Service, plan: Plan, parent: Checkpoint, *, besides: str
) -> tuple[str, Checkpoint] | None:
    """Id and weights of a model of the served one's structure that was trained from fresh weights on what is retained.

    Such are the pipeline's reference where the request is for the images that its split forgets, and a model that was
    retrained for this batch before.

    Args:
        besides: digest of weights that are no reference: the candidate's own.
    """
    for model_id, digest in TrainingLists.read(service.store.connection).models_of(frozenset(plan.retain)):
        if digest == besides:
            continue
        try:
            found = service.fetch(digest, model_id=model_id)
        except MissingCheckpointError:
            # Purged or damaged: it can be done without.
            continue
        if not parents_of(found) and found.blueprint == parent.blueprint:
            return model_id, found
    return None
