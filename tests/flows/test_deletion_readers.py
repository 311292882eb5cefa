"""Who uses the served model meets a whole one at every moment; the reader of these tests would notice any other."""

from __future__ import annotations

import os
import shutil

import pytest
from deletion_project import run
from deletion_reader import NotServedError, Reader

from qunlearn.data.erased import append_erased
from tasks.tracking import MissingCheckpointError
from tasks.tracking.registry import SERVED

pytestmark = pytest.mark.usefixtures("plainly")


@pytest.fixture
def reader(served, tmp_path):
    (tmp_path / "copies").mkdir()
    return Reader(served.root, tmp_path / "copies")


def files_of(served):
    return served.root / "mlartifacts" / "models" / served.champion.model_id / "artifacts"


def once(reader):
    """Poll for one reading."""
    closed, held = os.pipe()
    os.close(held)
    reader.poll(closed)
    os.close(closed)


def test_a_reader_reads_the_version_that_is_served(served, reader):
    once(reader)
    served.ask(*served.training_ids[:2])
    run(served)
    once(reader)
    assert (reader.readings, reader.versions, reader.misses, reader.failures) == (2, [1, 2], 0, [])
    assert not list(reader.folder.iterdir())


def test_a_reader_whose_version_is_purged_after_it_was_looked_up_finds_the_next_one(served, reader, monkeypatch):
    served.ask(*served.training_ids[:2])
    look_up, found = reader._champion, []

    def slowly():
        found.append(look_up())
        if len(found) == 1:
            run(served)
        return found[-1]

    monkeypatch.setattr(reader, "_champion", slowly)
    reader.read()
    assert [one.version for one in found] == [1, 2]
    assert (reader.readings, reader.versions, reader.misses) == (1, [2], 1)


def test_bytes_that_are_gone_while_their_version_is_served_are_a_failure(served, reader):
    shutil.rmtree(files_of(served))
    with pytest.raises(MissingCheckpointError):
        reader.read()
    once(reader)
    assert reader.readings == reader.misses == 0
    assert [one.partition(":")[0] for one in reader.failures] == ["after 0 readings, MissingCheckpointError"]


@pytest.mark.parametrize("name", ["weights.safetensors", "trained_ids.txt", "config.json", "quantization.json"])
def test_a_damaged_file_is_a_failure(served, reader, name):
    file = files_of(served) / name
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(MissingCheckpointError):
        reader.read()


def test_a_moment_without_a_champion_is_a_failure(served, reader):
    served.store.connection.client.delete_registered_model_alias(SERVED, "champion")
    with pytest.raises(NotServedError, match="no version is served"):
        reader.read()


def test_a_champion_that_knows_somebody_on_the_list_is_a_failure(served, reader):
    append_erased(served.workspace.erased, served.training_ids[:1])
    with pytest.raises(NotServedError, match="knows 1 ids"):
        reader.read()
