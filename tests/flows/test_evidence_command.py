"""`qunlearn evidence` on a project with a ledger, a signed document, and what may be wrong with either."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import subprocess
import sys
from datetime import date

import pytest
from deletion import evidence_examples as examples
from typer.testing import CliRunner

from flows.commands.evidence import app
from flows.errors import is_ours
from qunlearn.deletion import evidence as e
from qunlearn.deletion import evidence_page, receiving, signing
from qunlearn.deletion.ledger import Asked, Ledger, Outcome, State, Worker

NAME = "jane.doe@example.org"


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project with a completed request, whose evidence names the ledger's first event."""
    monkeypatch.delenv("QUNLEARN_LEDGER_URL", raising=False)
    monkeypatch.setenv(signing.VARIABLE, examples.key_text())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(receiving, "new_id", lambda _: examples.REQUEST)
    ledger = Ledger.open(root=tmp_path)
    ledger.add(Asked("sample", ("train-000001-00000000000a",), (), None, None, date(2026, 12, 21)))
    number, digest = ledger.head()
    file = store(tmp_path, ledger=e.LedgerHead(number=number, hash=digest))
    complete(ledger, {examples.REQUEST: hashlib.sha256(file.read_bytes()).hexdigest()})
    return tmp_path


def complete(ledger, digests):
    batch = ledger.claim(Worker.current())
    outcome = dict.fromkeys(digests, Outcome.UNLEARNED)
    ledger.advance(batch, State.COMPLETED, outcome=outcome, facts={"evidence": digests})


def store(root, name=examples.REQUEST, **changed):
    signed = e.sign(examples.document(**changed), signing.SigningKey.load(root))
    file = e.write_evidence(root, signed, evidence_page.render(signed))
    return file.rename(file.with_name(f"{name}.json"))


def run(*arguments):
    """Exit code, standard output, and what a person is told of an error; it is always a mistake that we know."""
    result = CliRunner().invoke(app, [str(one) for one in arguments])
    if isinstance(result.exception, ValueError):
        assert is_ours(result.exception)
        return 1, result.stdout, str(result.exception)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


def test_genuine_evidence_is_shown(project):
    code, out, _ = run("show", examples.REQUEST)
    assert code == 0
    assert out.startswith(f"# Deletion request {examples.REQUEST}: unlearned\n")
    assert "## What this does not prove" in out


def test_json_is_the_file_itself(project):
    code, out, _ = run("show", examples.REQUEST, "--json")
    assert code == 0
    assert out.encode() == e.evidence_file(project, examples.REQUEST).read_bytes()
    assert json.loads(out)["document"]["request"]["id"] == examples.REQUEST


def test_the_page_is_written_where_it_is_wanted(project):
    code, out, _ = run("show", examples.REQUEST, "--html", "page.html")
    assert (code, out) == (0, "")
    expected = e.evidence_file(project, examples.REQUEST).with_suffix(".html").read_text()
    assert (project / "page.html").read_text() == expected
    (project / "folder").mkdir()
    code, _, told = run("show", examples.REQUEST, "--html", "folder")
    assert code == 1
    assert told.startswith("the page cannot be written there")


def test_genuine_evidence_verifies_with_the_ledger(project):
    code, out, _ = run("verify", examples.REQUEST)
    assert code == 0
    assert out.splitlines() == [
        "ok     the file has the form of version 1, byte for byte",
        f"ok     signed with the trusted key {examples.key().public.id}",
        f"ok     the document is about request {examples.REQUEST}",
        "ok     event 1 of the ledger has the hash that the document names",
        f"ok     the ledger completed request {examples.REQUEST} with exactly this file",
        "The evidence is genuine.",
    ]


def test_an_auditor_needs_the_file_and_the_key_alone(project, tmp_path_factory, monkeypatch):
    elsewhere = tmp_path_factory.mktemp("auditor")
    (elsewhere / "received.json").write_bytes(e.evidence_file(project, examples.REQUEST).read_bytes())
    (elsewhere / "key.pub").write_bytes(examples.key().public.pem)
    (elsewhere / "other.pub").write_bytes(examples.key(2).public.pem)
    monkeypatch.chdir(elsewhere)
    code, out, _ = run("verify", "received.json", "--key", "key.pub")
    assert code == 0
    assert out.splitlines()[-1].startswith("The document is genuine. It was not compared with a ledger")
    code, out, told = run("verify", "received.json", "--key", "other.pub")
    assert code == 1
    assert "FAULT  signed with the key" in out
    assert "not trusted" in told
    code, _, told = run("verify", "received.json")
    assert code == 1
    assert not (elsewhere / ".qunlearn").exists()


def test_a_changed_byte_ends_with_1_and_is_not_shown(project):
    file = e.evidence_file(project, examples.REQUEST)
    file.write_bytes(file.read_bytes().replace(b'"training_samples":1240', b'"training_samples":1239'))
    code, out, told = run("verify", examples.REQUEST)
    assert code == 1
    assert "FAULT  the signature does not fit" in out
    assert told.startswith("The evidence is not genuine, or not of this project: the signature does not fit")
    for options in ([], ["--json"], ["--html", "page.html"]):
        code, out, told = run("show", examples.REQUEST, *options)
        assert (code, out) == (1, "")
        assert "cannot be trusted and is not shown: the signature does not fit" in told
    assert not (project / "page.html").exists()


