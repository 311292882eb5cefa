"""Make a model of the pipeline the served one: the start of the deletion service, or of a new generation."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from qunlearn import checkpoint
from qunlearn.checkpoint import Checkpoint
from qunlearn.config import ConfigError
from qunlearn.data.batches import infer
from qunlearn.data.erased import read_erased
from qunlearn.data.splits import check_gate
from qunlearn.deletion import ledger_files
from qunlearn.deletion.ledger import Ledger, State
from qunlearn.deletion.ledger_place import SqliteFile, place
from tasks.material import Material
from tasks.temporary import temporary_folder
from tasks.tracking import Store
from tasks.tracking.lineage import lineage
from tasks.tracking.outages import outages_told
from tasks.tracking.writable import check_writable
from tasks.workspace import Workspace

TRIED = 32
"""Images that the model is tried on before it is released."""


BEYOND_RETURN = (State.PROMOTED, State.PURGED)
"""States of a deletion that has served its own model and is not completed."""


class DeletionOpenError(ValueError):
    """A deletion has served its model and must end before another one is served."""


@dataclass(frozen=True)
class Released:
    """The served model, and the version that it replaces; 0 for none."""

    version: int
    model_id: str
    digest: str
    replaces: int


@outages_told()
def release(workspace: Workspace, target: str) -> Released:
    """Register the model that `target` names and make it the champion. Releasing the champion changes nothing.

    The caller holds the served model, so that no deletion begins or goes on meanwhile.

    Args:
        target: what `qunlearn lineage` understands, of one model.

    Raises:
        TrackingError: no such model, or somebody else released one meanwhile.
        ConfigError: `target` names several models, or one that must not or cannot be served.
        GateError: it was trained on samples that the split holds out.
        DeletionOpenError: a deletion has served another model, and is not completed.
        LedgerError: the ledger cannot be read.
        OutageError: the store or a file cannot be used, for which nothing is released.
    """
    store = Store.open(workspace.params.tracking, root=workspace.root)
    subjects = lineage(store, target).subjects
    if len(subjects) != 1:
        raise ConfigError(f"{target!r} names {len(subjects)} models; name one, for example by its model id (m-...)")
    (model_id,) = subjects
    _check_deletions(workspace, model_id)
    digest = store.digest_of(model_id)
    _check(workspace, _fetched(store, digest, model_id))
    check_writable(store.connection)
    before = store.champion()
    base = 0 if before is None else before.version
    version = store.register(model_id, tags={"origin": "release"})
    if version != base:
        store.set_champion(version, base=base)
    return Released(version, model_id, digest, replaces=base)


def _check_deletions(workspace: Workspace, model_id: str) -> None:
    """Refuse to serve another model than the one of a deletion that is past its promotion.

    That deletion can only go forwards, and it may not have listed its samples as erased yet: a model that knows them
    would be accepted here, and then neither be purged, being served, nor unlearn them. The deletion's own model may be
    released, which leads out where another one came to be served all the same.
    """
    where = place(None, root=workspace.root)
    if isinstance(where, SqliteFile) and not ledger_files.exists(where):
        return  # nobody has asked for a deletion yet, and a release makes no ledger
    ledger = Ledger.open(root=workspace.root, must_exist=True)
    for name in {one.batch for one in ledger.requests(states=BEYOND_RETURN) if one.batch is not None}:
        batch = ledger.batch(name)
        own = batch.facts.get("candidate", {}).get("model_id")
        # Where nothing was to be unlearned there is no such model, and the served one does not know the samples.
        if own is not None and own != model_id:
            raise DeletionOpenError(
                f"the deletion {name} has served its model {own} and is {batch.state}, not completed; let "
                f"`python -m flows.deletion` end it, then release another model (only {own} may be released now)"
            )


def _fetched(store: Store, digest: str, model_id: str) -> Checkpoint:
    with temporary_folder(store.connection.root) as temporary:
        return checkpoint.load(store.fetch(digest, temporary / "model", model_id=model_id), digest=digest)


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
