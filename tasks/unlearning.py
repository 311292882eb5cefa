"""Unlearn one cell: one method applied to the original model of one seed."""

from __future__ import annotations

import torch
from prefect import task
from prefect.cache_policies import NO_CACHE

from qunlearn import checkpoint
from qunlearn.checkpoint import Checkpoint
from qunlearn.memory import freed_memory_kept
from qunlearn.progress import epoch_printer
from qunlearn.reporting.conflict import has_conflicts
from qunlearn.reporting.figures import conflict_figure
from qunlearn.training import DivergedError
from qunlearn.unlearning import Problem, Result, get
from qunlearn.unlearning import run as run_method
from tasks.assignments import Assignment, Outcome
from tasks.cells import CellContext, dataset_inputs
from tasks.fingerprint import fingerprint, unlearning_modules
from tasks.forget_losses import epoch_table
from tasks.manifests import Cell
from tasks.material import Material, use_threads
from tasks.peak_memory import peak_memory, warm_up
from tasks.temporary import temporary_folder
from tasks.tracking import CellRecord, Run, Store
from tasks.tracking.names import REGISTERED_TAG, SEARCH_TAG, TRIAL_TAG
from tasks.tracking.records import FINGERPRINT_TAG, settings_digest
from tasks.tracking.run import SETTINGS_TAG
from tasks.workspace import Workspace, derived_seed

DIVERGED_TAG = "diverged"
"""On the run of a cell that became NaN or infinite."""

WARM_UP_IMAGES = 64


@task(name="unlearn", task_run_name="{assignment.label}", cache_policy=NO_CACHE)
def unlearn_cell(workspace: Workspace, context: CellContext, assignment: Assignment) -> Cell:
    """An unlearned model as a finished MLflow run with its weights, reused where an equal one exists."""
    outcome = unlearned(workspace, context, assignment)
    assert outcome.digest is not None, "only a trial may diverge without an error"
    return Cell(assignment.row, assignment.seed, outcome.digest, assignment.method)


def unlearned(workspace: Workspace, context: CellContext, assignment: Assignment) -> Outcome:
    """The finished run that made this cell, found or made now.

    A trial that diverged before is not repeated: its settings, data and parent are the same.

    Raises:
        DivergedError: of a cell that is no trial.
    """
    params = workspace.params
    use_threads(params.runner.torch_threads)
    store = Store.open(params.tracking, root=workspace.root)
    material = Material.load(workspace)
    settings, mark = _fingerprint(workspace, material, assignment)
    slot = assignment.name if assignment.trial is None else f"trial {assignment.trial.number}"
    if (found := store.find_cell(mark)) is not None:
        context.note_reused(store, slot, found)
        if assignment.trial is None:
            store.use_as(found, assignment.final_name)
        return Outcome(found.run_id, found.digest)
    if assignment.trial is not None and (diverged := _diverged_before(store, mark, assignment)) is not None:
        store.run(context.stage_run).tag({f"reused.{slot}": diverged.run_id})
        return diverged
    origin = store.record_by_digest(assignment.parent.sha256, cell=assignment.parent.stored_name)
    tags = {
        **context.tags(assignment.row, assignment.seed, registered=assignment.method),
        SETTINGS_TAG: settings_digest(assignment.config.model_dump(mode="json")),
    }
    try:
        with store.cell(
            assignment.stored_name,
            context.stage_run,
            fingerprint=mark,
            params={"method": assignment.row, **settings},
            tags=tags,
            label=assignment.label,
        ) as run:
            dataset_inputs(run, workspace, material, context="unlearning")
            run.input_model(origin.model_id)
            digest = _unlearn(run, store, material, assignment, origin, workspace)
    except DivergedError as error:
        run.tag({DIVERGED_TAG: "true"})
        error.args = (_of_row(str(error), assignment),)
        if assignment.trial is None:
            raise
        return Outcome(run.id, None, str(error))
    return Outcome(run.id, digest)


def _fingerprint(workspace: Workspace, material: Material, assignment: Assignment) -> tuple[dict[str, object], str]:
    """All that decides the cell's weights, as parameters of its run and as one digest; the row's name is no part."""
    settings = {
        "registered_method": assignment.method,
        "seed": assignment.seed,
        "config": assignment.config.model_dump(mode="json"),
        "training": workspace.params.training.model_dump(mode="json"),
        **material.settings(torch.cat([material.indices("train"), material.indices("validation")])),
    }
    retained = material.retained_digests(get(assignment.method).needs)
    digests = [material.split.digest("train", "forget"), *retained]
    mark = fingerprint(
        params=settings,
        split_digest="/".join([*digests, material.split.digest("validation", None)]),
        parent_digest=assignment.parent.sha256,
        modules=(
            *unlearning_modules(get(assignment.method).module),
            "tasks.material",
            "tasks.workspace",
            __name__,
        ),
    )
    return settings, mark


