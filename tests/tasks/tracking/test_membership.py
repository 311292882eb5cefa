"""Which models were trained on a sample, also where weights are gone."""

import json
import shutil
from pathlib import Path

import pytest
from mlflow.utils.file_utils import local_file_uri_to_path

from qunlearn.config import TrackingConfig
from tasks.tracking import Store, connection, membership
from tasks.tracking.membership import TrainingLists, models_table, with_prefix

SAMPLE, OTHER = "all-000001-abc", "all-000002-def"


@pytest.fixture
def store(tmp_path):
    """A store of its own: the others hold models of all tests."""
    return Store.open(TrackingConfig(), root=tmp_path / "store")


@pytest.fixture
def keep(store, unique, checkpoint):
    """Keeps a model that was trained on some ids; returns its id."""

    def make(name, ids):
        folder, digest = checkpoint()
        (folder / "trained_ids.txt").write_text("".join(f"{one}\n" for one in ids))
        with store.stage("unlearn", store.pipeline(unique(), params={})) as run:
            return run.output_model(folder, name=name, digest=digest, tags={"method": name, "seed": "3"})

    return make


def folder_of(store, model_id):
    return Path(local_file_uri_to_path(store.connection.client.get_logged_model(model_id).artifact_location))


def states(store, sample):
    return {found.name: found.state for found in TrainingLists.read(store.connection).models_with(sample)}


def test_each_state_is_told(store, keep):
    ids = {name: keep(name, [SAMPLE, OTHER]) for name in ("champion", "registered", "stored", "erased")}
    keep("without", [OTHER])
    store.register(ids["registered"])
    store.set_champion(store.register(ids["champion"]))
    shutil.rmtree(folder_of(store, ids["erased"]))
    assert states(store, SAMPLE) == {name: name for name in ids}
    assert set(states(store, OTHER)) == {*ids, "without"}


def test_a_model_is_told_with_its_rows_name_and_its_method(store, keep):
    model = keep("oeu-0.1-seed3", [SAMPLE])
    store.connection.client.set_logged_model_tags(model, {"method": "oeu-0.1", "registered_method": "oeu"})
    (found,) = TrainingLists.read(store.connection).models_with(SAMPLE)
    assert (found.name, found.method) == ("oeu-0.1-seed3", "oeu")


def test_trials_are_listed_under_their_own_names(store, keep):
    names = {"oeu-seed0-trial1", "oeu-seed0-trial2", "oeu-seed1"}
    for name in names:
        keep(name, [SAMPLE])
    assert set(states(store, SAMPLE)) == names


def test_a_champion_whose_bytes_are_gone_counts_as_erased(store, keep):
    models = [keep(name, [SAMPLE]) for name in ("a", "b")]
    store.set_champion(store.register(models[0]))
    shutil.rmtree(folder_of(store, models[0]))
    assert states(store, SAMPLE) == {"a": "erased", "b": "stored"}


def test_without_any_copy_of_its_list_nobody_can_tell(store, keep):
    keep("kept", [OTHER])
    shutil.rmtree(folder_of(store, keep("gone", [SAMPLE])))
    assert states(store, SAMPLE) == {"gone": "unknown (bytes erased)"}
    assert states(store, OTHER) == {"kept": "stored", "gone": "unknown (bytes erased)"}
    assert TrainingLists.read(store.connection).known() == {OTHER}


def test_a_list_that_is_not_the_recorded_one_is_not_believed(store, keep):
    (folder_of(store, keep("changed", [OTHER])) / "trained_ids.txt").write_text(f"{SAMPLE}\n")
    assert states(store, SAMPLE) == {"changed": "unknown (bytes erased)"}


def test_each_distinct_list_is_read_once(store, keep, monkeypatch):
    for number in range(5):
        keep(f"same{number}", [SAMPLE])
    keep("another", [OTHER])
    read = []
    once = membership._training_list
    monkeypatch.setattr(membership, "_training_list", lambda *a: read.append(a[1].name) or once(*a))
    assert len(TrainingLists.read(store.connection).models_with(SAMPLE)) == 5
    assert len(read) == 2


