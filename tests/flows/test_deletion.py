"""The deletion flow on a small trained model: requests in, an unlearned champion and evidence out."""

from __future__ import annotations

import tempfile
import threading
from dataclasses import asdict, replace

import pytest
from deletion_project import ENVIRONMENT, Served, git, plain_steps
from filelock import FileLock
from prefect.logging import disable_run_logger
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows import deletion as flow_module
from flows.servers import folder as servers_folder
from qunlearn.config import ConfigError
from qunlearn.deletion.evidence import ids_digest
from qunlearn.deletion.gates import judge
from qunlearn.deletion.ledger import BusyError, Ledger, Outcome, State, Worker
from tasks.cells import CellContext
from tasks.deletion import course, verification
from tasks.deletion.unlearning import MethodsExhaustedError
from tasks.tracking.checkpoints import MissingCheckpointError
from tasks.tracking.lineage import lineage
from tasks.tracking.registry import SERVED
from tasks.training import train_cell


@pytest.fixture(autouse=True)
def without_server(monkeypatch, tmp_path):
    """Run the flow's own code as plain functions: no Prefect server, no run to log to."""
    for name in ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    # The purge searches the folder for temporary files: what others leave there now is not these tests' concern.
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    plain_steps(monkeypatch.setattr)
    with disable_run_logger(), temporary_settings(restore_defaults={PREFECT_API_URL}):
        yield


@pytest.fixture
def served(project):
    return Served(project)


def run(served):
    """Run the flow once; its message."""
    return flow_module.deletion.fn(served.params_file).message


@pytest.fixture
def failing(monkeypatch):
    """Let candidates fail a gate: those of methods, or of retraining too. Call it; it gives what was judged."""
    judge, judged = verification.judge, []

    def fail(*, retrained=False):
        def strictly(*args, **options):
            found = judge(*args, **options)
            judged.append("retrain" if options["retrained"] else "method")
            if options["retrained"] and not retrained:
                return found
            first, *rest = found.gates
            return replace(found, gates=(replace(first, passed=False), *rest))

        monkeypatch.setattr(verification, "judge", strictly)
        return judged

    return fail


# --- one request -----------------------------------------------------------------------------------------------------


def test_without_a_request_the_flow_ends_at_once(served, monkeypatch):
    monkeypatch.setattr("tasks.deletion.claim_batch", None)
    assert run(served) == "nothing to do"
    assert served.champion.version == 1


def test_a_request_releases_a_model_that_was_not_trained_on_its_samples(served, tmp_path):
    asked, before = served.training_ids[:3], served.champion
    request = served.ask(*asked)
    assert run(served) == "1 done, 0 rejected, 3 unlearned"
    assert (served.now(request).state, served.now(request).outcome) == (State.COMPLETED, Outcome.UNLEARNED)
    assert served.champion.version == 2
    made = served.made(tmp_path)
    assert set(made.trained_ids) == set(served.training_ids) - set(asked)
    assert made.extra["parents"] == [{"version": 1, "weights": before.digest, "method": "full training"}]
    assert served.workspace.erased.read_text() == "".join(f"{one}\n" for one in sorted(asked))
    assert not served.data_ids() & set(asked)
    with pytest.raises(MissingCheckpointError):
        served.made(tmp_path / "old", before)
    assert served.ledger.verify() is None
    assert served.statuses() == {"FINISHED"}


def test_the_list_of_erased_ids_is_committed_alone(served):
    (served.root / "params.yaml").write_text((served.root / "params.yaml").read_text() + "# mine\n")
    git(served.root, "add", "params.yaml")
    request = served.ask(served.training_ids[0])
    run(served)
    assert git(served.root, "show", "--format=", "--name-only", "HEAD") == "data/erased.txt"
    assert git(served.root, "status", "--porcelain") == "M  params.yaml"
    digests = served.evidence(request).digests
    assert digests.erased_commit == git(served.root, "rev-parse", "HEAD")
    assert git(served.root, "show", "HEAD:data/erased.txt") == served.training_ids[0]


