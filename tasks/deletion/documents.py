"""From the facts of a batch to the parts of its requests' evidence."""

from __future__ import annotations

from datetime import datetime
from importlib import metadata
from typing import Any

from qunlearn.deletion import evidence
from qunlearn.deletion.evidence import ids_digest, json_digest
from qunlearn.deletion.ledger import Batch, Outcome, Request
from qunlearn.deletion.plan import Share
from tasks.context import run_context
from tasks.deletion.methods import RETRAIN, parents_of
from tasks.deletion.service import Service, base_of, carried
from tasks.fingerprint import source_digest
from tasks.tracking.registry import SERVED

CHANGED = (Outcome.UNLEARNED, Outcome.RETRAINED)
ERASED = (*CHANGED, Outcome.NOT_TRAINED)
VERDICTS = {
    Outcome.UNLEARNED: "The new model met all binding gates and is served; data and stores lost the samples.",
    Outcome.RETRAINED: "A model trained anew without the samples is served; they were erased from data and stores.",
    Outcome.NOT_TRAINED: "The served model was not trained on the samples; they were erased from data and stores.",
    Outcome.ALREADY_ERASED: "An earlier request had erased the samples; nothing was left to do.",
    Outcome.NOT_PRESENT: "No name in the request belongs to a sample of this project; nothing was done.",
}


def outcome_of(batch: Batch, share: Share) -> Outcome:
    """How a request of the batch ends, now that the batch has its model."""
    if share.outcome is not None:
        return share.outcome
    return Outcome.RETRAINED if batch.facts["candidate"]["registered"] == RETRAIN else Outcome.UNLEARNED


def document(service: Service, batch: Batch, request: Request, *, written_at: datetime) -> evidence.Document:
    """The evidence of one request of a batch that has only its last step before it."""
    share = Share.from_json(batch.facts["plan"]["shares"][request.id])
    outcome = outcome_of(batch, share)
    number, head = service.ledger.head()
    return evidence.build(
        request=_request(service, request, share, outcome, written_at),
        batch=evidence.Batch(id=batch.id, requests=len(carried(batch))),
        tool=_tool(service),
        digests=_digests(service, batch, outcome),
        ledger=evidence.LedgerHead(number=number, hash=head),
        verdict=VERDICTS[outcome],
        purge=evidence.Purge.model_validate(batch.facts["purge"]) if outcome in ERASED else None,
        outside_custody=batch.facts["outside"] if outcome in ERASED else (),
        **(_change(service, batch) if outcome in CHANGED else {}),
    )


def _request(
    service: Service, request: Request, share: Share, outcome: Outcome, written_at: datetime
) -> evidence.Request:
    asked = request.asked
    samples = {*asked.samples, *share.found}
    unknown = set(asked.unknown) - {service.key.hashed("sample", one) for one in share.found}
    return evidence.Request(
        id=request.id,
        kind=asked.kind,
        outcome=outcome.value,
        received=request.received_at,
        due=asked.due,
        completed=written_at,
        counts=evidence.Counts(
            asked=share.asked,
            known=share.asked - share.unknown,
            unknown=share.unknown,
            already_erased=share.erased,
            trained_on=share.trained,
        ),
        samples=ids_digest(samples) if samples else None,
        unknown_names=ids_digest(unknown) if unknown else None,
        subject=asked.subject,
        reference=asked.reference,
    )


def _tool(service: Service) -> evidence.Tool:
    commit = run_context(service.workspace.root).get("git_commit")
    return evidence.Tool(version=metadata.version("qunlearn"), git_commit=commit)


def _digests(service: Service, batch: Batch, outcome: Outcome) -> evidence.Digests:
    erased = batch.facts["erased"] if outcome in ERASED else {"before": None, "after": None, "commit": None}
    return evidence.Digests(
        source=source_digest(["flows", "qunlearn", "tasks"]),
        parameters=json_digest(service.workspace.params.model_dump(mode="json")),
        retained=batch.facts["plan"]["retained"] if outcome in CHANGED else None,
        erased_before=erased["before"],
        erased_after=erased["after"],
        erased_commit=erased["commit"],
    )


def _change(service: Service, batch: Batch) -> dict[str, Any]:
    """The parts that are about the new model."""
    *earlier, last = batch.facts["attempts"]
    base, candidate = base_of(batch), batch.facts["candidate"]
    made = service.fetch(candidate["digest"], model_id=candidate["model_id"])
    parents = parents_of(made)
    return {
        "model": evidence.ModelChange(
            before=_served(base.version, base.digest, **batch.facts["plan"]["base"]),
            after=_served(
                batch.facts["released"]["version"],
                made.digest,
                training_ids=ids_digest(made.trained_ids),
                training_samples=len(made.trained_ids),
            ),
        ),
        "method": evidence.Method(
            name=candidate["method"],
            parameters=candidate["settings"],
            seed=candidate["seed"],
            parents=[evidence.Parent(**parent) for parent in parents],
            sequential=len(parents),
            limit=service.workspace.params.deletion.max_sequential,
        ),
        "metrics": evidence.accuracy_metrics(last["metrics"]),
        "gates": [evidence.Gate.model_validate(gate) for gate in last["gates"]],
        "attempts": [_attempt(attempt) for attempt in earlier],
    }


def _served(version: int, weights: str, *, training_ids: str, training_samples: int) -> evidence.ServedModel:
    return evidence.ServedModel(
        name=SERVED, version=version, weights=weights, training_ids=training_ids, training_samples=training_samples
    )


def _attempt(attempt: dict[str, Any]) -> evidence.Attempt:
    failed = [gate for gate in attempt["gates"] if gate["binding"] and not gate["passed"]]
    return evidence.Attempt(
        method=attempt["method"],
        seed=attempt["seed"],
        failed=[gate["name"] for gate in failed],
        reason=" ".join(gate["text"] for gate in failed),
    )
