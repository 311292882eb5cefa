"""Names from outside lead nowhere: `..`, absolute paths, zero bytes and links, where no other test tries them.

Ids of requests and evidence: tests/deletion/test_evidence_files.py; names in requests: tests/tasks/test_intake.py;
files of requests: tests/deletion/test_names.py; keys and ledgers that are links: test_signing.py, test_identity.py,
test_ledger_files.py.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
import zipfile
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
import small_requests as small
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from flows.cli import app
from qunlearn import checkpoint
from qunlearn.checkpoint import CheckpointError
from qunlearn.config import TrackingConfig
from qunlearn.data import imageset
from qunlearn.data.erased import append_erased
from qunlearn.data.idlist import ID, read_ids
from qunlearn.data.sources.image_folder import read_metadata
from qunlearn.deletion.ledger import Ledger
from qunlearn.deletion.traces import Traces
from studies import overlay
from tasks.tracking import Store, TrackingError
from tasks.tracking.artifact_files import ArtifactFiles
from tasks.tracking.lineage import lineage

OUTSIDE = ("../secret", "../../etc/passwd", "/etc/passwd", "a/../../secret", "..", ".", "", "a\0b", "~/secret", "C:\\x")


def everything(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# --- checkpoints -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_checkpoint_names_no_file_but_its_own(tmp_path, name):
    (tmp_path / "secret").write_bytes(b"x")
    folder = tmp_path / "model"
    folder.mkdir()
    content = {"format": 1, "blueprint": {}, "extra": {}, "sha256": {name: hashlib.sha256(b"x").hexdigest()}}
    (folder / "config.json").write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match="sha256"):
        checkpoint.load(folder)


# --- ids -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*OUTSIDE, "-rf", ".hidden", "a/b", "a\\b", "x" * 129])
def test_what_could_be_a_path_is_no_id_of_a_sample(tmp_path, name):
    assert not ID.fullmatch(name)
    erased = tmp_path / "erased.txt"
    erased.touch()
    with pytest.raises(ValueError, match="is not a sample id"):
        append_erased(erased, [name])
    assert erased.read_bytes() == b""


@given(st.text(min_size=1))
def test_an_id_is_always_one_plain_name(text):
    if ID.fullmatch(text):
        assert PurePosixPath(text).name == text
        assert not set(text) & set("/\\\0\n ")


@pytest.mark.parametrize("name", [one for one in OUTSIDE if one.strip() and one not in ("a\0b",)])
def test_a_list_of_ids_to_forget_holds_no_path(tmp_path, name):
    (tmp_path / "ids.txt").write_text(f"{name}\n")
    with pytest.raises(ValueError, match=r"line 1: .* is not a sample id"):
        read_ids(tmp_path / "ids.txt")


# --- the table of the user's own images ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["../people.csv", "/etc/passwd", "cat/../dog/0.png", "./../images/cat/0.png", "cat\0/0.png"]
)
def test_the_table_names_images_below_the_root_alone(tmp_path, name):
    table = tmp_path / "people.csv"
    table.write_text(f"file,subject\ncat/0.png,1\n{name},2\n")
    with pytest.raises(ValueError, match=r"line 3|not a CSV file"):
        read_metadata(table, [PurePosixPath("cat/0.png"), PurePosixPath("dog/0.png")])


# --- names of models, runs and studies -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield Store.open(
            TrackingConfig(uri=small.tracking_uri(tmp_path_factory)), root=tmp_path_factory.mktemp("store")
        )


QUERIES = ("' OR '1' = '1", "x' OR name != '", "` != '' OR tags.`x", "champion' --", "%", "_", "champ%")


@pytest.mark.parametrize(
    "name", [*OUTSIDE, *QUERIES, "runs:/../x", "models:/../../x", "m-" + "0" * 31 + "/", "x" * 5000]
)
def test_a_name_that_is_a_path_or_a_query_is_no_model(store, name):
    with pytest.raises(TrackingError):
        lineage(store, name)


@pytest.mark.parametrize("digest", [*OUTSIDE, "' OR tags.x != '", "0" * 63, "0" * 64 + "'"])
def test_weights_are_asked_for_by_a_digest_alone(store, tmp_path, digest):
    with pytest.raises(ValueError, match="not a sha256 of weights"):
        store.fetch(digest, tmp_path / "fetched")
    assert not any((tmp_path / "fetched").iterdir())


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_study_is_one_of_those_there_are(tmp_path, name, monkeypatch, capsys):
    from studies.__main__ import main

    (tmp_path / "secret.yaml").write_text("title: x\n")
    monkeypatch.chdir(tmp_path)
    if name:
        with pytest.raises(SystemExit) as stopped:
            main(["apply", name])
        assert stopped.value.code == 2
        assert "invalid choice" in capsys.readouterr().err
    assert name not in overlay.names()


@pytest.mark.parametrize("name", [one for one in OUTSIDE if one])
@pytest.mark.parametrize("command", [("evidence", "show"), ("request", "show"), ("request", "cancel")])
def test_no_command_takes_a_path_for_a_request(tmp_path, monkeypatch, store, name, command):
    project = small.plain_project(tmp_path / "project", "sqlite:///mlflow.db")
    (tmp_path / "secret").write_text("precious")
    Ledger.open(root=project)
    monkeypatch.chdir(project)
    before = everything(tmp_path)
    result = CliRunner().invoke(app, [*command, name])
    assert result.exit_code == 1
    assert isinstance(result.exception, ValueError | SystemExit)
    assert "precious" not in result.output
    assert everything(tmp_path) == before


# --- files of MLflow -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["../secret", "a/../../secret", "{root}/secret", "link/secret", "..", "."])
def test_no_file_beside_an_artifact_folder_is_removed(store, tmp_path, name):
    (tmp_path / "secret").write_text("precious")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("precious")
    folder = tmp_path / "artifacts"
    folder.mkdir()
    (folder / "a").mkdir()
    (folder / "a" / "file").write_text("x")
    (folder / "link").symlink_to(tmp_path / "outside")
    ArtifactFiles(store.connection, str(folder)).remove(name.format(root=tmp_path))
    assert {path.name for path in tmp_path.rglob("secret")} == {"secret"}
    assert (folder / "a" / "file").exists()


def test_links_in_an_artifact_folder_are_not_followed_when_all_is_removed(store, tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("precious")
    folder = tmp_path / "artifacts"
    folder.mkdir()
    (folder / "file").write_text("x")
    (folder / "link").symlink_to(tmp_path / "outside")
    ArtifactFiles(store.connection, str(folder)).remove()
    assert (tmp_path / "outside" / "secret").read_text() == "precious"


# --- archives --------------------------------------------------------------------------------------------------------

HIDDEN = "train-000001-0123456789ab"
MEMBERS = ("../evil", "/tmp/evil-of-a-test", "a/../../evil", "link", "..\\evil", "C:\\evil")


def zip_of(names, content):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name in names:
            archive.writestr(name, content)
        link = zipfile.ZipInfo("symbolic link")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    return stream.getvalue()


def test_archives_are_searched_and_nothing_of_them_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    packed = zip_of(MEMBERS, HIDDEN)
    (tmp_path / "in" / "archive").write_bytes(packed)
    (tmp_path / "in" / "archive.gz").write_bytes(gzip.compress(packed))
    before = everything(tmp_path)
    found = {path.name: trace.ids for path, trace in Traces(frozenset({HIDDEN})).in_folder(tmp_path / "in")}
    assert found == {"archive": 1, "archive.gz": 1}
    assert everything(tmp_path) == before
    assert not Path("/tmp/evil-of-a-test").exists()


def test_an_archive_of_another_kind_is_searched_as_it_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with tarfile.open(tmp_path / "archive", "w") as archive:
        member = tarfile.TarInfo("../evil")
        member.size = len(HIDDEN)
        archive.addfile(member, io.BytesIO(HIDDEN.encode()))
    assert Traces(frozenset({HIDDEN})).in_file(tmp_path / "archive").ids == 1
    assert [path.name for path in tmp_path.parent.rglob("evil")] == []


def test_an_array_of_objects_is_not_unpickled(tmp_path):
    class Evil:
        def __reduce__(self):
            return Path.touch, (tmp_path / "executed",)

    np.save(tmp_path / "evil.npy", np.array([Evil()], dtype=object), allow_pickle=True)
    assert not Traces(frozenset({HIDDEN}), images=frozenset({"0" * 64}), pixels=1).in_file(tmp_path / "evil.npy")
    project = small.plain_project(tmp_path / "project", "sqlite:///mlflow.db")
    prepared = project / "data" / "prepared"
    (prepared / "images.npy").write_bytes((tmp_path / "evil.npy").read_bytes())
    with pytest.raises(ValueError, match=r"images\.npy"):
        imageset.load(prepared)
    assert not (tmp_path / "executed").exists()
