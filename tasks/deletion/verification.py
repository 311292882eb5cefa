"""Judge a candidate by the gates, beside the model that is still served."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch
from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from qunlearn.checkpoint import Checkpoint
from qunlearn.data.batches import infer
from qunlearn.deletion.gates import Judgement, Readings, judge
from qunlearn.deletion.ledger import Batch, State
from qunlearn.deletion.plan import Plan
from qunlearn.memory import freed_memory_kept
from tasks.deletion.methods import RETRAIN
from tasks.deletion.planning import planned
from tasks.deletion.reference import retrained_reference
from tasks.deletion.service import Service
from tasks.material import Material, use_threads
from tasks.tracking.outages import outages_told
from tasks.workspace import derived_seed

BATCH = 256
"""Images a forward pass."""


@task(name="verify", cache_policy=NO_CACHE)
@outages_told()
def verify_candidate(params_file: str, batch: Batch) -> Batch:
    """The batch as verified where the candidate passes its gates; else without a candidate, for the next method.

    Raises:
        ChampionChangedError, DataChangedError: the plan is no longer right.
        CandidateError: the candidate is lost or damaged.
    """
    service = Service.open(params_file)
    params = service.workspace.params
    use_threads(params.runner.torch_threads)
    candidate, base = batch.facts["candidate"], service.base(batch)
    plan, emptied = planned(service, batch, base)
    parent = service.fetch(base.digest, model_id=base.model_id)
    material = Material.load(service.workspace)
    positions = _positions(material, plan, seed=derived_seed(params.seeds[0], f"deletion/{base.digest}"))
    made = service.candidate(batch)
    reference = retrained_reference(service, plan, parent)
    if reference is not None:
        get_run_logger().info("model %s was retrained on what is retained: a reference", reference[0])
    judgement = judge(
        _readings(parent, material, positions),
        _readings(made, material, positions),
        params.deletion.gates,
        forgotten_classes=emptied,
        reference=None if reference is None else _readings(reference[1], material, positions),
        seed=params.seeds[0],
        retrained=candidate["registered"] == RETRAIN,
    )
    service.store.run(candidate["run_id"]).metrics(judgement.metrics)
    attempt = {**candidate, **_entry(judgement), "reference": None if reference is None else reference[0]}
    attempts = [*batch.facts.get("attempts", []), attempt]
    for gate in judgement.gates:
        say = get_run_logger().info if gate.passed else get_run_logger().warning
        say("gate %s %s: %s", gate.name, "passed" if gate.passed else "failed", gate.text)
    if judgement.passed:
        return service.ledger.advance(batch, State.VERIFIED, facts={"attempts": attempts})
    failed = [gate.name for gate in judgement.gates if gate.binding and not gate.passed]
    service.ledger.note(batch, "gates failed", {"method": candidate["method"], "gates": failed})
    return service.ledger.advance(batch, State.UNLEARNED, facts={"attempts": attempts, "candidate": None})


def _positions(material: Material, plan: Plan, *, seed: int) -> dict[str, torch.Tensor]:
    """Positions of the four sets; of the retained images at most as many as there are for validation."""
    held_out = {name: material.indices(name) for name in ("validation", "test")}
    device = held_out["validation"].device
    found = {name: torch.from_numpy(material.image_set.index_of(getattr(plan, name))) for name in ("forget", "retain")}
    order = torch.randperm(len(found["retain"]), generator=torch.Generator().manual_seed(seed))
    found["retain"] = found["retain"][order[: len(held_out["validation"])].sort().values]
    return {**{name: places.to(device) for name, places in found.items()}, **held_out}


def _readings(found: Checkpoint, material: Material, positions: dict[str, torch.Tensor]) -> Readings:
    # Each model has a normalisation of its own: one trained anew has that of the images that are left.
    pool = material.for_model(found).pool
    model = found.model.to(pool.device).eval()
    with freed_memory_kept():
        logits = {
            name: infer(model, pool, places, batch_size=BATCH).cpu().numpy() for name, places in positions.items()
        }
    return Readings(logits, {name: pool.labels[places].cpu().numpy() for name, places in positions.items()})


def _entry(judgement: Judgement) -> dict[str, Any]:
    return {
        "passed": judgement.passed,
        "informative": judgement.informative,
        "gates": [asdict(gate) for gate in judgement.gates],
        "metrics": dict(judgement.metrics),
    }
