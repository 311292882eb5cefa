"""A request is one transaction, about samples that the project knows; everything else is refused."""

import shutil
import threading
from datetime import UTC, date, datetime, timedelta

import pytest
import small_requests as small
from small_requests import COUNT, ERASED, GONE, IDS, PERSON, TRAIN, ask, refusal, samples

from qunlearn.data import imageset
from qunlearn.data.atomic import replaced_folder
from qunlearn.deletion.identity import Key
from qunlearn.deletion.ledger import Ledger, State
from qunlearn.deletion.names import IntakeError
from tasks import known_samples
from tasks.intake import Submission, submit
from tasks.tracking import TrackingError

pytestmark = pytest.mark.usefixtures("only_this_project")


@pytest.fixture
def project(tmp_path, tmp_path_factory):
    return small.plain_project(tmp_path / "project", small.tracking_uri(tmp_path_factory))


# --- into the ledger -------------------------------------------------------------------------------------------------


def test_a_request_is_in_the_ledger_as_it_was_asked(project):
    submitted = ask(project, samples=[TRAIN[0], "jane-doe"], reference="Ticket 7", due=date(2199, 1, 31))
    (request,) = Ledger.open(root=project).requests()
    key = Key.load(project)
    assert request == submitted.request
    assert request.state is State.RECEIVED
    assert (request.asked.kind, request.asked.samples) == ("sample", (TRAIN[0],))
    assert request.asked.unknown == (key.hashed("sample", "jane-doe"),)
    assert request.asked.reference == key.hashed("reference", "Ticket 7")
    assert (request.asked.subject, request.asked.due) == (None, date(2199, 1, 31))
    assert any("Not known here: 1 name" in sentence for sentence in submitted.told)


def test_without_a_due_date_it_is_due_in_a_month(project):
    days = ask(project, samples=[TRAIN[0]]).request.asked.due - datetime.now(UTC).date()
    assert timedelta(27) <= days <= timedelta(31)


@pytest.mark.parametrize("name", [IDS[0], IDS[3], GONE, ERASED])
def test_images_that_are_prepared_trained_on_or_erased_are_known(project, name):
    assert samples(project, samples=[name]) == {name}


def test_a_single_name_may_be_given_as_text(project):
    assert samples(project, samples=TRAIN[0]) == {TRAIN[0]}


def test_names_can_come_from_a_file(project, tmp_path):
    (tmp_path / "ids.csv").write_text(f"sample_id\n{TRAIN[0]}\n{IDS[3]}\n")
    submitted = ask(project, file=str(tmp_path / "ids.csv"))
    assert (submitted.request.asked.kind, set(submitted.request.asked.samples)) == ("file", {TRAIN[0], IDS[3]})


def test_without_an_erased_list_nothing_is_erased(project):
    (project / "data" / "erased.txt").unlink()
    assert ask(project, samples=[ERASED]).request.asked.unknown


@pytest.mark.parametrize(
    "named",
    [
        {},
        {"samples": []},
        {"samples": [TRAIN[0]], "class_name": "cat"},
        {"subject": PERSON, "class_name": "cat"},
        {"file": "jane.txt", "samples": [TRAIN[0]]},
    ],
)
def test_samples_are_named_in_exactly_one_way(project, named):
    assert "in exactly one way, not" in refusal(project, **named)


@pytest.mark.parametrize("field", ["subject", "reference"])
def test_whoever_passes_a_clear_text_for_a_hash_is_refused(field):
    content = {"samples": (TRAIN[0],)} if field == "reference" else {}
    with pytest.raises(IntakeError, match="64 hexadecimal digits") as error:
        Submission(**content, **{field: PERSON})
    assert "jane" not in str(error.value)


def test_a_date_in_the_past_is_refused(project):
    assert "is in the past" in refusal(project, samples=[TRAIN[0]], due=date(2020, 1, 1))


@pytest.mark.parametrize("name", [PERSON, "jane/../../1.png", "jane doe"])
def test_what_cannot_name_a_sample_is_refused(project, name):
    assert "1 of the 2 names cannot name a sample (name number 2)" in refusal(project, samples=[TRAIN[0], name])


def test_a_folder_without_a_project_is_left_alone(tmp_path):
    with pytest.raises(ValueError, match=r"params\.yaml: No such file"):
        submit(tmp_path / "params.yaml", samples=[TRAIN[0]])
    assert list(tmp_path.iterdir()) == []


def test_a_project_that_was_not_ingested_takes_no_request(project, monkeypatch):
    monkeypatch.setattr(known_samples, "LOOKS", 2)
    shutil.rmtree(project / "data" / "prepared")
    assert "run the ingest stage" in refusal(project, samples=[TRAIN[0]])


def test_damaged_images_are_told_at_once(project):
    (project / "data" / "prepared" / "labels.npy").write_bytes(b"")
    with pytest.raises(ValueError, match=r"labels\.npy: truncated"):
        ask(project, samples=[TRAIN[0]])


def test_while_the_models_cannot_be_asked_no_request_is_taken(project, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(TrackingError, match=r"127\.0\.0\.1:9"):
        ask(project, samples=[TRAIN[0]])
    assert not (project / ".qunlearn" / "ledger.db").exists()


# --- while prepared data are replaced --------------------------------------------------------------------------------


def test_a_folder_that_is_away_for_a_moment_is_waited_for(project):
    prepared, aside = project / "data" / "prepared", project / "data" / "aside"
    prepared.rename(aside)
    back = threading.Timer(0.25, lambda: aside.rename(prepared))
    back.start()
    try:
        assert samples(project, samples=[TRAIN[0]]) == {TRAIN[0]}
    finally:
        back.join()


def test_a_folder_that_was_replaced_while_it_was_read_is_read_again(project, monkeypatch):
    prepared = project / "data" / "prepared"
    kept = imageset.load(prepared).select([n != 0 for n in range(COUNT)])
    read = imageset.load
    calls = []

    def slow(folder):
        image_set = read(folder)
        if not calls:
            with replaced_folder(prepared):
                pass
            imageset.save(kept, prepared)
        calls.append(len(image_set))
        return image_set

    monkeypatch.setattr(imageset, "load", slow)
    assert len(known_samples.prepared_images(prepared)) == COUNT - 1
    assert calls == [COUNT, COUNT - 1]
