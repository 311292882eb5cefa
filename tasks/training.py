"""Train one cell: the original model, the retrained reference of the same seed, or a shadow model.

A shadow model is one more retrained model that is never a reference: a membership attack learns from it how models
behave that have not seen the forget set.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Literal

from prefect import task
from prefect.cache_policies import NO_CACHE
from torch import nn

from qunlearn import checkpoint
from qunlearn.data.scenarios import Subset
from qunlearn.memory import freed_memory_kept
from qunlearn.progress import epoch_printer
from qunlearn.quantization import audit
from qunlearn.training import train
from tasks.cells import CellContext, dataset_inputs
from tasks.fingerprint import TRAINING_MODULES, fingerprint
from tasks.manifests import Cell
from tasks.material import Material, use_threads
from tasks.peak_memory import peak_memory, warm_up
from tasks.temporary import temporary_folder
from tasks.tracking import Run, Store
from tasks.workspace import Workspace, derived_seed

Kind = Literal["original", "retrain", "shadow"]
"""All three have weights and batches of their own, drawn from seeds derived from the kind and the seed or index."""


@task(name="train", task_run_name="{kind} seed {seed}", cache_policy=NO_CACHE)
def train_cell(workspace: Workspace, context: CellContext, kind: Kind, seed: int) -> Cell:
    """A trained model as a finished MLflow run with its weights, reused where an equal one exists.

    Args:
        seed: of the pipeline's `seeds`; for a shadow model its index.
    """
    params = workspace.params
    use_threads(params.runner.torch_threads)
    store = Store.open(params.tracking, root=workspace.root)
    material = Material.load(workspace)
    subset = _subset(kind)
    settings = {
        "kind": kind,
        "seed": seed,
        "training": params.training.model_dump(mode="json"),
        **material.settings(material.indices("train", subset)),
    }
    mark = fingerprint(
        params=settings,
        split_digest=material.split.digest("train", subset),
        parent_digest=None,
        modules=(*TRAINING_MODULES, "tasks.material", "tasks.workspace", __name__),
    )
    name = f"{kind} seed {seed}"
    if (found := store.find_cell(mark)) is not None:
        context.note_reused(store, name, found)
        return Cell(kind, seed, found.digest)
    with store.cell(name, context.stage_run, fingerprint=mark, params=settings, tags=context.tags(kind, seed)) as run:
        dataset_inputs(run, workspace, material, context="training")
        digest = _train(run, workspace, material, kind, seed)
    return Cell(kind, seed, digest)


def _subset(kind: Kind) -> Subset | None:
    """The part of the training images that a kind is trained on; None is all of them."""
    return None if kind == "original" else "retain"


def _train(run: Run, workspace: Workspace, material: Material, kind: Kind, seed: int) -> str:
    params = workspace.params
    device = material.pool.device
    # A fresh constructor with a seed of its own: a retrained model shares nothing with the original.
    model = material.blueprint.build(seed=derived_seed(seed, f"{kind}/weights")).to(device)
    run.tag({"initial_sha256": checkpoint.digest_of_model(model)})
    indices = material.indices("train", _subset(kind))
    warm_up(model, material.pool, indices, batch_size=params.training.batch_size)
    with epoch_printer(f"{kind} seed {seed}") as progress, freed_memory_kept(), peak_memory(device) as peak:
        result = train(
            model,
            material.pool,
            indices,
            params.training,
            seed=derived_seed(seed, f"{kind}/batches"),
            progress=progress,
        )
    run.epochs(result.epochs)
    passes = float(params.training.epochs)
    run.metrics(
        {
            "seconds": result.seconds,
            "steps": result.steps,
            "forget_passes": passes if kind == "original" else 0.0,
            "retain_passes": passes,
            "peak_memory_mb": peak.megabytes,
        }
    )
    run.json("quantization/audit.json", {"layers": [asdict(layer) for layer in audit(model)]})
    return _keep(run, model, workspace, material, kind, seed)


def _keep(run: Run, model: nn.Module, workspace: Workspace, material: Material, kind: Kind, seed: int) -> str:
    """Store the checkpoint as the run's output; its digest."""
    subset = _subset(kind)
    with temporary_folder(workspace.root) as temporary:
        folder = temporary / "checkpoint"
        digest = checkpoint.save(
            model,
            folder,
            blueprint=material.blueprint,
            trained_ids=material.split.ids("train", subset),
            extra={"method": kind, "seed": seed, "interface": material.interface()},
        )
        run.output_model(
            folder,
            name=f"{kind}-seed{seed}",
            digest=digest,
            tags={"method": kind, "seed": str(seed), "trained_on": material.split.digest("train", subset)},
            params=workspace.params.model_dump(mode="json", include={"model", "quantization", "training"}),
        )
    return digest
