"""Checkpoint bytes: LoggedModels whose every file is known by its sha256.

After bytes are erased a download still succeeds, with an empty folder. So nothing counts as a checkpoint before its
list of files and all digests are those recorded with the model.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlflow.entities import LoggedModel, LoggedModelStatus
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.utils.file_utils import local_file_uri_to_path

from tasks.temporary import temporary_folder
from tasks.tracking.connection import Connection, TrackingError, is_code

WEIGHTS = "weights.safetensors"
TRAINED_IDS = "trained_ids.txt"
DIGEST_TAG = "weights_sha256"
FILES_TAG = "files_sha256"


class MissingCheckpointError(TrackingError):
    """No intact bytes of the weights asked for."""


def file_digests(folder: Path) -> dict[str, str]:
    """sha256 of every file below a folder, by relative path; empty where there is no folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    digests = {}
    for path in files:
        with path.open("rb") as file:
            digests[path.relative_to(folder).as_posix()] = hashlib.file_digest(file, "sha256").hexdigest()
    return digests


def recorded_digests(folder: Path, *, digest: str) -> dict[str, str]:
    """The tags by which the bytes of a checkpoint folder are verified later.

    Raises:
        ValueError: the folder has no weights, or others than `digest` says.
    """
    found = file_digests(folder)
    if found.get(WEIGHTS) != digest:
        raise ValueError(
            f"{folder}: sha256 of {WEIGHTS} is {found.get(WEIGHTS, 'missing')}, not {digest}; "
            "save the checkpoint again and pass the digest that saving returned"
        )
    return {DIGEST_TAG: digest, FILES_TAG: json.dumps(found, sort_keys=True)}


def is_intact(connection: Connection, model: LoggedModel) -> bool:
    """Whether the bytes of a model still exist, with exactly the recorded files and digests."""
    if model.status != LoggedModelStatus.READY or FILES_TAG not in model.tags:
        return False
    with _local_folder(connection, model) as folder:
        return _matches(folder, model)


def models_with(connection: Connection, digest: str) -> Iterator[LoggedModel]:
    """Finished models with these weights, newest first.

    Raises:
        ValueError: the digest is not a sha256.
    """
    if not re.fullmatch(r"[0-9a-f]{64}", digest):
        raise ValueError(f"{digest!r}: not a sha256 of weights; give 64 hexadecimal digits")
    for model in connection.models(f"tags.{DIGEST_TAG} = '{digest}'"):
        if model.status == LoggedModelStatus.READY:
            yield model


def fetch(connection: Connection, digest: str, destination: Path, *, model_id: str | None = None) -> Path:
    """Copy the checkpoint with these weights into `destination`, a new or empty folder, and verify every file.

    Args:
        model_id: only this model. Models can have equal weights and yet know different training ids, e.g. an original
            and what a method of strength zero made of it.

    Raises:
        ValueError: the folder has content.
        MissingCheckpointError: no model has these weights, or none of those that do has intact bytes any more.
    """
    destination.mkdir(parents=True, exist_ok=True)
    if any(destination.iterdir()):
        raise ValueError(f"{destination}: must be a new or empty folder, holds {next(destination.iterdir()).name}")
    tried = []
    for model in models_with(connection, digest):
        if model_id not in (None, model.model_id):
            continue
        _download(connection, model, destination)
        if _matches(destination, model):
            return destination
        tried.append(model.model_id)
        shutil.rmtree(destination)
        destination.mkdir()
    if tried:
        raise MissingCheckpointError(
            f"weights {digest}: recorded as {', '.join(tried)}, but the files were erased or damaged: a deletion may "
            "have purged a model that was trained on what it erased; `dvc repro` makes a model of the pipeline again, "
            "without these samples; one that a deletion made comes from a backup (docs/operations.md)"
        )
    raise MissingCheckpointError(f"weights {digest}: no model in this store has them; run the stage that makes them")


def _matches(folder: Path, model: LoggedModel) -> bool:
    expected = json.loads(model.tags[FILES_TAG])
    # Sizes are cheap, digests are not: an erased folder is told by its empty list.
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    return names == set(expected) and file_digests(folder) == expected


@contextmanager
def _local_folder(connection: Connection, model: LoggedModel) -> Iterator[Path]:
    """The model's files: where they lie if that is this machine, a temporary copy otherwise."""
    location = str(model.artifact_location)
    if location.startswith(("file:", "/")):
        yield Path(local_file_uri_to_path(location))
        return
    with temporary_folder(connection.root) as temporary:
        _download(connection, model, temporary)
        yield temporary


def _download(connection: Connection, model: LoggedModel, destination: Path) -> None:
    repository = get_artifact_repository(model.artifact_location, tracking_uri=connection.uri)
    try:
        # Without dst_path a copy would stay behind in the temporary folder.
        repository.download_artifacts("", dst_path=str(destination))
    except MlflowException as error:
        if not is_code(error, "RESOURCE_DOES_NOT_EXIST"):
            raise
