"""The models that an evaluation reads: fetched, verified, and refused where they do not belong to the split."""

from __future__ import annotations

from torch import nn

from qunlearn import checkpoint
from qunlearn.data.splits import check_gate
from tasks.manifests import Cell, read_choices
from tasks.material import Material
from tasks.temporary import temporary_folder
from tasks.tracking import CellRecord, Store
from tasks.tracking.records import settings_digest
from tasks.workspace import Workspace


def cell_record(store: Store, workspace: Workspace, cell: Cell) -> CellRecord:
    """What made the cell's model: with the settings chosen for its row, where several gave the same weights.

    Raises:
        ConfigError: `models/unlearn.json` is missing or damaged.
        MissingCheckpointError: no finished run made it.
    """
    chosen = read_choices(workspace.models("unlearn")).get(cell.method, {}).get("settings")
    settings = None if chosen is None else settings_digest(chosen)
    return store.record_by_digest(cell.sha256, cell=cell.stored_name, settings=settings)


def fetch_model(store: Store, cell: Cell, material: Material) -> tuple[nn.Module, Material]:
    """The cell's model on the pool's device, and the images normalised as it was trained.

    Raises:
        ConfigError: the model is another network, or answers another question, than the parameters say.
        GateError: it was not trained on what its role says: everything for an original, else the retained images.
        MissingCheckpointError: its bytes are gone or damaged.
    """
    record = store.record_by_digest(cell.sha256, cell=cell.stored_name)
    with temporary_folder(store.connection.root) as temporary:
        folder = store.fetch(cell.sha256, temporary / "model", model_id=record.model_id)
        found = checkpoint.load(folder, digest=cell.sha256)
    material.check_blueprint(found)
    material = material.for_model(found)
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
    return found.model.to(material.pool.device), material
