"""Whether a process has ended is said only where it can be known."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from qunlearn.deletion import worker as module
from qunlearn.deletion.ledger import Worker, is_gone

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux's /proc")


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    """A process that waits."""
    with subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


def worker_of(process: subprocess.Popen[bytes]) -> Worker:
    started = module._state_and_start(process.pid)
    assert started is not None
    return replace(Worker.current(), pid=process.pid, started=f"{module._place()}:{started[1]}")


def test_a_worker_is_this_process_at_any_time() -> None:
    worker = Worker.current()
    assert worker == Worker.current()
    assert worker.pid == os.getpid()
    assert not is_gone(worker)


def test_a_worker_can_be_written_as_text() -> None:
    worker = Worker.current()
    assert Worker.parse(str(worker)) == worker


@pytest.mark.parametrize(
    "text", ["", "host", "host 12", "host x started", "host 0 started", "host -1 started", "a b c d"]
)
def test_other_text_is_no_worker(text: str) -> None:
    with pytest.raises(ValueError, match="not a worker"):
        Worker.parse(text)


def test_a_killed_process_is_gone_even_before_its_parent_looks(child: subprocess.Popen[bytes]) -> None:
    worker = worker_of(child)
    assert not is_gone(worker)
    child.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert Path(f"/proc/{child.pid}").exists(), "a zombie"
    assert is_gone(worker)
    child.wait()
    assert is_gone(worker)


def test_a_stopped_process_is_not_gone(child: subprocess.Popen[bytes]) -> None:
    child.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, child.pid, os.WSTOPPED)
    assert not is_gone(worker_of(child))


def test_another_process_with_the_same_number_is_not_the_worker() -> None:
    worker = Worker.current()
    place, _, ticks = worker.started.rpartition(":")
    assert is_gone(replace(worker, started=f"{place}:{int(ticks) - 1}"))


def test_of_other_hosts_boots_and_namespaces_nothing_is_known() -> None:
    ended = replace(Worker.current(), pid=2**22 + 1)
    boot, namespace, ticks = ended.started.split(":")
    assert is_gone(ended)
    assert not is_gone(replace(ended, host="elsewhere"))
    assert not is_gone(replace(ended, started=f"another-boot:{namespace}:{ticks}"))
    assert not is_gone(replace(ended, started=f"{boot}:1:{ticks}"))
    assert not is_gone(replace(ended, started=module.HERE))


def test_a_process_that_cannot_be_looked_at_is_not_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    def not_ours(pid: int, number: int) -> None:
        raise PermissionError

    worker = Worker.current()
    monkeypatch.setattr("os.kill", not_ours)
    monkeypatch.setattr(module, "_state_and_start", lambda _: None)
    assert not is_gone(worker)


def test_without_proc_only_the_lease_decides(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "PROC", tmp_path)
    worker = Worker.current()
    assert worker == Worker.current() == Worker.parse(str(worker))
    assert not is_gone(replace(worker, pid=2**22 + 1))
