"""The files at one place of the artifact store: of a model, of a run, or of all of an experiment.

Where the store is a folder of this computer its files are read where they lie; among them are those that a killed
upload left half written, which MLflow does not list.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.utils.file_utils import local_file_uri_to_path

from qunlearn.data.removal import remove_folder
from tasks.temporary import temporary_folder
from tasks.tracking.connection import Connection, TrackingError, is_code


@dataclass(frozen=True)
class ArtifactFiles:
    """Files below a location, an MLflow artifact URI."""

    connection: Connection
    location: str

    @property
    def folder(self) -> Path | None:
        """Where the files lie, if that is a folder of this computer."""
        local = self.location.startswith(("file:", "/"))
        return Path(local_file_uri_to_path(self.location)) if local else None

    def names(self) -> list[str]:
        """Sorted paths of all files; none where the location does not exist (any more)."""
        folder = self.folder
        if folder is None:
            return sorted(self._listed(""))
        return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())

    def children(self) -> list[str]:
        """Names of files and folders at the top."""
        folder = self.folder
        if folder is None:
            return sorted(entry.path for entry in self._entries(""))
        return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []

    @contextmanager
    def local(self, name: str) -> Iterator[Path]:
        """One file to read: where it lies, or a temporary copy."""
        folder = self.folder
        if folder is not None:
            yield folder / name
            return
        with temporary_folder(self.connection.root) as temporary:
            yield Path(self._repository().download_artifacts(name, dst_path=str(temporary)))

    def copy_to(self, folder: Path) -> None:
        """Copy all files into an existing folder."""
        if self.names():
            self._repository().download_artifacts("", dst_path=str(folder))

    def remove(self, name: str | None = None) -> None:
        """Remove one file, or all; what is not there counts as removed.

        Raises:
            OSError: a file of a local store cannot be removed.
            TrackingError: it is still there.
        """
        if self._has(name):
            try:
                self._repository().delete_artifacts(name)
            except OSError:
                if name is not None or self.folder is None:
                    raise
                # It meets the same obstacle, and can say in which folder that lies.
                remove_folder(self.folder)
        if self._has(name):
            raise TrackingError(
                f"{name or 'the files'} of {self.location}: still there after the artifact store was told to remove "
                "them; look after the permissions of the store"
            )

    def _has(self, name: str | None) -> bool:
        return bool(self.names()) if name is None else name in self.names()

    def _listed(self, path: str) -> Iterator[str]:
        for entry in self._entries(path):
            if entry.is_dir:
                yield from self._listed(entry.path)
            else:
                yield entry.path

    def _entries(self, path: str) -> list[Any]:
        try:
            return list(self._repository().list_artifacts(path))
        except MlflowException as error:
            if not is_code(error, "RESOURCE_DOES_NOT_EXIST"):
                raise
            return []

    def _repository(self) -> Any:
        return get_artifact_repository(self.location, tracking_uri=self.connection.uri)
