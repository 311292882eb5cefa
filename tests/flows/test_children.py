"""A program that is killed leaves no process behind: no Prefect server, no worker; the next start succeeds."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from small_pipeline import SMALL, write_params

from flows.processes import start_time

REPOSITORY = Path(__file__).parents[2]
MARK = "QUNLEARN_TEST_PROGRAM"
"""Environment variable of a program and of all that it starts: a number, counted from 0."""
WATCHED = "import os, time; from flows import children; children.STOP_SECONDS = 0.5; children._watch({parent}); {rest}"
BORN = "print(os.getpid(), flush=True); time.sleep(120)"
DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
PROGRAM = """
import os, subprocess, sys, time
subprocess.Popen([sys.executable, "-c", sys.argv[1].replace("{parent}", str(os.getpid()))])
time.sleep(120)
"""
POOL = """
import sys, time
from pathlib import Path
from prefect import flow, task
from flows.servers import prefect_api
from flows.stage import task_runner
from qunlearn.config import RunnerConfig

@task
def work():
    Path("at-work").touch()
    time.sleep(120)

@flow
def cells():
    work.submit().wait()

if __name__ == "__main__":
    with prefect_api(Path(".")):
        cells.with_options(task_runner=task_runner(RunnerConfig(kind=sys.argv[1], workers=1)))()
"""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start a program without a Prefect server; it and all that it started is gone when the test has ended."""
    begun: list[subprocess.Popen[bytes]] = []
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT", "MLFLOW_TRAC"))}
    environment |= {"PYTHONPATH": str(REPOSITORY), "PREFECT_HOME": str(tmp_path / ".prefect"), "DO_NOT_TRACK": "1"}
    environment |= {
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    }

    def begin(*arguments: str, log: str = "log") -> subprocess.Popen[bytes]:
        with (tmp_path / log).open("wb") as file:
            begun.append(
                subprocess.Popen(
                    [sys.executable, *arguments],
                    cwd=tmp_path,
                    env=environment | {MARK: f"{tmp_path}/{len(begun)}"},
                    stdout=file,
                    stderr=subprocess.STDOUT,
                )
            )
        return begun[-1]

    yield begin
    for number, process in enumerate(begun):
        for pid in family(tmp_path, number):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()


def family(folder: Path, number: int) -> list[int]:
    """The program that a test started as its `number`th, and what it started, as far as they run."""
    mark, found = f"{MARK}={folder}/{number}".encode(), []
    for entry in Path("/proc").iterdir():
        # Others end while we look, or are not ours to look into.
        with suppress(ProcessLookupError, FileNotFoundError, PermissionError):
            if entry.name.isdigit() and mark in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
    return found


def until(condition: Callable[[], object], seconds: float, log: Path) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, log.read_text()[-3000:]
        time.sleep(0.02)


def child_of(log: Path) -> int:
    until(lambda: log.read_text().endswith("\n"), 20, log)
    return int(log.read_text())


# --- the watch itself ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rest", [BORN, DEAF + BORN], ids=["ends at SIGTERM", "takes no notice of SIGTERM"])
def test_a_child_ends_with_its_own_program_and_with_no_other(start, tmp_path, rest):
    programs = [start("-c", PROGRAM, WATCHED.replace("{rest}", rest), log=f"log-{number}") for number in range(2)]
    dies, lives = (child_of(tmp_path / f"log-{number}") for number in range(2))
    programs[0].kill()
    until(lambda: start_time(dies) is None, 10, tmp_path / "log-0")
    time.sleep(1)
    assert start_time(lives) is not None


def test_a_child_that_looks_first_when_its_program_is_gone_ends_too(start, tmp_path):
    gone = start("-c", "")
    gone.wait()
    orphan = start("-c", WATCHED.format(parent=gone.pid, rest=BORN))
    assert orphan.wait(20) == -signal.SIGTERM


# --- Prefect's server, and pools -------------------------------------------------------------------------------------


@pytest.mark.servers
@pytest.mark.slow
def test_the_server_of_a_program_that_was_killed_ends_and_the_next_start_succeeds(start, tmp_path):
    write_params(tmp_path, SMALL)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "erased.txt").touch()
    log = tmp_path / "log"
    killed = start("-m", "flows.ingest")
    until(lambda: "Beginning flow run" in log.read_text() or killed.poll() is not None, 120, log)
    # The program and its server.
    assert len(family(tmp_path, 0)) == 2
    killed.kill()
    assert killed.wait() == -signal.SIGKILL
    following = start("-m", "flows.ingest", log="following")
    until(lambda: not family(tmp_path, 0), 10, log)
    assert following.wait(120) == 0, (tmp_path / "following").read_text()[-3000:]
    assert not family(tmp_path, 1)


@pytest.mark.servers
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["processes", "dask"])
def test_workers_of_a_program_that_was_killed_end_with_their_servers(start, tmp_path, kind):
    if kind == "dask":
        pytest.importorskip("prefect_dask")
    (tmp_path / "program.py").write_text(POOL)
    killed = start("program.py", kind)
    until(lambda: (tmp_path / "at-work").exists() or killed.poll() is not None, 120, tmp_path / "log")
    # The program and its server, the worker and its server.
    assert len(family(tmp_path, 0)) >= 4
    killed.kill()
    until(lambda: not family(tmp_path, 0), 20, tmp_path / "log")
