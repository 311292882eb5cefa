"""Where evidence lies, and that it is written whole or not at all."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from deletion import evidence_examples as examples
from hypothesis import given, settings
from hypothesis import strategies as st

from qunlearn.deletion import evidence as e

TESTS = Path(__file__).parents[1]


def test_document_and_page_lie_side_by_side_for_their_owner_alone(tmp_path):
    file = e.write_evidence(tmp_path, examples.signed(), "<!doctype html>é")
    assert file == tmp_path / ".qunlearn" / "evidence" / f"{examples.REQUEST}.json"
    assert e.read_evidence(file) == examples.signed().content
    assert file.with_suffix(".html").read_text(encoding="utf-8") == "<!doctype html>é"
    for path in (file, file.with_suffix(".html")):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert len(list(file.parent.iterdir())) == 2


@pytest.mark.parametrize(
    "name",
    [
        "../../etc/passwd",
        "r-0123456789abcdef/../x",
        "/etc/passwd",
        "",
        "r-0123456789abcdef.json",
        "Jane Doe",
        "r-" + "0" * 17,
    ],
)
def test_no_other_place_can_be_named(tmp_path, name):
    assert not e.is_request_id(name)
    with pytest.raises(e.EvidenceError, match="not a request: ") as error:
        e.evidence_file(tmp_path, name)
    assert not name or name not in str(error.value)


@settings(deadline=None)
@given(st.text())
def test_whatever_is_named_stays_in_its_folder(tmp_path_factory, name):
    root = tmp_path_factory.getbasetemp()
    try:
        file = e.evidence_file(root, name)
    except e.EvidenceError:
        return
    assert file.resolve().parent == (root / ".qunlearn" / "evidence").resolve()


@pytest.mark.parametrize("killed_in", ["html", "json"])
def test_what_a_killed_writer_left_half_written_goes_with_the_next(tmp_path, killed_in):
    folder = tmp_path / ".qunlearn" / "evidence"
    write = f"""
import os, signal, sys
from pathlib import Path
from deletion import evidence_examples
from qunlearn.deletion import evidence, private_files
def die(path, target):
    if path.name.startswith(".{examples.REQUEST}.{killed_in}."):
        os.kill(os.getpid(), signal.SIGKILL)
    os.rename(path, target)
Path.replace = die
evidence.write_evidence(Path(sys.argv[1]), evidence_examples.signed(), "page")
"""
    paths = os.pathsep.join(map(str, (TESTS, TESTS.parent)))
    command = [sys.executable, "-c", write, str(tmp_path)]
    assert subprocess.run(command, env=os.environ | {"PYTHONPATH": paths}).returncode == -signal.SIGKILL
    assert len([path for path in folder.iterdir() if path.name.endswith(".writing")]) == 1
    other = folder / f".{examples.REQUEST[:-1]}x.json.0123456789abcdef.writing"
    other.touch()
    file = e.write_evidence(tmp_path, examples.signed(), "page")
    assert set(folder.iterdir()) == {file, file.with_suffix(".html"), other}


def test_where_the_document_is_the_page_is_too(tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr("qunlearn.deletion.evidence.files.replace", lambda file, *_, **__: written.append(file.suffix))
    e.write_evidence(tmp_path, examples.signed(), "page")
    assert written == [".html", ".json"]


def test_a_run_that_died_between_both_is_simply_repeated(tmp_path, monkeypatch):
    def die(*_):
        raise KeyboardInterrupt

    first = examples.signed()
    file = e.write_evidence(tmp_path, first, "page")
    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.replace", die)
        with pytest.raises(KeyboardInterrupt):
            e.write_evidence(tmp_path, examples.signed(verdict="Another."), "another")
    assert (e.read_evidence(file), file.with_suffix(".html").read_text()) == (first.content, "page")
    assert len(list(file.parent.iterdir())) == 2
    e.write_evidence(tmp_path, examples.signed(verdict="Another."), "another")
    assert b"Another." in e.read_evidence(file)


@pytest.mark.parametrize(
    "other",
    [
        {"batch": e.Batch(id="b-0000000000000000", requests=2)},
        {"outcome": "already erased"},
        {"content": b"no evidence"},
    ],
)
def test_evidence_is_never_replaced_by_that_of_another_batch_or_outcome(tmp_path, other):
    there = other.pop("content", None) or examples.signed(other.pop("outcome", "unlearned"), **other).content
    file = e.evidence_file(tmp_path, examples.REQUEST)
    file.parent.mkdir(parents=True)
    file.write_bytes(there)
    file.with_suffix(".html").write_text("its page")
    with pytest.raises(e.EvidenceError, match=r"is there already and .* never replaced: .*move the file to "):
        e.write_evidence(tmp_path, examples.signed(), "another page")
    assert (file.read_bytes(), file.with_suffix(".html").read_text()) == (there, "its page")


def test_what_cannot_be_read_is_one_plain_line(tmp_path, monkeypatch):
    with pytest.raises(e.EvidenceError, match="a request has it once it is completed"):
        e.read_evidence(tmp_path / "none.json")
    with pytest.raises(e.EvidenceError, match="cannot be read: it is no regular file"):
        e.read_evidence(tmp_path)
    os.mkfifo(tmp_path / "pipe.json")
    with pytest.raises(e.EvidenceError, match="cannot be read: it is no regular file"):
        e.read_evidence(tmp_path / "pipe.json")
    monkeypatch.setattr("qunlearn.deletion.evidence.files.LARGEST", 10)
    (tmp_path / "large.json").write_bytes(bytes(11))
    with pytest.raises(e.EvidenceError, match="more than 10 bytes"):
        e.read_evidence(tmp_path / "large.json")


def test_a_page_goes_where_a_person_wants_it(tmp_path):
    e.write_page(tmp_path / "page.html", "text")
    assert (tmp_path / "page.html").read_text() == "text"
    with pytest.raises(e.EvidenceError, match="cannot be written there: Is a directory"):
        e.write_page(tmp_path, "text")