def test_the_evidence_tells_what_was_asked_done_and_measured(served, tmp_path):
    asked, before = served.training_ids[:3], served.champion
    request = served.ask(*asked)
    run(served)
    found, after = served.evidence(request), served.champion
    assert (found.request.outcome, found.request.samples) == ("unlearned", ids_digest(asked))
    assert found.request.counts.model_dump() == {
        "asked": 3,
        "known": 3,
        "unknown": 0,
        "already_erased": 0,
        "trained_on": 3,
    }
    assert (found.model.before.version, found.model.before.weights) == (1, before.digest)
    assert (found.model.after.version, found.model.after.weights) == (2, after.digest)
    assert found.model.after.training_ids == ids_digest(served.made(tmp_path).trained_ids) == found.digests.retained
    assert (found.method.name, found.method.sequential, found.attempts) == ("neg_grad_plus", 1, ())
    assert found.purge.scan.found == 0
    assert "remove" in {one.action for one in found.purge.objects}
    text = found.model_dump_json()
    assert not [one for one in asked if one in text]


def test_the_lineage_of_the_new_model_leads_to_parent_and_data(served):
    before = served.champion
    served.ask(*served.training_ids[:2])
    run(served)
    chain = lineage(served.store, "qunlearn-served@champion")
    new = chain.models[chain.subjects[0]]
    assert (new.origin.stage, new.origin.status) == ("deletion", "FINISHED")
    assert chain.models[new.origin.parents[0]].digest == before.digest
    assert {data.source for data in new.origin.datasets} == {"data/prepared", "data/splits"}


def test_a_row_of_the_parameters_can_be_what_unlearns(served):
    row = {"method": "fine_tune", "epochs": 1, "grid": {"learning_rate": [1, 2]}}
    served.set(method="quick+0.1", unlearn={"quick+0.1": row})
    request = served.ask(*served.training_ids[:2])
    assert run(served) == "1 done, 0 rejected, 2 unlearned"
    model = served.store.connection.client.get_logged_model(served.champion.model_id)
    assert (model.tags["method"], model.tags["registered_method"]) == ("quick+0.1", "fine_tune")
    assert served.store.connection.client.get_run(model.source_run_id).data.params["config.epochs"] == "1"
    assert served.evidence(request).method.name == "quick+0.1"


def test_a_held_out_sample_is_erased_without_a_new_model(served, tmp_path):
    asked, before = served.split.ids("test")[0], served.champion
    request = served.ask(asked)
    assert run(served) == "1 done, 0 rejected, 0 unlearned"
    assert served.champion == before
    assert set(served.made(tmp_path).trained_ids) == set(served.training_ids)
    assert served.erased == {asked}
    assert asked not in served.data_ids()
    found = served.evidence(request)
    assert (found.request.outcome, found.model) == ("not trained", None)
    assert found.digests.erased_commit == git(served.root, "rev-parse", "HEAD")


def test_an_unknown_name_changes_nothing(served):
    before, data = served.champion, served.data_ids()
    request = served.ask("nobody")
    assert run(served) == "1 done, 0 rejected, 0 unlearned"
    assert (served.champion, served.data_ids(), served.erased) == (before, data, frozenset())
    found = served.evidence(request)
    assert (found.request.outcome, found.purge) == ("not present", None)
    assert "nobody" not in found.model_dump_json()


def test_what_was_erased_before_is_not_erased_again(served):
    served.ask(served.training_ids[0])
    run(served)
    before, listed = served.champion, served.workspace.erased.read_text()
    request = served.ask(served.training_ids[0])
    assert run(served) == "1 done, 0 rejected, 0 unlearned"
    assert (served.champion, served.workspace.erased.read_text()) == (before, listed)
    assert served.evidence(request).request.outcome == "already erased"


# --- several requests ------------------------------------------------------------------------------------------------