def _diverged_before(store: Store, mark: str, assignment: Assignment) -> Outcome | None:
    condition = f"tags.{FINGERPRINT_TAG} = '{mark}' and tags.{DIVERGED_TAG} = 'true'"
    for run in store.connection.runs(condition):
        # The store puts the type of an error before its message.
        told = run.data.tags.get("error", "").partition(": ")[2] or "it diverged"
        return Outcome(run.info.run_id, None, _of_row(told, assignment))
    return None


def _of_row(told: str, assignment: Assignment) -> str:
    """What a method told about its divergence, with the key of the row in place of the method's own."""
    return told.replace(f"unlearn.{assignment.method}.", f"unlearn.{assignment.row}.")


def _unlearn(
    run: Run, store: Store, material: Material, assignment: Assignment, origin: CellRecord, workspace: Workspace
) -> str:
    with temporary_folder(workspace.root) as temporary:
        folder = store.fetch(origin.digest, temporary / "parent", model_id=origin.model_id)
        parent = checkpoint.load(folder, digest=origin.digest)
        material.check_blueprint(parent)
        material.check_gate(parent)
        material = material.for_model(parent)
        result = _result(run, material, assignment, parent, workspace)
        folder = temporary / "checkpoint"
        digest = checkpoint.save(
            result.model,
            folder,
            blueprint=parent.blueprint,
            trained_ids=material.split.ids("train", "retain"),
            extra={
                "method": assignment.method,
                "seed": assignment.seed,
                "parent": origin.digest,
                "config": assignment.config.model_dump(mode="json"),
                "interface": parent.extra["interface"],
            },
        )
        run.output_model(
            folder,
            name=assignment.model_name,
            digest=digest,
            tags=_model_tags(run, material, assignment, origin),
            params={
                "quantization": parent.blueprint.quantization.model_dump(mode="json"),
                "method": assignment.config.model_dump(mode="json"),
            },
        )
    return digest


def _model_tags(run: Run, material: Material, assignment: Assignment, origin: CellRecord) -> dict[str, str]:
    tags = {
        "method": assignment.row,
        REGISTERED_TAG: assignment.method,
        "seed": str(assignment.seed),
        "parent_sha256": origin.digest,
        "forgot": material.split.digest("train", "forget"),
        "forgot_count": str(len(material.indices("train", "forget"))),
    }
    if assignment.trial is not None:
        # A trial's run hangs below that of its search.
        tags |= {TRIAL_TAG: assignment.trial.candidate, SEARCH_TAG: str(run.parent)}
    return tags


def _result(run: Run, material: Material, assignment: Assignment, parent: Checkpoint, workspace: Workspace) -> Result:
    """Run the method, and record what it reports."""
    device = material.pool.device
    method, seed = assignment.method, assignment.seed
    problem = Problem(
        pool=material.pool,
        forget=material.indices("train", "forget"),
        retain=material.indices("train", "retain"),
        validation=material.indices("validation"),
        fresh=lambda: parent.blueprint.build(seed=derived_seed(seed, "fresh/weights")).to(device),
        recipe=workspace.params.training,
        adjacent=material.adjacent(),
    )
    model = parent.model.to(device)
    warm_up(model, material.pool, material.indices("train"), batch_size=WARM_UP_IMAGES)
    with epoch_printer(assignment.label) as progress, freed_memory_kept(), peak_memory(device) as peak:
        result = run_method(
            method,
            model,
            problem,
            assignment.config,
            seed=derived_seed(seed, f"unlearn/{method}"),
            on_epoch=progress,
        )
    run.metrics({"peak_memory_mb": peak.megabytes})
    record_statistics(run, result)
    return result


def record_statistics(run: Run, result: Result) -> None:
    """Every figure a method reported: by epoch as metrics, by epoch, step and layer as Parquet, conflicts drawn."""
    run.epochs(result.epochs)
    if result.epochs:
        run.table("epochs", epoch_table(result.epochs))
    run.metrics({"seconds": result.seconds, **{f"{name}_passes": value for name, value in result.passes.items()}})
    if result.steps:
        run.table("steps", result.steps)
    if has_conflicts(result.steps):
        run.figure("conflict", conflict_figure(result.steps))
    if result.layers:
        run.table("layers", result.layers)
