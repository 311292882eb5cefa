"""Which process opened a run, and whether it still lives."""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Mapping
from pathlib import Path

import psutil


def identity() -> dict[str, str]:
    """Tags that name this process; its start time tells it from a later process with the same id."""
    return {"host": socket.gethostname(), "pid": str(os.getpid()), "process_start": _start(os.getpid()) or ""}


def mark() -> str:
    """Name of this process on this computer, for names of files: its number and a digest of its start."""
    return f"{os.getpid()}-{_digest(_start(os.getpid()))}"


def is_running(marked: str) -> bool:
    """Whether the process that a `mark` names still lives; its number alone may be another's by now."""
    number, _, digest = marked.partition("-")
    if not number.isdecimal():
        return False
    try:
        start = _start(int(number))
    except (PermissionError, psutil.AccessDenied):
        return True
    return start is not None and _digest(start) == digest


def _digest(start: str | None) -> str:
    return hashlib.sha256((start or "").encode()).hexdigest()[:12]


def is_gone(tags: Mapping[str, str]) -> bool:
    """True only when the process that `identity` named is known to be gone.

    A process on another host, or one that cannot be judged, counts as alive.
    """
    pid = tags.get("pid", "")
    if tags.get("host") != socket.gethostname() or not pid.isdecimal():
        return False
    if not psutil.pid_exists(int(pid)):
        return True
    try:
        start = _start(int(pid))
    except (PermissionError, psutil.AccessDenied):
        return False
    return start != tags.get("process_start")


def _start(pid: int) -> str | None:
    """Start of a process, in a form that a correction of the clock does not change; None when it has ended."""
    if not Path("/proc/self/stat").exists():
        try:
            process = psutil.Process(pid)
            return None if process.status() == psutil.STATUS_ZOMBIE else f"{process.create_time():.2f}"
        except psutil.NoSuchProcess:
            return None
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name, in parentheses, may hold anything; the state is field 3, the start in ticks since boot field 22.
    fields = stat.rpartition(")")[2].split()
    if fields[0] in "ZX":
        return None
    return f"{_boot()}:{fields[19]}"


def _boot() -> str:
    file = Path("/proc/sys/kernel/random/boot_id")
    return file.read_text(encoding="ascii").strip() if file.exists() else ""
