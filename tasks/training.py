"""Train one cell: the original model, or the retrained reference of the same seed."""

from __future__ import annotations

import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Literal

from prefect import task
from prefect.cache_policies import NO_CACHE

from qunlearn import checkpoint
from qunlearn.progress import epoch_printer
from qunlearn.quantization import audit
from qunlearn.training import train
from tasks.cells import CellContext, dataset_inputs
from tasks.fingerprint import TRAINING_MODULES, fingerprint
from tasks.manifests import Cell
from tasks.material import Material, use_threads
from tasks.tracking import Run, Store
from tasks.workspace import Workspace, derived_seed

Kind = Literal["original", "retrain"]


@task(name="train", task_run_name="{kind} seed {seed}", cache_policy=NO_CACHE)
def train_cell(workspace: Workspace, context: CellContext, kind: Kind, seed: int) -> Cell:
    """A trained model as a finished MLflow run with its weights, reused where an equal one exists."""
    params = workspace.params
    use_threads(params.runner.torch_threads)
    store = Store.open(params.tracking, root=workspace.root)
    material = Material.load(workspace)
    subset = None if kind == "original" else "retain"
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


def _train(run: Run, workspace: Workspace, material: Material, kind: Kind, seed: int) -> str:
    params = workspace.params
    subset = None if kind == "original" else "retain"
    # A fresh constructor with a seed of its own: a retrained model shares nothing with the original.
    model = material.blueprint.build(seed=derived_seed(seed, f"{kind}/weights")).to(material.pool.device)
    run.tag({"initial_sha256": checkpoint.digest_of_model(model)})
    with epoch_printer(f"{kind} seed {seed}") as progress:
        result = train(
            model,
            material.pool,
            material.indices("train", subset),
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
            "forget_passes": 0.0 if kind == "retrain" else passes,
            "retain_passes": passes,
        }
    )
    run.json("quantization/audit.json", {"layers": [asdict(layer) for layer in audit(model)]})
    with tempfile.TemporaryDirectory(prefix="qunlearn-") as temporary:
        folder = Path(temporary) / "checkpoint"
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
            params=params.model_dump(mode="json", include={"model", "quantization", "training"}),
        )
    return digest
