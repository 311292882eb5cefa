"""The purge: look, plan, carry out, search again.

Every step can be repeated, and a process may be killed anywhere: `purge` called again goes on, and its report tells
what both have done. What was removed is known from notes on the disk, which stay until `close` is called: call it when
the report has been recorded. Nothing here needs Prefect.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

from filelock import FileLock, Timeout

from qunlearn.data import erased as erased_list
from qunlearn.deletion.purge import Action, Entry, PurgePlan, make_plan
from qunlearn.deletion.purge_errors import PurgeBusyError, PurgeError
from qunlearn.deletion.purge_inventory import DATA, MODEL, OBJECT, OWNERLESS, RUN_CACHE, RUN_FILE
from qunlearn.deletion.purge_models import ModelPolicy, reasons
from qunlearn.deletion.purge_scan import Finding, Scan
from tasks.dvc_objects import exclusive, open_stores
from tasks.leftovers import quarantine_folder, remove_leftover
from tasks.purge_notes import Notes
from tasks.purge_survey import Survey, survey
from tasks.rewriting import rewrite
from tasks.scratch import FOLDER
from tasks.tracking.connection import Connection
from tasks.tracking.erasure import Mark, erase, quarantine, traces_in_models
from tasks.tracking.run_artifacts import remove_ownerless, remove_run_file
from tasks.workspace import Workspace

STEPS = ("noted", "data rewritten", "objects removed", "models erased", "files removed", "searched")
"""What `purge` tells its caller, each when it is done."""


@dataclass(frozen=True)
class PurgeReport:
    """What was done.

    Args:
        plan: all entries, of interrupted purges too; those to do are done.
        scan: what the search afterwards found.
        told: consequences that a person should know.
    """

    plan: PurgePlan
    scan: Scan
    told: tuple[str, ...] = ()

    @property
    def is_complete(self) -> bool:
        """Whether the search found nothing; otherwise call `purge` again when what it names is out of the way."""
        return self.scan.is_clean

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return self.plan.as_dict() | {"scan": self.scan.as_dict(), "told": list(self.told)}


def plan_purge(workspace: Workspace, *, models: ModelPolicy) -> PurgePlan:
    """What `purge` would do for the ids in `data/erased.txt`; nothing is changed.

    Args:
        models: `purge` or `quarantine`: what happens to models of the benchmark.

    Raises:
        PurgeError: the served model was trained on erased samples, or a store cannot be read.
        ValueError: the data are damaged, or cannot be written without the erased samples.
    """
    with _told():
        ids, because = _erased(workspace)
        notes = Notes.begin(workspace.root, because=because)
        plan = make_plan(survey(workspace, ids, notes).inventory, models=models) if ids else PurgePlan(())
    return plan.with_earlier(notes.entries)


def purge(
    workspace: Workspace,
    *,
    models: ModelPolicy,
    because: str | None = None,
    on_step: Callable[[str], object] | None = None,
) -> PurgeReport:
    """Remove whatever was made from the samples in `data/erased.txt`, then search for what should be gone.

    The served model must have unlearned them. Whoever calls this also keeps deletions away from the served model.

    Args:
        models: `purge` or `quarantine`: what happens to models of the benchmark.
        because: written to the records of what was erased, for everybody to read: no name and no sample id.
        on_step: called with each of `STEPS`.

    Raises:
        PurgeBusyError: a stage of the pipeline, a `dvc` command or another purge is at work; nothing was changed, or
            what is left is for the next call.
        PurgeError: as from `plan_purge`, or a store refused; the next call goes on.
        ValueError: as from `plan_purge`.
    """
    done = on_step or (lambda _: None)
    with _told(), _alone(workspace):
        ids, default = _erased(workspace)
        if not ids:
            return PurgeReport(PurgePlan(()), Scan({}, ()))
        notes = Notes.begin(workspace.root, because=because or default)
        found = survey(workspace, ids, notes)
        if found.busy:
            raise PurgeBusyError(
                f"stage {', '.join(sorted(set(found.busy)))} of the pipeline is at work, with data or models that may "
                "have to go; let it end, then run the purge again"
            )
        plan = make_plan(found.inventory, models=models).with_earlier(notes.entries)
        notes = _noted(notes, plan, found)
        done("noted")
        mark = Mark(datetime.now(UTC).isoformat(timespec="seconds"), notes.because)
        told = _carry_out(workspace, plan, found.connection, mark, done)
        after = survey(workspace, ids, notes)
        left = make_plan(after.inventory, models=models)
        scan = _scan(workspace, after, left)
        done("searched")
        replace(notes, finished=scan.is_clean).write()
    return PurgeReport(_with_outside(plan, left), scan, told)


def close(workspace: Workspace) -> None:
    """Forget a finished purge, after its report was recorded; one that is not finished stays in mind."""
    notes = Notes.read(workspace.root)
    if notes is not None and notes.finished:
        notes.forget()


def _erased(workspace: Workspace) -> tuple[frozenset[str], str]:
    with erased_list.lock(workspace.erased):
        digest = erased_list.digest(workspace.erased)
        return erased_list.read_erased(workspace.erased), f"data/erased.txt, sha256 {digest[:12]}"


@contextmanager
def _alone(workspace: Workspace) -> Iterator[None]:
    home = workspace.root / FOLDER
    home.mkdir(mode=0o700, exist_ok=True)
    held = FileLock(home / "purge.lock")
    try:
        held.acquire(timeout=0)
    except Timeout:
        raise PurgeBusyError("another purge of this project is at work; let it end, then run this one again") from None
    try:
        yield
    finally:
        held.release()


@contextmanager
def _told() -> Iterator[None]:
    """A full disk, a folder that must not be written: no mistake of the program."""
    try:
        yield
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise PurgeError(
            f"{where}{error.strerror or error}; make room or mend permissions, then run the purge again: it goes on"
        ) from error


def _noted(notes: Notes, plan: PurgePlan, found: Survey) -> Notes:
    new = replace(
        notes.with_images(found.traces.images, pixels=found.traces.pixels),
        entries=plan.to_do,
        weights=found.traces.weights,
    )
    new.write()
    return new


def _carry_out(
    workspace: Workspace, plan: PurgePlan, connection: Connection, mark: Mark, done: Callable[[str], object]
) -> tuple[str, ...]:
    """All but the search; consequences that a person should know."""
    with exclusive(workspace.root, workspace.prepared, workspace.splits):
        told = rewrite(workspace).told
        done("data rewritten")
        _remove_objects(workspace, plan)
    done("objects removed")
    for entry in plan.of(Action.REMOVE, Action.QUARANTINE, kind=MODEL):
        if entry.action == Action.QUARANTINE:
            quarantine(connection, entry.target, quarantine_folder(workspace.root), why=entry.why, mark=mark)
        else:
            erase(connection, entry.target, why=entry.why, mark=mark)
    done("models erased")
    for entry in plan.of(Action.REMOVE):
        if entry.kind == RUN_FILE:
            remove_run_file(connection, entry.target, mark)
        elif entry.kind == OWNERLESS:
            remove_ownerless(connection, entry.target)
        elif entry.kind not in (DATA, MODEL, OBJECT, RUN_CACHE):
            remove_leftover(workspace, entry.kind, entry.target)
    done("files removed")
    return told


def _remove_objects(workspace: Workspace, plan: PurgePlan) -> None:
    entries = [*plan.of(Action.REMOVE, kind=RUN_CACHE), *plan.of(Action.REMOVE, kind=OBJECT)]
    if not entries:
        return
    with open_stores(workspace.root, ours=(workspace.prepared, workspace.splits)) as stores:
        for kind, name, targets in _by_store(entries):
            store = stores.named(name)
            if kind == OBJECT:
                store.remove(targets)
            else:
                for target in targets:
                    store.remove_run(target)


def _by_store(entries: Iterable[Entry]) -> Iterator[tuple[str, str, list[str]]]:
    """Kind, store and targets, in the order of the plan."""
    for (kind, place), group in groupby(entries, key=lambda entry: (entry.kind, entry.place)):
        yield kind, place, [entry.target for entry in group]


def _scan(workspace: Workspace, after: Survey, left: PurgePlan) -> Scan:
    """What a plan made afterwards would still have to do, and what is in the data and in the models that stay."""
    folders = [folder for folder in (workspace.prepared, workspace.splits) if folder.is_dir()]
    in_data = [(path, trace) for folder in folders for path, trace in after.traces.in_folder(folder)]
    gone = reasons(after.inventory.models)
    live = [model for model in after.inventory.models if model.kept and (model.served or model.id not in gone)]
    in_models, files = traces_in_models(after.connection, live, after.traces)
    found = [Finding(entry.place, entry.name, entry.why) for entry in left.to_do]
    found += [Finding("data", path.name, f"holds {trace.text}") for path, trace in in_data]
    found += [Finding(model.place, name, f"holds {text}") for model, name, text in in_models]
    places = {
        "data/prepared and data/splits": sum(len(list(folder.iterdir())) for folder in folders),
        **after.places,
        "MLflow, files of models that stay": files,
    }
    return Scan(places, tuple(found))


def _with_outside(plan: PurgePlan, after: PurgePlan) -> PurgePlan:
    """What was to do, and what lies outside now: models in quarantine are there only since then."""
    return PurgePlan((*plan.to_do, *after.of(Action.OUTSIDE)))
