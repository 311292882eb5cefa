"""Release the candidate: register it, make it the champion if nothing came between, and try it as a caller would."""

from __future__ import annotations

import torch
from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from qunlearn.checkpoint import Checkpoint
from qunlearn.data.batches import infer
from qunlearn.deletion.ledger import Batch, State
from tasks.deletion.service import Service, base_of
from tasks.deletion.setbacks import CandidateError
from tasks.material import Material, use_threads
from tasks.tracking.outages import outages_told

TRIED = 32
"""Images that the released model is tried on."""


@task(name="promote", cache_policy=NO_CACHE)
@outages_told()
def promote_candidate(params_file: str, batch: Batch) -> Batch:
    """The batch as promoted. Whatever was done of this before is found and not done twice.

    Raises:
        ChampionChangedError: the served model is neither the one the candidate was made from nor the candidate.
        CandidateError: it is lost, damaged, or does not answer as it did; the earlier model is served again.
    """
    service = Service.open(params_file)
    base, candidate = base_of(batch), batch.facts["candidate"]
    tags = {"origin": "deletion", "base_version": str(base.version), "batch": batch.id}
    version = service.store.register(candidate["model_id"], tags=tags)
    _try(service, service.candidate(batch))
    served = service.champion()
    # Also where it is served already: a run that died right after it had moved the alias has not yet said so elsewhere.
    service.store.set_champion(version, base=version if served.version == version else base.version)
    try:
        served = service.champion()
        if served.digest != candidate["digest"]:
            raise CandidateError(f"version {served.version} is served instead of version {version}")
        _try(service, service.candidate(batch))
    except Exception:
        # Only while the claim holds: whoever took it over may have released the candidate and purged the base by now.
        service.ledger.renew(batch)
        # Not BaseException: a run that is being killed leaves this to the next one, which tries again.
        service.store.set_champion(base.version, base=version)
        raise
    get_run_logger().info("version %s is the champion; it replaces version %s", version, base.version)
    return service.ledger.advance(batch, State.PROMOTED, facts={"released": {"version": version}})


def _try(service: Service, found: Checkpoint) -> None:
    """Look at the answers of a model that was just fetched, which verified every file.

    Raises:
        CandidateError: an answer is not finite.
    """
    use_threads(service.workspace.params.runner.torch_threads)
    material = Material.load(service.workspace).for_model(found)
    places = material.indices("test")[:TRIED]
    logits = infer(found.model.to(material.pool.device).eval(), material.pool, places, batch_size=TRIED)
    if not bool(torch.isfinite(logits).all()):
        raise CandidateError(f"weights {found.digest[:12]}: the model's answers to test images are not finite")
