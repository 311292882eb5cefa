"""Purge a batch's samples, and every model that was trained on them, from all stores."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import PurePosixPath

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from qunlearn.data.erased import read_erased
from qunlearn.deletion.counted import counted
from qunlearn.deletion.ledger import Batch, State
from qunlearn.deletion.purge import Action, Entry
from qunlearn.deletion.purge_inventory import MODEL, QUARANTINED, RUN_FILE, SCRATCH, TEMPORARY
from tasks.deletion.erasing import erased_ids
from tasks.deletion.service import Service, base_of
from tasks.purge_outside import ALWAYS
from tasks.purging import PurgeReport, purge
from tasks.tracking import ChampionChangedError
from tasks.tracking.outages import outages_told

SUFFIX = re.compile(r"\.[a-z0-9]{1,8}")
"""Endings of files that evidence may show."""


class PurgeIncompleteError(ValueError):
    """The search after the purge found what should be gone; the next run purges again."""


@task(name="purge", cache_policy=NO_CACHE)
@outages_told()
def purge_batch(params_file: str, batch: Batch) -> Batch:
    """The batch as purged, with what was done and searched among its facts.

    Raises:
        PurgeIncompleteError: see there.
        PurgeError: a store refused, or a stage of the pipeline is at work; the next run goes on.
        ChampionChangedError: nothing was to be unlearned, and a model is served now that has to unlearn the samples.
    """
    service = Service.open(params_file)
    if batch.state is State.CLAIMED:
        _check_served(service, batch)
    _check_listed(service, batch)
    models = service.workspace.params.deletion.models
    report = purge(service.workspace, models=models, because=f"deletion {batch.id}", on_step=get_run_logger().info)
    if not report.is_complete:
        # Without their names, which people may have given: Prefect stores this.
        found = Counter((one.place, one.what) for one in report.scan.found)
        first = "; ".join(f"{place}, {count}: {what}" for (place, what), count in list(found.items())[:3])
        raise PurgeIncompleteError(
            f"the purge of {batch.id} left {counted(found.total(), 'thing')}, the first: {first}; it is tried again "
            "when the deletion runs again, or at once with `qunlearn purge`, which names them"
        )
    return service.ledger.advance(batch, State.PURGED, facts=_facts(report))


def _check_listed(service: Service, batch: Batch) -> None:
    """The purge goes by the list: by one that somebody has put back it would find nothing to do."""
    if missing := frozenset(erased_ids(batch)) - read_erased(service.workspace.erased):
        raise PurgeIncompleteError(
            f"data/erased.txt lacks {counted(len(missing), 'sample')} of {batch.id} that it had: another branch, or an "
            "older commit, is checked out; check out the one that has the commit of this batch, then let the deletion "
            "run again"
        )


def _check_served(service: Service, batch: Batch) -> None:
    served = service.champion()
    if served == base_of(batch):
        return
    trained = service.fetch(served.digest, model_id=served.model_id).trained_ids
    if known := frozenset(erased_ids(batch)).intersection(trained):
        raise ChampionChangedError(
            f"version {served.version} is served now, which was trained on {len(known)} of the samples"
        )


def _facts(report: PurgeReport) -> dict[str, object]:
    done = [_shown(one) for one in report.plan.to_do]
    places = [{"what": what, "objects": count} for what, count in report.scan.places.items()]
    return {"purge": {"objects": done, "scan": {"places": places, "found": 0}}, "outside": _outside(report)}


def _shown(entry: Entry) -> dict[str, object]:
    """An entry for evidence, which is shown to others and stays for ever: nothing that a person has named."""
    name, place = entry.name, _place(entry)
    if entry.kind == RUN_FILE:
        suffix = PurePosixPath(entry.name).suffix.lower()
        name = f"a file {suffix}" if SUFFIX.fullmatch(suffix) else "a file"
    return {
        "kind": entry.kind,
        "name": name,
        "digest": entry.digest,
        "place": place,
        "action": entry.action.value,
    }


def _place(entry: Entry) -> str:
    if entry.kind == RUN_FILE:
        return f"MLflow, run {entry.target.partition('/')[0]}"
    if entry.kind == MODEL:
        return f"MLflow, model {entry.target}"
    # The path of a folder can hold the name of an account.
    return "this computer" if entry.kind in (TEMPORARY, SCRATCH, QUARANTINED) else entry.place


def _outside(report: PurgeReport) -> list[str]:
    """What the purge did not reach. Names of files and addresses, which can name a person or a secret, stay with
    `qunlearn purge --dry-run`."""
    always = [f"{one.name}, {one.place}: {one.why}" for one in ALWAYS]
    common = {(one.kind, one.name, one.place) for one in ALWAYS}
    found = Counter(
        (one.kind, "MLflow, runs" if one.kind == RUN_FILE else _place(one))
        for one in report.plan.of(Action.OUTSIDE)
        if (one.kind, one.name, one.place) not in common
    )
    own = [f"{kind}, {place}: {count}, listed by `qunlearn purge --dry-run`" for (kind, place), count in found.items()]
    return [*own, *always]
