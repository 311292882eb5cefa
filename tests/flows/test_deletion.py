"""The deletion flow on a small trained model: requests in, an unlearned champion and evidence out."""

from __future__ import annotations

from dataclasses import asdict

import pytest
from deletion_project import git, run

from qunlearn.deletion.evidence import ids_digest
from qunlearn.deletion.ledger import Outcome, State
from tasks.tracking.checkpoints import MissingCheckpointError
from tasks.tracking.lineage import lineage

pytestmark = pytest.mark.usefixtures("plainly")


# --- one request -----------------------------------------------------------------------------------------------------


def test_without_a_request_the_flow_ends_at_once(served, monkeypatch):
    monkeypatch.setattr("tasks.deletion.claim_batch", None)
    assert run(served) == "nothing to do"
    assert served.champion.version == 1


def test_a_request_releases_a_model_that_was_not_trained_on_its_samples(served, tmp_path):
    asked, before = served.training_ids[:3], served.champion
    request = served.ask(*asked)
    assert run(served) == "1 request done, 0 rejected; 3 samples unlearned"
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
    assert run(served) == "1 request done, 0 rejected; 2 samples unlearned"
    model = served.store.connection.client.get_logged_model(served.champion.model_id)
    assert (model.tags["method"], model.tags["registered_method"]) == ("quick+0.1", "fine_tune")
    assert served.store.connection.client.get_run(model.source_run_id).data.params["config.epochs"] == "1"
    assert served.evidence(request).method.name == "quick+0.1"


def test_a_held_out_sample_is_erased_without_a_new_model(served, tmp_path):
    asked, before = served.split.ids("test")[0], served.champion
    request = served.ask(asked)
    assert run(served) == "1 request done, 0 rejected; 0 samples unlearned"
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
    assert run(served) == "1 request done, 0 rejected; 0 samples unlearned"
    assert (served.champion, served.data_ids(), served.erased) == (before, data, frozenset())
    found = served.evidence(request)
    assert (found.request.outcome, found.purge) == ("not present", None)
    assert "nobody" not in found.model_dump_json()


def test_what_was_erased_before_is_not_erased_again(served):
    served.ask(served.training_ids[0])
    run(served)
    before, listed = served.champion, served.workspace.erased.read_text()
    request = served.ask(served.training_ids[0])
    assert run(served) == "1 request done, 0 rejected; 0 samples unlearned"
    assert (served.champion, served.workspace.erased.read_text()) == (before, listed)
    assert served.evidence(request).request.outcome == "already erased"


# --- several requests ------------------------------------------------------------------------------------------------


def test_requests_that_wait_are_carried_out_together(served, tmp_path):
    ids, held_out = served.training_ids, served.split.ids("test")[0]
    requests = [served.ask(*ids[:2]), served.ask(*ids[1:3]), served.ask(held_out), served.ask("nobody")]
    assert run(served) == "4 requests done, 0 rejected; 3 samples unlearned"
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
    assert run(served) == "1 request done, 1 rejected; 1 sample unlearned"
    assert served.now(first).outcome == Outcome.UNLEARNED
    assert served.now(second).state is State.REJECTED
    assert "would keep no training data" in served.now(second).reason
    assert set(served.made(tmp_path).trained_ids) == set(ids[1:])


def test_an_impossible_request_alone_is_rejected_and_changes_nothing(served):
    asked = served.ask(served.training_ids[0]).asked
    served.ledger.cancel(served.ledger.requests()[0].id, "as a test")
    request = served.ledger.add(type(asked)(**{**asdict(asked), "samples": served.training_ids}))
    assert run(served) == "0 requests done, 1 rejected; 0 samples unlearned"
    assert "would keep no training data" in served.now(request).reason
    assert (served.champion.version, served.erased) == (1, frozenset())
