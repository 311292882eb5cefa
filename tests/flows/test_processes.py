"""Detached processes: known by pid and start time, ended with all their children, never a stranger's."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from flows import processes
from flows.processes import Process, launch, start_time, stop

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]
# A parent that tells its child's pid and sleeps beside it.
FAMILY = [
    sys.executable,
    "-c",
    "import subprocess, sys, time;"
    "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']);"
    "print(child.pid, flush=True); time.sleep(60)",
]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(60)",
]


@pytest.fixture
def start(tmp_path):
    begun: list[Process] = []

    def begin(command):
        process, _ = launch(command, log=tmp_path / "log", cwd=tmp_path, environment=os.environ)
        begun.append(process)
        return process

    yield begin
    for process in begun:
        stop(process)


def wait_for_output(log: Path) -> str:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if log.exists() and log.read_text().endswith("\n"):
            return log.read_text().strip()
        time.sleep(0.02)
    raise AssertionError("the process wrote nothing")


def test_a_started_process_is_alive_and_leads_its_own_group(start):
    process = start(SLEEP)
    assert process.alive()
    assert os.getpgid(process.pid) == process.pid != os.getpgid(0)


def test_stop_ends_it_and_a_second_stop_finds_nothing(start):
    process = start(SLEEP)
    assert stop(process)
    assert not process.alive()
    assert not stop(process)


def test_stop_ends_the_children_too(start, tmp_path):
    process = start(FAMILY)
    child = int(wait_for_output(tmp_path / "log"))
    assert start_time(child)
    stop(process)
    assert start_time(child) is None


def test_children_that_outlive_a_killed_parent_are_found_and_ended(start, tmp_path):
    process = start(FAMILY)
    child = int(wait_for_output(tmp_path / "log"))
    os.kill(process.pid, signal.SIGKILL)
    os.waitpid(process.pid, 0)
    assert not process.alive()
    assert start_time(child)
    assert stop(process)
    deadline = time.monotonic() + 20  # a signal takes its time on a busy machine
    while start_time(child) is not None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert start_time(child) is None


def test_a_process_that_ignores_the_signal_is_killed(start, tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "STOP_SECONDS", 0.2)
    process = start(STUBBORN)
    wait_for_output(tmp_path / "log")
    assert stop(process)
    assert not process.alive()


def test_a_stranger_with_the_recorded_pid_is_left_alone(start):
    process = start(SLEEP)
    recorded = replace(process, started="some other time", mark="some other mark")
    assert not recorded.alive()
    assert not stop(recorded)
    assert process.alive()


def test_a_zombie_does_not_count_as_alive():
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    deadline = time.monotonic() + 20
    while start_time(child.pid) is not None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert start_time(child.pid) is None
    child.wait()


def test_two_processes_never_share_a_start_time_and_pid(start):
    first, second = start(SLEEP), start(SLEEP)
    assert (first.pid, first.started) != (second.pid, second.started)
    assert start_time(first.pid) == start_time(first.pid) == first.started


def test_the_record_survives_writing_and_reading(start, tmp_path):
    process = start(SLEEP)
    processes.write(process, tmp_path / "record.json")
    assert processes.read(tmp_path / "record.json") == process


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"pid": 1}', '{"command": 3}'])
def test_a_damaged_record_says_nothing(tmp_path, content):
    (tmp_path / "record.json").write_text(content)
    assert processes.read(tmp_path / "record.json") is None


def test_output_is_appended_and_its_start_is_told(tmp_path):
    log = tmp_path / "log"
    log.write_text("before\n")
    process, before = launch([sys.executable, "-c", "print('now')"], log=log, cwd=tmp_path, environment=os.environ)
    assert before == len("before\n")
    deadline = time.monotonic() + 20
    while process.alive() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert log.read_text() == "before\nnow\n"
