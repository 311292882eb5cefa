"""From what a survey saw to a plan, and from what it saw after a purge to what is left."""

from __future__ import annotations

from qunlearn.deletion.purge import Action, Entry, PurgePlan, make_plan
from qunlearn.deletion.purge_models import ModelPolicy, reasons
from qunlearn.deletion.purge_scan import Finding, Scan
from qunlearn.deletion.traces import Traces
from tasks.purge_survey import Survey
from tasks.purge_unmarked import Unmarked
from tasks.tracking.connection import Connection
from tasks.tracking.erasure import custody, traces_in_models
from tasks.tracking.run_artifacts import at_work
from tasks.workspace import Workspace

UNSEARCHABLE = "what was searched"
"""The place of files that a search could read, but not look into."""
BUSY = "is at work since the purge began, and may keep a model of data with erased samples; let it end"


def planned(found: Survey, unmarked: Unmarked, *, models: ModelPolicy) -> PurgePlan:
    """A plan with the models without marks, as `make_plan` makes it of all else."""
    return PurgePlan((*make_plan(found.inventory, models=models).entries, *unmarked.entries))


def unsearchable(traces: Traces) -> list[Entry]:
    """A search that could not look into a file has found nothing in it, and that is not the same as nothing there."""
    return [
        Entry(
            "file", f"{path}, sha256 {digest[:12]}", None, UNSEARCHABLE, Action.OUTSIDE, f"{why}; look into it", digest
        )
        for digest, (path, why) in sorted(traces.unsearchable.items())
    ]


def busy_stages(connection: Connection) -> tuple[str, ...]:
    """Names of stages that are at work on this computer."""
    own, _ = custody(connection)
    return tuple(name for experiment in own for name in at_work(experiment)[0])


def search(
    workspace: Workspace, after: Survey, unmarked: Unmarked, left: PurgePlan, *, busy: tuple[str, ...] = ()
) -> Scan:
    """What a plan made afterwards would still have to do, and what is in the data and in the models that stay.

    A stage that began during the purge may have read the data before they were rewritten, and keep a model of them
    later: the search is not over before it ends.

    Args:
        busy: stages that were at work before the survey, which may have stored their model behind its back.
    """
    folders = [folder for folder in (workspace.prepared, workspace.splits) if folder.is_dir()]
    in_data = [(folder, path, trace) for folder in folders for path, trace in after.traces.in_folder(folder)]
    gone = reasons(after.inventory.models)
    live = [model for model in after.inventory.models if model.kept and (model.served or model.id not in gone)]
    in_models, files = traces_in_models(after.connection, live, after.traces)
    found = [Finding(entry.place, entry.name, entry.why) for entry in left.to_do]
    found += [
        Finding(f"data/{folder.name}", path.relative_to(folder).as_posix(), f"holds {trace.text}")
        for folder, path, trace in in_data
    ]
    found += [Finding(model.place, name, f"holds {text}") for model, name, text in in_models]
    found += unmarked.findings
    found += [Finding("this computer", f"stage {name}", BUSY) for name in sorted({*busy, *after.busy})]
    places = {
        "data/prepared and data/splits": sum(len(list(folder.iterdir())) for folder in folders),
        **after.places,
        "MLflow, files of models that stay": files + unmarked.files,
    }
    return Scan(places, tuple(found))
