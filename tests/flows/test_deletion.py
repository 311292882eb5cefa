"""The deletion flow on a small trained model: requests in, an unlearned champion out, whatever happens in between."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import yaml
from filelock import FileLock
from prefect.logging import disable_run_logger
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows import deletion as flow_module
from flows.servers import folder as servers_folder
from qunlearn import checkpoint
from qunlearn.config import ConfigError
from qunlearn.data.erased import read_erased
from qunlearn.data.splits import GateError, load_split
from tasks import deletion as steps
from tasks.manifests import read_manifest
from tasks.tracking import Store, TrackingError
from tasks.tracking.lineage import lineage
from tasks.workspace import Workspace

STEPS = ("resolve_champion", "plan_deletion", "reject_requests", "unlearn_samples", "promote", "complete_requests")


@pytest.fixture(autouse=True)
def without_server(monkeypatch):
    """Run the flow's own code as plain functions: no Prefect server, no run to log to."""
    for name in STEPS:
        monkeypatch.setattr(steps, name, getattr(steps, name).fn)
    with disable_run_logger(), temporary_settings(restore_defaults={PREFECT_API_URL}):
        yield


class Served:
    """What an observer sees of a project."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.workspace = Workspace.open(root / "params.yaml")
        self.split = load_split(self.workspace.splits)
        self.store = Store.open(self.workspace.params.tracking, root=root)

    def run(self) -> str:
        """Run the flow once; its message."""
        return flow_module.deletion.fn(str(self.root / "params.yaml")).message

    def request(self, *ids: str, name: str = "request.txt") -> Path:
        path = self.root / "data" / "requests" / name
        path.write_text("\n".join(ids) + "\n")
        return path

    @property
    def version(self) -> int:
        champion = self.store.champion()
        return 0 if champion is None else champion.version

    @property
    def erased(self) -> frozenset[str]:
        return read_erased(self.workspace.erased)

    def files(self, part: str = ".") -> list[str]:
        folder = self.root / "data" / "requests" / part
        return sorted(path.name for path in folder.glob("*") if path.is_file())

    def trained_ids(self, tmp_path: Path) -> set[str]:
        """Those of the champion, whose bytes are fetched and verified."""
        found = self.store.fetch(self.store.champion().digest, tmp_path / f"fetched-{self.version}")
        return set(checkpoint.load(found, digest=self.store.champion().digest).trained_ids)


@pytest.fixture
def served(project):
    return Served(project)


@pytest.fixture
def training_ids(served):
    return served.split.ids("train")


def test_without_a_request_the_flow_ends_at_once(served):
    assert served.run() == "nothing to do"
    assert served.version == 0


def test_a_request_releases_a_model_that_was_not_trained_on_its_samples(served, training_ids, tmp_path):
    asked = training_ids[:3]
    served.request("# two people", *asked)
    assert served.run() == "1 done, 0 rejected, 3 unlearned"
    assert served.version == 2
    assert served.trained_ids(tmp_path) == set(training_ids) - set(asked)
    assert served.erased == set(asked)
    assert (served.files(), served.files("done")) == ([], ["request.txt"])


def test_the_first_champion_is_the_original_model_of_the_first_seed(served, training_ids):
    served.request(training_ids[0])
    served.run()
    chain = lineage(served.store, "qunlearn-served/1")
    assert chain.models[chain.subjects[0]].digest == read_manifest(served.workspace.models("pretrain"))[0].sha256


def test_the_lineage_of_the_new_model_leads_to_parent_and_data(served, training_ids):
    served.request(*training_ids[:2])
    served.run()
    chain = lineage(served.store, "qunlearn-served@champion")
    new = chain.models[chain.subjects[0]]
    old = chain.models[new.origin.parents[0]]
    assert (new.origin.stage, new.origin.status) == ("deletion", "FINISHED")
    assert old.digest == read_manifest(served.workspace.models("pretrain"))[0].sha256
    assert {data.source for data in new.origin.datasets} == {"data/prepared", "data/splits"}


def test_the_run_tells_the_accuracies_before_and_after(served, training_ids):
    served.request(*training_ids[:5])
    served.run()
    metrics = served.store.record_by_digest(served.store.champion().digest).metrics
    for when in ("before", "after"):
        for part in ("forget", "retain", "test"):
            assert 0.0 <= metrics[f"{when}_{part}_accuracy"] <= 100.0


def test_a_row_of_the_parameters_can_be_what_unlearns(served, training_ids):
    path = served.root / "params.yaml"
    params = yaml.safe_load(path.read_text())
    params["unlearn"]["quick+0.1"] = {"method": "fine_tune", "epochs": 1, "grid": {"learning_rate": [1, 2]}}
    path.write_text(yaml.safe_dump({**params, "deletion": {"method": "quick+0.1"}}))
    served.request(*training_ids[:2])
    assert served.run() == "1 done, 0 rejected, 2 unlearned"
    chain = lineage(served.store, "deletion-quick+0.1")
    model = served.store.connection.client.get_logged_model(chain.subjects[0])
    assert (model.tags["method"], model.tags["registered_method"]) == ("quick+0.1", "fine_tune")
    run = served.store.connection.client.get_run(model.source_run_id)
    assert (run.data.params["method"], run.data.params["registered_method"]) == ("quick+0.1", "fine_tune")
    assert run.data.params["config.epochs"] == "1"


def test_the_card_of_the_new_model_shows_its_bits_and_what_the_flow_measured(served, training_ids):
    served.request(*training_ids[:5])
    served.run()
    champion = served.store.champion()
    model = served.store.connection.client.get_logged_model(champion.model_id)
    metrics = served.store.record_by_digest(champion.digest).metrics
    text = model.tags["mlflow.note.content"].replace("&emsp;", "")
    assert "| bits | W4A4, edges W8A8 |" in text
    before, after = (metrics[f"{when}_retain_accuracy"] for when in ("before", "after"))
    assert f"| accuracy on the other training images | {before:.2f} | {after:.2f} | {after - before:+.2f} |" in text
    assert "Not yet evaluated" not in text
    assert model.params["quantization.weight_bits"] == "4"


def test_a_later_request_starts_from_the_model_that_an_earlier_one_released(served, training_ids, tmp_path):
    served.request(training_ids[0])
    served.run()
    served.request(training_ids[1])
    served.run()
    assert served.version == 3
    assert served.trained_ids(tmp_path) == set(training_ids[2:])
    assert served.files("done") == ["request-2.txt", "request.txt"]


def test_good_requests_are_carried_out_together_and_bad_ones_rejected_with_a_reason(served, training_ids):
    served.request(training_ids[0], name="a.txt")
    served.request(training_ids[1], "nobody", name="b.txt")
    served.request(training_ids[2], name="c.txt")
    served.request("# nothing", name="d.txt")
    (served.root / "data" / "requests" / "e.txt").write_bytes(b"\x00\xff\xfe")
    assert served.run() == "2 done, 3 rejected, 2 unlearned"
    assert served.version == 2
    assert served.erased == {training_ids[0], training_ids[2]}
    assert served.files("done") == ["a.txt", "c.txt"]
    assert served.files("rejected") == [f"{x}.{end}" for x in "bde" for end in ("reason.txt", "txt")]


def test_a_bad_request_alone_changes_no_model(served):
    served.request("nobody")
    assert served.run() == "0 done, 1 rejected, 0 unlearned"
    assert served.version == 1
    assert served.erased == frozenset()


def test_a_held_out_sample_is_erased_without_a_new_model(served):
    asked = served.split.ids("test")[0]
    served.request(asked)
    assert served.run() == "1 done, 0 rejected, 0 unlearned"
    assert served.version == 1
    assert served.erased == {asked}


class Killed(BaseException):
    """Stands for the end of the process: nothing of ours catches it."""


def dies_before(monkeypatch, module, name):
    def death(*_args, **_options):
        raise Killed

    monkeypatch.setattr(module, name, death)


def dies_after(monkeypatch, module, name):
    step = getattr(module, name)

    def last_act(*args, **options):
        step(*args, **options)
        raise Killed

    monkeypatch.setattr(module, name, last_act)


@pytest.mark.parametrize(
    ("when", "where", "what"),
    [
        (dies_after, steps, "resolve_champion"),
        (dies_after, steps, "reject_requests"),
        (dies_before, steps, "_accuracies"),
        (dies_after, steps, "run_method"),
        (dies_after, steps, "unlearn_samples"),
        (dies_after, Store, "register"),
        (dies_before, Store, "set_champion"),
        (dies_after, steps, "promote"),
        (dies_after, steps, "append_erased"),
        (dies_after, steps, "finish"),
        (dies_after, steps, "complete_requests"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_a_killed_run_leaves_a_valid_champion_and_the_next_one_completes(
    served, training_ids, tmp_path, monkeypatch, when, where, what
):
    served.request(training_ids[0], name="a.txt")
    served.request(training_ids[1], name="b.txt")
    with monkeypatch.context() as patch:
        when(patch, where, what)
        with pytest.raises(Killed):
            served.run()
    if served.version:
        kept = served.trained_ids(tmp_path)
        assert kept in (set(training_ids), set(training_ids[2:]))
        # What is said to be erased is really forgotten by the model that is served.
        assert not served.erased & kept
    assert sorted(served.files() + served.files("done")) == ["a.txt", "b.txt"]
    served.run()
    assert served.trained_ids(tmp_path / "again") == set(training_ids[2:])
    assert served.erased == set(training_ids[:2])
    assert (served.files(), served.files("done")) == ([], ["a.txt", "b.txt"])


def test_a_run_that_died_before_the_release_does_not_unlearn_twice(served, training_ids, monkeypatch):
    served.request(training_ids[0])
    with monkeypatch.context() as patch:
        dies_before(patch, steps, "promote")
        with pytest.raises(Killed):
            served.run()
    dies_before(monkeypatch, steps, "run_method")
    assert served.run() == "1 done, 0 rejected, 1 unlearned"


def test_a_release_that_would_undo_another_is_refused_and_the_request_waits(
    served, training_ids, monkeypatch, tmp_path
):
    unlearn = steps.unlearn_samples

    def overtaken(*args):
        model = unlearn(*args)
        served.store.set_champion(served.store.register(served.store.champion().model_id))
        return model

    served.request(training_ids[0])
    with monkeypatch.context() as patch:
        patch.setattr(steps, "unlearn_samples", overtaken)
        with pytest.raises(TrackingError, match="version 2 is served now"):
            served.run()
    assert served.version == 2
    assert served.files() == ["request.txt"]
    served.run()
    assert served.trained_ids(tmp_path) == set(training_ids[1:])


def test_a_model_of_another_split_is_not_unlearned(served, training_ids):
    content = yaml.safe_load((served.root / "params.yaml").read_text())
    content["split"]["seed"] = 1
    (served.root / "params.yaml").write_text(yaml.safe_dump(content))
    from tasks import preparation

    preparation.split.fn(Workspace.open(served.root / "params.yaml"))
    served.request(training_ids[0])
    with pytest.raises(GateError, match="held out"):
        served.run()
    assert served.version == 1
    assert (served.files(), served.erased) == (["request.txt"], frozenset())


def test_without_any_model_the_flow_says_what_to_run(served, training_ids):
    served.workspace.models("pretrain").unlink()
    served.request(training_ids[0])
    with pytest.raises(ConfigError, match="dvc repro pretrain"):
        served.run()
    assert served.files() == ["request.txt"]


def test_a_second_run_waits_for_the_first(served, training_ids):
    served.request(training_ids[0])
    servers_folder(served.root).mkdir(exist_ok=True)
    messages = []
    with FileLock(servers_folder(served.root) / "served-model.lock"):
        runner = threading.Thread(target=lambda: messages.append(served.run()))
        with temporary_settings(restore_defaults={PREFECT_API_URL}):
            runner.start()
        runner.join(timeout=2)
        assert runner.is_alive()
        assert served.version == 0
    runner.join(timeout=300)
    assert messages == ["1 done, 0 rejected, 1 unlearned"]
