"""Processes that outlive the command which started them, known by pid *and* start time.

A pid alone is no identity: after a crash or a restart of the machine the number may belong to somebody else's process.
A record therefore also holds when the process started, as the kernel tells it, and nothing is ever signalled whose
start time differs.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

STOP_SECONDS = 20.0
"""How long a process may take to end by itself after SIGTERM, before SIGKILL."""

MARK = "QUNLEARN_SERVER"
"""Environment variable by which the children of a process are recognised after their parent was killed."""


@dataclass(frozen=True)
class Process:
    """A detached process, leader of its own process group.

    Args:
        pid: its number, also the number of its group.
        started: opaque text that no other process with the same pid has (see `start_time`).
        command: what was run.
        url: where it can be reached; empty for a process without an address.
        since: wall clock at the start, seconds since 1970.
        mark: random text in the environment of the process and of its children.
    """

    pid: int
    started: str
    command: tuple[str, ...]
    url: str
    since: float
    mark: str

    def alive(self) -> bool:
        """Whether this very process still runs; a stranger with its pid does not count, nor does a zombie."""
        return start_time(self.pid) == self.started


def start_time(pid: int) -> str | None:
    """When the process `pid` started, as text to compare; None when there is none, or only its zombie."""
    if Path("/proc/self/stat").exists():
        return _start_time_linux(pid)
    shown = subprocess.run(["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    state, _, started = shown.stdout.strip().partition(" ")
    return None if not started or state.startswith("Z") else started.strip()


def _start_time_linux(pid: int) -> str | None:
    try:
        content = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The second field is the program's name in parentheses and may itself hold spaces and parentheses.
    fields = content.rpartition(")")[2].split()
    state, ticks_since_boot = fields[0], fields[19]
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return None if state in "ZX" else f"{boot}:{ticks_since_boot}"


def launch(
    command: Sequence[str], *, log: Path, cwd: Path, environment: Mapping[str, str], url: str = ""
) -> tuple[Process, int]:
    """Start `command` detached from this terminal, its output appended to `log`.

    Returns:
        the process, and the size of `log` before it wrote its first byte.
    """
    with log.open("ab") as output:
        before = output.tell()
        since, mark = time.time(), uuid.uuid4().hex
        child = subprocess.Popen(
            command,
            cwd=cwd,
            env={**environment, MARK: mark},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    # A child that has ended already gets a start time that equals no process's: it is never taken for alive.
    started = start_time(child.pid) or "ended at once"
    return Process(child.pid, started, tuple(command), url, since, mark), before


def stop(process: Process) -> bool:
    """End the process and its group: SIGTERM, then SIGKILL to what remains. False when nothing of it ran."""
    if not _group_is_ours(process):
        return False
    for number in (signal.SIGTERM, signal.SIGKILL):
        _signal_group(process, number)
        deadline = time.monotonic() + STOP_SECONDS
        while _group_is_ours(process) and time.monotonic() < deadline:
            _reap(process.pid)
            time.sleep(0.05)
        if not _group_is_ours(process):
            break
    return True


def _group_is_ours(process: Process) -> bool:
    """Whether the group still has a member of ours: its leader, or a child that outlived a killed leader."""
    return process.alive() or any(_marked(pid, process) for pid in _linux_pids())


def _linux_pids() -> Iterator[int]:
    proc = Path("/proc")
    return (int(entry.name) for entry in proc.iterdir() if entry.name.isdigit()) if proc.is_dir() else iter(())


def _marked(pid: int, process: Process) -> bool:
    """Whether `pid` belongs to the group and carries the mark that `launch` put into the environment."""
    try:
        if os.getpgid(pid) != process.pid or start_time(pid) is None:
            return False
        return f"{MARK}={process.mark}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except (ProcessLookupError, FileNotFoundError, PermissionError):
        return False


def _signal_group(process: Process, number: signal.Signals) -> None:
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return


def _reap(pid: int) -> None:
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return


def write(process: Process, path: Path) -> None:
    """Write the record in one step."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(asdict(process), indent=2) + "\n", encoding="utf-8")
    temporary.replace(path)


def read(path: Path) -> Process | None:
    """The record at `path`; None when there is none or it is damaged (then nothing can be said about any process)."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return Process(**{**content, "command": tuple(content["command"])})
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError):
        return None
