"""The files that runs keep, and files in the artifact store that no record owns any more: found and taken away."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from os import getpid

from mlflow.entities import Run as MlflowRun
from mlflow.entities import ViewType
from mlflow.exceptions import MlflowException

from qunlearn.deletion.purge import may_hold_samples
from qunlearn.deletion.purge_inventory import OWNERLESS, Leftover, RunFile
from qunlearn.deletion.traces import Traces
from tasks.tracking.artifact_files import ArtifactFiles
from tasks.tracking.connection import PAGE, Connection, everything, is_code
from tasks.tracking.erasure import Mark, mark_run
from tasks.tracking.membership import CONNECTIONS
from tasks.tracking.notes import KIND_TAG
from tasks.tracking.processes import is_gone

MODELS = "models"
"""Folder of the artifact store with one folder for each model; beside it lies one for each run."""
RUN_FOLDER, MODEL_FOLDER = re.compile(r"[0-9a-f]{32}"), re.compile(r"m-[0-9a-f]{32}")
"""Names that MLflow gives them. Whatever else lies there is not ours to judge."""
PIPELINE = ("ingest", "split", "pretrain", "retrain", "unlearn", "evaluate", "report")
"""Stages that read the data or make models of them."""


def all_runs(connection: Connection) -> Iterator[MlflowRun]:
    """All runs of an experiment, those that somebody deleted included: their files are still there."""
    return everything(connection.client.search_runs, [connection.experiment_id], "", ViewType.ALL, max_results=PAGE)


def run_files(connection: Connection, traces: Traces) -> tuple[list[RunFile], int]:
    """Files of runs that hold a trace, or that may have a row a sample or weights; and how many were searched: all."""

    def judged(run: MlflowRun) -> tuple[list[RunFile], int]:
        files = ArtifactFiles(connection, str(run.info.artifact_uri))
        found = []
        models: tuple[frozenset[str], frozenset[str]] | None = None
        names = files.names()
        for name in names:
            with files.local(name) as path:
                trace = traces.in_file(path)
            if not trace and not may_hold_samples(name):
                continue
            if models is None:
                models = _models_of(connection, run.info.run_id)
            found.append(
                RunFile(run.info.run_id, run.info.run_name, name, f"sha256:{trace.sha256}", trace.text, *models)
            )
        return found, len(names)

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        judgements = list(pool.map(judged, all_runs(connection)))
    return [file for files, _ in judgements for file in files], sum(count for _, count in judgements)


def remove_run_file(connection: Connection, target: str, mark: Mark) -> None:
    """Remove one file of a run, then say in the run's tags that something was removed.

    Args:
        target: ``<run id>/<path>``.
    """
    run_id, _, path = target.partition("/")
    try:
        run = connection.client.get_run(run_id)
    except MlflowException as error:
        if not is_code(error, "RESOURCE_DOES_NOT_EXIST"):
            raise
        return  # nobody has the record any more, and so nobody has the file either, see `ownerless`
    ArtifactFiles(connection, str(run.info.artifact_uri)).remove(path)
    mark_run(connection, run_id, mark)


def ownerless(
    connections: Sequence[Connection], traces: Traces, *, others: Sequence[Connection] = ()
) -> list[Leftover]:
    """Folders of the artifact store with traces whose run or model was deleted from the records.

    Args:
        connections: to all experiments of the project, since several can have one place in the store.
        others: to experiments that may be other projects'; a place that is theirs, too, is not looked at.
    """
    owned = {run.info.run_id for connection in connections for run in all_runs(connection)}
    owned |= {model.model_id for connection in connections for model in connection.models()}
    theirs = {_location(connection) for connection in others}
    found: dict[str, Leftover] = {}
    for connection in connections:
        if (location := _location(connection)) in theirs:
            continue
        for name in _unowned(connection, location, owned):
            if (target := f"{location}/{name}") not in found:
                files = ArtifactFiles(connection, target)
                if text := _text(files, traces):
                    found[target] = Leftover(OWNERLESS, name, None, "MLflow, artifact store", f"holds {text}", target)
    return list(found.values())


def remove_ownerless(connection: Connection, target: str) -> None:
    """Remove a folder that `ownerless` found."""
    ArtifactFiles(connection, target).remove()


def at_work(connection: Connection) -> tuple[list[str], list[str]]:
    """Names of stages that are running: of other living processes of this computer, and of those on others.

    What they write they may have read before the samples were erased.
    """
    here: list[str] = []
    elsewhere: list[str] = []
    for run in connection.runs("attributes.status = 'RUNNING'"):
        tags = run.data.tags
        if tags.get(KIND_TAG) == "pipeline" or tags.get("stage") not in PIPELINE or "pid" not in tags or is_gone(tags):
            continue
        if tags.get("host") != socket.gethostname():
            elsewhere.append(str(run.info.run_name))
        elif tags["pid"] != str(getpid()):
            here.append(str(run.info.run_name))
    return here, elsewhere


def _models_of(connection: Connection, run_id: str) -> tuple[frozenset[str], frozenset[str]]:
    """Ids of the models that a run made or read, and of those that it made."""
    # Runs that a search finds carry no model inputs.
    run = connection.client.get_run(run_id)
    read = (run.inputs.model_inputs or ()) if run.inputs else ()
    made = (run.outputs.model_outputs or ()) if run.outputs else ()
    ids = frozenset(entry.model_id for entry in made)
    return ids.union(entry.model_id for entry in read), ids


def _location(connection: Connection) -> str:
    return str(connection.client.get_experiment(connection.experiment_id).artifact_location).rstrip("/")


def _unowned(connection: Connection, location: str, owned: set[str]) -> Iterator[str]:
    for name in ArtifactFiles(connection, location).children():
        if name == MODELS:
            inner = ArtifactFiles(connection, f"{location}/{MODELS}").children()
            unknown = (model for model in inner if MODEL_FOLDER.fullmatch(model) and model not in owned)
            yield from (f"{MODELS}/{model}" for model in unknown)
        elif RUN_FOLDER.fullmatch(name) and name not in owned:
            yield name


def _text(files: ArtifactFiles, traces: Traces) -> str:
    """What the first file with a trace holds; empty if none has any."""
    for name in files.names():
        with files.local(name) as path:
            if text := traces.in_file(path).text or traces.parent(path):
                return text
    return ""
