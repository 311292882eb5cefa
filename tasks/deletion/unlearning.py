"""Make the model that has forgotten what a batch asks for. It is in the store then, but not yet released."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE
from torch import Tensor, nn

from qunlearn import checkpoint
from qunlearn.checkpoint import Checkpoint
from qunlearn.data.erased import read_erased
from qunlearn.data.splits import check_gate
from qunlearn.deletion.counted import counted
from qunlearn.deletion.evidence import ids_digest, json_digest
from qunlearn.deletion.ledger import Batch, State
from qunlearn.deletion.plan import Plan
from qunlearn.memory import freed_memory_kept
from qunlearn.quantization import audit
from qunlearn.unlearning import Choice, Problem, get
from qunlearn.unlearning import run as run_method
from tasks.cells import dataset_inputs
from tasks.context import run_context
from tasks.deletion.erasing import erased_ids
from tasks.deletion.methods import FULL_TRAINING, RETRAIN, next_choice, parents_of
from tasks.deletion.planning import planned
from tasks.deletion.progress import epoch_logger, tell_start
from tasks.deletion.service import Service
from tasks.deletion.setbacks import MethodsExhaustedError
from tasks.evaluation_cards import described_bits
from tasks.fingerprint import fingerprint, unlearning_modules
from tasks.material import Material, use_threads
from tasks.temporary import temporary_folder
from tasks.tracking import Champion, Run
from tasks.tracking.cards import BITS_TAG
from tasks.tracking.names import REGISTERED_TAG
from tasks.tracking.outages import outages_told
from tasks.unlearning import record_statistics
from tasks.workspace import derived_seed


@dataclass(frozen=True)
class _Work:
    """What one attempt is made of."""

    service: Service
    material: Material
    base: Champion
    parent: Checkpoint
    plan: Plan
    choice: Choice

    @property
    def seed(self) -> int:
        return derived_seed(self.service.workspace.params.seeds[0], f"deletion/{self.parent.digest}")

    def settings(self) -> dict[str, Any]:
        """All parameters that decide the unlearned weights; the row's name is not one."""
        params = self.service.workspace.params
        trained = self.positions(self.plan.forget + self.plan.retain)
        return {
            "registered_method": self.choice.method,
            "seed": params.seeds[0],
            "config": self.choice.base.model_dump(mode="json"),
            "training": params.training.model_dump(mode="json"),
            **self.material.settings(torch.cat([trained, self.material.indices("validation")])),
        }

    def fingerprint(self) -> str:
        subsets = [ids_digest(ids) for ids in (self.plan.forget, self.plan.retain)]
        return fingerprint(
            params=self.settings(),
            split_digest="/".join([*subsets, ids_digest(self.material.split.ids("validation"))]),
            parent_digest=self.parent.digest,
            modules=[*unlearning_modules(get(self.choice.method).module), __name__],
        )

    def positions(self, ids: tuple[str, ...]) -> Tensor:
        found = torch.as_tensor(self.material.image_set.index_of(ids), dtype=torch.int64)
        return found.to(self.material.pool.device)


@task(name="unlearn samples", cache_policy=NO_CACHE)
@outages_told()
def unlearn_batch(params_file: str, batch: Batch) -> Batch:
    """The batch with a candidate among its facts, made by the next method that was not tried.

    Raises:
        MethodsExhaustedError: all were.
        ChampionChangedError, DataChangedError: the plan is no longer right.
        GateError: the champion's training samples overlap with those held out for evaluation.
    """
    service = Service.open(params_file)
    params = service.workspace.params
    use_threads(params.runner.torch_threads)
    base = service.base(batch)
    parent = service.fetch(base.digest, model_id=base.model_id)
    choice = next_choice(params, batch, sequential=len(parents_of(parent)))
    if choice is None:
        raise MethodsExhaustedError(
            "no method gave a model that passes the gates, not even retraining; see `qunlearn ledger log` for the "
            "gates, and docs/operations.md for what to do"
        )
    material = Material.load(service.workspace)
    plan, _ = planned(service, batch, base)
    check_gate(
        trained_ids=[*plan.forget, *plan.retain],
        forget_ids=plan.forget,
        retain_ids=plan.retain,
        held_out_ids=[*material.split.ids("validation"), *material.split.ids("test")],
    )
    normalised = material.for_model(parent)
    if choice.method == RETRAIN:
        # Mean and deviation of the parent's images are made of the samples that must go, too.
        erased = read_erased(service.workspace.erased)
        normalised = material.normalised_without(erased.union(erased_ids(batch)))
    work = _Work(service, normalised, base, parent, plan, choice)
    candidate = {
        "method": choice.name,
        "registered": choice.method,
        "settings": json_digest(choice.base.model_dump(mode="json")),
        "seed": work.seed,
        **_made(work, batch),
    }
    return service.ledger.advance(batch, State.UNLEARNED, facts={"candidate": candidate})


