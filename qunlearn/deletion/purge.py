"""What a purge has to do: from an inventory of what is there to a plan, without touching anything.

Lineage stays: runs, models and registered versions remain as records. What goes is every byte that was made from the
erased samples, except the served model, which has unlearned them. What lies outside this program's custody is listed
in the same plan, so that nobody takes the plan for the whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Any

from qunlearn.deletion.purge_inventory import (
    DATA,
    MODEL,
    OBJECT,
    OWNERLESS,
    QUARANTINED,
    RUN_CACHE,
    RUN_FILE,
    SCRATCH,
    TEMPORARY,
    Inventory,
)
from qunlearn.deletion.purge_models import ModelPolicy, check_served, judge, reasons


class Action(StrEnum):
    """What happens to an entry; `OUTSIDE` means that a person has to look after it."""

    REMOVE = "remove"
    QUARANTINE = "quarantine"
    REWRITE = "rewrite"
    OUTSIDE = "outside"


@dataclass(frozen=True)
class Entry:
    """One thing, and what is to be done about it.

    Args:
        kind: such as `model` or `DVC object`.
        name: for people.
        digest: `sha256:...` or `md5:...`; None where its store knows none.
        place: where it is, in words.
        why: the reason.
        target: by which the step that carries it out finds it; no two of a kind in one place have the same.
    """

    kind: str
    name: str
    digest: str | None
    place: str
    action: Action
    why: str
    target: str = ""

    @property
    def key(self) -> tuple[str, str, str]:
        """What tells it from all others."""
        return self.kind, self.place, self.target

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as `from_dict` reads them."""
        return asdict(self) | {"action": self.action.value}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Entry:
        """The entry that `as_dict` wrote; TypeError, KeyError or ValueError for anything else."""
        return cls(**{**content, "action": Action(content["action"])})


@dataclass(frozen=True)
class PurgePlan:
    """All entries, in the order in which they are carried out; those outside come last."""

    entries: tuple[Entry, ...]

    def of(self, *actions: Action, kind: str | None = None) -> tuple[Entry, ...]:
        """The entries with one of these actions, or all; `kind` chooses further."""
        chosen = actions or tuple(Action)
        return tuple(one for one in self.entries if one.action in chosen and kind in (None, one.kind))

    @property
    def to_do(self) -> tuple[Entry, ...]:
        """What this program carries out."""
        return self.of(Action.REWRITE, Action.REMOVE, Action.QUARANTINE)

    def with_earlier(self, earlier: Iterable[Entry]) -> PurgePlan:
        """The plan with the entries of an interrupted purge; of two of one thing the earlier, which saw more.

        What happens to it is for this plan to say.
        """
        known = {one.key: one for one in self.entries}
        for one in earlier:
            known[one.key] = replace(one, action=known[one.key].action) if one.key in known else one
        return PurgePlan(tuple(sorted(known.values(), key=_order)))

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {"entries": [one.as_dict() for one in self.entries]}


ORDER = (DATA, RUN_CACHE, OBJECT, MODEL, RUN_FILE, TEMPORARY, SCRATCH, OWNERLESS, QUARANTINED)
"""The kinds in the order in which they are carried out; a run-cache entry leads to objects, so it goes before them."""

AGGREGATES = frozenset(f"tables/{name}.parquet" for name in ("epochs", "steps", "layers"))
"""Tables with a row an epoch, step or layer. Any other table of a run may have a row a sample."""
DOCUMENTS = frozenset((".html", ".json", ".md", ".png", ".svg", ".txt", ".yaml"))
"""Files for people. Any other kind of file can hold weights, logits or figures of single samples."""
EXPORTED = frozenset((".onnx", ".ort", ".tflite", ".pt2"))
"""Networks that somebody has exported for devices."""