def test_requests_that_wait_are_carried_out_together(served, tmp_path):
    ids, held_out = served.training_ids, served.split.ids("test")[0]
    requests = [served.ask(*ids[:2]), served.ask(*ids[1:3]), served.ask(held_out), served.ask("nobody")]
    assert run(served) == "4 done, 0 rejected, 3 unlearned"
    assert (served.champion.version, served.versions()) == (2, 2)
    assert set(served.made(tmp_path).trained_ids) == set(ids[3:])
    assert served.erased == {*ids[:3], held_out}
    documents = [served.evidence(one) for one in requests]
    outcomes = [found.request.outcome for found in documents]
    assert outcomes == ["unlearned", "unlearned", "not trained", "not present"]
    assert len({found.batch.id for found in documents}) == 1


def test_a_later_request_starts_from_the_model_that_an_earlier_one_released(served, tmp_path):
    first = served.ask(served.training_ids[0])
    run(served)
    middle = served.champion
    second = served.ask(served.training_ids[1])
    run(served)
    assert served.champion.version == 3
    made = served.made(tmp_path)
    assert set(made.trained_ids) == set(served.training_ids[2:])
    assert [(one["version"], one["method"]) for one in made.extra["parents"]] == [
        (1, "full training"),
        (2, "neg_grad_plus"),
    ]
    assert made.extra["parents"][1]["weights"] == middle.digest
    assert (served.evidence(first).method.sequential, served.evidence(second).method.sequential) == (1, 2)
    assert len(served.evidence(second).method.parents) == 2


def test_the_request_that_would_take_the_last_training_data_is_rejected_alone(served, tmp_path):
    ids = served.training_ids
    first, second = served.ask(*ids[:1]), served.ask(*ids[1:])
    assert run(served) == "1 done, 1 rejected, 1 unlearned"
    assert served.now(first).outcome == Outcome.UNLEARNED
    assert served.now(second).state is State.REJECTED
    assert "would keep no training data" in served.now(second).reason
    assert set(served.made(tmp_path).trained_ids) == set(ids[1:])


def test_an_impossible_request_alone_is_rejected_and_changes_nothing(served):
    asked = served.ask(served.training_ids[0]).asked
    served.ledger.cancel(served.ledger.requests()[0].id, "as a test")
    request = served.ledger.add(type(asked)(**{**asdict(asked), "samples": served.training_ids}))
    assert run(served) == "0 done, 1 rejected, 0 unlearned"
    assert "would keep no training data" in served.now(request).reason
    assert (served.champion.version, served.erased) == (1, frozenset())


# --- gates -----------------------------------------------------------------------------------------------------------


def test_where_a_candidate_fails_its_gates_the_next_method_is_tried_and_at_last_retraining(served, failing, tmp_path):
    served.set(fallback=["fine_tune", "neg_grad_plus"], unlearn={"fine_tune": {"epochs": 1}})
    judged = failing()
    request = served.ask(*served.training_ids[:2])
    assert run(served) == "1 done, 0 rejected, 2 unlearned"
    assert judged == ["method", "method", "retrain"]
    assert served.now(request).outcome is Outcome.RETRAINED
    made, found = served.made(tmp_path), served.evidence(request)
    assert set(made.trained_ids) == set(served.training_ids[2:])
    assert made.extra["parents"] == []
    assert [one.method for one in found.attempts] == ["neg_grad_plus", "fine_tune"]
    assert all(one.failed and one.reason for one in found.attempts)
    assert (found.method.name, found.method.sequential, served.versions()) == ("retrain", 0, 2)
    notes = [event.payload["method"] for event in served.ledger.events() if event.kind == "gates failed"]
    assert notes == ["neg_grad_plus", "fine_tune"]


def test_where_no_method_passes_the_requests_wait_again(served, failing):
    before = served.champion
    failing(retrained=True)
    request = served.ask(*served.training_ids[:2])
    with pytest.raises(MethodsExhaustedError, match="no method gave a model that passes the gates"):
        run(served)
    waiting = served.now(request)
    assert (waiting.state, waiting.attempts, waiting.reason) == (State.RECEIVED, 1, "no method passed the gates")
    assert (served.champion, served.erased, served.versions()) == (before, frozenset(), 1)
    assert set(served.training_ids) <= served.data_ids()


