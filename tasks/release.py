"""Make a model of the pipeline the served one: the start of the deletion service, or of a new generation."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch

from qunlearn import checkpoint
from qunlearn.checkpoint import Checkpoint
from qunlearn.config import ConfigError
from qunlearn.data.batches import infer
from qunlearn.data.erased import read_erased
from qunlearn.data.splits import check_gate
from tasks.material import Material
from tasks.tracking import Store
from tasks.tracking.lineage import lineage
from tasks.workspace import Workspace

TRIED = 32
"""Images that the model is tried on before it is released."""


@dataclass(frozen=True)
class Released:
    """The served model, and the version that it replaces; 0 for none."""

    version: int
    model_id: str
    digest: str
    replaces: int


def release(workspace: Workspace, target: str) -> Released:
    """Register the model that `target` names and make it the champion. Releasing the champion changes nothing.

    Args:
        target: what `qunlearn lineage` understands, of one model.

    Raises:
        TrackingError: no such model, or somebody else released one meanwhile.
        ConfigError: `target` names several models, or one that must not or cannot be served.
        GateError: it was trained on samples that the split holds out.
    """
    store = Store.open(workspace.params.tracking, root=workspace.root)
    subjects = lineage(store, target).subjects
    if len(subjects) != 1:
        raise ConfigError(f"{target!r} names {len(subjects)} models; name one, for example by its model id (m-...)")
    (model_id,) = subjects
    digest = store.digest_of(model_id)
    _check(workspace, _fetched(store, digest, model_id))
    before = store.champion()
    base = 0 if before is None else before.version
    version = store.register(model_id, tags={"origin": "release"})
    if version != base:
        store.set_champion(version, base=base)
    return Released(version, model_id, digest, replaces=base)


def _fetched(store: Store, digest: str, model_id: str) -> Checkpoint:
    with tempfile.TemporaryDirectory(prefix="qunlearn-") as temporary:
        return checkpoint.load(store.fetch(digest, Path(temporary) / "model", model_id=model_id), digest=digest)


def _check(workspace: Workspace, found: Checkpoint) -> None:
    """Refuse a model that was trained on erased or held-out samples, or that cannot answer for this project."""
    gone = read_erased(workspace.erased) if workspace.erased.exists() else frozenset[str]()
    if erased := gone.intersection(found.trained_ids):
        raise ConfigError(
            f"weights {found.digest[:12]}: trained on {len(erased)} samples that were erased since; run `dvc repro` "
            "and release what it trains"
        )
    material = Material.load(workspace).for_model(found)
    held_out = [*material.split.ids("validation"), *material.split.ids("test")]
    trained = found.trained_ids
    check_gate(trained_ids=trained, forget_ids=(), retain_ids=trained, held_out_ids=held_out)
    places = material.indices("test")[:TRIED]
    logits = infer(found.model.to(material.pool.device).eval(), material.pool, places, batch_size=TRIED)
    if not bool(torch.isfinite(logits).all()):
        raise ConfigError(f"weights {found.digest[:12]}: the model's answers to test images are not finite")
