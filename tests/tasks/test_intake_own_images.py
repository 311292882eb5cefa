"""Requests about the user's own images and their subjects, of which nobody is stored."""

import re
import shutil
from pathlib import Path

import pytest
import small_requests as small
from small_requests import PERSON, ask, refusal, samples

from qunlearn.config import ImageFolderSource
from qunlearn.data import imageset, sources
from qunlearn.deletion.identity import Key
from qunlearn.deletion.names import IntakeError
from tasks.intake import Submission, take_in

pytestmark = pytest.mark.usefixtures("only_this_project")


@pytest.fixture
def project(tmp_path, tmp_path_factory):
    return small.plain_project(tmp_path / "project", small.tracking_uri(tmp_path_factory))


@pytest.fixture
def folder(tmp_path, tmp_path_factory):
    """A project with images of its own."""
    return small.folder_project(tmp_path / "project", small.tracking_uri(tmp_path_factory))


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
