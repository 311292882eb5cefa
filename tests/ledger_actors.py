"""Processes that use one ledger at once: some ask, some work, and all the while workers are killed or stopped.

    python -m ledger_actors '{"url": ..., "root": ..., "writers": 8, "workers": 4, "requests": 5, "blows": 6}'

One process imports everything and then forks; it opens no ledger itself. The writers begin at the same moment, on a
database that is not there yet; the workers find a batch whose worker was killed. Prints what was done, as JSON.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

from forks import ended, fork

from qunlearn.deletion.ledger import Asked, Batch, BusyError, Ledger, LostClaimError, Outcome, State, Worker

LEASE = timedelta(seconds=0.5)
NEXT = {
    State.CLAIMED: State.UNLEARNED,
    State.UNLEARNED: State.VERIFIED,
    State.VERIFIED: State.PROMOTED,
    State.PROMOTED: State.PURGED,
    State.PURGED: State.COMPLETED,
}
MOST_ATTEMPTS = 3


@dataclass
class Stage:
    """Where it happens, and who is on it."""

    url: str | None
    root: Path
    begin: int
    """Reading end of a pipe: closed by the other end when all may begin."""
    pids: dict[int, Callable[[Stage], None]] = field(default_factory=dict)

    def ledger(self) -> Ledger:
        return Ledger.open(self.url, root=self.root, lease=LEASE)

    @property
    def asked(self) -> Path:
        """Made when all writers have ended: there is nothing to wait for then but unfinished work."""
        return self.root / "asked"

    def fork(self, role: Callable[[Stage], None]) -> None:
        def act() -> None:
            os.read(self.begin, 1)
            role(self)

        self.pids[fork(act)] = role

    def wait(self, role: Callable[[Stage], None], *, end: int = 0) -> None:
        """Wait for all with this role; each must end with this exit code, or by this signal where it is negative."""
        for pid in [pid for pid, its_role in self.pids.items() if its_role is role]:
            code = ended(pid)
            del self.pids[pid]
            if code != end:
                raise SystemExit(f"{role} ended with {code}")

    def strike(self, draw: random.Random, number: int) -> None:
        """Kill a worker and let another begin in its place; every third one is stopped for longer than its lease."""
        pid = draw.choice([pid for pid, role in self.pids.items() if role is work])
        if number % 3 == 2:
            os.kill(pid, signal.SIGSTOP)
            time.sleep(1.5 * LEASE.total_seconds())
            os.kill(pid, signal.SIGCONT)
            return
        os.kill(pid, signal.SIGKILL)
        # Its zombie stays for a moment: it must be taken for gone.
        time.sleep(0.02)
        os.waitpid(pid, 0)
        del self.pids[pid]
        self.fork(work)


def writer(requests: int) -> Callable[[Stage], None]:
    """Asks this many times."""

    def write(stage: Stage) -> None:
        ledger, draw = stage.ledger(), random.Random(os.getpid())
        for _ in range(requests):
            ledger.add(Asked("sample", ("a", "b"), (), None, None, date(2026, 12, 21)))
            time.sleep(draw.uniform(0, 0.05))

    return write


def work(stage: Stage) -> None:
    """Claims and carries out until nothing is left."""
    ledger, draw = stage.ledger(), random.Random(os.getpid())
    while True:
        # Looked at first: what was asked before this moment is seen by the claim.
        no_more = stage.asked.exists()
        try:
            batch = ledger.claim(Worker.current())
        except BusyError:
            time.sleep(0.01)
            continue
        if batch is None:
            if no_more:
                return
            time.sleep(0.01)
            continue
        try:
            carry_out(stage, ledger, batch, draw)
        except LostClaimError:
            record(stage, "lost", [batch.token])


def watch(stage: Stage) -> None:
    """Checks the ledger while others write: each look sees one state of it, which is without fault."""
    ledger = stage.ledger()
    while not stage.asked.exists():
        fault = ledger.verify()
        assert fault is None, str(fault)
        record(stage, "watched", ["intact"])


def abandon(stage: Stage) -> None:
    """Claims a batch and is killed."""
    ledger = stage.ledger()
    while ledger.claim(Worker.current()) is None:
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGKILL)


def carry_out(stage: Stage, ledger: Ledger, batch: Batch, draw: random.Random) -> None:
    """Bring a batch from wherever it is to its end, by different ways."""
    while batch.state in NEXT:
        time.sleep(draw.uniform(0, 0.01))
        here = [one for one in batch.requests if one.state is batch.state]
        fact = {f"{batch.state} {draw.random()}": str(Worker.current())}
        if batch.state is State.VERIFIED and here[0].attempts < MOST_ATTEMPTS and draw.random() < 0.2:
            ledger.advance(batch, State.RECEIVED, reason="gate failed")
            return
        to = NEXT[batch.state]
        if batch.state is State.CLAIMED and len(here) > 1 and draw.random() < 0.5:
            here, to = here[:1], State.COMPLETED
        outcome = dict.fromkeys((one.id for one in here), Outcome.UNLEARNED) if to is State.COMPLETED else None
        batch = ledger.advance(batch, to, only=[one.id for one in here], outcome=outcome, facts=fact)
        if outcome:
            record(stage, "completed", list(outcome))


def record(stage: Stage, what: str, lines: list[str]) -> None:
    """What a process believes to have done; a single write, so that lines of several processes do not mix."""
    descriptor = os.open(stage.root / what, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, "".join(f"{line}\n" for line in lines).encode())
    os.close(descriptor)


def main() -> None:
    plan = json.loads(sys.argv[1])
    begin, open_end = os.pipe()
    stage, draw = Stage(plan["url"], Path(plan["root"]), begin), random.Random(0)
    write = writer(plan["requests"])
    try:
        for _ in range(plan["writers"]):
            stage.fork(write)
        stage.fork(abandon)
        # Each child holds a copy of the writing end too: what ends their waiting is a byte for each.
        os.write(open_end, b"!" * 10_000)
        stage.wait(abandon, end=-signal.SIGKILL)
        for _ in range(plan["workers"]):
            stage.fork(work)
        stage.fork(watch)
        for number in range(plan["blows"]):
            time.sleep(draw.uniform(0.05, 0.2))
            stage.strike(draw, number)
        stage.wait(write)
        stage.asked.touch()
        stage.wait(work)
        stage.wait(watch)
    finally:
        for pid in stage.pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    print(json.dumps({what: _count(stage, what) for what in ("lost", "completed", "watched")}))


def _count(stage: Stage, what: str) -> int:
    path = stage.root / what
    return len(path.read_text(encoding="ascii").splitlines()) if path.exists() else 0


if __name__ == "__main__":
    main()