def test_what_waits_after_failed_gates_is_carried_out_when_the_limits_allow_it(served, failing, monkeypatch):
    failing(retrained=True)
    request = served.ask(*served.training_ids[:2])
    with pytest.raises(MethodsExhaustedError):
        run(served)
    monkeypatch.setattr(verification, "judge", judge)
    assert run(served) == "1 done, 0 rejected, 2 unlearned"
    assert served.evidence(request).attempts == ()
    assert served.now(request).attempts == 1


def test_a_limit_of_zero_retrains_each_time(served, tmp_path):
    served.set(max_sequential=0)
    request = served.ask(served.training_ids[0])
    run(served)
    assert served.now(request).outcome is Outcome.RETRAINED
    assert served.made(tmp_path).extra["parents"] == []
    found = served.evidence(request)
    assert (found.method.name, found.method.limit, found.attempts) == ("retrain", 0, ())


# --- others at work --------------------------------------------------------------------------------------------------


def test_after_a_change_of_the_champion_the_run_begins_anew_from_the_new_one(served, monkeypatch, tmp_path):
    promote, batches, released = course.promote_candidate, [], []

    def overtaken(params_file, batch):
        batches.append(batch.id)
        if not released:
            released.append(served.store.register(other_model(served)))
            served.store.set_champion(released[0])
        return promote(params_file, batch)

    monkeypatch.setattr(course, "promote_candidate", overtaken)
    request = served.ask(*served.training_ids[:2])
    message = run(served)
    assert message.startswith("given back: ")
    assert message.endswith("; 1 done, 0 rejected, 2 unlearned")
    assert len(set(batches)) == 2
    assert (served.now(request).state, served.now(request).attempts) == (State.COMPLETED, 1)
    made, found = served.made(tmp_path), served.evidence(request)
    assert set(made.trained_ids) == set(served.training_ids[2:])
    assert [one["version"] for one in made.extra["parents"]] == [found.model.before.version] == released
    assert served.champion.version == found.model.after.version
    assert served.ledger.verify() is None


def other_model(served):
    """The id of a model that somebody trained with another seed."""
    store = served.store
    with store.stage("pretrain", store.pipeline("abc", params={})) as above:
        context = CellContext(stage="pretrain", stage_run=above.id, concurrent=False)
        cell = train_cell.fn(served.workspace, context, "original", 1)
    return store.record_by_digest(cell.sha256).model_id


def test_without_a_served_model_the_flow_says_what_to_run(served):
    served.store.connection.client.delete_registered_model_alias(SERVED, "champion")
    request = served.ask(served.training_ids[0])
    with pytest.raises(ConfigError, match="qunlearn release"):
        run(served)
    assert served.now(request).state is State.CLAIMED
    served.store.set_champion(1)
    assert run(served) == "1 done, 0 rejected, 1 unlearned"


def test_a_batch_of_another_living_worker_is_left_alone(served, monkeypatch):
    request = served.ask(served.training_ids[0])
    Ledger.open(root=served.root).claim(Worker("elsewhere", 1, "2026-01-01"))
    with pytest.raises(BusyError, match="is being carried out by process 1 on elsewhere"):
        run(served)
    assert served.now(request).state is State.CLAIMED
    assert served.champion.version == 1


def test_a_second_run_waits_for_the_first(served):
    served.ask(served.training_ids[0])
    servers_folder(served.root).mkdir(exist_ok=True)
    messages = []
    with FileLock(servers_folder(served.root) / "served-model.lock"):
        runner = threading.Thread(target=lambda: messages.append(run(served)))
        with temporary_settings(restore_defaults={PREFECT_API_URL}):
            runner.start()
        runner.join(timeout=1)
        assert runner.is_alive()
        assert served.champion.version == 1
    runner.join(timeout=300)
    assert messages == ["1 done, 0 rejected, 1 unlearned"]
