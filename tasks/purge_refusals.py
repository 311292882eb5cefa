"""What a disk refuses a purge: told in one line with the file's path in the project, unless its name may be a person's.

Prefect stores the message. Names of the pipeline's own files say nothing; those of the user's may, so that they are for
the terminal alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from qunlearn.data.imageset import FILES
from qunlearn.data.splits import FILES as SPLIT_FILES
from qunlearn.deletion.purge_errors import PurgeError
from tasks.purge_outside import FOLDERS
from tasks.rewriting import pieces
from tasks.tracking.run_artifacts import MODEL_FOLDER, RUN_FOLDER
from tasks.workspace import Workspace

OWN_NAMES = frozenset({*FILES.values(), *SPLIT_FILES})
"""Names of the files that the pipeline writes into its folders."""


class DiskRefusedError(PurgeError):
    """A full disk, a folder that must not be written: no mistake of the program.

    Args:
        message: to be stored.
        told: the same with the file's full name. It is lost where the error is sent to another process or stored.
    """

    def __init__(self, message: str, told: str = "") -> None:
        super().__init__(message)
        self.told = told

    def __reduce__(self) -> tuple[type[DiskRefusedError], tuple[str]]:
        return DiskRefusedError, (str(self),)


@contextmanager
def refusals_told(workspace: Workspace) -> Iterator[None]:
    """For a block of a purge.

    Raises:
        DiskRefusedError: in place of the errors of files.
    """
    try:
        yield
    except OSError as error:
        said = f"{error.strerror or error}; make room or mend permissions, then run the purge again: it goes on"
        if not isinstance(error.filename, str):
            raise DiskRefusedError(said) from None
        raise DiskRefusedError(f"{_shown(workspace, error.filename)}: {said}", f"{error.filename}: {said}") from None


def _shown(workspace: Workspace, name: str) -> str:
    """A path for everybody to read: relative to the project where it lies there, and no name that the user gave."""
    root, path = workspace.root, Path(name)
    folders = (workspace.prepared, workspace.splits)
    for own in (*folders, *(piece for folder in folders for piece in pieces(folder)), workspace.erased):
        if path.is_relative_to(own):
            given = path != own and path.name not in OWN_NAMES
            return f"a file of yours in {_relative(own, root)}" if given else _relative(path, root)
    artifacts = root / workspace.params.tracking.artifacts
    if path != artifacts and path.is_relative_to(artifacts):
        return f"a file of {_relative(_owner(path, artifacts), root)}"
    for key, place in _configured(workspace).items():
        if path.is_relative_to(place):
            return f"a file of {key}"
    for top in FOLDERS:
        if (root / top) in path.parents:
            return f"a file of yours in {top}"
    return _relative(path, root)


def _owner(path: Path, artifacts: Path) -> Path:
    """The folder of the model or run that a file belongs to, whose name is MLflow's; else that of all files."""
    for folder in path.parents:
        if RUN_FOLDER.fullmatch(folder.name) or MODEL_FOLDER.fullmatch(folder.name):
            return folder
    return artifacts


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else "a file outside of the project"


def _configured(workspace: Workspace) -> dict[str, Path]:
    """Files and folders of the user that the parameters name."""
    params = workspace.params
    named = {
        "data.root": getattr(params.data, "root", None),
        "data.metadata": getattr(params.data, "metadata", None),
        "split.scenario.file": getattr(params.split.scenario, "file", None),
    }
    return {key: workspace.root / place for key, place in named.items() if place is not None}
