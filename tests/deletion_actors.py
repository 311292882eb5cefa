"""Processes that use one project's deletion service at once: some ask, some carry out, one watches the served model.

    python -m deletion_actors '{"project": ..., "writers": 8, "requests": 2, "workers": 4, "apart": true}'

One process imports everything and then forks; it opens no store itself. QUNLEARN_LEDGER_URL says where the ledger is.
With `apart` no worker sees the file lock of another, as on several computers that share the project; then one of
them is also stopped for longer than its claim lasts, and goes on as if nothing had happened. Prints what was done.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from deletion_project import Served, plain_steps
from forks import ended, fork
from prefect.logging import disable_run_logger
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows import deletion as flow_module
from flows import holding
from qunlearn.deletion.ledger import BusyError, Ledger, LostClaimError
from qunlearn.deletion.states import FINAL
from tasks.deletion import claiming

LEASE = timedelta(seconds=3)
"""Of claims, where a worker is stopped; it is for longer."""
PATIENCE = 120.0
"""Seconds to wait for a worker that can be stopped."""
HELD_OUT = 2
"""The last requests of the first writers name samples that are held out."""


@dataclass
class Scene:
    """Where it happens, and who is on it."""

    root: Path
    plan: dict[str, Any]
    pids: dict[int, str] = field(default_factory=dict)

    @property
    def asked(self) -> Path:
        """Made when all writers have ended."""
        return self.root.with_name("asked")

    def fork(self, role: str, act: Callable[[], None]) -> None:
        self.pids[fork(act)] = role

    def wait(self, role: str) -> None:
        """Wait for all with this role; each must end well."""
        for pid in [pid for pid, its_role in self.pids.items() if its_role == role]:
            code = ended(pid)
            del self.pids[pid]
            if code:
                raise SystemExit(f"a {role} ended with {code}")

    def record(self, what: str, line: object) -> None:
        """What a process believes to have done; a single write, so that lines do not mix."""
        with self.root.with_name(what).open("ab", buffering=0) as file:
            file.write(f"{json.dumps(line)}\n".encode())

    def recorded(self, what: str) -> list[Any]:
        path = self.root.with_name(what)
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def write(scene: Scene, number: int, named: list[list[str]]) -> None:
    """Asks several times, in the midst of others who ask, and of data that are written anew."""
    served, draw = Served(scene.root), random.Random(number)
    for samples in named:
        time.sleep(draw.uniform(0, 1.5))
        scene.record("written", [served.ask(*samples).id, samples])


def work(scene: Scene, number: int) -> None:
    """Runs the flow again and again until nothing is left that was asked."""
    plain_steps(setattr)
    if scene.plan["apart"]:
        place = scene.root / f".servers-{number}"
        holding.folder = lambda _: place  # type: ignore[assignment]
        _short_claims()
    served = Served(scene.root)
    while True:
        # Looked at first: what was asked before this moment is seen by the run.
        no_more = scene.asked.exists()
        try:
            message = flow_module.deletion.fn(served.params_file).message
        except BusyError:
            time.sleep(0.5)
            continue
        except LostClaimError:
            scene.record("lost", number)
            continue
        if message != "nothing to do":
            scene.record("runs", [number, message])
        elif no_more:
            return
        time.sleep(0.1)


def _short_claims() -> None:
    """A claim lasts `LEASE`, and is renewed as often as otherwise."""
    claiming.LEASE = LEASE  # type: ignore[attr-defined]
    opened = Ledger.open.__func__  # type: ignore[attr-defined]
    Ledger.open = classmethod(lambda cls, url=None, **options: opened(cls, url, **{"lease": LEASE, **options}))  # type: ignore[method-assign]


def watch(scene: Scene) -> None:
    """Fetches and verifies the served model again and again: there is always a whole one."""
    served, ended = Served(scene.root), scene.root.with_name("ended")
    seen: list[int] = []
    while not ended.exists():
        with tempfile.TemporaryDirectory() as temporary:
            champion = served.champion
            made = _made(served, Path(temporary), champion)
        if made is not None:
            seen.append(champion.version)
        fault = served.ledger.verify()
        assert fault is None, str(fault)
        time.sleep(0.2)
    assert seen == sorted(seen), seen
    scene.record("seen", seen)


def _made(served: Served, folder: Path, champion: Any) -> Any:
    """The model; None where it was replaced and purged between the look at its name and the look at its bytes."""
    try:
        return served.made(folder, champion)
    except ValueError:
        if served.champion == champion:
            raise
        return None


def stop(scene: Scene) -> None:
    """Stop a worker that holds a batch until another one has taken it over."""
    draw, ledger = random.Random(0), Served(scene.root).ledger
    deadline = time.monotonic() + PATIENCE
    while not any(event.kind == "taken over" for event in ledger.events()):
        if time.monotonic() > deadline:
            raise SystemExit("no worker held a batch that another one could take over")
        holder = _holder(ledger)
        if holder is None:
            time.sleep(0.02)
            continue
        time.sleep(draw.uniform(0, 1))
        os.kill(holder, signal.SIGSTOP)
        # It may have a lock of the store; then nobody can take over, and another one is stopped the next time.
        until = time.monotonic() + 3 * LEASE.total_seconds()
        while _holder(ledger) == holder and time.monotonic() < until:
            time.sleep(0.1)
        # The other one is in the midst of the work when this one goes on with it.
        time.sleep(draw.uniform(0, 2))
        os.kill(holder, signal.SIGCONT)


def _holder(ledger: Ledger) -> int | None:
    """The process that has claimed the open batch."""
    held = {one.batch for one in ledger.requests() if one.batch is not None and one.state not in FINAL}
    claims = [event for event in ledger.events() if event.batch in held and "worker" in event.payload]
    return int(claims[-1].payload["worker"].split()[1]) if claims else None


def names(served: Served, writers: int, requests: int) -> list[list[list[str]]]:
    """What each writer asks for: two training samples, one of them its neighbour's too; some held out, some unknown."""
    ids, held_out = served.training_ids, served.split.ids("test")
    made = []
    for writer in range(writers):
        own = [[ids[writer * requests + turn], ids[writer * requests + turn + 1]] for turn in range(requests)]
        if writer < HELD_OUT:
            own[-1] = [held_out[writer], f"unknown-{writer}"]
        made.append(own)
    return made


def main() -> None:
    plan = json.loads(sys.argv[1])
    root = Path(plan["project"])
    scene = Scene(root, plan)
    try:
        with disable_run_logger(), temporary_settings(restore_defaults={PREFECT_API_URL}):
            for number, named in enumerate(names(Served(root), plan["writers"], plan["requests"])):
                scene.fork("writer", lambda number=number, named=named: write(scene, number, named))  # type: ignore[misc]
            for number in range(plan["workers"]):
                scene.fork("worker", lambda number=number: work(scene, number))  # type: ignore[misc]
            scene.fork("watcher", lambda: watch(scene))
            if plan["apart"]:
                scene.fork("stopper", lambda: stop(scene))
            scene.wait("writer")
            if plan["apart"]:
                scene.wait("stopper")
            scene.asked.touch()
            scene.wait("worker")
            root.with_name("ended").touch()
            scene.wait("watcher")
    finally:
        for pid in scene.pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    print(json.dumps({what: scene.recorded(what) for what in ("written", "runs", "lost", "seen")}))


if __name__ == "__main__":
    main()
