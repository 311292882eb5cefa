"""Evaluate one cell: logits once per subset, every metric from those logits."""

from __future__ import annotations

import platform
import tempfile
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from prefect import task
from prefect.cache_policies import NO_CACHE

from qunlearn import checkpoint
from qunlearn.data.splits import check_gate
from qunlearn.evaluation import drift
from qunlearn.evaluation.suite import measure
from qunlearn.quantization import audit, integer_codes, scales
from qunlearn.unlearning import methods
from tasks.cells import CellContext, dataset_inputs
from tasks.manifests import Cell
from tasks.material import Material, use_threads
from tasks.outputs import subset_outputs
from tasks.tracking import CellRecord, Store
from tasks.workspace import Workspace


@task(name="evaluate", task_run_name="{cell.name}", cache_policy=NO_CACHE)
def evaluate_cell(workspace: Workspace, context: CellContext, cell: Cell, original: Cell) -> dict[str, Any]:
    """One entry of ``cells`` in `metrics/evaluation.json`, recorded as a run whose model input is the model."""
    params = workspace.params
    use_threads(params.runner.torch_threads)
    store = Store.open(params.tracking, root=workspace.root)
    material = Material.load(workspace)
    made = store.record_by_digest(cell.sha256, cell=cell.run_name)
    with (
        tempfile.TemporaryDirectory(prefix="qunlearn-") as temporary,
        store.cell(
            f"evaluate {cell.method} seed {cell.seed}",
            context.stage_run,
            fingerprint=None,
            params={"method": cell.method, "seed": cell.seed},
            tags=context.tags(cell.method, cell.seed),
        ) as run,
    ):
        dataset_inputs(run, workspace, material, context="evaluation")
        run.input_model(made.model_id)
        origin = store.record_by_digest(original.sha256, cell=original.run_name)
        model = _fetch(store, made, cell, material, Path(temporary) / "model")
        before = model if cell == original else _fetch(store, origin, original, material, Path(temporary) / "original")
        if cell.method == "retrain":
            check_fresh(made, origin)
        logits, labels = subset_outputs(material, model, batch_size=params.evaluate.batch_size)
        metrics = measure(
            logits, labels, config=params.evaluate, forgotten_classes=material.split.manifest["forgotten_classes"]
        )
        drifts = _drift(before, model)
        metrics |= {name: found.total for name, found in drifts.items()}
        run.metrics(metrics, model_id=made.model_id)
        return {
            "method": cell.method,
            "seed": cell.seed,
            "scenario": material.split.manifest["scenario"],
            "metrics": metrics,
            "stats": {
                "sha256": cell.sha256,
                "seconds": made.metrics["seconds"],
                "forget_passes": made.metrics["forget_passes"],
                "retain_passes": made.metrics["retain_passes"],
                "concurrent": made.tags["concurrent"] == "true",
                "code_flips_by_layer": drifts["code_flips"].layers,
            },
            "run_id": made.run_id,
        }


def check_fresh(retrained: CellRecord, original: CellRecord) -> None:
    """Refuse a reference that started from the original's weights, before or after its training."""
    start = retrained.tags["initial_sha256"]
    if start in (original.tags["initial_sha256"], original.digest):
        raise ValueError(
            f"run {retrained.run_id}: the retrained model started from the original's weights {start[:12]}; "
            "it must come from a fresh constructor with a seed of its own"
        )


def _fetch(store: Store, record: CellRecord, cell: Cell, material: Material, folder: Path) -> torch.nn.Module:
    """The cell's model on the pool's device, after the gate: it must have seen the data that its role says."""
    found = checkpoint.load(store.fetch(cell.sha256, folder, model_id=record.model_id), digest=cell.sha256)
    material.check_blueprint(found)
    material.for_model(found)
    if cell.method == "original":
        material.check_gate(found)
    else:
        split = material.split
        check_gate(
            trained_ids=found.trained_ids,
            forget_ids=[],
            retain_ids=split.ids("train", "retain"),
            held_out_ids=[*split.ids("train", "forget"), *split.ids("validation"), *split.ids("test")],
        )
    return found.model.to(material.pool.device)


def _arrays(tensors: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    return {name: tensor.detach().cpu().numpy() for name, tensor in tensors.items()}


def _drift(before: torch.nn.Module, after: torch.nn.Module) -> dict[str, drift.Drift]:
    return {
        "code_flips": drift.code_flips(_arrays(integer_codes(before)), _arrays(integer_codes(after))),
        "scale_drift": drift.scale_drift(_arrays(scales(before)), _arrays(scales(after))),
        "batchnorm_drift": drift.batchnorm_drift(_arrays(before.state_dict()), _arrays(after.state_dict())),
    }


def context(workspace: Workspace, originals: list[Cell]) -> dict[str, Any]:
    """What a reader needs to judge the numbers: parameters, data, bits really in force, versions, hardware."""
    store = Store.open(workspace.params.tracking, root=workspace.root)
    material = Material.load(workspace)
    with tempfile.TemporaryDirectory(prefix="qunlearn-") as temporary:
        folder = store.fetch(originals[0].sha256, Path(temporary) / "model")
        layers = audit(checkpoint.load(folder, digest=originals[0].sha256).model)
    manifest = material.split.manifest
    return {
        "params": workspace.params.model_dump(mode="json", exclude={"servers", "deletion"}),
        "seeds": workspace.params.seeds,
        "data": {
            "source": material.image_set.meta.source,
            "licence": material.image_set.meta.licence,
            "shape": list(material.image_set.images.shape[1:]),
            "classes": material.pool.classes,
            "counts": manifest["counts"],
            "digests": manifest["digests"],
            "scenario": {"kind": manifest["scenario"], **manifest["settings"]},
            "erased_sha256": manifest["erased_sha256"],
        },
        "methods": {
            name: {"title": method.title, "needs": sorted(method.needs)}
            for name, method in methods().items()
            if name in workspace.params.unlearn
        },
        "audit": [asdict(layer) for layer in layers],
        "versions": {name: version(name) for name in ("torch", "torchvision", "brevitas", "mlflow", "prefect", "dvc")}
        | {"python": platform.python_version()},
        "hardware": hardware(material.pool.device),
    }


def hardware(device: torch.device) -> str:
    """One line that names the processor, or the accelerator, that the numbers were made on."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {torch.get_num_threads()} threads, {platform.machine()}"
