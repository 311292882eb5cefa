"""From the state of a batch to the step that comes next, until it is closed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from qunlearn.deletion.counted import counted
from qunlearn.deletion.ledger import Batch, State
from tasks.deletion.claiming import give_back
from tasks.deletion.completion import complete_batch
from tasks.deletion.erasing import erase_samples
from tasks.deletion.planning import plan_batch
from tasks.deletion.promotion import promote_candidate
from tasks.deletion.purge import purge_batch
from tasks.deletion.service import carried
from tasks.deletion.setbacks import BEGIN_ANEW, SetbackError, reason_of
from tasks.deletion.unlearning import unlearn_batch
from tasks.deletion.verification import verify_candidate

Step = Callable[[str, Batch], Batch]


def carry_out(params_file: str, batch: Batch) -> str:
    """Take every step that is left; what became of the batch, in words.

    Raises:
        SetbackError: no model can be released; the requests wait again.
    """
    while carried(batch):
        try:
            batch = next_step(batch)(params_file, batch)
        except BEGIN_ANEW as error:
            give_back(params_file, batch, reason_of(error))
            return f"given back: {error}"
        except SetbackError as error:
            give_back(params_file, batch, reason_of(error))
            raise
    counts = Counter(request.state for request in batch.requests)
    unlearned = batch.facts.get("plan", {}).get("forget", 0)
    done = f"{counted(counts[State.COMPLETED], 'request')} done, {counts[State.REJECTED]:,} rejected"
    return f"{done}; {counted(unlearned, 'sample')} unlearned"


def next_step(batch: Batch) -> Step:
    """What is to be done with an open batch."""
    facts = batch.facts
    if batch.state is State.CLAIMED and "plan" in facts and not facts["plan"]["forget"]:
        # The served model need not change.
        return _erasing(batch) if facts["plan"]["erase"] else complete_batch
    steps: dict[State, Step] = {
        State.CLAIMED: unlearn_batch if "plan" in facts else plan_batch,
        State.UNLEARNED: verify_candidate if facts.get("candidate") else unlearn_batch,
        State.VERIFIED: promote_candidate,
        State.PROMOTED: _erasing(batch),
        State.PURGED: complete_batch,
    }
    return steps[batch.state]


def _erasing(batch: Batch) -> Step:
    return purge_batch if batch.facts.get("erased", {}).get("after") else erase_samples
