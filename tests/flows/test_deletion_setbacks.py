"""What the deletion flow does where others are at work, or something is lost between its steps."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
from deletion_project import run
from filelock import FileLock

from flows.servers import folder as servers_folder
from qunlearn.data import imageset
from qunlearn.data.erased import append_erased
from qunlearn.deletion.ledger import BusyError, Ledger, Outcome, State, Worker
from tasks import preparation
from tasks.cells import CellContext
from tasks.deletion import course
from tasks.deletion.service import Service
from tasks.deletion.setbacks import CandidateError, MissingImagesError
from tasks.training import train_cell

pytestmark = pytest.mark.usefixtures("plainly")


@pytest.fixture
def before(monkeypatch):
    """Let something happen once, right before a step of the flow."""

    def arrange(step, happens):
        original, happened = getattr(course, step), []

        def disturbed(params_file, batch):
            if not happened:
                happened.append(batch.id)
                happens(batch)
            return original(params_file, batch)

        monkeypatch.setattr(course, step, disturbed)
        return happened

    return arrange


def other_model(served):
    """The id of a model that somebody trained with another seed."""
    store = served.store
    with store.stage("pretrain", store.pipeline("abc", params={})) as above:
        context = CellContext(stage="pretrain", stage_run=above.id, concurrent=False)
        cell = train_cell.fn(served.workspace, context, "original", 1)
    return store.record_by_digest(cell.sha256).model_id


def release_another(served):
    served.store.set_champion(served.store.register(other_model(served), tags={"origin": "a test"}))


# --- another champion ------------------------------------------------------------------------------------------------


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
    assert message.endswith("; 1 request done, 0 rejected; 2 samples unlearned")
    assert len(set(batches)) == 2
    assert (served.now(request).state, served.now(request).attempts) == (State.COMPLETED, 1)
    made, found = served.made(tmp_path), served.evidence(request)
    assert set(made.trained_ids) == set(served.training_ids[2:])
    assert [one["version"] for one in made.extra["parents"]] == [found.model.before.version] == released
    assert served.champion.version == found.model.after.version
    assert served.ledger.verify() is None


def test_where_nothing_was_to_be_unlearned_a_change_of_the_champion_begins_anew_too(served, before):
    before("erase_samples", lambda _: release_another(served))
    held_out = served.split.ids("test")[0]
    request = served.ask(held_out)
    message = run(served)
    assert message.startswith("given back: version 1 was served when the batch was planned, and version 2 is now")
    assert message.endswith("; 1 request done, 0 rejected; 0 samples unlearned")
    assert (served.now(request).outcome, served.now(request).attempts) == (Outcome.NOT_TRAINED, 1)
    assert (served.champion.version, served.erased) == (2, {held_out})


def test_samples_that_are_listed_already_may_be_purged_under_another_champion_that_never_saw_them(served, before):
    before("purge_batch", lambda _: release_another(served))
    held_out = served.split.ids("test")[0]
    request = served.ask(held_out)
    assert run(served) == "1 request done, 0 rejected; 0 samples unlearned"
    assert (served.now(request).outcome, served.now(request).attempts) == (Outcome.NOT_TRAINED, 0)
    assert held_out not in served.data_ids()


def test_a_champion_that_came_before_the_purge_and_was_trained_on_the_samples_has_to_unlearn_them(
    served, before, monkeypatch, tmp_path
):
    # A sample that a request named before the served model knew it; nobody but this test releases such a model.
    asked, base = served.training_ids[0], served.champion
    smaller = served.made(tmp_path / "whole").trained_ids[1:]
    fetch = Service.fetch
    told = {"trained": smaller}

    def knowing(self, digest, *, model_id):
        found = fetch(self, digest, model_id=model_id)
        return replace(found, trained_ids=told["trained"]) if digest == base.digest else found

    monkeypatch.setattr(Service, "fetch", knowing)

    def learned(_):
        told["trained"] = served.training_ids
        release_another(served)

    before("purge_batch", learned)
    request = served.ask(asked)
    assert run(served) == (
        "given back: version 2 is served now, which was trained on 1 of the samples; 1 request done, 0 rejected; "
        "1 sample unlearned"
    )
    assert served.now(request).outcome is Outcome.UNLEARNED
    assert asked not in served.made(tmp_path).trained_ids
    assert asked not in served.data_ids()


def test_a_change_of_the_champion_before_the_batch_is_planned_costs_nothing(served, before):
    before("plan_batch", lambda _: release_another(served))
    request = served.ask(served.training_ids[0])
    assert run(served) == "1 request done, 0 rejected; 1 sample unlearned"
    assert served.evidence(request).model.before.version == 2


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
        runner.start()
        runner.join(timeout=1)
        assert runner.is_alive()
        assert served.champion.version == 1
    runner.join(timeout=300)
    assert messages == ["1 request done, 0 rejected; 1 sample unlearned"]


# --- other data ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["unlearn_batch", "verify_candidate"])
def test_a_plan_that_the_data_no_longer_fit_is_made_anew(served, before, step):
    asked, unknown = served.training_ids[0], "all-999999-0123456789ab"
    before(step, lambda _: append_erased(served.workspace.erased, [unknown]))
    request = served.ask(asked, unknown)
    assert run(served) == (
        "given back: the prepared data or data/erased.txt were changed since the batch was planned; "
        "1 request done, 0 rejected; 1 sample unlearned"
    )
    assert served.now(request).attempts == 1
    assert served.evidence(request).request.counts.already_erased == 1


def test_images_that_the_model_is_to_keep_must_be_there(served):
    whole = imageset.load(served.workspace.prepared)
    lost = served.training_ids[5]
    imageset.save(whole.select([one != lost for one in whole.ids]), served.workspace.prepared)
    preparation.split.fn(served.workspace)
    request = served.ask(served.training_ids[0])
    with pytest.raises(MissingImagesError, match=r"trained on 1 images that are to be kept, .*; bring them back"):
        run(served)
    waiting = served.now(request)
    assert (waiting.state, waiting.reason) == (State.RECEIVED, "images of the served model are missing")
    assert (served.champion.version, served.erased) == (1, frozenset())
    imageset.save(whole, served.workspace.prepared)
    preparation.split.fn(served.workspace)
    assert run(served) == "1 request done, 0 rejected; 1 sample unlearned"


def test_a_request_waits_for_images_that_are_gone_and_is_not_rejected(served):
    whole = imageset.load(served.workspace.prepared)
    lost = served.training_ids[0]
    imageset.save(whole.select([one != lost for one in whole.ids]), served.workspace.prepared)
    preparation.split.fn(served.workspace)
    request = served.ask(lost)
    with pytest.raises(MissingImagesError, match=r"trained on 1 of the samples asked for whose images are no longer"):
        run(served)
    assert served.now(request).state is State.RECEIVED
    imageset.save(whole, served.workspace.prepared)
    preparation.split.fn(served.workspace)
    assert run(served) == "1 request done, 0 rejected; 1 sample unlearned"


def test_what_would_leave_nothing_to_measure_on_is_rejected_alone(served):
    validation = served.split.ids("validation")
    first, all_of_them, last = (
        served.ask(validation[0]),
        served.ask(*validation[1:]),
        served.ask(served.training_ids[0]),
    )
    assert run(served) == "2 requests done, 1 rejected; 1 sample unlearned"
    assert [served.now(one).state for one in (first, all_of_them, last)] == [
        State.COMPLETED,
        State.REJECTED,
        State.COMPLETED,
    ]
    assert "all validation images would be erased" in served.now(all_of_them).reason
    assert served.erased == {validation[0], served.training_ids[0]}


# --- a lost candidate ------------------------------------------------------------------------------------------------


def damage(served, model_id):
    """Change one byte of a model's weights."""
    (path,) = (served.root / "mlartifacts").rglob(f"**/{model_id}/**/*.safetensors")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("step", ["verify_candidate", "promote_candidate"])
