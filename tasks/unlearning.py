"""Unlearn one cell: one method applied to the original model of one seed."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from prefect import task
from prefect.cache_policies import NO_CACHE

from qunlearn import checkpoint
from qunlearn.config import Strict
from qunlearn.progress import epoch_printer
from qunlearn.reporting.conflict import has_conflicts
from qunlearn.reporting.figures import conflict_figure
from qunlearn.unlearning import Problem, Result, get, resolve
from qunlearn.unlearning import run as run_method
from tasks.cells import CellContext, dataset_inputs
from tasks.fingerprint import fingerprint, unlearning_modules
from tasks.manifests import Cell
from tasks.material import Material, use_threads
from tasks.tracking import CellRecord, Run, Store
from tasks.workspace import Workspace, derived_seed


@task(name="unlearn", task_run_name="{method} seed {seed}", cache_policy=NO_CACHE)
def unlearn_cell(workspace: Workspace, context: CellContext, method: str, seed: int, parent: Cell) -> Cell:
    """An unlearned model as a finished MLflow run with its weights, reused where an equal one exists."""
    params = workspace.params
    use_threads(params.runner.torch_threads)
    store = Store.open(params.tracking, root=workspace.root)
    material = Material.load(workspace)
    config = resolve({method: params.unlearn[method]})[method]
    settings = {
        "method": method,
        "seed": seed,
        "config": config.model_dump(mode="json"),
        "training": params.training.model_dump(mode="json"),
        **material.settings(torch.cat([material.indices("train"), material.indices("validation")])),
    }
    digests = [material.split.digest("train", "forget"), material.split.digest("train", "retain")]
    mark = fingerprint(
        params=settings,
        split_digest="/".join([*digests, material.split.digest("validation", None)]),
        parent_digest=parent.sha256,
        modules=(*unlearning_modules(get(method).module), "tasks.material", "tasks.workspace", __name__),
    )
    name = f"{method} seed {seed}"
    if (found := store.find_cell(mark)) is not None:
        context.note_reused(store, name, found)
        return Cell(method, seed, found.digest)
    origin = store.record_by_digest(parent.sha256, cell=parent.run_name)
    with store.cell(name, context.stage_run, fingerprint=mark, params=settings, tags=context.tags(method, seed)) as run:
        dataset_inputs(run, workspace, material, context="unlearning")
        run.input_model(origin.model_id)
        digest = _unlearn(run, store, material, method, seed, config, origin, workspace)
    return Cell(method, seed, digest)


def _unlearn(
    run: Run,
    store: Store,
    material: Material,
    method: str,
    seed: int,
    config: Strict,
    origin: CellRecord,
    workspace: Workspace,
) -> str:
    with tempfile.TemporaryDirectory(prefix="qunlearn-") as temporary:
        folder = store.fetch(origin.digest, Path(temporary) / "parent", model_id=origin.model_id)
        parent = checkpoint.load(folder, digest=origin.digest)
        material.check_blueprint(parent)
        material.check_gate(parent)
        material = material.for_model(parent)
        problem = Problem(
            pool=material.pool,
            forget=material.indices("train", "forget"),
            retain=material.indices("train", "retain"),
            validation=material.indices("validation"),
            fresh=lambda: parent.blueprint.build(seed=derived_seed(seed, "fresh/weights")).to(material.pool.device),
            recipe=workspace.params.training,
        )
        with epoch_printer(f"{method} seed {seed}") as progress:
            result = run_method(
                method,
                parent.model.to(material.pool.device),
                problem,
                config,
                seed=derived_seed(seed, f"unlearn/{method}"),
                on_epoch=progress,
            )
        record_statistics(run, result)
        folder = Path(temporary) / "checkpoint"
        digest = checkpoint.save(
            result.model,
            folder,
            blueprint=parent.blueprint,
            trained_ids=material.split.ids("train", "retain"),
            extra={
                "method": method,
                "seed": seed,
                "parent": origin.digest,
                "config": config.model_dump(mode="json"),
                "interface": parent.extra["interface"],
            },
        )
        run.output_model(
            folder,
            name=f"{method}-seed{seed}",
            digest=digest,
            tags={
                "method": method,
                "seed": str(seed),
                "parent_sha256": origin.digest,
                "forgot": material.split.digest("train", "forget"),
                "forgot_count": str(len(problem.forget)),
            },
            params={
                "quantization": parent.blueprint.quantization.model_dump(mode="json"),
                "method": config.model_dump(mode="json"),
            },
        )
    return digest


def record_statistics(run: Run, result: Result) -> None:
    """Every figure a method reported: by epoch as metrics, by step and by layer as Parquet, conflicts as a picture."""
    run.epochs(result.epochs)
    run.metrics({"seconds": result.seconds, **{f"{name}_passes": value for name, value in result.passes.items()}})
    if result.steps:
        run.table("steps", result.steps)
    if has_conflicts(result.steps):
        run.figure("conflict", conflict_figure(result.steps))
    if result.layers:
        run.table("layers", result.layers)
