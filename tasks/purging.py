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
from qunlearn.deletion.purge import Action, Entry, PurgePlan
from qunlearn.deletion.purge_errors import PurgeBusyError
from qunlearn.deletion.purge_inventory import DATA, MODEL, OBJECT, OWNERLESS, RUN_CACHE, RUN_FILE
from qunlearn.deletion.purge_models import ModelPolicy
from qunlearn.deletion.purge_scan import Scan
from tasks.dvc_objects import exclusive, open_stores
from tasks.leftovers import quarantine_folder, remove_leftover
from tasks.purge_notes import Notes
from tasks.purge_refusals import refusals_told
from tasks.purge_search import busy_stages, planned, search, unsearchable
from tasks.purge_survey import Survey, survey
from tasks.purge_unmarked import find_unmarked
from tasks.rewriting import rewrite
from tasks.scratch import FOLDER
from tasks.tracking.connection import Connection
from tasks.tracking.erasure import Mark, erase, quarantine
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
    with refusals_told(workspace):
        ids, because = _erased(workspace)
        notes = Notes.begin(workspace.root, because=because)
        plan, earlier = PurgePlan(()), list(notes.entries)
        if ids:
            found = survey(workspace, ids, notes)
            unmarked = find_unmarked(found.connection, found.inventory.models, found.traces)
            plan = PurgePlan((*planned(found, unmarked, models=models).entries, *unsearchable(found.traces)))
            earlier = _still_meant(notes, plan, found)
    # Several things outside can have one key: these are not merged.
    return _with_outside(plan.with_earlier(earlier), plan)


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
    with refusals_told(workspace), _alone(workspace):
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
        unmarked = find_unmarked(found.connection, found.inventory.models, found.traces)
        now = planned(found, unmarked, models=models)
        plan = now.with_earlier(_still_meant(notes, now, found))
        notes = _noted(notes, plan, found)
        done("noted")
        mark = Mark(datetime.now(UTC).isoformat(timespec="seconds"), notes.because)
        told = _carry_out(workspace, plan, found.connection, mark, done)
        busy = busy_stages(found.connection)
        after = survey(workspace, ids, notes)
        unmarked = find_unmarked(after.connection, after.inventory.models, after.traces)
        left = planned(after, unmarked, models=models)
        scan = search(workspace, after, unmarked, left, busy=busy)
        # Last, when every file has been searched.
        left = PurgePlan((*left.entries, *unsearchable(after.traces)))
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


def _still_meant(notes: Notes, now: PurgePlan, found: Survey) -> list[Entry]:
    """What an interrupted purge had set out to do, without models and objects that are there and may stay by now.

    Since then a model can have been released, or data can have become the present ones.
    """
    planned_now = {entry.key for entry in now.entries}
    there = {(MODEL, model.id) for model in found.inventory.models if model.kept}
    there |= {(OBJECT, depot.name, oid) for depot in found.inventory.depots for oid in depot.oids}
    return [
        entry
        for entry in notes.entries
        if entry.key in planned_now or not there & {(entry.kind, entry.target), (entry.kind, entry.place, entry.target)}
    ]


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


def _with_outside(plan: PurgePlan, after: PurgePlan) -> PurgePlan:
    """What was to do, and what lies outside now: models in quarantine are there only since then."""
    return PurgePlan((*plan.to_do, *after.of(Action.OUTSIDE)))