def test_a_candidate_that_is_damaged_is_never_served_and_is_made_anew(served, before, step, tmp_path):
    before(step, lambda batch: damage(served, batch.facts["candidate"]["model_id"]))
    request = served.ask(served.training_ids[0])
    with pytest.raises(CandidateError, match="the next run makes the model anew"):
        run(served)
    waiting = served.now(request)
    assert (waiting.state, waiting.reason) == (State.RECEIVED, "the new model was lost or damaged")
    assert served.champion.version == 1
    assert run(served) == "1 request done, 0 rejected; 1 sample unlearned"
    assert served.champion.version > 1
    assert served.training_ids[0] not in served.made(tmp_path).trained_ids


def test_a_model_that_breaks_while_it_is_released_gives_way_to_the_earlier_one(served, monkeypatch):
    store = type(served.store)
    promoted = store.set_champion

    def breaking(self, version, **options):
        promoted(self, version, **options)
        if version != 1:
            damage(served, self.champion().model_id)

    monkeypatch.setattr(store, "set_champion", breaking)
    request = served.ask(served.training_ids[0])
    with pytest.raises(CandidateError):
        run(served)
    assert served.champion.version == 1
    assert served.now(request).state is State.RECEIVED
    monkeypatch.setattr(store, "set_champion", promoted)
    assert run(served) == "1 request done, 0 rejected; 1 sample unlearned"


# --- what evidence says of others' files -----------------------------------------------------------------------------


def test_a_file_that_names_a_person_is_counted_and_not_named(served):
    asked = served.training_ids[0]
    (served.root / "data" / "jane-doe.txt").write_text(asked)
    request = served.ask(asked)
    run(served)
    outside = served.evidence(request).outside_custody
    assert "file, the project's folder: 1, listed by `qunlearn purge --dry-run`" in outside
    assert not [line for line in outside if "jane" in line]
