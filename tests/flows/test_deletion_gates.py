"""What the deletion flow does where a candidate fails its gates."""

from __future__ import annotations

from dataclasses import replace

import pytest
from deletion_project import PARAMS, run

from qunlearn.data import imageset
from qunlearn.deletion.gates import judge
from qunlearn.deletion.ledger import Outcome, State
from tasks.cells import CellContext
from tasks.deletion import verification
from tasks.deletion.setbacks import MethodsExhaustedError
from tasks.training import train_cell

pytestmark = pytest.mark.usefixtures("plainly")


@pytest.fixture
def failing(monkeypatch):
    """Let candidates fail a gate: those of methods, or of retraining too. Call it; it gives what was judged."""
    judged = []

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


def test_where_a_candidate_fails_its_gates_the_next_method_is_tried_and_at_last_retraining(served, failing, tmp_path):
    served.set(fallback=["fine_tune", "neg_grad_plus"], unlearn={"fine_tune": {"epochs": 1}})
    judged = failing()
    request = served.ask(*served.training_ids[:2])
    assert run(served) == "1 request done, 0 rejected; 2 samples unlearned"
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
    assert run(served) == "1 request done, 0 rejected; 2 samples unlearned"
    found = served.evidence(request)
    assert found.attempts == ()
    # The retrained model that was refused is still in the store, and no reference.
    assert not [gate for gate in found.gates if gate.name.startswith("reference")]
    assert served.now(request).attempts == 1


def test_a_limit_of_zero_retrains_each_time(served, tmp_path):
    served.set(max_sequential=0)
    request = served.ask(served.training_ids[0])
    run(served)
    assert served.now(request).outcome is Outcome.RETRAINED
    assert served.made(tmp_path).extra["parents"] == []
    found = served.evidence(request)
    assert (found.method.name, found.method.limit, found.attempts) == ("retrain", 0, ())
    assert not [one for one in found.limits if "normalised" in one]


def normalisation(made):
    return tuple(made.extra["interface"]["mean"]), tuple(made.extra["interface"]["std"])


def test_a_retrained_model_is_normalised_by_the_images_that_are_left_and_judged_so(served, tmp_path, monkeypatch):
    before, transforms = normalisation(served.made(tmp_path / "before")), []
    infer = verification.infer

    def watched(model, pool, *args, **options):
        transforms.append((pool.transform.mean, pool.transform.std))
        return infer(model, pool, *args, **options)

    monkeypatch.setattr(verification, "infer", watched)
    served.set(max_sequential=0)
    # One for training and one held out: neither may stay in mean and deviation.
    served.ask(*served.training_ids[:20], served.split.ids("test")[0])
    run(served)
    after = normalisation(served.made(tmp_path / "after"))
    meta = imageset.load(served.workspace.prepared).meta
    assert after == (meta.mean, meta.std) != before
    assert set(transforms) == {before, after}


def test_an_unlearned_model_keeps_its_normalisation_and_its_evidence_says_so(served, tmp_path):
    before = normalisation(served.made(tmp_path / "before"))
    request = served.ask(*served.training_ids[:20])
    run(served)
    assert served.now(request).outcome is Outcome.UNLEARNED
    assert normalisation(served.made(tmp_path / "after")) == before
    assert [one for one in served.evidence(request).limits if "by which images are normalised" in one]


def forget_set(served):
    """The samples that the split forgets, after the pipeline has retrained a model without them."""
    with served.store.stage("retrain", served.store.pipeline("abc", params={})) as above:
        train_cell.fn(served.workspace, CellContext("retrain", above.id, concurrent=False), "retrain", 0)
    return served.split.ids("train", "forget")


def test_a_retrained_model_in_the_store_is_a_reference(served):
    asked = forget_set(served)
    served.set(gates={**PARAMS["deletion"]["gates"], "reference_margin": 100})
    request = served.ask(*asked)
    assert run(served) == f"1 request done, 0 rejected; {len(asked)} samples unlearned"
    found = served.evidence(request)
    assert {"reference_forget", "reference_retain", "reference_test"} <= {gate.name for gate in found.gates}
    assert all(metric.retrained is not None for metric in found.metrics)


def test_a_model_that_was_trained_on_other_samples_is_no_reference(served):
    request = served.ask(*forget_set(served)[1:])
    run(served)
    assert not [gate for gate in served.evidence(request).gates if gate.name.startswith("reference")]


def test_a_model_that_was_trained_with_other_settings_is_no_reference(served):
    asked = forget_set(served)
    path = served.root / "params.yaml"
    path.write_text(path.read_text().replace("learning_rate: 0.05", "learning_rate: 0.04"))
    request = served.ask(*asked)
    run(served)
    assert not [gate for gate in served.evidence(request).gates if gate.name.startswith("reference")]