def _made(work: _Work, batch: Batch) -> dict[str, str]:
    """Ids of the candidate's model and run, and its digest; found again where an earlier run was cut short."""
    store, mark = work.service.store, work.fingerprint()
    found = store.find_cell(mark)
    if found is not None:
        get_run_logger().info("an earlier run that was cut short has unlearned these samples already")
        return {"model_id": found.model_id, "digest": found.digest, "run_id": found.run_id}
    own = {"stage": "deletion", "method": work.choice.name, REGISTERED_TAG: work.choice.method, "batch": batch.id}
    common = {**run_context(work.service.workspace.root), **own}
    what = f"delete {counted(len(work.plan.forget), 'sample')}"
    name = f"{what} from version {work.base.version}"
    params = work.service.workspace.params.deletion.model_dump(mode="json")
    described = {"method": work.choice.name, **work.settings()}
    with (
        store.stage(
            "deletion", store.pipeline("deletion", params={}, tags=common), tags=common, params=params
        ) as stage,
        store.cell(name, stage.id, fingerprint=mark, params=described, tags=common) as run,
    ):
        dataset_inputs(run, work.service.workspace, work.material, context="unlearning")
        if work.choice.method != RETRAIN:
            run.input_model(work.base.model_id)
        model_id, digest = _unlearn(run, work)
    return {"model_id": model_id, "digest": digest, "run_id": run.id}


def _unlearn(run: Run, work: _Work) -> tuple[str, str]:
    device, parent = work.material.pool.device, work.parent
    problem = Problem(
        pool=work.material.pool,
        forget=work.positions(work.plan.forget),
        retain=work.positions(work.plan.retain),
        validation=work.material.indices("validation"),
        fresh=lambda: parent.blueprint.build(seed=work.seed).to(device),
        recipe=work.service.workspace.params.training,
    )
    tell_start(work.choice, problem.recipe, forget=len(work.plan.forget), retain=len(work.plan.retain))
    with freed_memory_kept():
        result = run_method(
            work.choice.method,
            parent.model.to(device),
            problem,
            work.choice.base,
            seed=work.seed,
            on_epoch=epoch_logger(work.choice),
        )
    record_statistics(run, result)
    return _keep(run, result.model, work)


def _keep(run: Run, model: nn.Module, work: _Work) -> tuple[str, str]:
    """Store the checkpoint as the run's output; the id of the model, and its digest."""
    parent, choice, plan = work.parent, work.choice, work.plan
    extra: dict[str, Any] = {
        "method": choice.method,
        "config": choice.base.model_dump(mode="json"),
        "interface": work.material.interface(),
        "parents": [],
    }
    tags = {
        "method": choice.name,
        REGISTERED_TAG: choice.method,
        "forgot": ids_digest(plan.forget),
        "forgot_count": str(len(plan.forget)),
        BITS_TAG: described_bits([asdict(layer) for layer in audit(model)]),
    }
    if choice.method != RETRAIN:
        earlier = parents_of(parent)
        made_by = str(parent.extra["method"]) if earlier else FULL_TRAINING
        own = {"version": work.base.version, "weights": parent.digest, "method": made_by}
        extra |= {"parent": parent.digest, "parents": [*earlier, own]}
        tags["parent_sha256"] = parent.digest
    with temporary_folder(work.service.workspace.root) as temporary:
        folder = temporary / "checkpoint"
        digest = checkpoint.save(model, folder, blueprint=parent.blueprint, trained_ids=plan.retain, extra=extra)
        model_id = run.output_model(
            folder,
            name=f"deletion-{choice.name}",
            digest=digest,
            tags=tags,
            params={
                "quantization": parent.blueprint.quantization.model_dump(mode="json"),
                "method": choice.base.model_dump(mode="json"),
            },
        )
    return str(model_id), digest
