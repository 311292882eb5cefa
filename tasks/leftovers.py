"""Copies that nobody needs any more: temporary folders of killed processes, logits of a stage, models in quarantine.

A temporary folder does not say whose it is. It is taken for left behind if it holds a file of a model that this project
recorded, or a model made from one, since `tasks.purging` makes sure that no stage of the project is at work; or if
nothing in it has changed for a while, as other projects may use the same public images. A process reads such a folder
right after it has made it.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from qunlearn.deletion.purge_errors import PurgeError
from qunlearn.deletion.purge_inventory import QUARANTINED, SCRATCH, TEMPORARY, Leftover, Outside
from qunlearn.deletion.traces import Traces
from tasks.scratch import FOLDER, scratch
from tasks.workspace import Workspace

OURS = "qunlearn-*"
"""Names of temporary folders that this program makes."""
IN_USE = 900.0
"""Seconds for which a folder that may be another project's is left alone after its last change."""
WORK = "purge-"
"""Begins the names of a purge's own folders of downloads; the number of its process follows."""


@dataclass(frozen=True)
class Leftovers:
    """What was found: to be removed, to be told, and how many folders were looked at."""

    items: tuple[Leftover, ...]
    outside: tuple[Outside, ...]
    looked_at: int


def quarantine_folder(root: Path) -> Path:
    """Where models in quarantine lie, a folder for each."""
    return root / FOLDER / "quarantine"


def find_leftovers(workspace: Workspace, traces: Traces, *, recorded: frozenset[str]) -> Leftovers:
    """All leftovers on this computer; nothing is changed.

    Args:
        traces: by which one is known; with the weights of all models that must go.
        recorded: sha256 of the files of all models that the project has recorded, but for those with ids, which other
            projects can have, too.
    """
    items = []
    home = workspace.root / FOLDER
    for path in sorted(home.glob("stage-*")):
        items.append(_leftover(SCRATCH, path, home, "holds what models say about each image"))
    for path in sorted(home.glob(f"{WORK}*/")):
        if not _is_at_work(path):
            items.append(_leftover(TEMPORARY, path, home, "downloads of an interrupted purge"))
    kept = quarantine_folder(workspace.root)
    for path in sorted(kept.iterdir()) if kept.is_dir() else ():
        items.append(_leftover(QUARANTINED, path, kept, "was moved aside by an earlier purge"))
    temporary, outside = _temporary(traces, recorded)
    count = len(items) + len(list(Path(tempfile.gettempdir()).glob(OURS)))
    return Leftovers((*items, *temporary), tuple(outside), count)


def remove_leftover(workspace: Workspace, leftover_kind: str, target: str) -> None:
    """Remove what `find_leftovers` found; what is not there counts as removed.

    Raises:
        PurgeError: it is a folder that a running stage works in.
    """
    path = Path(target)
    if leftover_kind == SCRATCH:
        # Whoever enters removes those whose owner is gone.
        with scratch(workspace.root):
            pass
        if path.exists():
            raise PurgeError(f"{path}: a stage is at work in it; let it end, then run the purge again")
    elif path.exists():
        # It may come from the notes of an interrupted purge, and these from another place or another computer.
        ours = path.parent in (workspace.root / FOLDER, quarantine_folder(workspace.root))
        if path.is_symlink() or not (ours or (path.is_absolute() and path.match(OURS) and ".." not in path.parts)):
            raise PurgeError(
                f"{path}: no folder that a purge of this project may remove; remove it by hand if it is yours, then "
                f"remove {FOLDER}/purge.json and run the purge again"
            )
        shutil.rmtree(path)


def _is_at_work(folder: Path) -> bool:
    """Whether it is the folder of a purge, or of a look at what one would do, of another living process."""
    number = folder.name.removeprefix(WORK).partition("-")[0]
    return number.isdecimal() and int(number) != os.getpid() and psutil.pid_exists(int(number))


def _temporary(traces: Traces, recorded: frozenset[str]) -> tuple[list[Leftover], list[Outside]]:
    found, outside = [], []
    place = Path(tempfile.gettempdir())
    for folder in sorted(place.glob(OURS)):
        if folder.is_symlink() or not folder.is_dir() or folder.stat().st_uid != os.geteuid():
            continue
        files = [one for path in sorted(folder.rglob("*")) if (one := _searched(path, traces)) is not None]
        holds = next((one.holds for one in files if one.holds), "")
        if not holds:
            continue
        own = any(one.sha256 in recorded or one.is_descendant for one in files)
        if own or time.time() - max(one.changed for one in files) > IN_USE:
            found.append(_leftover(TEMPORARY, folder, place, f"holds {holds}"))
        else:
            why = f"holds {holds}; perhaps in use: a purge in {IN_USE / 60:.0f} minutes removes what is left of it"
            outside.append(Outside(TEMPORARY, folder.name, str(place), why))
    return found, outside


@dataclass(frozen=True)
class _Searched:
    """A file: what it holds in words, whether that is a model made from an erased one, and when it was last changed."""

    holds: str
    is_descendant: bool
    sha256: str
    changed: float


def _searched(path: Path, traces: Traces) -> _Searched | None:
    if path.is_symlink() or not path.is_file():
        return None
    try:
        trace = traces.in_file(path)
        parent = traces.parent(path)
        return _Searched(trace.text or parent, bool(parent), trace.sha256, path.stat().st_mtime)
    except FileNotFoundError:
        return None  # its owner lives, and has just removed it


def _leftover(kind: str, path: Path, place: Path, why: str) -> Leftover:
    return Leftover(kind, path.name, None, str(place), why, str(path))
