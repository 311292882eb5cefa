"""Deletions that are killed: once after each lasting act of the flow, and carried on by another process each time.

    python -m deletion_deaths '{"original": "<project>", "folder": "<new>", "stories": [[], ["committed"], null]}'

One process imports everything and then forks; it opens no store itself. A story is a copy of the project, and processes
one after the other, each of which kills itself with SIGKILL after the act that the list names; a last one carries the
work to its end. null: each dies after the first act of it after which none has died yet, until there is none left.
Prints one JSON object for each story.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from deletion_project import Served, copied, plain_steps
from prefect.logging import disable_run_logger
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows import deletion as flow_module
from qunlearn.deletion.ledger import Ledger
from tasks.deletion import erasing, purge, unlearning
from tasks.deletion.completion import evidence as written
from tasks.tracking import Store
from tasks.tracking.checkpoints import DIGEST_TAG, is_intact
from tasks.tracking.run import Run

MOST = 100
"""Deaths in one story."""


class Acts:
    """Counts the lasting acts of this process, and ends it after one of them."""

    def __init__(self, notes: Path, *, last: str | None, new: bool = False) -> None:
        self.notes, self.last, self.new = notes, last, new
        self.done: list[str] = []
        self.known = set(notes.read_text().splitlines()) if notes.exists() else set()

    def act(self, name: str) -> None:
        times = sum(one.partition(" #")[0] == name for one in self.done)
        self.done.append(f"{name} #{times + 1}")
        if name == self.last or (self.new and self.done[-1] not in self.known):
            with self.notes.open("a") as file:
                file.write(f"{self.done[-1]}\n")
            os.kill(os.getpid(), signal.SIGKILL)

    def after(self, owner: Any, name: str, label: str) -> None:
        """Let each call of `owner.name` count when it is done."""
        original = getattr(owner, name)

        def counted(*args: Any, **options: Any) -> Any:
            result = original(*args, **options)
            self.act(label)
            return result

        setattr(owner, name, counted)

    def watch(self) -> None:
        """Of everything that a process which goes on could find: what was written, in whatever store."""
        self.after(Ledger, "claim", "claim")
        advance = Ledger.advance

        def advanced(ledger: Ledger, batch: Any, to: Any, **options: Any) -> Any:
            result = advance(ledger, batch, to, **options)
            self.act(f"ledger: {to}{''.join(f', {name}' for name in sorted(options.get('facts') or {}))}")
            return result

        Ledger.advance = advanced  # type: ignore[method-assign]
        # In the midst of a run that is RUNNING in the store, without and with a model.
        self.after(unlearning, "run_method", "unlearned in memory")
        self.after(Run, "output_model", "model stored")
        self.after(unlearning, "_made", "run finished")
        self.after(Store, "register", "version registered")
        self.after(Store, "set_champion", "champion set")
        self.after(erasing, "append_erased", "ids appended")
        self.after(erasing, "_commit", "committed")
        purged = purge.purge

        def stepwise(*args: Any, **options: Any) -> Any:
            tell = options["on_step"]

            def step(name: str) -> None:
                tell(name)
                self.act(f"purge: {name}")

            return purged(*args, **{**options, "on_step": step})

        purge.purge = stepwise  # type: ignore[assignment]
        self.after(purge, "close", "purge closed")
        self.after(written, "write_evidence", "evidence written")
        self.after(Run, "text", "evidence published")


def worker(root: Path, *, last: str | None, new: bool = False) -> None:
    """The flow, once; killed after an act."""
    acts = Acts(root.with_suffix(".deaths"), last=last, new=new)
    acts.watch()
    plain_steps(setattr)
    with disable_run_logger(), temporary_settings(restore_defaults={PREFECT_API_URL}):
        flow_module.deletion.fn(str(root / "params.yaml"))
    root.with_suffix(".acts").write_text(json.dumps(acts.done))


def look(root: Path, out: Path) -> None:
    """What an observer sees; the champion must be fetched and verified for that."""
    served = Served(root)
    champion = served.champion
    with tempfile.TemporaryDirectory() as temporary:
        trained = served.made(Path(temporary)).trained_ids
    requests = served.ledger.requests()
    completed = [one for one in requests if one.state == "completed"]
    fault = served.ledger.verify()
    seen = {
        "champion": champion.version,
        "digest": champion.digest,
        "trained": sorted(trained),
        "requests": [[one.state, one.outcome, one.attempts] for one in requests],
        "evidence": [served.evidence(one).request.outcome for one in completed],
        "files": sorted(path.name for path in (root / ".qunlearn" / "evidence").glob("*.json"))
        == sorted(f"{one.id}.json" for one in completed),
        "erased": served.workspace.erased.read_text().splitlines(),
        "data": sorted(served.data_ids()),
        "versions": served.versions(),
        "models": sorted(_models(served)),
        "running": "RUNNING" in served.statuses(),
        "fault": None if fault is None else str(fault),
    }
    out.write_text(json.dumps(seen))


def _models(served: Served) -> list[str]:
    """Weights whose bytes are there."""
    connection = served.store.connection
    return [model.tags[DIGEST_TAG] for model in connection.models() if is_intact(connection, model)]


def forked(work: Callable[[], None]) -> int:
    """Do it in a process of its own; how that ended, negative for a signal."""
    sys.stdout.flush()
    pid = os.fork()
    if not pid:
        code = 1
        try:
            work()
            code = 0
        finally:
            if code:
                traceback.print_exc()
            sys.stderr.flush()
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def story(original: Path, folder: Path, deaths: list[str] | None) -> dict[str, Any]:
    """What was seen after each death, and at the end."""
    root, seen = copied(original, folder), folder.with_suffix(".json")
    after = []
    for last in deaths if deaths is not None else [None] * MOST:
        code = forked(lambda last=last: worker(root, last=last, new=deaths is None))  # type: ignore[misc]
        if code == 0 and deaths is None:
            break
        if code != -signal.SIGKILL:
            return {"error": f"after {len(after)} deaths a process ended with {code}"}
        if forked(lambda: look(root, seen)):
            return {"error": f"after {len(after) + 1} deaths there was nothing to be seen"}
        after.append(json.loads(seen.read_text()))
    if deaths is not None and forked(lambda: worker(root, last=None)):
        return {"error": f"after {len(after)} deaths the last process failed"}
    if forked(lambda: look(root, seen)):
        return {"error": "at the end there was nothing to be seen"}
    died, acts = root.with_suffix(".deaths"), root.with_suffix(".acts")
    return {
        "after": after,
        "died": died.read_text().splitlines() if died.exists() else [],
        "acts": json.loads(acts.read_text()),
        "end": json.loads(seen.read_text()),
    }


def main() -> None:
    plan = json.loads(sys.argv[1])
    for number, deaths in enumerate(plan["stories"]):
        print(json.dumps(story(Path(plan["original"]), Path(plan["folder"]) / str(number), deaths)), flush=True)


if __name__ == "__main__":
    main()
