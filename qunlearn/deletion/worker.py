"""Which process has claimed a batch, and whether it has ended.

A pid alone is no identity: the number is used again after a crash, and every container counts its own. A worker is
therefore also known by the boot of its machine, by its pid namespace and by the clock tick at which it started. Only
a process beside it, under the same boot and in the same namespace, can say that it is gone; for all others the lease
of its claim decides.
"""

from __future__ import annotations

import os
import re
import secrets
import socket
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
HERE = secrets.token_hex(8)
"""Stands for boot and start where the kernel does not tell them: no process takes this one for gone then."""
TEXT = re.compile(r"(?P<host>\S+) (?P<pid>[1-9][0-9]{0,8}) (?P<started>\S+)")


@dataclass(frozen=True)
class Worker:
    """A process that carries out requests.

    Args:
        host: name of its machine.
        pid: its number there.
        started: `<boot>:<pid namespace>:<ticks since boot>`, opaque, without spaces.
    """

    host: str
    pid: int
    started: str

    @classmethod
    def current(cls) -> Worker:
        """This process."""
        place, process = _place(), _state_and_start(os.getpid())
        started = f"{place}:{process[1]}" if place and process else HERE
        return cls(socket.gethostname() or "-", os.getpid(), started)

    @classmethod
    def parse(cls, text: str) -> Worker:
        """The worker that `str` wrote.

        Raises:
            ValueError: it is no such text.
        """
        found = TEXT.fullmatch(text)
        if found is None:
            raise ValueError("not a worker: it must be a host, a pid and a start, with one space between them")
        return cls(found["host"], int(found["pid"]), found["started"])

    def __str__(self) -> str:
        return f"{self.host} {self.pid} {self.started}"


def is_gone(worker: Worker) -> bool:
    """Whether the process has certainly ended. False also where that cannot be told from here, such as another host."""
    place, _, start = worker.started.rpartition(":")
    if worker.host != (socket.gethostname() or "-") or not place or place != _place():
        return False
    try:
        os.kill(worker.pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass  # it runs, as another user
    process = _state_and_start(worker.pid)
    # A process that the kernel hides from us, as `hidepid` does, may well be alive.
    return process is not None and (process[0] in "ZX" or process[1] != start)


def _place() -> str | None:
    """Boot and pid namespace: where numbers of processes have one meaning; None where there is no `/proc`."""
    try:
        boot = (PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        namespace = (PROC / "self/ns/pid").readlink().name.removeprefix("pid:").strip("[]")
    except OSError:
        return None
    return f"{boot}:{namespace}"


def _state_and_start(pid: int) -> tuple[str, str] | None:
    """The process's state, one letter, and the clock tick at which it started."""
    try:
        content = (PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The second field is the program's name in parentheses and may itself hold spaces and parentheses.
    fields = content.rpartition(")")[2].split()
    return fields[0], fields[19]
