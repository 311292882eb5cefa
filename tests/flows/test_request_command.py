"""`qunlearn request`: what a person sees, and that it never repeats whom they named."""

import json
import os
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import small_requests as small
import typer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_requests import ERASED, IDS, TRAIN

from flows import cli, request_text
from flows.commands import request
from qunlearn.deletion.identity import Key
from qunlearn.deletion.ledger import Ledger, Outcome, State, Worker

PERSON = "jane.doe@example.org"


pytestmark = pytest.mark.usefixtures("only_this_project")


@pytest.fixture
def project(tmp_path, tmp_path_factory, monkeypatch):
    """The folder that commands run in."""
    made = small.folder_project(tmp_path / "project", small.tracking_uri(tmp_path_factory))
    monkeypatch.chdir(made)
    return made


@pytest.fixture
def plain(tmp_path, tmp_path_factory, monkeypatch):
    made = small.plain_project(tmp_path / "project", small.tracking_uri(tmp_path_factory))
    monkeypatch.chdir(made)
    return made


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs `qunlearn request` in this process: (exit code, stdout, stderr)."""
    above = typer.Typer()
    above.add_typer(request.app, name="request")
    monkeypatch.setattr(cli, "app", above)

    def runner(*arguments):
        monkeypatch.setattr(sys, "argv", ["qunlearn", "request", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            # A command that ends well returns; typer turns that into an exit with code 0.
            cli.main()
        captured = capsys.readouterr()
        return ended.value.code or 0, captured.out, captured.err

    return runner


@pytest.fixture
def refused(run):
    """Runs a command that must be refused in one line of stderr, and returns that line."""

    def runner(*arguments):
        code, out, err = run(*arguments)
        assert (code, out, len(err.splitlines())) == (1, "", 1)
        assert err.startswith("qunlearn: error: ")
        assert not re.search(r"jane|[-. ]doe\b", err, re.IGNORECASE)
        return err

    return runner


def added(run, *arguments):
    code, out, _ = run("add", *arguments, "--json")
    assert code == 0
    return json.loads(out)


def requests(root):
    return Ledger.open(root=root).requests()


# --- add -------------------------------------------------------------------------------------------------------------


def test_add_prints_the_id_what_is_asked_for_and_what_is_worth_knowing(plain, run):
    code, out, err = run("add", "--sample", TRAIN[0], "--sample", ERASED, "--sample", "jane-doe")
    (kept,) = requests(plain)
    assert (code, err) == (0, "")
    first, *told = out.splitlines()
    assert first == f"{kept.id}  2 samples, 1 unknown, due {kept.asked.due}"
    assert kept.asked.samples == (TRAIN[0], ERASED)
    assert [sentence.split(":")[0] for sentence in told] == ["Erased by an earlier request", "Not known here"]


def test_add_as_json_tells_the_same(plain, run):
    content = added(run, "--sample", TRAIN[0], "--due", "2199-01-31", "--reference", "Ticket of Jane")
    (kept,) = requests(plain)
    assert (content["id"], content["state"], content["due"]) == (kept.id, "received", "2199-01-31")
    assert (content["samples"], content["unknown"], content["told"]) == (1, 0, [])
    assert content["reference_hash"] == Key.load(plain).hashed("reference", "Ticket of Jane")


@pytest.mark.parametrize(("name", "count"), [("cat", 8), ("pet", 16)])
def test_a_class_is_added(plain, run, name, count):
    assert added(run, "--class", name)["samples"] == count


def test_a_group_is_added_under_its_hash(project, run):
    content = added(run, "--group", "7")
    assert (content["kind"], content["samples"]) == ("group", 3)
    assert content["subject_hash"] == Key.load(project).hashed("subject", "7")


def test_a_file_is_added(project, run, tmp_path):
    (tmp_path / "jane.csv").write_text("file,sample_id\ncat/0.png,s c 0\ncat/1.png,s c 1\n")
    assert added(run, "--file", tmp_path / "jane.csv")["samples"] == 2


def test_the_project_may_be_elsewhere(plain, run, monkeypatch, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert added(run, "--sample", TRAIN[0], "--params", plain / "params.yaml")["samples"] == 1
    assert os.listdir() == []


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((), "in exactly one way, not 0"),
        ((), "by samples (--sample), by a subject (--group), by a class (--class), or by a file (--file)"),
        (("--sample", TRAIN[0], "--class", "cat"), "in exactly one way, not 2"),
        (("--group", PERSON), "there is no such subject; subjects are the column `subject`"),
        (("--group", ""), "the subject is empty"),
        (("--class", "Jane"), "the classes are 'cat', 'dog'"),
        (("--sample", PERSON), r"cannot name a sample (name number 1)"),
        (("--sample", "s c 0", "--due", "tomorrow, jane"), "written as YYYY-MM-DD"),
        (("--sample", "s c 0", "--due", "2020-01-01"), "is in the past"),
        (("--sample", "s c 0", "--reference", " "), "the reference is empty"),
        (("--file", "jane.txt"), "No such file"),
        (("--file", "images"), "must be a .txt file"),
        (("--sample", "s c 0", "jane", "doe"), "2 words of the command line belong to no option"),
        (("--sample", "s c 0", "--params", "nowhere.yaml"), "nowhere.yaml: No such file"),
    ],
)
def test_add_refuses_in_one_line_and_writes_nothing(project, refused, arguments, reason):
    assert reason in refused("add", *arguments)
    assert not (project / ".qunlearn" / "ledger.db").exists()


def test_a_malformed_line_is_named_by_its_number(project, refused, tmp_path):
    (tmp_path / "jane.txt").write_text(f"cat/0.png\n# Jane\n{PERSON}\ncat/../1.png\n")
    assert "2 of the 3 names cannot name a sample (line 3, 4)" in refused("add", "--file", tmp_path / "jane.txt")


def test_all_training_samples_are_refused_with_what_to_do(plain, refused, tmp_path):
    (tmp_path / "all.txt").write_text("\n".join(TRAIN))
    assert "withdraw the served model" in refused("add", "--file", tmp_path / "all.txt")


def test_a_ledger_that_cannot_be_used_takes_no_request(plain, run, refused):
    added(run, "--sample", TRAIN[0])
    file = plain / ".qunlearn" / "ledger.db"
    file.chmod(0o644)
    assert "run chmod 600 on it" in refused("add", "--sample", TRAIN[1])
    file.chmod(0o600)
    assert len(requests(plain)) == 1
    assert Ledger.open(root=plain).verify() is None


# --- list and show ---------------------------------------------------------------------------------------------------


def test_list_has_a_line_for_each_request_the_oldest_first(plain, run):
    first, second = (added(run, "--sample", name)["id"] for name in (TRAIN[0], "jane-doe"))
    code, out, _ = run("list")
    header, *rows = out.splitlines()
    assert code == 0
    assert header.split() == ["id", "state", "age", "due", "overdue", "samples", "outcome"]
    assert [row.split()[:4] for row in rows] == [[one, "received", "0", "min"] for one in (first, second)]
    assert rows[1].endswith("0 samples, 1 unknown  -")


def test_list_as_json_has_all_but_the_samples(plain, run):
    made = added(run, "--sample", TRAIN[0])
    (listed,) = json.loads(run("list", "--json")[1])
    assert {**made, "age_seconds": 0} == {**listed, "told": [], "age_seconds": 0}
    assert TRAIN[0] not in json.dumps(listed)


def test_what_is_late_is_said(plain, run, monkeypatch):
    added(run, "--sample", TRAIN[0], "--due", f"{datetime.now(UTC):%Y-%m-%d}")

    class Later(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) + timedelta(days=2, hours=1)

    assert " overdue  1 sample" not in run("list")[1]
    monkeypatch.setattr(request, "datetime", Later)
    monkeypatch.setattr(request_text, "datetime", Later)
    row = run("list")[1].splitlines()[1]
    assert "overdue  1 sample" in row
    assert "  2 d  " in row
    assert json.loads(run("list", "--json")[1])[0]["overdue"] is True


def test_a_completed_request_shows_its_outcome(plain, run):
    name = added(run, "--sample", "jane-doe")["id"]
    ledger = Ledger.open(root=plain)
    ledger.advance(ledger.claim(Worker.current()), State.COMPLETED, outcome={name: Outcome("not present")})
    assert run("list")[1].splitlines()[1].endswith("not present")
    assert json.loads(run("show", name, "--json")[1])["outcome"] == "not present"


def test_show_tells_everything_about_one_request(plain, run):
    name = added(run, "--sample", TRAIN[0], "--sample", IDS[3], "--sample", "jane-doe")["id"]
    content = json.loads(run("show", name, "--json")[1])
    assert content["sample_ids"] == [TRAIN[0], IDS[3]]
    assert content["unknown_hashes"] == [Key.load(plain).hashed("sample", "jane-doe")]
    assert [event["kind"] for event in content["events"]] == ["received"]
    lines = run("show", name)[1].splitlines()
    assert [line for line in lines if line.startswith("samples")] == ["samples           2"]
    assert f"sample ids        {TRAIN[0]}" in lines
    assert f"                  {IDS[3]}" in lines
    assert "overdue           no" in lines
    assert (content["attempts"], [line for line in lines if "attempts" in line]) == (0, [])
    assert "times given back  0" in lines


def test_before_the_first_request_there_is_nothing_to_list(plain, refused):
    for arguments in (("list",), ("show", "r-0123456789abcdef"), ("cancel", "r-0123456789abcdef")):
        said = refused(*arguments)
        assert "there is no request yet: " in said
        assert "it is made by the first request" in said
    assert not (plain / ".qunlearn" / "ledger.db").exists()


@pytest.mark.parametrize("command", ["show", "cancel"])
def test_an_unknown_request_is_refused(plain, run, refused, command):
    added(run, "--sample", TRAIN[0])
    assert "no request r-0123456789abcdef" in refused(command, "r-0123456789abcdef")
    assert "not a request id" in refused(command, PERSON)


@pytest.mark.parametrize(
    ("age", "shown"),
    [
        (timedelta(seconds=59), "0 min"),
        (timedelta(minutes=59, seconds=59), "59 min"),
        (timedelta(hours=1), "1 h"),
        (timedelta(hours=23, minutes=59), "23 h"),
        (timedelta(days=40), "40 d"),
    ],
)
def test_ages_are_short(age, shown):
    assert request_text._short(age) == shown


# --- cancel ----------------------------------------------------------------------------------------------------------


def test_cancel_rejects_a_request_that_waits(plain, run):
    name = added(run, "--sample", TRAIN[0])["id"]
    assert run("cancel", name) == (0, f"{name} is cancelled; nothing was erased.\n", "")
    (kept,) = requests(plain)
    assert (kept.state, kept.reason) == (State.REJECTED, "cancelled: withdrawn")


def test_cancel_takes_its_reason_from_a_list(plain, run, refused):
    name = added(run, "--sample", TRAIN[0])["id"]
    assert "one of withdrawn, duplicate, mistake" in refused("cancel", name, "--reason", "Jane asked")
    assert json.loads(run("cancel", name, "--reason", "duplicate", "--json")[1])["reason"] == "cancelled: duplicate"


def test_a_request_that_is_being_carried_out_is_not_cancelled(plain, run, refused):
    name = added(run, "--sample", TRAIN[0])["id"]
    Ledger.open(root=plain).claim(Worker.current())
    assert "only a received request can be cancelled" in refused("cancel", name)


# --- hash ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("purpose", ["subject", "reference"])
def test_hash_prints_what_the_ledger_has(project, run, purpose):
    expected = Key.load(project).hashed(purpose, PERSON)
    assert run("hash", f"--{purpose}", PERSON) == (0, f"{expected}\n", "")
    assert json.loads(run("hash", f"--{purpose}", PERSON, "--json")[1]) == {"hash": expected}


@pytest.mark.parametrize("arguments", [(), ("--subject", "Jane", "--reference", "Jane"), ("--subject", "a", "jane")])
def test_hash_takes_one_text(project, refused, arguments):
    refused("hash", *arguments)


@pytest.mark.parametrize("arguments", [("hash", "--subject", "7"), ("list",), ("add", "--sample", "a")])
def test_where_no_project_is_nothing_is_made(refused, monkeypatch, tmp_path, arguments):
    monkeypatch.chdir(tmp_path)
    assert "params.yaml: No such file" in refused(*arguments)
    assert os.listdir() == []


# --- the command as a whole ------------------------------------------------------------------------------------------


def test_help_names_every_command_and_imports_no_slow_library():
    code = (
        "import sys, typer; from flows.commands.request import app\n"
        "try: app(['--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch', 'mlflow', 'prefect', 'sqlalchemy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    for name in ("add", "list", "show", "cancel", "hash"):
        assert re.search(rf"\b{name}\b", done.stdout)


def test_whoever_is_named_is_in_no_file_and_in_no_answer(project, run, tmp_path, caplog):
    """All ways in which a person can be named, and everything that is written and printed then."""
    caplog.set_level(0)
    (tmp_path / "jane.doe.txt").write_text(f"jane-doe\n# {PERSON}\n")
    (tmp_path / "jane.doe.csv").write_text(f"sample_id,who\njane-doe,{PERSON}\n{PERSON},\n")
    printed = [
        run(*arguments)
        for arguments in (
            ("add", "--group", PERSON),
            ("add", "--group", "7", "--reference", f"letter of {PERSON}"),
            ("add", "--sample", "jane-doe", "--sample", "cat/0.png", "--reference", "Jane Doe", "--json"),
            ("add", "--sample", PERSON),
            ("add", "--class", "jane-doe"),
            ("add", "--sample", "cat/0.png", "--due", "jane-doe"),
            ("add", "--file", tmp_path / "jane.doe.txt"),
            ("add", "--file", tmp_path / "jane.doe.csv"),
            ("add", PERSON),
            ("hash", "--subject", PERSON),
            ("hash", "--reference", "Jane Doe"),
            ("show", PERSON),
            ("cancel", PERSON),
            ("list",),
            ("list", "--json"),
        )
    ]
    for kept in requests(project):
        printed += [run("show", kept.id), run("show", kept.id, "--json"), run("cancel", kept.id, "--reason", PERSON)]
    assert len(requests(project)) == 3
    content = {str(path): path.read_bytes() for path in project.rglob("*") if path.is_file()}
    content["printed"], content["log"] = repr(printed).encode(), caplog.text.encode()
    assert {"ledger.db", "identity.key"} <= {Path(path).name for path in content}
    for place, text in content.items():
        assert not re.search(rb"jane|[-. ]doe\b", text, re.IGNORECASE), place


ANYTHING = st.one_of(st.binary(max_size=60), st.sampled_from([b"cat/0.png\n", b"jane-doe\n", b"sample_id\ns c 1\n"]))
HEALTH = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


@settings(max_examples=25, deadline=None, suppress_health_check=HEALTH)
@given(content=ANYTHING)
def test_no_file_makes_a_traceback(project, run, content):
    (project / "any.csv").write_bytes(content)
    before = len(requests(project)) if (project / ".qunlearn" / "ledger.db").exists() else 0
    code, _, err = run("add", "--file", "any.csv")
    assert (code, len(err.splitlines())) in ((0, 0), (1, 1))
    after = len(requests(project)) if (project / ".qunlearn" / "ledger.db").exists() else 0
    assert after == before + (code == 0)
