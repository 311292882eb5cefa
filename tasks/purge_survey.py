"""Everything that a purge has to look at, in one pass over data, DVC's stores, MLflow and this computer's leftovers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from qunlearn.deletion.purge_inventory import DataFolder, Inventory, Outside
from qunlearn.deletion.purge_models import StoredModel, check_served, reasons
from qunlearn.deletion.traces import Traces
from tasks.dvc_objects import open_stores
from tasks.leftovers import WORK, find_leftovers
from tasks.purge_notes import Notes
from tasks.purge_objects import find_objects, known_images, present_objects
from tasks.purge_outside import outside_custody
from tasks.rewriting import is_settled, preview
from tasks.scratch import FOLDER
from tasks.tracking import Store
from tasks.tracking.connection import Connection
from tasks.tracking.erasure import custody, recorded_files, stored_models
from tasks.tracking.processes import mark
from tasks.tracking.run_artifacts import at_work, ownerless, run_files
from tasks.workspace import Workspace


@dataclass(frozen=True)
class Survey:
    """What is there.

    Args:
        inventory: for the plan.
        traces: by which everything was searched.
        places: what was searched -> how many objects were looked at.
        connection: to the project's experiment.
        busy: names of stages of the pipeline that are at work on this computer.
    """

    inventory: Inventory
    traces: Traces
    places: dict[str, int]
    connection: Connection
    busy: tuple[str, ...]


def survey(workspace: Workspace, erased: frozenset[str], notes: Notes) -> Survey:
    """Look at everything; nothing is changed.

    Args:
        erased: ids of the erased samples.
        notes: of an interrupted purge, for what can no longer be seen.

    Raises:
        PurgeError: the served model was trained on erased samples, or a store cannot be read.
        ValueError: prepared data or splits are damaged, or cannot be written without the erased samples.
    """
    connection = Store.open(workspace.params.tracking, root=workspace.root).connection
    own, others = custody(connection)
    models = [model for experiment in own for model in stored_models(experiment, erased)]
    check_served(models)
    weights = _weights_to_go(models, notes.weights)
    home = workspace.root / FOLDER
    home.mkdir(mode=0o700, exist_ok=True)
    with (
        open_stores(workspace.root, ours=(workspace.prepared, workspace.splits)) as stores,
        TemporaryDirectory(dir=home, prefix=f"{WORK}{mark()}-") as work,
    ):
        gone, kept, pixels = known_images(workspace, stores, erased)
        traces = Traces(erased, notes.images.union(gone) - kept, pixels or notes.pixels, weights)
        depots = find_objects(stores, traces, work=Path(work), needed=present_objects(workspace, erased))
        unreachable = stores.unreachable
    places = {depot.name: len(depot.oids) + len(depot.run_cache) for depot in depots}
    found = [run_files(experiment, traces) for experiment in own]
    running = [at_work(experiment) for experiment in own]
    recorded = frozenset().union(*(recorded_files(experiment) for experiment in own))
    leftovers = find_leftovers(workspace, traces, recorded=recorded)
    inventory = Inventory(
        folders=tuple(_folders(workspace)),
        models=tuple(models),
        run_files=tuple(file for files, _ in found for file in files),
        depots=tuple(depots),
        leftovers=(*leftovers.items, *ownerless(own, traces, others=others)),
        outside=(
            *leftovers.outside,
            *(_elsewhere(name) for _, names in running for name in names),
            *outside_custody(workspace, traces, others=others, unreachable=unreachable),
        ),
    )
    places |= {
        "MLflow, recorded models": len(models),
        "MLflow, files of runs": sum(count for _, count in found),
        "temporary and scratch folders": leftovers.looked_at,
    }
    return Survey(inventory, traces, places, connection, tuple(name for names, _ in running for name in names))


def _weights_to_go(models: list[StoredModel], earlier: frozenset[str]) -> frozenset[str]:
    """sha256 of weights that no model has which may stay; a method of strength zero can give what its parent had.

    Args:
        earlier: those of an interrupted purge; one of their models may be served since.
    """
    why = reasons(models)
    gone = {_hex(model) for model in models if model.id in why and not model.served}
    return frozenset((gone | earlier) - {_hex(model) for model in models if model.id not in why or model.served})


def _elsewhere(name: str) -> Outside:
    why = "is recorded as running there, and may yet keep a model of data with erased samples; purge again when it ends"
    return Outside("running stage", name, "another computer", why)


def _hex(model: StoredModel) -> str:
    return (model.weights or "").removeprefix("sha256:")


def _folders(workspace: Workspace) -> Iterator[DataFolder]:
    would = preview(workspace)
    for name, folder, listing, lost in (
        ("data/prepared", workspace.prepared, "ids.txt", would.prepared),
        ("data/splits", workspace.splits, "split.csv", would.splits),
    ):
        if name in would.written or not is_settled(folder):
            stale = "was made with another list of erased ids" if is_settled(folder) else "is half replaced"
            yield DataFolder(name, _digest(folder / listing), "workspace", lost, stale)


def _digest(file: Path) -> str | None:
    return f"sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}" if file.exists() else None
