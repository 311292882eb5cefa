"""The tracking store as tasks see it: pipeline, stage and cell runs, finished cells, checkpoints, the served model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mlflow.exceptions import MlflowException

from qunlearn.config import TrackingConfig
from tasks.tracking import checkpoints, records, registry
from tasks.tracking.cards import Assessment, evaluation_run, model_card, settle_trial
from tasks.tracking.checkpoints import DIGEST_TAG
from tasks.tracking.connection import LOCAL_UI, Connection, TrackingError, connect, is_code
from tasks.tracking.evidence import show_evidence
from tasks.tracking.names import use_as
from tasks.tracking.notes import KEY_TAG, KIND_TAG, PARENT_TAG, SERVICE_KEY, describe_run
from tasks.tracking.processes import identity, is_gone
from tasks.tracking.records import FINGERPRINT_TAG, CellRecord
from tasks.tracking.registry import SERVED, Champion
from tasks.tracking.run import Run


@dataclass(frozen=True)
class Store:
    """One experiment. Cheap to open in every task, safe to share between threads."""

    connection: Connection

    @classmethod
    def open(cls, config: TrackingConfig, *, root: Path = Path("."), ui: str = LOCAL_UI) -> Store:
        """Reach the store; create the local database and the experiment where they are missing.

        Args:
            config: the environment variable ``MLFLOW_TRACKING_URI`` wins over its `uri`.
            root: where relative paths of `config` start.
            ui: address that `Run.url` begins with where the store is a database.

        Raises:
            TrackingError: ``MLFLOW_TRACKING_URI`` names a server that does not answer.
        """
        return cls(connect(config, root=root, ui=ui))

    # --- runs --------------------------------------------------------------------------------------------------------

    def pipeline(self, key: str, *, params: Mapping[str, Any], tags: Mapping[str, str] | None = None) -> str:
        """The run that all stages of one state of the pipeline hang below: found by `key`, or created.

        Its status is that of its latest stage. Returns its id.
        """
        if not key.isalnum():
            raise ValueError(f"pipeline key {key!r}: must be hexadecimal, a sha256")
        with self.connection.lock():
            condition = f"tags.{KEY_TAG} = '{key}' and tags.{KIND_TAG} = 'pipeline'"
            for found in self.connection.runs(condition, newest_first=False):
                return str(found.info.run_id)
            own = {**(tags or {}), **identity(), KEY_TAG: key, KIND_TAG: "pipeline"}
            name = "deletion service" if key == SERVICE_KEY else f"pipeline {key[:8]}"
            run = self._create(name, None, own)
            run.params(params)
            return run.id

    @contextmanager
    def stage(
        self,
        stage: str,
        pipeline_run_id: str,
        *,
        tags: Mapping[str, str] | None = None,
        params: Mapping[str, Any] | None = None,
    ) -> Iterator[Run]:
        """A stage's run, below the pipeline's. It ends FINISHED, FAILED after an error, KILLED when interrupted."""
        own = {**(tags or {}), **identity(), KIND_TAG: "stage", "stage": stage}
        run = self._create(stage, pipeline_run_id, own)
        with self._ending(run, also=pipeline_run_id):
            self.connection.client.update_run(pipeline_run_id, status="RUNNING")
            # Who dies after the stage's end, and before that of the run above it, must be known to be gone.
            self.run(pipeline_run_id).tag(identity())
            run.params(params or {})
            yield run

    @contextmanager
    def search(
        self,
        name: str,
        stage_run_id: str,
        *,
        tags: Mapping[str, str] | None = None,
        params: Mapping[str, Any] | None = None,
    ) -> Iterator[Run]:
        """The run of one search for settings, below its stage's; its trials are cells below it. Ends like a stage's."""
        own = {**(tags or {}), **identity(), KIND_TAG: "search"}
        run = self._create(name, stage_run_id, own)
        with self._ending(run):
            run.params(params or {})
            yield run

    @contextmanager
    def cell(
        self,
        name: str,
        stage_run_id: str,
        *,
        fingerprint: str | None,
        params: Mapping[str, Any],
        tags: Mapping[str, str] | None = None,
        label: str | None = None,
    ) -> Iterator[Run]:
        """The run of one cell, below its stage's or its search's. Ends like a stage's.

        Args:
            name: stays `Run.name`, and with it the tag `cell` of the model, by which `record_by_digest` finds it.
            label: what the pages call the run, if not `name`.
            fingerprint: by which `find_cell` finds it when it is FINISHED; None for a cell that is not to be reused.
        """
        own = {**(tags or {}), **identity(), KIND_TAG: "cell"}
        if fingerprint is not None:
            own[FINGERPRINT_TAG] = fingerprint
        run = self._create(name, stage_run_id, own, label=label)
        with self._ending(run):
            run.params(params)
            yield run

    def run(self, run_id: str) -> Run:
        """An existing run, to write more to it.

        Raises:
            TrackingError: there is none with this id.
        """
        try:
            found = self.connection.client.get_run(run_id)
        except MlflowException as error:
            if not is_code(error, "RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                raise
            raise TrackingError(f"{run_id!r}: no such run in {self.connection.uri}") from None
        tags = dict(found.data.tags)
        return Run(found.info.run_id, tags.get(PARENT_TAG), found.info.run_name, tags, self.connection)

    def mark_orphans(self) -> list[str]:
        """Set RUNNING runs whose process has ended to KILLED; returns their ids. Runs of living processes stay.

        A pipeline's process is that of its latest stage; with any living stage below it, it stays.
        """
        running = list(self.connection.runs("attributes.status = 'RUNNING'"))
        pipelines = [run for run in running if run.data.tags.get(KIND_TAG) == "pipeline"]
        # What hangs below a pipeline comes first, as its page tells how that ended.
        orphans = [run for run in running if run not in pipelines and is_gone(run.data.tags)]
        alive = {run.data.tags.get(PARENT_TAG) for run in running if run not in orphans}
        # Pipelines begun by earlier versions do not tell whose they are.
        left = {run.data.tags.get(PARENT_TAG) for run in orphans}
        for run in pipelines:
            if run.info.run_id not in alive and (run.info.run_id in left or is_gone(run.data.tags)):
                orphans.append(run)
        ids = [str(run.info.run_id) for run in orphans]
        for run_id in ids:
            self._terminate("KILLED", run_id)
        return ids

    def _create(self, name: str, parent: str | None, tags: Mapping[str, str], *, label: str | None = None) -> Run:
        own = {key: str(value) for key, value in tags.items()}
        if parent is not None:
            own[PARENT_TAG] = parent
        made = self.connection.client.create_run(self.connection.experiment_id, tags=own, run_name=label or name)
        # Anew for the run above too, so that it leads to what runs now.
        for run_id in (made.info.run_id, *([parent] if own[KIND_TAG] == "stage" else [])):
            describe_run(self.connection, run_id)
        return Run(made.info.run_id, parent, name, own, self.connection)

    @contextmanager
    def _ending(self, run: Run, *, also: str | None = None) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            # Interruptions and cancellations are no Exceptions.
            status = "FAILED" if isinstance(error, Exception) else "KILLED"
            run.tag({"error": f"{type(error).__name__}: {error}"[:1000]})
            self._terminate(status, run.id, also)
            raise
        self._terminate("FINISHED", run.id, also)

    def _terminate(self, status: str, *run_ids: str | None) -> None:
        for run_id in run_ids:
            if run_id is not None:
                self.connection.client.set_terminated(run_id, status)
                # Only now is it known what the run made and read, and what ran below it.
                describe_run(self.connection, run_id)

    # --- finished cells ----------------------------------------------------------------------------------------------

    def find_cell(self, fingerprint: str) -> CellRecord | None:
        """The newest FINISHED run with this fingerprint whose checkpoint bytes still exist and verify."""
        return records.find_cell(self.connection, fingerprint)

    def record_by_digest(
        self, digest: str, *, stage: str | None = None, cell: str | None = None, settings: str | None = None
    ) -> CellRecord:
        """The newest finished cell that made the weights with this sha256; MissingCheckpointError if there is none."""
        return records.record_by_digest(self.connection, digest, stage=stage, cell=cell, settings=settings)

    def cell_table(self, record: CellRecord, name: str) -> dict[str, np.ndarray]:
        """The columns of a table that a cell kept with `Run.table`."""
        return records.cell_table(self.connection, record, name)

    def cell_json(self, record: CellRecord, path: str) -> Any:
        """The content of a file that a cell kept with `Run.json`."""
        return records.cell_json(self.connection, record, path)

    def use_as(self, record: CellRecord, name: str) -> None:
        """Let a plain name, such as ``oeu-seed0``, lead to this model, too, whatever it was made as."""
        use_as(self.connection, record.model_id, name)

    def settle_trial(self, run_id: str, *, search: str) -> None:
        """Let the card of the model that a trial's run made say what the search with this run decided about it."""
        settle_trial(self.connection, run_id, search=search)

    def describe_model(self, model_id: str, text: str) -> None:
        """Replace the Markdown description of a model and of its registered versions."""
        registry.describe_model(self.connection, model_id, text)

    def write_card(
        self,
        record: CellRecord,
        *,
        evaluation_row: Mapping[str, Any],
        cell: Mapping[str, Any],
        bits: str,
        also: Sequence[str] = (),
    ) -> None:
        """Write the model's card anew, now with its evaluation, as the description of the model and of its versions.

        Args:
            record: the cell that made the model.
            evaluation_row: the entry of ``summary`` in `metrics/evaluation.json`.
            cell: the model's entry of ``cells`` there.
            bits: what the audit found in force, such as ``W4A4``.
            also: other rows with equal settings, hence this model.
        """
        run_id = evaluation_run(self.connection, record.model_id, cell=cell)
        assessment = Assessment(evaluation_row, cell, run_id, also)
        model = self.connection.client.get_logged_model(record.model_id)
        text = model_card(self.connection, model, bits=bits, assessment=assessment)
        self.describe_model(record.model_id, text)

    def show_evidence(self, model_id: str, *, request: str) -> str:
        """Let the pages of a model and of its run lead to the run's evidence; Markdown that leads to all of them."""
        return show_evidence(self.connection, model_id, request=request)

    def fetch(self, digest: str, destination: Path, *, model_id: str | None = None) -> Path:
        """Copy the checkpoint with these weights into a new folder and verify every file of it.

        Args:
            model_id: only this model; models can have equal weights and yet know different training ids.

        Raises:
            MissingCheckpointError: no model has these weights, or their bytes were erased or damaged.
        """
        return checkpoints.fetch(self.connection, digest, destination, model_id=model_id)

    def digest_of(self, model_id: str) -> str:
        """sha256 of a model's weights, as recorded when they were kept.

        Raises:
            TrackingError: there is no such model.
        """
        try:
            return str(self.connection.client.get_logged_model(model_id).tags[DIGEST_TAG])
        except MlflowException as error:
            if not is_code(error, "RESOURCE_DOES_NOT_EXIST"):
                raise
            raise TrackingError(f"{model_id!r}: no such model in {self.connection.uri}") from None

    # --- the served model --------------------------------------------------------------------------------------------

    def register(self, model_id: str, *, name: str = SERVED, tags: Mapping[str, str] | None = None) -> int:
        """Add a LoggedModel to the registry; returns the number of its version."""
        return registry.register(self.connection, model_id, name=name, tags=tags or {})

    def set_champion(self, version: int, *, name: str = SERVED, base: int | None = None) -> None:
        """Serve this version; refuse if `base` is given and is not the version served until now (0: none)."""
        registry.set_champion(self.connection, version, name=name, base=base)

    def champion(self, *, name: str = SERVED) -> Champion | None:
        """The served model, None while there is none."""
        return registry.champion(self.connection, name=name)