def test_more_models_than_one_call_returns_are_all_found(store, keep, monkeypatch):
    names = {keep(f"model{number}", [SAMPLE]) and f"model{number}" for number in range(5)}
    monkeypatch.setattr(connection, "MODELS_A_CALL", 2)
    assert set(states(store, SAMPLE)) == names


def test_what_is_told_about_a_model(store, keep):
    model_id = keep("oeu", [SAMPLE])
    (found,) = TrainingLists.read(store.connection).models_with(SAMPLE)
    digest = store.connection.client.get_logged_model(model_id).tags["weights_sha256"]
    assert (found.name, found.method, found.seed, found.digest, found.model_id) == ("oeu", "oeu", "3", digest, model_id)
    assert found.url == f"http://127.0.0.1:5000/{store.connection.model_url(model_id)}"
    assert found.created.endswith("+00:00")
    assert json.dumps(vars(found))
    lines = models_table([found]).splitlines()
    assert lines[0].split() == ["state", "name", "method", "seed", "digest", "model_id", "created", "url"]
    assert lines[1].split()[4] == digest[:12]


def test_the_served_model_comes_first(store, keep):
    oldest = keep("oldest", [SAMPLE])
    keep("newer", [SAMPLE])
    store.set_champion(store.register(oldest))
    assert list(states(store, SAMPLE)) == ["oldest", "newer"]


def test_a_table_of_nothing_says_so():
    assert models_table([]) == "No model whose training images are known was trained on it.\n"


def test_a_store_without_models_knows_nothing(store):
    lists = TrainingLists.read(store.connection)
    assert (lists.known(), lists.models_with(SAMPLE)) == (frozenset(), [])


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [("img-0000aa", "img-0000aa"), ("img-0000b", "img-0000bb"), ("img-ffff0", None), ("a1", "a1"), ("zz", None)],
)
def test_a_prefix_means_the_one_id_that_it_begins(prefix, expected):
    assert with_prefix(prefix, ["img-0000aa", "img-0000aab", "img-0000bb", "a1", "a12"]) == expected


@pytest.mark.parametrize(("prefix", "problem"), [("img-0000", "begins 3 ids, e.g."), ("img-", "first 8 characters")])
def test_a_prefix_of_several_ids_or_a_short_one_is_refused(prefix, problem):
    with pytest.raises(ValueError, match=problem):
        with_prefix(prefix, ["img-0000aa", "img-0000ab", "img-0000bb"])


@pytest.mark.parametrize("vanishes", ["file", "folder"])
def test_a_list_that_vanishes_while_it_is_looked_for_is_missing(store, keep, monkeypatch, vanishes):
    folder = folder_of(store, keep("erased", [SAMPLE]))
    keep("kept", [OTHER])
    read = Path.read_bytes

    def erased_meanwhile(path):
        if path == folder / "trained_ids.txt":
            path.unlink() if vanishes == "file" else shutil.rmtree(folder)
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", erased_meanwhile)
    lists = TrainingLists.read(store.connection)
    assert lists.known() == {OTHER}
    assert [found.state for found in lists.models_with(SAMPLE)] == [membership.UNKNOWN]


def test_a_list_that_must_not_be_read_is_not_missing(store, keep, monkeypatch):
    keep("kept", [SAMPLE])

    def refused(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refused)
    with pytest.raises(PermissionError):
        TrainingLists.read(store.connection)


def test_a_folder_that_vanishes_while_it_is_looked_at_is_erased(store, keep, monkeypatch):
    folder = folder_of(store, keep("erased", [SAMPLE]))
    lists, listed = TrainingLists.read(store.connection), Path.iterdir

    def erased_meanwhile(path):
        if path == folder:
            shutil.rmtree(folder)
        return listed(path)

    monkeypatch.setattr(Path, "iterdir", erased_meanwhile)
    assert [found.state for found in lists.models_with(SAMPLE)] == [membership.ERASED]
