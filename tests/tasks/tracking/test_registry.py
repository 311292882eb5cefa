"""The served model."""

import os

import pytest

from tasks.tracking import Champion, TrackingError


@pytest.fixture
def name(unique):
    return f"served-{unique()[:8]}"


def test_without_a_model_there_is_no_champion(store, name, make_cell):
    assert store.champion(name=name) is None
    store.register(make_cell().model_id, name=name)
    assert store.champion(name=name) is None


def test_the_champion_leads_to_its_model_weights_and_run(store, name, make_cell):
    first, second = make_cell(), make_cell()
    for position, record in enumerate([first, second], start=1):
        version = store.register(record.model_id, name=name, tags={"method": "oeu"})
        store.set_champion(version, name=name)
        assert store.champion(name=name) == Champion(position, record.model_id, record.digest, record.run_id)
    kept = store.connection.client.get_model_version(name, "1")
    assert kept.tags == {"method": "oeu", "weights_sha256": first.digest}
    assert kept.run_id == first.run_id


def test_a_served_model_that_lost_its_mark_is_named_with_the_way_out(store, name, make_cell):
    record = make_cell()
    store.set_champion(store.register(record.model_id, name=name), name=name)
    store.connection.client.delete_logged_model_tag(record.model_id, "weights_sha256")
    with pytest.raises(TrackingError, match=rf"version 1 of {name} .* lost the tag weights_sha256; .*release`"):
        store.champion(name=name)


def test_a_models_page_links_to_its_version(store, name, make_cell):
    record = make_cell()
    version = store.register(record.model_id, name=name)
    tags = store.connection.client.get_logged_model(record.model_id).tags
    assert tags["mlflow.modelVersions"] == f'[{{"name": "{name}", "version": {version}}}]'


def test_registering_leaves_the_environment_as_it_was(store, name, make_cell, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # MLflow's default would be a database right here
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mine.db")
    store.register(make_cell().model_id, name=name)
    assert os.environ["MLFLOW_TRACKING_URI"] == "sqlite:///mine.db"
    assert list(tmp_path.glob("*.db")) == []


def test_a_promotion_from_an_outdated_base_is_refused(store, name, make_cell):
    versions = [store.register(make_cell().model_id, name=name) for _ in range(3)]
    store.set_champion(versions[0], name=name, base=0)
    store.set_champion(versions[1], name=name, base=versions[0])
    with pytest.raises(TrackingError, match="version 3 was made from version 1, but version 2 is served now"):
        store.set_champion(versions[2], name=name, base=versions[0])
    assert store.champion(name=name).version == versions[1]


def test_a_version_that_does_not_exist_is_refused(store, name, make_cell):
    store.register(make_cell().model_id, name=name)
    with pytest.raises(TrackingError, match="has no version 7"):
        store.set_champion(7, name=name)
