"""One store for all tests of this folder: creating a database takes longer than most tests."""

import hashlib
import uuid

import pytest

from qunlearn.config import TrackingConfig
from tasks.tracking import Store
from tasks.tracking.erasure import stored_models
from tasks.tracking.run import SETTINGS_TAG


@pytest.fixture(scope="session")
def root(tmp_path_factory):
    # A name that must be quoted in a URI.
    return tmp_path_factory.mktemp("a folder #1")


@pytest.fixture(scope="session")
def store(root):
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield Store.open(TrackingConfig(), root=root)


@pytest.fixture(autouse=True)
def _no_other_store(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture
def unique():
    """A new hexadecimal key, as long as a sha256."""
    return lambda: uuid.uuid4().hex + uuid.uuid4().hex


@pytest.fixture
def checkpoint(tmp_path, unique):
    """Writes a checkpoint folder with its own weights; returns folder and digest."""

    def write(content=None):
        content = unique().encode() if content is None else content
        folder = tmp_path / unique()
        folder.mkdir()
        (folder / "weights.safetensors").write_bytes(content)
        (folder / "config.json").write_text("{}")
        (folder / "trained_ids.txt").write_text("all-000001-abc\n")
        return folder, hashlib.sha256(content).hexdigest()

    return write


@pytest.fixture
def make_cell(store, unique, checkpoint):
    """Runs a finished cell with a model, in a pipeline of its own; returns its record."""

    def make(name="oeu seed 0", *, where=store, parents=(), content=None, mark=None, stage="unlearn", settings=None):
        mark = mark or unique()
        tags = {"stage": stage} if settings is None else {"stage": stage, SETTINGS_TAG: settings}
        folder, digest = checkpoint(content)
        with (
            where.stage(stage, where.pipeline(unique(), params={})) as above,
            where.cell(name, above.id, fingerprint=mark, params={"seed": 0}, tags=tags) as run,
        ):
            run.dataset("digits", digest="1" * 32 + ".dir", source="data/prepared", context="training")
            run.dataset("split-random", digest="2" * 32 + ".dir", source="data/splits", context="training")
            for parent in parents:
                run.input_model(parent)
            run.metrics({"seconds": 1.5})
            run.output_model(folder, name=name.replace(" ", "-"), digest=digest, tags={"method": "oeu"})
        return where.find_cell(mark)

    return make


@pytest.fixture
def connection(project):
    return project.store.connection


@pytest.fixture
def found(project, connection):
    """Role -> what is recorded of the model."""
    roles = {model_id: role for role, model_id in project.models.items()}
    return {roles[model.id]: model for model in stored_models(connection, frozenset(project.gone))}
