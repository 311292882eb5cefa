"""One run while it is being written."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from mlflow.entities import LoggedModelInput, LoggedModelOutput, LoggedModelStatus, Metric, Param, RunTag

from tasks.temporary import temporary_folder
from tasks.tracking.cards import COUNT_TAG, model_card
from tasks.tracking.checkpoints import TRAINED_IDS, recorded_digests
from tasks.tracking.connection import Connection
from tasks.tracking.datasets import SPLIT, dataset_input
from tasks.tracking.markdown import NOTE_TAG
from tasks.tracking.names import as_key, model_name
from tasks.tracking.notes import REUSED, describe_run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from tasks.tracking.records import CellRecord

METRICS_A_CALL = 1000
ENTRIES_A_CALL = 100
"""MLflow's limits of one log_batch."""

SETTINGS_TAG = "settings_sha256"
"""Of a run and its model: sha256 of the settings it was made with, where equal weights can have several."""

EPOCH_PREFIX = "epoch/"
TABLES = "tables"
FIGURES = "figures"


@dataclass(frozen=True)
class Run:
    """Writes to one MLflow run; safe to use from several threads.

    `parent` is the run it hangs below, None for a pipeline; `tags` are those it was opened with.
    """

    id: str
    parent: str | None
    name: str
    tags: Mapping[str, str]
    connection: Connection

    @property
    def url(self) -> str:
        """Address of the run's page."""
        return self.connection.run_url(self.id)

    def tag(self, tags: Mapping[str, Any]) -> None:
        """Set or replace tags."""
        entries = [RunTag(key, str(value)) for key, value in tags.items()]
        for part in _parts(entries, ENTRIES_A_CALL):
            self.connection.client.log_batch(self.id, tags=part)

    def params(self, params: Mapping[str, Any]) -> None:
        """Record parameters; nested mappings become dotted names. A parameter can be set once."""
        entries = [Param(key, value) for key, value in flatten(params)]
        for part in _parts(entries, ENTRIES_A_CALL):
            self.connection.client.log_batch(self.id, params=part)

    def metrics(self, values: Mapping[str, float], *, step: int | None = None, model_id: str | None = None) -> None:
        """Record numbers, at a step or for the whole run; with `model_id` also on that model's page.

        That page then names the data which the run had read until now.
        """
        now = _now()
        name, digest = (None, None) if model_id is None else self._data()
        self._log(
            [
                Metric(key, float(value), now, step or 0, model_id, dataset_name=name, dataset_digest=digest)
                for key, value in values.items()
            ]
        )

    def _data(self) -> tuple[str, str] | tuple[None, None]:
        """Name and digest of the images that the run has read; MLflow takes one set of data, so not those of splits."""
        inputs = self.connection.client.get_run(self.id).inputs
        read = [entry.dataset for entry in inputs.dataset_inputs] if inputs else []
        images = next((data for data in read if not data.name.startswith(SPLIT)), None)
        return (None, None) if images is None else (images.name, images.digest)

    def epochs(self, rows: Sequence[Mapping[str, float]]) -> None:
        """Record one row per epoch as curves ``epoch/<name>``; a column `epoch` gives the step, else the position."""
        now = _now()
        self._log(
            [
                Metric(f"{EPOCH_PREFIX}{name}", float(value), now, int(row.get("epoch", position)))
                for position, row in enumerate(rows)
                for name, value in row.items()
                if name != "epoch"
            ]
        )

    def _log(self, metrics: list[Metric]) -> None:
        for part in _parts(metrics, METRICS_A_CALL):
            self.connection.client.log_batch(self.id, metrics=part)

    def table(self, name: str, columns: Mapping[str, np.ndarray]) -> None:
        """Keep columns of equal length as ``tables/<name>.parquet``.

        Raises:
            ValueError: columns of different lengths, or of more than one dimension.
        """
        shapes = {key: np.asarray(value).shape for key, value in columns.items()}
        if any(len(shape) != 1 for shape in shapes.values()) or len(set(shapes.values())) > 1:
            raise ValueError(f"table {name!r}: columns must be one-dimensional and of equal length, not {shapes}")
        sink = io.BytesIO()
        pq.write_table(pa.table({key: pa.array(np.asarray(value)) for key, value in columns.items()}), sink)
        self._write(f"{TABLES}/{name}.parquet", sink.getvalue())

    def figure(self, name: str, figure: Figure) -> None:
        """Keep a matplotlib figure as ``figures/<name>.png``."""
        sink = io.BytesIO()
        figure.savefig(sink, format="png", dpi=150, bbox_inches="tight")
        self._write(f"{FIGURES}/{name}.png", sink.getvalue())

    def json(self, path: str, content: Any) -> None:
        """Keep plain values as a JSON file.

        Raises:
            ValueError: a value is NaN or infinite, which JSON cannot say.
        """
        self.text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")

    def text(self, path: str, content: str) -> None:
        """Keep a text file, UTF-8."""
        self._write(path, content.encode())

    def file(self, local: Path | str, artifact_dir: str | None = None) -> None:
        """Keep a file, or a folder with its name, under `artifact_dir`."""
        self.connection.client.log_artifact(self.id, str(local), artifact_dir)

    def _write(self, path: str, content: bytes) -> None:
        target = PurePosixPath(path)
        folder = None if target.parent == PurePosixPath(".") else str(target.parent)
        with temporary_folder(self.connection.root) as temporary:
            local = temporary / target.name
            local.write_bytes(content)
            self.connection.client.log_artifact(self.id, str(local), folder)

    def dataset(self, name: str, *, digest: str, source: str, context: str) -> None:
        """Record which version of data the run read.

        Args:
            name: the data set's name; one that begins with `split` is a partition of the run's other data.
            digest: DVC's, at most 36 characters.
            source: path below the repository's root.
            context: what the run used it for, e.g. `training`.
        """
        entry = dataset_input(name, digest=digest, source=source, context=context)
        self.connection.client.log_inputs(self.id, datasets=[entry])

    def input_model(self, model_id: str) -> None:
        """Record the model the run started from."""
        self.connection.client.log_inputs(self.id, models=[LoggedModelInput(model_id)])
        describe_run(self.connection, self.id)

    def output_model(
        self,
        folder: Path,
        *,
        name: str,
        digest: str,
        tags: Mapping[str, str],
        params: Mapping[str, Any] | None = None,
    ) -> str:
        """Keep a checkpoint folder as a LoggedModel that this run made. Returns its id, ``m-...``.

        Args:
            folder: what `qunlearn.checkpoint.save` wrote.
            name: shown in the list of models, a dot as a comma; without ``/ : % " '``.
            digest: sha256 of ``weights.safetensors``.
            tags: shown with the model and on its card.
            params: shown with the model; nested mappings become dotted names.

        Raises:
            ValueError: the folder does not hold the weights that `digest` names.
        """
        client = self.connection.client
        mine = {key: self.tags[key] for key in ("stage", "fingerprint", SETTINGS_TAG) if key in self.tags}
        shown = {**mine, "cell": self.name, **tags}
        recorded = recorded_digests(folder, digest=digest)
        model = client.create_logged_model(
            self.connection.experiment_id,
            name=model_name(name),
            source_run_id=self.id,
            tags={**shown, **recorded, **_trained_count(folder)},
            params=dict(flatten(params or {})),
            model_type="checkpoint",
        )
        try:
            client.set_logged_model_tags(model.model_id, {NOTE_TAG: model_card(self.connection, model)})
            client.log_model_artifacts(model.model_id, str(folder))
        except BaseException:
            client.finalize_logged_model(model.model_id, LoggedModelStatus.FAILED)
            raise
        client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
        client.log_outputs(self.id, [LoggedModelOutput(model.model_id, 0)])
        return str(model.model_id)

    def reused(self, cell_name: str, record: CellRecord) -> None:
        """Link the finished run that stands in for a cell of this stage."""
        self.tag({f"{REUSED}{as_key(cell_name)}": record.run_id})


def _trained_count(folder: Path) -> dict[str, str]:
    """A tag with the number of training images, where the checkpoint lists them."""
    ids = folder / TRAINED_IDS
    return {COUNT_TAG: str(len(ids.read_text(encoding="utf-8").split()))} if ids.is_file() else {}


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Dotted names, fit for MLflow, and texts of nested values; lists and null as JSON."""
    for key, value in values.items():
        name = f"{prefix}{as_key(key)}"
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{name}.")
        else:
            yield name, value if isinstance(value, str) else json.dumps(value, default=str)


def _parts(entries: list[Any], size: int) -> Iterator[list[Any]]:
    for start in range(0, len(entries), size):
        yield entries[start : start + size]


def _now() -> int:
    return int(time.time() * 1000)
