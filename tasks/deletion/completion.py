"""Write the evidence of each request of a batch, and complete it."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

import httpx
from prefect import get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.context import FlowRunContext

from qunlearn.deletion import evidence, evidence_markdown, evidence_page
from qunlearn.deletion.ledger import Batch, Outcome, State
from qunlearn.deletion.plan import Share
from qunlearn.deletion.signing import SigningKey
from tasks.deletion.documents import document, outcome_of
from tasks.deletion.service import Service, carried
from tasks.purging import close
from tasks.tracking.notes import EVIDENCE
from tasks.tracking.outages import outages_told


@task(name="complete", cache_policy=NO_CACHE)
@outages_told()
def complete_batch(params_file: str, batch: Batch) -> Batch:
    """The batch as completed, its evidence on the disk, in the store and on Prefect's pages.

    The evidence comes first, and its digests go into the ledger's last event about the batch. Evidence without that
    event is that of a run which was cut short; it is written anew.
    """
    service = Service.open(params_file)
    if batch.state is State.PURGED:
        # Not before the ledger has them: until then the purge's own notes are all that tells what was removed.
        close(service.workspace)
    key, written_at = SigningKey.load(service.workspace.root), datetime.now(UTC)
    digests: dict[str, str] = {}
    outcomes: dict[str, Outcome] = {}
    for request in carried(batch):
        signed = evidence.sign(document(service, batch, request, written_at=written_at), key)
        evidence.write_evidence(service.workspace.root, signed, evidence_page.render(signed))
        _publish(service, batch, request.id, signed)
        outcomes[request.id] = outcome_of(batch, Share.from_json(batch.facts["plan"]["shares"][request.id]))
        digests[request.id] = hashlib.sha256(signed.content).hexdigest()
    get_run_logger().info("batch %s is completed: %s", batch.id, ", ".join(map(str, outcomes.values())))
    return service.ledger.advance(batch, State.COMPLETED, outcome=outcomes, facts={"evidence": digests})


def _publish(service: Service, batch: Batch, request: str, signed: evidence.Signed) -> None:
    """The document beside the run that made the model, and as an artifact of the flow run where there is one."""
    markdown, candidate = evidence_markdown.render(signed), batch.facts.get("candidate")
    if candidate is not None and signed.document.model is not None:
        run = service.store.run(candidate["run_id"])
        run.text(f"{EVIDENCE}/{request}.json", signed.content.decode())
        run.text(f"{EVIDENCE}/{request}.html", evidence_page.render(signed))
        markdown = service.store.show_evidence(candidate["model_id"], request=request) + markdown
    if FlowRunContext.get() is not None:
        try:
            create_markdown_artifact(markdown, key=f"evidence-{request}", description="Evidence of a deletion request")
        except httpx.HTTPError:
            # Its page is a copy; a server that went away meanwhile leaves no request open.
            get_run_logger().warning(
                "Prefect's server did not take the evidence of %s; see MLflow or the file", request
            )
