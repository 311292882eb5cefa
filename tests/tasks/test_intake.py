"""Names are looked up in a project: its images, its models, the user's own folder; the request is one transaction."""

import re
import shutil
import threading
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
import small_requests as small
from small_requests import COUNT, ERASED, GONE, IDS, TRAIN

from qunlearn.config import ImageFolderSource, load
from qunlearn.data import imageset, sources
from qunlearn.data.atomic import replaced_folder
from qunlearn.deletion.identity import Key
from qunlearn.deletion.ledger import Ledger, State
from qunlearn.deletion.names import IntakeError
from tasks import known_samples
from tasks.intake import Submission, submit, take_in
from tasks.tracking import TrackingError

PERSON = "jane.doe@example.org"


@pytest.fixture(autouse=True)
def _only_this_project(monkeypatch):
    for name in ("MLFLOW_TRACKING_URI", "QUNLEARN_KEY", "QUNLEARN_LEDGER_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def project(tmp_path, tmp_path_factory):
    return small.plain_project(tmp_path / "project", small.tracking_uri(tmp_path_factory))


@pytest.fixture
def folder(tmp_path, tmp_path_factory):
    """A project with images of its own."""
    return small.folder_project(tmp_path / "project", small.tracking_uri(tmp_path_factory))


def ask(root, **named):
    return submit(root / "params.yaml", **named)


def samples(root, **named):
    return set(ask(root, **named).request.asked.samples)


def refusal(root, **named):
    """Why it is refused; nothing is written then."""
    ledger = root / ".qunlearn" / "ledger.db"
    before = len(Ledger.open(root=root).requests()) if ledger.exists() else None
    with pytest.raises(IntakeError) as error:
        ask(root, **named)
    assert (len(Ledger.open(root=root).requests()) if ledger.exists() else None) == before
    assert "jane" not in str(error.value)
    return str(error.value)


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


# --- the whole set, and classes --------------------------------------------------------------------------------------


def test_all_that_the_champion_was_trained_on_is_refused(project):
    assert f"all {len(TRAIN)} training samples" in refusal(project, samples=TRAIN)
    assert len(samples(project, samples=TRAIN[1:])) == len(TRAIN) - 1


def test_before_any_champion_the_training_part_of_the_split_counts(project, monkeypatch):
    monkeypatch.setattr(known_samples, "_models", lambda *_: (frozenset(), frozenset()))
    with monkeypatch.context() as patch:
        patch.setattr(known_samples, "_next_training", lambda _: frozenset(TRAIN[:3]))
        assert "all 3 training samples" in refusal(project, samples=TRAIN[:3])
    assert samples(project, samples=TRAIN[:3]) == set(TRAIN[:3])
    assert f"all {COUNT} training samples" in refusal(project, samples=IDS)


def test_the_training_part_is_read_from_the_split(project):
    from qunlearn.config import RandomScenario, SplitConfig
    from qunlearn.data.splits import make_split, save_split

    assert known_samples._next_training(project / "data" / "splits") == frozenset()
    split = make_split(
        imageset.load(project / "data" / "prepared"),
        SplitConfig(scenario=RandomScenario(fraction=0.1), seed=3),
        target="fine",
        erased=frozenset(),
        erased_digest="0" * 64,
    )
    save_split(split, project / "data" / "splits")
    assert known_samples._next_training(project / "data" / "splits") == frozenset(split.ids("train"))


@pytest.mark.parametrize(("name", "labels"), [("cat", {0}), ("owl", {2}), ("pet", {0, 1})])
def test_a_class_or_superclass_is_all_its_images_held_out_ones_too(project, name, labels):
    expected = {one for n, one in enumerate(IDS) if n % 3 in labels}
    submitted = ask(project, class_name=name)
    assert set(submitted.request.asked.samples) == expected
    assert any(one.startswith("test-") for one in expected)
    assert (submitted.request.asked.kind, submitted.request.asked.classes) == ("class", (name,))


def test_what_a_class_request_leaves_is_told(project):
    assert ask(project, class_name="cat").told == ("The class 'cat' keeps no sample.",)


def test_what_is_erased_but_still_prepared_is_not_what_a_class_keeps(project):
    cats = [one for n, one in enumerate(IDS) if n % 3 == 0]
    (project / "data" / "erased.txt").write_text(f"{cats[0]}\n")
    assert ask(project, samples=cats[1:]).told == ("The class 'cat' keeps no sample.",)


def test_a_class_that_loses_its_training_samples_one_by_one_is_warned_about(project):
    cats = [one for n, one in enumerate(IDS) if n % 3 == 0 and one.startswith("train")]
    (warning,) = ask(project, samples=cats).told
    assert warning.startswith("Warning: the class 'cat' keeps no training sample, but 2 that are held out")


def test_the_classes_that_are_warned_about_are_those_of_the_task(project):
    text = (project / "params.yaml").read_text()
    coarse = load(project / "params.yaml").data.model_copy(update={"source": "digits", "target": "coarse"})
    (project / "params.yaml").write_text(text.replace("source: digits", f"source: digits\n  target: {coarse.target}"))
    assert ask(project, class_name="cat").told == ()
    assert ask(project, class_name="pet").told == ("The class 'pet' keeps no sample.",)


def test_an_unknown_class_is_refused_with_the_names_of_all(project):
    assert refusal(project, class_name="jane") == (
        "there is no such class; the classes are 'cat', 'dog', 'owl', 'wild', 'pet'"
    )


def test_of_many_classes_the_first_twenty_are_named(project):
    path = project / "data" / "prepared" / "meta.json"
    more = ", ".join(f'"c{n}"' for n in range(30))
    path.write_text(path.read_text().replace('"owl"', f'"owl", {more}'))
    message = refusal(project, class_name="jane")
    assert message.count("'") == 40
    assert message.endswith(", and 15 more in meta.json")


def test_a_class_of_which_nothing_is_left_is_refused(project):
    path = project / "data" / "prepared" / "meta.json"
    path.write_text(path.read_text().replace('"owl"', '"owl", "emu"'))
    assert "no prepared image of this class is left" in refusal(project, class_name="emu")


@pytest.mark.parametrize(("name", "fits"), [("wild", True), ("pet", False)])
def test_a_class_that_is_called_like_a_superclass_must_have_the_same_samples(project, name, fits):
    path = project / "data" / "prepared" / "meta.json"
    path.write_text(path.read_text().replace('"owl"', f'"{name}"'))
    if fits:
        assert len(samples(project, class_name=name)) == COUNT // 3
    else:
        assert "have this name" in refusal(project, class_name=name)


# --- the user's own images -------------------------------------------------------------------------------------------


def test_own_images_are_named_by_path_by_sample_id_and_by_id(folder):
    ids = small.ids_by_file(folder)
    submitted = ask(folder, samples=["cat/2.png", "s d 3", ids["dog/0.png"]])
    assert submitted.request.asked.samples == (ids["cat/2.png"], ids["dog/3.png"], ids["dog/0.png"])
    assert submitted.told == ()


def test_without_sample_ids_own_images_are_named_by_path(folder):
    rows = (line.split(",") for line in (folder / "people.csv").read_text().splitlines())
    (folder / "people.csv").write_text("\n".join(f"{file},{subject}" for file, _, subject in rows))
    small.ingest(folder)
    ids = small.ids_by_file(folder)
    assert ask(folder, samples=["dog/2.png"]).request.asked.samples == (ids["dog/2.png"],)
    assert samples(folder, subject="8") == {ids["dog/1.png"]}


def test_without_a_table_own_images_have_paths_and_no_subjects(folder):
    text = (folder / "params.yaml").read_text()
    (folder / "params.yaml").write_text(text.replace("metadata: people.csv", "metadata: null"))
    imageset.save(
        sources.read(ImageFolderSource(source="image_folder", root=folder / "images")), folder / "data/prepared"
    )
    assert samples(folder, samples=["dog/2.png"]) == {small.ids_by_file(folder)["dog/2.png"]}
    assert "knows no subjects" in refusal(folder, subject="7")


@pytest.mark.parametrize("name", ["cat/9.png", "../people.csv", "/etc/passwd", "cat/../dog/0.png", "s d 9", "cat", "."])
def test_a_path_that_is_no_image_of_the_folder_names_nothing(folder, name):
    try:
        asked = ask(folder, samples=[name]).request.asked
    except IntakeError:
        return
    assert (asked.samples, len(asked.unknown)) == ((), 1)


def test_an_image_that_was_changed_is_recorded_as_it_is_now(folder):
    ids = small.ids_by_file(folder)
    small.draw(folder, "cat/0.png", 200)
    submitted = ask(folder, samples=["cat/0.png"])
    (now,) = submitted.request.asked.samples
    assert now not in ids.values()
    assert "1 image, not ingested or changed since" in " ".join(submitted.told)


def test_without_the_folder_only_ids_are_known(folder):
    ids = small.ids_by_file(folder)
    shutil.rmtree(folder / "images")
    assert samples(folder, samples=[ids["cat/0.png"]]) == {ids["cat/0.png"]}
    assert "cannot name a sample" in refusal(folder, samples=["cat/0.png"])


def test_a_broken_table_is_refused_without_repeating_it(folder):
    (folder / "people.csv").write_text("file,subject\njane/1.png,jane\n")
    assert "`python -m flows.ingest` says what is wrong" in refusal(folder, samples=["cat/0.png"])


def test_an_image_that_cannot_be_read_is_refused(folder, monkeypatch):
    read = Path.read_bytes

    def failing(path):
        if path.suffix == ".png":
            raise OSError(5, "Input/output error")
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", failing)
    assert "cannot be read: Input/output error" in refusal(folder, subject="7")


# --- subjects --------------------------------------------------------------------------------------------------------

OF_SUBJECT_7 = ("cat/0.png", "cat/1.png", "dog/0.png")


@pytest.mark.parametrize("subject", ["7", "007", " 7 "])
def test_a_subject_is_all_its_images_and_is_kept_as_a_hash(folder, subject):
    ids = small.ids_by_file(folder)
    asked = ask(folder, subject=subject).request.asked
    assert set(asked.samples) == {ids[file] for file in OF_SUBJECT_7}
    assert (asked.kind, asked.subject) == ("group", Key.load(folder).hashed("subject", "7"))


def test_a_subject_can_be_given_by_its_hash_alone(folder):
    submission = Submission(subject=Key.load(folder).hashed("subject", "8"))
    asked = take_in(submission, params_file=folder / "params.yaml").request.asked
    assert asked.samples == (small.ids_by_file(folder)["dog/1.png"],)


def test_images_that_were_changed_or_removed_since_are_found_by_what_was_prepared(folder):
    ids = small.ids_by_file(folder)
    small.draw(folder, "cat/0.png", 200)
    (folder / "images" / "cat" / "1.png").unlink()
    table = (folder / "people.csv").read_text().splitlines()
    (folder / "people.csv").write_text("\n".join(line for line in table if "cat/1.png" not in line))
    submitted = ask(folder, subject="7")
    assert {ids[file] for file in OF_SUBJECT_7} < set(submitted.request.asked.samples)
    assert len(submitted.request.asked.samples) == 4
    assert "1 image, not ingested or changed since" in " ".join(submitted.told)


def test_a_subject_that_left_the_folder_is_found_by_what_was_prepared(folder):
    ids = small.ids_by_file(folder)
    shutil.rmtree(folder / "images")
    assert samples(folder, subject="7") == {ids[file] for file in OF_SUBJECT_7}


def test_a_table_without_subjects_when_it_was_ingested_is_enough_now(folder):
    table = (folder / "people.csv").read_text()
    ids = small.ids_by_file(folder)
    (folder / "data" / "prepared" / "subjects.npy").unlink()
    assert (folder / "people.csv").read_text() == table
    assert samples(folder, subject="7") == {ids[file] for file in OF_SUBJECT_7}


@pytest.mark.parametrize(
    "change", [("cat/0.png,s c 0,7", "cat/0.png,s c 0,9"), ("dog/1.png,s d 1,8", "dog/1.png,s d 1,7")]
)
def test_a_table_that_was_numbered_anew_is_refused(folder, change):
    text = (folder / "people.csv").read_text()
    assert change[0] in text
    (folder / "people.csv").write_text(text.replace(*change))
    assert "1 of these images to another subject" in refusal(folder, subject="7")


def test_an_unknown_subject_is_refused_without_repeating_it(folder):
    assert "there is no such subject; subjects are the column" in refusal(folder, subject=PERSON)


def test_a_source_without_subjects_says_where_they_come_from(project):
    assert "knows no subjects; subjects are the column `subject` of the table" in refusal(project, subject=PERSON)


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


# --- nobody is stored ------------------------------------------------------------------------------------------------


def test_no_file_of_the_project_holds_who_asked(folder, capfd, caplog):
    caplog.set_level(0)
    names = (PERSON, "Jane Doe", "jane-doe", "Ticket of Jane")
    ask(folder, samples=["cat/0.png", "jane-doe"], reference="Ticket of Jane")
    refusal(folder, subject=PERSON)
    refusal(folder, samples=["Jane Doe"])
    ask(folder, subject="7", reference="Ticket of Jane")
    written = {path: path.read_bytes() for path in (folder / ".qunlearn").rglob("*") if path.is_file()}
    captured = capfd.readouterr()
    written["stdout"], written["stderr"], written["log"] = (
        text.encode() for text in (captured.out, captured.err, caplog.text)
    )
    assert any(path for path in written if str(path).endswith("ledger.db"))
    for place, content in written.items():
        for name in names:
            assert not re.search(re.escape(name.encode()), content, re.IGNORECASE), place
