"""The way to one MLflow experiment: a local database, created once, or a server."""

from __future__ import annotations

import logging
import os
import re
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, unquote

from filelock import FileLock
from mlflow import MlflowClient
from mlflow.entities import LoggedModel, ViewType
from mlflow.entities import Run as MlflowRun
from mlflow.exceptions import MlflowException
from mlflow.store.entities import PagedList

from qunlearn.config import TrackingConfig
from tasks.tracking.markdown import NOTE_TAG

LOCAL_UI = "http://127.0.0.1:5000"
"""Where `qunlearn up` shows a local database unless told otherwise."""

PAGES = "workflowType=machine_learning"
"""Asks for the pages about model training; without it the UI opens in its mode for language models."""

MODELS_A_CALL = 100
PAGE = 1000
"""Runs, experiments or versions a call; MLflow allows no more of some of them."""

SQLITE = "sqlite:///"
_ENVIRONMENT = threading.Lock()
T = TypeVar("T")


class TrackingError(ValueError):
    """The store cannot be reached, or does not hold what was asked for."""


def everything(search: Callable[..., PagedList[T]], *words: Any, **options: Any) -> Iterator[T]:
    """All that one of the client's searches finds, lazily and page by page: a page has no more than MLflow allows."""
    token: str | None = None
    while True:
        page = search(*words, **options, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


@dataclass(frozen=True)
class Connection:
    """A client, and the experiment that all runs belong to."""

    client: MlflowClient
    uri: str
    experiment_id: str
    lock_path: Path
    """Held while something is found or created; also by other processes."""
    ui: str
    """Address of the pages of runs and models."""
    root: Path = Path()
    """Of the project; its temporary folders are marked as the project's own."""

    @property
    def is_server(self) -> bool:
        return self.uri.startswith("http")

    def model(self, model_id: str) -> LoggedModel | None:
        """The record of a model; None where there is none, or was once."""
        try:
            return self.client.get_logged_model(model_id)
        except MlflowException as error:
            if not is_code(error, "RESOURCE_DOES_NOT_EXIST"):
                raise
            return None

    def run_url(self, run_id: str) -> str:
        """Address of a run's page."""
        return f"{self.ui}/#/experiments/{self.experiment_id}/runs/{run_id}?{PAGES}"

    def run_link(self, run_id: str, *, tab: str = "", artifact: str = "") -> str:
        """Address of a run's page, of one of its tabs, or of one of its files or folders, relative to any page."""
        page = f"/artifacts/{artifact}" if artifact else f"/{tab}".rstrip("/")
        return f"#/experiments/{self.experiment_id}/runs/{run_id}{page}?{PAGES}"

    def model_url(self, model_id: str) -> str:
        """Address of a model's page, relative to any page."""
        return f"#/experiments/{self.experiment_id}/models/{model_id}?{PAGES}"

    def models_url(self) -> str:
        """Address of the list of all models, relative to any page."""
        return f"#/experiments/{self.experiment_id}/models?{PAGES}"

    def version_url(self, name: str, version: int | None = None) -> str:
        """Address of a registered model's page, or of one of its versions, relative to any page."""
        page = "" if version is None else f"/versions/{version}"
        return f"#/models/{quote(name, safe='')}{page}?{PAGES}"

    def lock(self) -> FileLock:
        """A lock between threads and processes that use this store from the same root."""
        return FileLock(self.lock_path)

    def runs(self, condition: str, *, newest_first: bool = True) -> Iterator[MlflowRun]:
        """All runs of the experiment that satisfy an MLflow filter, lazily by pages of 200."""
        order = [f"attributes.start_time {'DESC' if newest_first else 'ASC'}"]
        return everything(
            self.client.search_runs, [self.experiment_id], condition, ViewType.ACTIVE_ONLY, 200, order_by=order
        )

    def models(self, condition: str | None = None) -> Iterator[LoggedModel]:
        """All LoggedModels of the experiment that satisfy an MLflow filter (None: all, not ""), newest first."""
        order = [{"field_name": "creation_time", "ascending": False}]
        return everything(
            self.client.search_logged_models, [self.experiment_id], condition, max_results=MODELS_A_CALL, order_by=order
        )

    @contextmanager
    def as_default(self) -> Iterator[None]:
        """Make this store the process's default, which MLflow's local registry asks for the model's location."""
        with _ENVIRONMENT:
            before = os.environ.get("MLFLOW_TRACKING_URI")
            os.environ["MLFLOW_TRACKING_URI"] = self.uri
            try:
                yield
            finally:
                if before is None:
                    del os.environ["MLFLOW_TRACKING_URI"]
                else:
                    os.environ["MLFLOW_TRACKING_URI"] = before


def connect(config: TrackingConfig, *, root: Path, ui: str = LOCAL_UI) -> Connection:
    """Reach the store and its experiment; create what is missing under a file lock.

    Args:
        config: the environment variable ``MLFLOW_TRACKING_URI`` wins over `config.uri`.
        root: relative paths start here.
        ui: address of the pages where the store is a database.

    Raises:
        TrackingError: no server answers, or the folder's name is one that MLflow cannot handle.
    """
    root = root.resolve()
    uri = _resolve(config, root)
    # The last one tells of an empty folder, which our own errors do in words that help.
    for noisy in ("alembic", "mlflow.store.model_registry.abstract_store", "mlflow.store.artifact.artifact_repo"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    # What it logs it also raises; the log would add a traceback, and the statement with its values.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    if uri.startswith("http"):
        _check_answers(uri)
        lock_path, location = root / "mlflow.db.lock", None  # the server decides where bytes go
    else:
        database = Path(uri.removeprefix(SQLITE)) if uri.startswith(SQLITE) else root / "mlflow.db"
        lock_path, location = database.with_name(f"{database.name}.lock"), _location(root / config.artifacts)
    lock_path.parent.mkdir(parents=True, exist_ok=True)
    # Several processes that create one database at once all fail in its migration.
    with FileLock(lock_path):
        client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        try:
            experiment_id = _experiment(client, config.experiment, location)
            _describe_experiment(client, experiment_id)
        except MlflowException as error:
            if not is_code(error, "UNAUTHENTICATED", "PERMISSION_DENIED"):
                raise
            raise TrackingError(
                f"the MLflow server {without_credentials(uri)} refuses access ({error.error_code}); name an account "
                "that may write the experiment in MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
            ) from None
    pages = uri.rstrip("/") if uri.startswith("http") else ui
    return Connection(client, uri, experiment_id, lock_path, pages, root)


def _resolve(config: TrackingConfig, root: Path) -> str:
    with _ENVIRONMENT:
        uri = os.environ.get("MLFLOW_TRACKING_URI") or config.uri
    if uri.startswith(SQLITE):
        return f"{SQLITE}{root / uri.removeprefix(SQLITE)}"
    return uri


def _location(artifacts: Path) -> str:
    # MLflow decodes local paths twice when it erases, and would find nothing to erase without saying so.
    if unquote(str(artifacts)) != str(artifacts):
        raise TrackingError(
            f"tracking.artifacts = {str(artifacts)!r}: MLflow cannot erase files below a folder whose name has a "
            "percent sign followed by two digits; choose another folder"
        )
    return artifacts.as_uri()


def _experiment(client: MlflowClient, name: str, location: str | None) -> str:
    found = client.get_experiment_by_name(name)
    if found is not None:
        if found.lifecycle_stage == "deleted":
            client.restore_experiment(found.experiment_id)
        return str(found.experiment_id)
    # Without this tag the page opens in the mode for language models.
    tags = {"mlflow.experimentKind": "custom_model_development"}
    try:
        return client.create_experiment(name, artifact_location=location, tags=tags)
    except MlflowException as error:
        # On a shared server another machine, which no file lock reaches, may have been quicker.
        found = client.get_experiment_by_name(name) if is_code(error, "RESOURCE_ALREADY_EXISTS") else None
        if found is None:
            raise
        return str(found.experiment_id)


def _describe_experiment(client: MlflowClient, experiment_id: str) -> None:
    """Say how to read the experiment, unless somebody has written a description."""
    if client.get_experiment(experiment_id).tags.get(NOTE_TAG):
        return
    models, registry = f"#/experiments/{experiment_id}/models?{PAGES}", f"#/models?{PAGES}"
    text = (
        "Unlearning in quantized networks. **Start** at the newest run `pipeline ...`: it is one state of the whole "
        "pipeline (parameters, erased ids, code), and links to its stages, to all its models and to their lineage "
        f"diagram. Below a stage lies one run for each model that was made or measured. [All models]({models}): each "
        "one's page is a card with its data, split, parent, code, statistics and verdict. "
        f"[Registered models]({registry}): what is served."
    )
    client.set_experiment_tag(experiment_id, NOTE_TAG, text)


def _check_answers(uri: str) -> None:
    # MLflow's own client retries for minutes before it says so. The path is open to all, and urllib reads no accounts.
    address = without_credentials(uri)
    try:
        urllib.request.urlopen(f"{address.rstrip('/')}/health", timeout=20).close()
    except urllib.error.HTTPError:
        return
    except OSError as error:
        reason = getattr(error, "reason", error)
        raise TrackingError(
            f"MLFLOW_TRACKING_URI = {address!r}: no server answers ({reason}); start it with `qunlearn up`, "
            "or unset the variable to use the local database"
        ) from None


def without_credentials(text: str) -> str:
    """The text without the accounts and passwords that addresses in it may have."""
    return re.sub(r"//[^/@\s]*@", "//", text)


def is_code(error: MlflowException, *codes: str) -> bool:
    """Whether MLflow failed for one of these reasons, e.g. ``RESOURCE_DOES_NOT_EXIST``."""
    return error.error_code in codes
