"""Copies that nobody needs any more: temporary folders of killed processes, logits of a stage, models in quarantine.

Of the temporary folders a purge removes those with this project's mark whose process is gone, see `tasks.temporary`.
Any other folder that happens to have such a name stays, as it may be somebody's work: ids of public images are the same
everywhere. Where it holds a trace, a person is told.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from qunlearn.data.removal import remove_folder
from qunlearn.deletion.purge_errors import PurgeError
from qunlearn.deletion.purge_inventory import QUARANTINED, SCRATCH, TEMPORARY, Leftover, Outside
from qunlearn.deletion.traces import Traces
from tasks.scratch import FOLDER, scratch
from tasks.temporary import PREFIX, is_in_use, is_ours, is_protected, remove_left
from tasks.tracking.processes import is_running, mark
from tasks.workspace import Workspace

NAMED = f"{PREFIX}*"
"""Names of temporary folders that this program makes, and others can make, too."""
WORK = "purge-"
"""Begins the names of a purge's own folders of downloads; the mark of its process follows."""


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
        recorded: sha256 of the files of all models that the project has recorded, but for those with ids: a folder
            without our mark that holds one is more likely ours.
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
    temporary, outside = _temporary(workspace.root, traces, recorded)
    count = len(items) + len(list(Path(tempfile.gettempdir()).glob(NAMED)))
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
    elif path.is_symlink() or path.exists():
        # It may come from the notes of an interrupted purge, and these from another place or another computer.
        root, plain = workspace.root, path.is_absolute() and ".." not in path.parts and not path.is_symlink()
        if plain and path.parent in (root / FOLDER, quarantine_folder(root)):
            remove_folder(path)
        elif plain and path.match(NAMED) and _may_go(path, root):
            remove_left(path)
        else:
            raise PurgeError(
                f"{path}: no folder that a purge of this project may remove; remove it by hand if it is yours, then "
                f"remove {FOLDER}/purge.json and run the purge again"
            )


def _may_go(folder: Path, root: Path) -> bool:
    if is_protected(folder, root):
        return False
    # A purge that was killed after it had removed the mark has left nothing else.
    return not any(folder.iterdir()) or (is_ours(folder, root) and not is_in_use(folder))


def _is_at_work(folder: Path) -> bool:
    """Whether it is the folder of a purge, or of a look at what one would do, of another living process."""
    # What follows the mark is of `tempfile`.
    marked = folder.name.removeprefix(WORK).rpartition("-")[0]
    return marked != mark() and is_running(marked)


def _temporary(root: Path, traces: Traces, recorded: frozenset[str]) -> tuple[list[Leftover], list[Outside]]:
    found, outside = [], []
    place = Path(tempfile.gettempdir())
    for folder in sorted(place.glob(NAMED)):
        try:
            if folder.is_symlink() or not folder.is_dir() or folder.stat().st_uid != os.geteuid():
                continue
        except FileNotFoundError:
            continue  # its owner lives, and has just removed it
        ours = is_ours(folder, root)
        if ours and not is_in_use(folder) and not is_protected(folder, root):
            # With or without a trace: half of a download shows none.
            found.append(_leftover(TEMPORARY, folder, place, "was left by a process of this project that has ended"))
        elif holds := _holds(folder, traces, recorded):
            if ours and is_in_use(folder):
                why = "in use by a process of this project, which removes it; purge again when that has ended"
            else:
                why = "not a temporary folder of this project, so it stays; remove it by hand if nobody needs it"
            outside.append(Outside(TEMPORARY, folder.name, str(place), f"{holds}; {why}"))
    return found, outside


def _holds(folder: Path, traces: Traces, recorded: frozenset[str]) -> str:
    """What the first file with a trace holds, or that one cannot be read; empty if there is nothing of both."""
    unread = ""
    # Folders that vanish meanwhile are passed over, which `rglob` does not do.
    for path in sorted(Path(here) / name for here, _, names in os.walk(folder) for name in names):
        try:
            if path.is_symlink() or not path.is_file():
                continue
            trace = traces.in_file(path)
            if text := trace.text or traces.parent(path):
                return f"holds {text}"
            if trace.sha256 in recorded:
                unread = unread or "holds a file of a model of this project"
        except FileNotFoundError:
            continue  # its owner lives, and has just removed it
        except PermissionError:
            unread = "holds a file that cannot be read"
    return unread


def _leftover(kind: str, path: Path, place: Path, why: str) -> Leftover:
    return Leftover(kind, path.name, None, str(place), why, str(path))
