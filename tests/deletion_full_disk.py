"""A deletion on a disk that is full from some moment on, again and again, one state of the batch further each time.

    python -m deletion_full_disk <original project> <folder> disk|limit

`disk`: the folder is a small file system of its own, which is filled up. `limit`: no file may grow any more. Prints
one JSON object: what each run said, what was seen after it, and how it ended when there was room again.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from deletion_project import Served, copied, plain_steps, run
from prefect.logging import disable_run_logger
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.errors import is_ours
from qunlearn.deletion.ledger import Ledger, State

FULL_FROM = (None, State.CLAIMED, State.UNLEARNED, State.VERIFIED, State.PROMOTED, State.PURGED)
"""From when on there is no room: from the beginning, or when the ledger has this state."""
BLOCK = 1 << 20


class Disk:
    """What can be filled up and emptied again."""

    def __init__(self, folder: Path, kind: str) -> None:
        self.file, self.kind = folder / "filling", kind

    def fill(self) -> None:
        if self.kind == "limit":
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
            return
        with self.file.open("wb", buffering=0) as file:
            for size in (BLOCK, 4096):
                try:
                    while True:
                        file.write(bytes(size))
                except OSError:
                    continue

    def empty(self) -> None:
        if self.kind == "limit":
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        self.file.unlink(missing_ok=True)


def said(served: Served) -> dict[str, Any]:
    """The message of a run, or its error."""
    try:
        return {"message": run(served)}
    except Exception as error:
        if not is_ours(error):
            raise
        return {"error": str(error)}


def seen(served: Served, request: str) -> dict[str, Any]:
    one = served.ledger.request(request)
    with tempfile.TemporaryDirectory() as temporary:
        trained = served.made(Path(temporary)).trained_ids
    return {
        "state": one.state,
        "outcome": one.outcome,
        "fault": str(served.ledger.verify() or ""),
        "champion": served.champion.version,
        "trained": len(trained),
        "erased": len(served.erased),
        "listed": len(set(one.asked.samples) & served.data_ids()),
        "evidence": sorted(path.name for path in (served.root / ".qunlearn" / "evidence").glob("*")),
        "git": os.popen(f"git -C '{served.root}' status --porcelain").read(),
    }


def filling_after(state: State | None, fill: Callable[[], None]) -> Callable[..., Any]:
    """`Ledger.advance`, and no room after it has brought the batch to this state."""
    advance = Ledger.advance

    def advanced(ledger: Ledger, batch: Any, to: State, **options: Any) -> Any:
        result = advance(ledger, batch, to, **options)
        if to is state:
            fill()
        return result

    return advanced


def main() -> None:
    original, folder, kind = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    (folder / "temporary").mkdir()
    tempfile.tempdir = str(folder / "temporary")
    plain_steps(setattr)
    served, disk, advance = Served(copied(original, folder / "project")), Disk(folder, kind), Ledger.advance
    request, told = served.ask(*served.training_ids[:2]), []
    with disable_run_logger(), temporary_settings(restore_defaults={PREFECT_API_URL}):
        for state in FULL_FROM:
            if state is None:
                disk.fill()
            Ledger.advance = filling_after(state, disk.fill)  # type: ignore[method-assign]
            result = said(served)
            Ledger.advance = advance  # type: ignore[method-assign]
            disk.empty()
            told.append({"full": state, **result, **seen(served, request.id)})
        last = {**said(served), **seen(served, request.id), "whole": served.evidence(request).purge is not None}
    print(json.dumps({"ids": served.training_ids[:2], "told": told, "last": last}))


if __name__ == "__main__":
    main()
