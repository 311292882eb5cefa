"""From the facts of a completed request to its document."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import ValidationError

from qunlearn.deletion.evidence.document import FORMAT, VERSION, Digests, Document, LedgerHead, Purge, Tool
from qunlearn.deletion.evidence.limits import OUTSIDE_CUSTODY, limits_of
from qunlearn.deletion.evidence.model import Attempt, Gate, Method, Metric, ModelChange
from qunlearn.deletion.evidence.request import Batch, Request
from qunlearn.deletion.evidence.signed import EvidenceError, explained


def build(
    *,
    request: Request,
    batch: Batch,
    tool: Tool,
    digests: Digests,
    ledger: LedgerHead,
    verdict: str,
    model: ModelChange | None = None,
    method: Method | None = None,
    metrics: Sequence[Metric] | None = None,
    gates: Sequence[Gate] | None = None,
    attempts: Sequence[Attempt] = (),
    purge: Purge | None = None,
    outside_custody: Sequence[str] = (),
    limits: Sequence[str] = (),
) -> Document:
    """The document of one request; what concerns a change of the model is given exactly where there was one.

    Args:
        outside_custody, limits: in addition to those that always apply.

    Raises:
        EvidenceError: parts are missing, out of place, or contradict each other.
    """
    own = limits_of(request, method=method, gates=gates or (), purge=purge)
    try:
        return Document.model_validate(
            {
                "format": FORMAT,
                "version": VERSION,
                "request": request,
                "batch": batch,
                "tool": tool,
                "digests": digests,
                "model": model,
                "method": method,
                "metrics": metrics,
                "gates": gates,
                "attempts": attempts,
                "verdict": verdict,
                "purge": purge,
                "outside_custody": [*OUTSIDE_CUSTODY, *outside_custody],
                "ledger": ledger,
                "limits": [*own, *limits],
            }
        )
    except ValidationError as error:
        raise EvidenceError("\n".join(f"evidence of {request.id}: {line}" for line in explained(error))) from None
