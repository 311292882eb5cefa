"""Which method is next: the configured one, those it falls back to, at last retraining."""

from __future__ import annotations

from typing import Any

from qunlearn.checkpoint import Checkpoint
from qunlearn.config import Params
from qunlearn.deletion.ledger import Batch
from qunlearn.unlearning import Choice
from qunlearn.unlearning.grid import row_or_method

RETRAIN = "retrain"
FULL_TRAINING = "full training"


def method_names(params: Params, *, sequential: int) -> list[str]:
    """Rows and methods in the order in which they are tried.

    Args:
        sequential: unlearnings one after the other in the served model since its last full training.
    """
    limit = params.deletion.max_sequential
    if limit is not None and sequential >= limit:
        return [RETRAIN]
    named = [params.deletion.method, *params.deletion.fallback]
    return [*dict.fromkeys(name for name in named if name != RETRAIN), RETRAIN]


def next_choice(params: Params, batch: Batch, *, sequential: int) -> Choice | None:
    """The first method that was not tried on this batch; None after all were."""
    tried = {attempt["method"] for attempt in batch.facts.get("attempts", [])}
    for name in method_names(params, sequential=sequential):
        if name not in tried:
            return row_or_method(name, params.unlearn, where="params.yaml", key="deletion.method")
    return None


def parents_of(checkpoint: Checkpoint) -> list[dict[str, Any]]:
    """The models that this one was unlearned from, the fully trained one first; none where it was fully trained."""
    known = checkpoint.extra.get("parents")
    if known is not None:
        return [dict(parent) for parent in known]
    parent = checkpoint.extra.get("parent")
    # A model of the experiment: it was unlearned once, from an original that the registry does not know.
    return [] if parent is None else [{"version": None, "weights": parent, "method": FULL_TRAINING}]
