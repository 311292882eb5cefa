"""What refuses a purge is named by its path in the project, and no name that the user gave is stored."""

from __future__ import annotations

import pickle
from contextlib import contextmanager
from pathlib import Path

import permission_bits
import pytest
from purge_checks import remains
from purge_project import leave_behind

from qunlearn.config import IdsScenario
from qunlearn.deletion.purge_errors import PurgeError
from tasks.purge_refusals import refusals_told
from tasks.purging import purge
from tasks.workspace import Workspace

SAID = "Permission denied; make room or mend permissions, then run the purge again: it goes on"


@contextmanager
def without(path: Path, bits: int):
    """Nobody may do there what `bits` stand for."""
    mode = path.stat().st_mode
    path.chmod(mode & ~bits)
    try:
        with permission_bits.binding():
            yield
    finally:
        path.chmod(mode)


def refused(workspace: Workspace) -> PurgeError:
    with pytest.raises(PurgeError) as error:
        purge(workspace, models="purge")
    return error.value


def test_a_file_that_cannot_be_removed_is_named_with_its_folder(erased):
    with without(erased.workspace.splits, 0o222):
        said = refused(erased.workspace)
    place, _, rest = str(said).partition(": ")
    assert (place.rpartition("/")[0], rest) == ("data/.splits.retired", SAID)
    (erased.root / "data" / ".splits.retired").chmod(0o700)
    assert purge(erased.workspace, models="purge").is_complete
    assert remains(erased) == set()


def test_a_file_of_a_model_that_cannot_be_removed_is_named_with_its_folder(erased):
    location = erased.store.connection.client.get_logged_model(erased.models["retrain"]).artifact_location
    folder = Path(location.removeprefix("file://"))
    with without(folder, 0o222):
        said = str(refused(erased.workspace))
    assert said.startswith(f"a file of {folder.parent.relative_to(erased.root).as_posix()}: ")
    assert said.endswith(SAID)
    assert purge(erased.workspace, models="purge").is_complete


def test_the_name_of_a_file_of_the_user_is_for_the_terminal_alone(erased):
    file = erased.root / "data" / "people" / "jane-doe.csv"
    file.parent.mkdir()
    file.write_text("a table")
    with without(file, 0o444):
        error = refused(erased.workspace)
    assert str(error) == f"a file of yours in data: {SAID}"
    assert error.told == f"{file}: {SAID}"
    sent = pickle.loads(pickle.dumps(error))
    assert (str(sent), sent.told) == (str(error), "")
    assert error.__cause__ is None


def test_a_list_that_the_parameters_name_is_called_by_its_key(erased):
    scenario = IdsScenario(kind="ids", file=Path("jane-doe.txt"))
    split = erased.workspace.params.split.model_copy(update={"scenario": scenario})
    workspace = Workspace(erased.root, erased.workspace.params.model_copy(update={"split": split}))
    (erased.root / "jane-doe.txt").write_text(f"{erased.gone[0]}\n")
    with without(erased.root / "jane-doe.txt", 0o444):
        assert str(refused(workspace)) == f"a file of split.scenario.file: {SAID}"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("data/prepared/labels.npy", "data/prepared/labels.npy"),
        ("data/prepared", "data/prepared"),
        ("data/.splits.writing/split.csv", "data/.splits.writing/split.csv"),
        ("data/splits/jane-doe.txt", "a file of yours in data/splits"),
        (f"mlartifacts/1/{'0f' * 16}/artifacts/jane-doe.csv", f"a file of mlartifacts/1/{'0f' * 16}"),
        ("mlartifacts/jane-doe.csv", "a file of mlartifacts"),
        ("data", "data"),
        ("data/erased.txt", "data/erased.txt"),
        (".qunlearn/purge.json", ".qunlearn/purge.json"),
        ("report/jane-doe.html", "a file of yours in report"),
        ("../elsewhere/jane-doe", "a file outside of the project"),
    ],
)
def test_paths_are_relative_to_the_project(project, name, shown):
    path = (project.root / name).resolve()
    with pytest.raises(PurgeError) as told, refusals_told(project.workspace):
        raise PermissionError(13, "Permission denied", str(path))
    assert str(told.value).partition(": ")[0] == shown
    assert told.value.told.startswith(str(path))


def test_an_error_without_a_file_is_told_without_one(project):
    with pytest.raises(PurgeError, match=r"^No space left on device; make room"), refusals_told(project.workspace):
        raise OSError(28, "No space left on device")


def test_what_the_search_finds_in_the_data_is_named_with_its_folder(erased, monkeypatch):
    leave_behind(erased, monkeypatch)
    (found,) = purge(erased.workspace, models="purge").scan.found
    assert (found.place, found.name) == ("data/splits", "notes.txt")
