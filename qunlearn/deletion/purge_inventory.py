"""What a purge looks at, as far as a decision needs it."""

from __future__ import annotations

from dataclasses import dataclass

from qunlearn.deletion.purge_models import StoredModel
from qunlearn.deletion.purge_objects import Depot

DATA = "data"
MODEL = "model"
RUN_FILE = "run artifact"
OBJECT = "DVC object"
RUN_CACHE = "DVC run-cache entry"
TEMPORARY = "temporary folder"
SCRATCH = "scratch folder"
OWNERLESS = "ownerless artifacts"
QUARANTINED = "quarantined model"


@dataclass(frozen=True)
class DataFolder:
    """`data/prepared` or `data/splits`: how many erased samples it holds, or else why it must be written again."""

    name: str
    digest: str | None
    place: str
    erased: int
    stale: str = ""


@dataclass(frozen=True)
class RunFile:
    """A file among a run's artifacts: what a search of its content found, and the models the run made or read.

    `made` are those that the run made.
    """

    run_id: str
    run_name: str
    path: str
    digest: str
    found: str
    models: frozenset[str]
    made: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Leftover:
    """Something of ours that nobody needs any more, of one of the last four kinds; `why` says what it holds."""

    kind: str
    name: str
    digest: str | None
    place: str
    why: str
    target: str


@dataclass(frozen=True)
class Outside:
    """Where copies may be that this program does not reach, and what a person can do about it."""

    kind: str
    name: str
    place: str
    why: str


@dataclass(frozen=True)
class Inventory:
    """All that a purge looks at."""

    folders: tuple[DataFolder, ...] = ()
    models: tuple[StoredModel, ...] = ()
    run_files: tuple[RunFile, ...] = ()
    depots: tuple[Depot, ...] = ()
    leftovers: tuple[Leftover, ...] = ()
    outside: tuple[Outside, ...] = ()
