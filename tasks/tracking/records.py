"""What finished cells left: their run, their model, their numbers and tables."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from mlflow.entities import LoggedModel
from mlflow.entities import Run as MlflowRun

from tasks.temporary import temporary_folder
from tasks.tracking.checkpoints import DIGEST_TAG, MissingCheckpointError, is_intact, models_with
from tasks.tracking.connection import Connection, TrackingError
from tasks.tracking.run import SETTINGS_TAG, TABLES

FINGERPRINT_TAG = "fingerprint"


@dataclass(frozen=True)
class CellRecord:
    """A finished cell: the run `run_id` made the model `model_id` with weights of sha256 `digest`.

    `metrics` holds the last value of each; curves over epochs are under ``epoch/<name>``.
    """

    run_id: str
    model_id: str
    digest: str
    fingerprint: str
    metrics: Mapping[str, float]
    params: Mapping[str, str]
    tags: Mapping[str, str]


def find_cell(connection: Connection, fingerprint: str) -> CellRecord | None:
    """The newest FINISHED run with this fingerprint whose checkpoint bytes still exist and verify."""
    if not fingerprint.isalnum():
        raise ValueError(f"{fingerprint!r}: not a fingerprint; take it from tasks.fingerprint.fingerprint")
    condition = f"tags.{FINGERPRINT_TAG} = '{fingerprint}' and attributes.status = 'FINISHED'"
    for run in connection.runs(condition):
        for output in run.outputs.model_outputs if run.outputs else ():
            model = connection.model(output.model_id)
            if model is not None and is_intact(connection, model):
                return _record(run, model)
    return None


def record_by_digest(
    connection: Connection,
    digest: str,
    *,
    stage: str | None = None,
    cell: str | None = None,
    settings: str | None = None,
) -> CellRecord:
    """The newest finished cell that made these weights and has its bytes, else the newest. Its bytes may be gone.

    Args:
        stage, cell: only cells of this stage, of this name. Two cells can make the same weights, e.g. a method of
            strength zero.
        settings: only cells with settings of this `settings_digest`, where there are any; else those of earlier
            versions, which do not tell their settings; else any.

    Raises:
        MissingCheckpointError: there is none.
    """
    wanted = {"stage": stage, "cell": cell}
    made = [
        (run, model)
        for model in models_with(connection, digest)
        if all(value is None or model.tags.get(key) == value for key, value in wanted.items())
        and (run := connection.client.get_run(str(model.source_run_id))).info.status == "FINISHED"
    ]
    if found := _with_settings(made, settings):
        # Reading all bytes takes long, so only where there is something to choose between.
        intact = (one for one in found if len(found) > 1 and is_intact(connection, one[1]))
        return _record(*next(intact, found[0]))
    which = "".join(f", {key} {value!r}" for key, value in wanted.items() if value is not None)
    raise MissingCheckpointError(
        f"weights {digest}{which}: no finished run in this store made them; run the stage that makes them"
    )


def settings_digest(settings: Mapping[str, Any]) -> str:
    """By which `record_by_digest` tells cells with equal weights apart.

    Args:
        settings: of the method, complete, as plain JSON values.
    """
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def cell_table(connection: Connection, record: CellRecord, name: str) -> dict[str, np.ndarray]:
    """The columns of a table that the cell kept.

    Raises:
        TrackingError: it kept no table of that name.
    """
    with temporary_folder(connection.root) as temporary:
        table = pq.read_table(_artifact(connection, record, f"{TABLES}/{name}.parquet", temporary))
        return {column: table[column].to_numpy() for column in table.column_names}


def cell_json(connection: Connection, record: CellRecord, path: str) -> Any:
    """The content of a JSON file that the cell kept.

    Raises:
        TrackingError: it kept no such file.
    """
    with temporary_folder(connection.root) as temporary:
        return json.loads(_artifact(connection, record, path, temporary).read_text(encoding="utf-8"))


def _artifact(connection: Connection, record: CellRecord, path: str, folder: Path) -> Path:
    parent = path.rpartition("/")[0] or None
    kept = [entry.path for entry in connection.client.list_artifacts(record.run_id, parent)]
    if path not in kept:
        raise TrackingError(f"run {record.run_id}: kept no file {path}; beside it are {', '.join(kept) or 'none'}")
    return Path(connection.client.download_artifacts(record.run_id, path, dst_path=str(folder)))


def _with_settings(
    made: Sequence[tuple[MlflowRun, LoggedModel]], settings: str | None
) -> Sequence[tuple[MlflowRun, LoggedModel]]:
    if settings is None:
        return made
    same = [one for one in made if one[1].tags.get(SETTINGS_TAG) == settings]
    unknown = [one for one in made if SETTINGS_TAG not in one[1].tags]
    return same or unknown or made


def _record(run: MlflowRun, model: LoggedModel) -> CellRecord:
    return CellRecord(
        run_id=run.info.run_id,
        model_id=model.model_id,
        digest=model.tags[DIGEST_TAG],
        fingerprint=run.data.tags.get(FINGERPRINT_TAG, ""),
        metrics=dict(run.data.metrics),
        params=dict(run.data.params),
        tags=dict(run.data.tags),
    )
