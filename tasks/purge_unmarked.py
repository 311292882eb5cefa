"""What a purge does about models without this program's marks, see `tasks.tracking.unmarked`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from qunlearn.deletion.purge import Action, Entry
from qunlearn.deletion.purge_inventory import MODEL
from qunlearn.deletion.purge_models import StoredModel, reasons
from qunlearn.deletion.purge_scan import Finding
from qunlearn.deletion.traces import Traces
from tasks.tracking.connection import Connection
from tasks.tracking.erasure import custody
from tasks.tracking.unmarked import unmarked_models


@dataclass(frozen=True)
class Unmarked:
    """What was found.

    Args:
        entries: for the plan: models of this project to be removed, and those of others, to be told.
        findings: what a purge neither removes nor leaves to others: the served model with a trace.
        files: how many files were searched in this project's experiments.
    """

    entries: tuple[Entry, ...]
    findings: tuple[Finding, ...]
    files: int


def find_unmarked(connection: Connection, models: Sequence[StoredModel], traces: Traces) -> Unmarked:
    """Search all models without marks; nothing is changed.

    Another project's experiment on the same server is that project's to purge: its models are told, as those with
    marks are.

    Args:
        models: all with marks; those that must go are known as parents.
    """
    own, others = custody(connection)
    gone = {*reasons(models)}.difference(model.id for model in models if model.served)
    entries, findings, files = [], [], 0
    for experiment in own:
        found, count = unmarked_models(experiment, traces, gone=gone)
        files += count
        for one in found:
            if one.served:
                why = f"{one.why}; it is served, but has lost its marks: release another model"
                findings.append(Finding(one.place, one.id, why))
            else:
                entries.append(Entry(MODEL, one.id, None, one.place, Action.REMOVE, one.why, one.id))
    for experiment in others:
        found, _ = unmarked_models(experiment, traces)
        if found:
            name = f"experiment {experiment.experiment_id}"
            why = f"has {len(found)} models without marks that hold traces; purge it from its own project"
            entries.append(
                Entry("experiment", name, None, "the same MLflow server", Action.OUTSIDE, why, f"{name} unmarked")
            )
    return Unmarked(tuple(entries), tuple(findings), files)