def test_another_requests_document_under_this_name_is_a_fault(project):
    store(project, name="r-ffffffffffffffff", ledger=e.LedgerHead(number=1, hash=Ledger.open(root=project).head()[1]))
    for target in ("r-ffffffffffffffff", project / ".qunlearn" / "evidence" / "r-ffffffffffffffff.json"):
        code, _, told = run("verify", target)
        assert code == 1
        assert f"about another request, {examples.REQUEST}" in told


@pytest.mark.parametrize(
    ("number", "reason"), [(1, "event 1 of the ledger has another hash"), (4, "the ledger has no event 4")]
)
def test_a_ledger_that_tells_another_story_is_a_fault(project, number, reason):
    file = store(project, ledger=e.LedgerHead(number=number, hash=examples.sha("another")))
    for target in (examples.REQUEST, file):
        code, out, told = run("verify", target)
        assert code == 1
        assert f"FAULT  {reason}" in out
        assert reason in told
    assert run("verify", file, "--key", project / signing.PUBLIC)[0] == 0
    assert run("verify", examples.REQUEST, "--key", project / signing.PUBLIC)[0] == 1


def test_a_ledger_that_is_gone_is_told_and_not_made_anew(project):
    for file in (project / ".qunlearn").glob("ledger.db*"):
        file.unlink()
    code, out, told = run("verify", examples.REQUEST)
    assert code == 1
    assert "genuine" not in out
    assert told
    assert not list((project / ".qunlearn").glob("ledger.db*"))
    assert run("show", examples.REQUEST)[0] == 0


def test_another_document_signed_with_the_same_key_is_not_what_the_ledger_recorded(project):
    head = Ledger.open(root=project).head()
    file = store(project, verdict="Everything is wonderful.", ledger=e.LedgerHead(number=head[0], hash=head[1]))
    for target in (examples.REQUEST, file):
        code, out, told = run("verify", target)
        assert code == 1
        assert "genuine" not in out
        assert f"the ledger completed request {examples.REQUEST} with another document" in told


def test_evidence_of_a_request_that_is_not_completed_is_said_to_be_so(project, monkeypatch):
    monkeypatch.setattr(receiving, "new_id", lambda _: "r-ffffffffffffffff")
    ledger = Ledger.open(root=project)
    waiting = ledger.add(Asked("sample", ("train-000001-00000000000a",), (), None, None, date(2026, 12, 21)))
    head, request = ledger.head(), examples.parts()["request"].model_copy(update={"id": waiting.id})
    store(project, name=waiting.id, request=request, ledger=e.LedgerHead(number=head[0], hash=head[1]))
    code, out, told = run("verify", waiting.id)
    assert code == 1
    assert "FAULT  the ledger has not completed request r-ffffffffffffffff: its run was cut short" in out
    assert "genuine." not in out
    assert "not completed" in told


def test_a_ledger_that_was_changed_is_no_ledger_to_compare_with(project):
    with sqlite3.connect(project / ".qunlearn" / "ledger.db") as connection:
        connection.execute("DROP TRIGGER deletion_events_no_update")
        connection.execute("UPDATE deletion_events SET body = replace(body, 'sample', 'Sample')")
    code, out, told = run("verify", examples.REQUEST)
    assert (code, out) == (1, "")
    assert told.startswith("there is no sound ledger to compare with: event 1")


def test_a_pipe_is_refused_and_not_waited_for(project):
    os.mkfifo(project / "pipe.json")
    code, out, told = run("verify", "pipe.json")
    assert (code, out) == (1, "")
    assert "no regular file" in told
    code, _, told = run("verify", examples.REQUEST, "--key", "pipe.json")
    assert code == 1
    assert "no regular file" in told


def test_verifying_needs_no_private_key(project, monkeypatch):
    monkeypatch.delenv(signing.VARIABLE)
    assert not (project / signing.KEY).exists()
    assert run("verify", examples.REQUEST)[0] == 0
    assert not (project / signing.KEY).exists()


def test_a_key_of_earlier_evidence_is_trusted_after_a_rotation(project, monkeypatch):
    folder = project / signing.TRUSTED
    folder.mkdir()
    (project / signing.PUBLIC).rename(folder / "old.pub")
    monkeypatch.setenv(signing.VARIABLE, examples.key_text(2))
    signing.SigningKey.load(project)
    assert run("verify", examples.REQUEST)[0] == 0
    (folder / "old.pub").unlink()
    code, _, told = run("verify", examples.REQUEST)
    assert code == 1
    assert "not trusted" in told


@pytest.mark.parametrize("target", [NAME, f"../{NAME}", "r-0123", "", "r-ffffffffffffffff", "x" * 5000])
def test_what_is_not_there_is_one_plain_line_that_repeats_nothing(project, target):
    for command in ("show", "verify"):
        code, out, told = run(command, target)
        assert (code, out) == (1, "")
        assert told.count("\n") <= 1
        assert NAME not in told


def test_a_bad_key_is_one_plain_line(project):
    (project / "key.pub").write_text(NAME)
    for key in ("key.pub", "none.pub", "."):
        code, out, told = run("verify", examples.REQUEST, "--key", key)
        assert (code, out) == (1, "")
        assert NAME not in told


def test_help_waits_for_no_library():
    code = (
        "import sys; import flows.commands.evidence; sys.exit(any(m in sys.modules for m in ('torch', 'sqlalchemy')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
