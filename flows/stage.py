"""What the seven stages share: reading parameters, the stage's MLflow run, the runner of its cells, and plain errors.

A stage module defines one Prefect flow and ends with ``main(flow)``; `python -m flows.<stage>` is what DVC calls.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prefect import Flow
from prefect.settings import PREFECT_API_URL
from prefect.task_runners import ProcessPoolTaskRunner, TaskRunner, ThreadPoolTaskRunner

from flows.children import watch_worker
from flows.errors import PlainErrors, is_ours, tell
from flows.interrupts import interruptible
from flows.servers import prefect_api
from qunlearn.config import ConfigError, Params, RunnerConfig
from tasks.cells import CellContext
from tasks.context import run_context
from tasks.fingerprint import source_digest
from tasks.tracking import Run, Store
from tasks.workspace import Workspace

DASK_PRELOAD = "from flows.children import watch_servers; watch_servers()"
"""What a worker of Dask runs first."""


@contextmanager
def stage_run(stage: str, workspace: Workspace) -> Iterator[tuple[Store, Run, CellContext]]:
    """The stage's run below the run of this pipeline state; marks runs whose process died, then yields."""
    params = workspace.params
    store = Store.open(params.tracking, root=workspace.root)
    store.mark_orphans()
    common = run_context(workspace.root)
    resolved = params.model_dump(mode="json")
    pipeline = store.pipeline(pipeline_key(workspace), params=resolved, tags=common)
    with store.stage(stage, pipeline, tags=common, params=stage_params(stage, params)) as run:
        context = CellContext(stage=stage, stage_run=run.id, concurrent=params.runner.workers > 1, common=common)
        yield store, run, context


def pipeline_key(workspace: Workspace) -> str:
    """sha256 over all that the whole pipeline's result depends on: parameters, erased ids, source."""
    erased = workspace.erased.read_bytes() if workspace.erased.exists() else b""
    parts = {
        "params": workspace.params.model_dump(mode="json"),
        "erased": hashlib.sha256(erased).hexdigest(),
        "source": source_digest(["qunlearn", "tasks", "flows"]),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


STAGE_BLOCKS = {
    "ingest": ["data"],
    "split": ["split"],
    "pretrain": ["seeds", "model", "quantization", "training"],
    "retrain": ["seeds", "model", "quantization", "training"],
    "unlearn": ["seeds", "unlearn"],
    "evaluate": ["evaluate"],
    "report": [],
}


def stage_params(stage: str, params: Params) -> dict[str, Any]:
    resolved = params.model_dump(mode="json")
    return {block: resolved[block] for block in STAGE_BLOCKS[stage]}


def task_runner(config: RunnerConfig) -> TaskRunner:
    """The runner that `params.yaml` names.

    Raises:
        ValueError: `dask` without the extra that brings it.
    """
    if config.kind == "threads":
        return ThreadPoolTaskRunner(max_workers=config.workers)
    # Then each process of a pool starts a temporary one.
    no_server = PREFECT_API_URL.value() is None
    if config.kind == "processes":
        watch = (os.getpid(), no_server)
        return ProcessPoolTaskRunner(max_workers=config.workers, initializer=watch_worker, initargs=watch)
    try:
        from prefect_dask import DaskTaskRunner  # noqa: PLC0415 - an optional part
    except ImportError:
        raise ValueError("runner.kind: dask needs the extra: pip install 'qunlearn[dask]'") from None
    if config.address:
        return DaskTaskRunner(address=config.address)
    cluster = {"n_workers": config.workers, "threads_per_worker": 1, "host": "127.0.0.1"}
    # Dask's own workers end with the program by themselves, their servers do not.
    return DaskTaskRunner(cluster_kwargs=cluster | ({"preload": DASK_PRELOAD} if no_server else {}))


def main(stage: Flow[..., Any], arguments: list[str] | None = None) -> None:
    """Run one stage from the command line; exit code 2 for unusable parameters, 1 for other bad input or divergence.

    After Ctrl-C it is 130.
    """
    parser = argparse.ArgumentParser(description=stage.__doc__)
    parser.add_argument("--params", type=Path, default=Path("params.yaml"), help="parameter file (%(default)s)")
    options = parser.parse_args(arguments)
    try:
        workspace = Workspace.open(options.params)
    except ConfigError as error:
        tell(stage.name, error)
        sys.exit(2)
    for logger in ("prefect.flow_runs", "prefect.task_runs"):
        logging.getLogger(logger).addFilter(PlainErrors())
    try:
        with interruptible(stage.name), prefect_api(workspace.root):
            stage.with_options(task_runner=task_runner(workspace.params.runner))(str(options.params))
    except Exception as error:
        if not is_ours(error):
            raise
        tell(stage.name, error)
        sys.exit(1)