def make_plan(inventory: Inventory, *, models: ModelPolicy) -> PurgePlan:
    """Decide about everything in the inventory.

    Args:
        models: `purge` removes all models that must go; `quarantine` moves those of the benchmark aside.

    Raises:
        PurgeError: the served model itself was trained on erased samples, or cannot be told.
    """
    check_served(inventory.models)
    why = reasons(inventory.models)
    entries = [
        *_folders(inventory),
        *_objects(inventory),
        *_models(inventory, why, policy=models),
        *_run_files(inventory, frozenset(why), served={model.id for model in inventory.models if model.served}),
        *_leftovers(inventory, policy=models),
        *(Entry(one.kind, one.name, None, one.place, Action.OUTSIDE, one.why) for one in inventory.outside),
    ]
    return PurgePlan(tuple(sorted(entries, key=_order)))


def _folders(inventory: Inventory) -> Iterator[Entry]:
    for one in inventory.folders:
        if one.erased or one.stale:
            why = f"holds {one.erased} erased samples; the others stay" if one.erased else one.stale
            yield Entry(DATA, one.name, one.digest, one.place, Action.REWRITE, why, one.name)


def _objects(inventory: Inventory) -> Iterator[Entry]:
    for depot in inventory.depots:
        for name, why in depot.gone.items():
            if name in depot.run_cache:
                # <two digits>/<digest of the inputs>/<digest of the outputs>
                short = "/".join(part[:8] for part in name.split("/")[1:])
                yield Entry(RUN_CACHE, short, None, depot.name, Action.REMOVE, why, name)
            else:
                yield Entry(OBJECT, name, f"md5:{name}", depot.name, Action.REMOVE, why, name)
        for name, found in depot.others.items():
            why = f"holds {found}, but belongs to data that you track yourself; take it out there"
            yield Entry(OBJECT, name, f"md5:{name}", depot.name, Action.OUTSIDE, why, name)


def _models(inventory: Inventory, why: Mapping[str, str], *, policy: ModelPolicy) -> Iterator[Entry]:
    for one in inventory.models:
        if verdict := judge(one, why, policy=policy):
            yield Entry(MODEL, one.name, one.weights, one.place, Action(verdict), why[one.id], one.id)


def _run_files(inventory: Inventory, tainted: frozenset[str], *, served: Set[str]) -> Iterator[Entry]:
    for one in inventory.run_files:
        place = f"MLflow, run {one.run_name} {one.run_id}"
        target = f"{one.run_id}/{one.path}"
        why = f"holds {one.found}" if one.found else ""
        if not why and one.models & tainted and may_hold_samples(one.path):
            if one.made & served and PurePosixPath(one.path).suffix.lower() in EXPORTED:
                told = "lies with the served model, and so is taken for an export of it; remove it by hand if it is not"
                yield Entry(RUN_FILE, one.path, one.digest, place, Action.OUTSIDE, told, target)
                continue
            why = "data or weights of a run that used models which erased samples went into"
        if why:
            yield Entry(RUN_FILE, one.path, one.digest, place, Action.REMOVE, why, target)


def may_hold_samples(path: str) -> bool:
    """Whether a file of a run can have a row a sample, or weights, as far as its path tells."""
    return path not in AGGREGATES and PurePosixPath(path).suffix.lower() not in DOCUMENTS


def _leftovers(inventory: Inventory, *, policy: ModelPolicy) -> Iterator[Entry]:
    for one in inventory.leftovers:
        keep = one.kind == QUARANTINED and policy == "quarantine"
        why = f"{one.why}; kept there by deletion.models: quarantine" if keep else one.why
        action = Action.OUTSIDE if keep else Action.REMOVE
        yield Entry(one.kind, one.name, one.digest, one.place, action, why, one.target)


def _order(entry: Entry) -> tuple[bool, int, str, bool, str]:
    """Data first. Of a version of data its list of files last: as long as that is there, the rest can be found."""
    rank = ORDER.index(entry.kind) if entry.kind in ORDER else len(ORDER)
    return entry.action == Action.OUTSIDE, rank, entry.place, entry.target.endswith(".dir"), entry.target
