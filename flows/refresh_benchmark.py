"""The flow `refresh-benchmark`: `dvc repro` in the project, on demand, and the commit left to a person.

A deletion leaves the experiment stale: its data have lost samples, and models that were trained on them are gone. This
brings it up to date. It waits while a deletion holds the served model, and a deletion waits for it: stages read the
data that a purge writes anew.
"""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
from prefect import State, flow, get_run_logger
from prefect.states import Completed

from flows.errors import STORED
from flows.naming import flow_and_time
from flows.own_project import own_params
from flows.plain_logs import plain_logs
from flows.turns import in_turn
from qunlearn.config import load

PIPELINE = "dvc.yaml"
PARAMS = "params.yaml"
"""What the stages in `dvc.yaml` read."""
COLOURS = re.compile(r"\x1b\[[0-9;]*m")
PATIENCE = 20.0
"""Seconds that stages have to close their records when the flow is cancelled."""


class RefreshError(ValueError):
    """The benchmark cannot be brought up to date; the message says why, or where to read it."""


@flow(name="refresh-benchmark", flow_run_name=flow_and_time)
def refresh_benchmark(params_file: str = PARAMS) -> State[bool]:
    """Run `dvc repro`: every stage of the experiment whose data, parameters or code have changed.

    Nothing is committed. The result says whether `dvc.lock` has changed, and what to do then.

    Args:
        params_file: Parameter file; its folder is the project. A deployment takes only that of its own project.

    Raises:
        ForeignProjectError: see `own_params`.
    """
    plain_logs()
    path = own_params(params_file)
    load(path)
    root = path.parent
    if path.name != PARAMS or not (root / PIPELINE).is_file():
        raise RefreshError(f"the benchmark is what {PIPELINE} makes from {PARAMS}; {root} must have both")
    with in_turn(root):
        before = _lock(root)
        code, last = dvc_repro(root)
        changed = _lock(root) != before
    if code:
        raise RefreshError(
            f"dvc repro ended with exit code {code}: {last}; the log of this run has the rest. Stages that were "
            "complete stay so"
        )
    if not changed:
        return Completed(message="dvc.lock is unchanged: nothing to commit", data=False)
    return Completed(
        message="dvc.lock has changed: read report/index.html, then commit what `git status` lists", data=True
    )


def dvc_repro(root: Path) -> tuple[int, str]:
    """Run `dvc repro`, each line of its output into this run's log; exit code and last line.

    If this flow is cancelled its stages are ended before anybody else may have the data.
    """
    logger, last = get_run_logger(), "no output"
    quiet: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    command = [sys.executable, "-m", "dvc", "repro"]
    # Not a group of its own: `qunlearn down` ends the group that this flow belongs to.
    with subprocess.Popen(command, cwd=root, env=_environment(), text=True, errors="replace", **quiet) as process:
        try:
            for line in process.stdout or ():
                if text := COLOURS.sub("", line).rstrip():
                    logger.info("%s", text)
                    last = text
            return process.wait(), last
        except BaseException:
            _end(process.pid)
            raise


def _environment() -> dict[str, str]:
    """This process's, in which `python` is this Python, and the stages' runs are not taken for this flow's."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT__")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    return {**own, "PATH": path, "DVC_NO_ANALYTICS": "true", "PYTHONUNBUFFERED": "1", STORED: "1"}


def _end(pid: int) -> None:
    """End a process and all that it has started, the stage at work first of all."""
    try:
        family = [*reversed(psutil.Process(pid).children(recursive=True)), psutil.Process(pid)]
    except psutil.NoSuchProcess:
        return
    for end in (psutil.Process.terminate, psutil.Process.kill):
        for process in family:
            if process.is_running():
                end(process)
        _, family = psutil.wait_procs(family, timeout=PATIENCE)


def _lock(root: Path) -> bytes:
    path = root / "dvc.lock"
    return path.read_bytes() if path.exists() else b""
