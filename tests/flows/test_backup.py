"""deploy/backup and deploy/restore: what comes back verifies, and what was erased since is erased again."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import stat
import subprocess
import tarfile
import time
from pathlib import Path

import pytest
from deletion_project import git
from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore as RegistryDatabase
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore as TrackingDatabase
from typer.testing import CliRunner

from flows import cli
from flows import deletion as flow_module
from flows.holding import lock
from qunlearn.deletion.ledger import Ledger, Outcome
from qunlearn.deletion.purge_errors import PurgeError

DEPLOY = Path(__file__).parents[2] / "deploy"
needed = ("sqlite3", "flock", "tar")
missing = [program for program in needed if shutil.which(program) is None]

pytestmark = [
    pytest.mark.usefixtures("plainly"),
    pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}"),
]


def script(name, root, folder):
    return subprocess.run([DEPLOY / name, folder], cwd=root, capture_output=True, text=True, check=False)


def back_up(root, folder):
    done = script("backup", root, folder)
    assert done.returncode == 0, done.stderr
    return folder


def restore(root, folder):
    done = script("restore", root, folder)
    assert done.returncode == 0, done.stderr


def lose(root):
    """The disk is gone; the repository is cloned again, to where it was."""
    history = root.with_name("history")
    shutil.move(root / ".git", history)
    shutil.rmtree(root)
    # This process has the old database open, and would go on with the file that has no name any more.
    for opened in (*TrackingDatabase._engine_map.values(), *RegistryDatabase._engine_map.values()):
        opened.dispose()
    git(root.parent, "clone", "--quiet", str(history), str(root))


def qunlearn(served, *words):
    return CliRunner().invoke(cli.app, [*words, "--params", served.params_file])


def run(served):
    return flow_module.deletion.fn(served.params_file).message


def deleted(served, *samples):
    request = served.ask(*samples)
    run(served)
    return request


def test_all_that_was_verifies_after_a_restore(served, tmp_path):
    request = deleted(served, *served.training_ids[:2])
    before, erased, head = served.champion, served.erased, served.ledger.head()
    folder = back_up(served.root, tmp_path / "backup")
    lose(served.root)
    assert served.ledger.head() != head
    shutil.rmtree(served.root / ".qunlearn")
    restore(served.root, folder)
    assert served.ledger.head() == head
    verified = qunlearn(served, "ledger", "verify")
    assert (verified.exit_code, "is intact" in verified.stdout) == (0, True)
    verified = qunlearn(served, "evidence", "verify", request.id)
    assert (verified.exit_code, "The evidence is genuine." in verified.stdout) == (0, True)
    assert (served.champion, served.erased) == (before, erased)
    assert set(served.made(tmp_path).trained_ids) == set(served.training_ids[2:])
    assert qunlearn(served, "purge").exit_code == 0
    assert git(served.root, "status", "--porcelain") == ""


def test_a_deletion_goes_on_from_a_restore(served, tmp_path):
    first = deleted(served, served.training_ids[0])
    folder = back_up(served.root, tmp_path / "backup")
    lose(served.root)
    restore(served.root, folder)
    second = deleted(served, served.training_ids[1])
    assert [served.evidence(one).request.outcome for one in (first, second)] == ["unlearned", "unlearned"]
    assert served.ledger.verify() is None


def test_what_was_erased_after_the_backup_is_purged_again(served, tmp_path):
    asked = served.split.ids("test")[0]
    folder = back_up_with_a_ledger(served, tmp_path)
    deleted(served, asked)
    lose(served.root)
    restore(served.root, folder)
    assert asked in served.data_ids()
    listed = qunlearn(served, "purge", "--dry-run")
    assert "rewrite" in listed.stdout
    assert qunlearn(served, "purge").exit_code == 0
    assert asked not in served.data_ids()


def test_a_restored_champion_that_knows_erased_samples_unlearns_them_again(served, tmp_path):
    asked = served.training_ids[0]
    folder = back_up_with_a_ledger(served, tmp_path)
    deleted(served, asked)
    lose(served.root)
    restore(served.root, folder)
    assert asked in served.made(tmp_path).trained_ids
    refused = qunlearn(served, "purge")
    assert isinstance(refused.exception, PurgeError)
    assert "run the deletion flow first" in str(refused.exception)
    # As docs/operations.md says.
    assert qunlearn(served, "request", "add", "--file", str(served.workspace.erased)).exit_code == 0
    run(served)
    assert served.ledger.requests()[-1].outcome is Outcome.UNLEARNED
    assert asked not in served.made(tmp_path / "new").trained_ids
    assert asked not in served.data_ids()
    assert qunlearn(served, "purge").exit_code == 0


def back_up_with_a_ledger(served, tmp_path):
    """A backup of before: somebody has asked, for nothing that is here."""
    served.ask("nobody")
    return back_up(served.root, tmp_path / "backup")


def test_no_erased_id_is_lost_in_whichever_copy_it_is(served, tmp_path):
    deleted(served, served.split.ids("test")[0])
    folder = back_up(served.root, tmp_path / "backup")
    git(served.root, "reset", "--quiet", "--hard", "HEAD~1")
    with served.workspace.erased.open("a") as file:
        file.write("all-000000-000000000000\n")
    git(served.root, "-c", "user.name=x", "-c", "user.email=x@localhost", "commit", "--quiet", "--all", "-m", "Other")
    lose(served.root)
    restore(served.root, folder)
    assert served.workspace.erased.read_text().splitlines() == [
        "all-000000-000000000000",
        served.split.ids("test")[0],
    ]


def test_what_is_only_in_the_write_ahead_log_is_in_the_backup(served, tmp_path):
    ledger = served.ledger
    ledger.requests()
    with contextlib.closing(sqlite3.connect(served.root / ".qunlearn" / "ledger.db")) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM deletion_requests").fetchone()  # holds the log back
        request = served.ask(served.training_ids[0])
        folder = back_up(served.root, tmp_path / "backup")
        # What the documentation warns of.
        shutil.copyfile(served.root / ".qunlearn" / "ledger.db", tmp_path / "copy.db")
    assert Ledger.open(f"sqlite:///{folder / 'ledger.db'}", root=tmp_path).request(request.id)
    with contextlib.closing(sqlite3.connect(tmp_path / "copy.db")) as copy:
        assert copy.execute("SELECT count(*) FROM deletion_requests").fetchone() == (0,)


def test_a_backup_waits_for_a_deletion_and_a_restore_refuses(served, tmp_path):
    folder = back_up_with_a_ledger(served, tmp_path)
    with lock(served.root):
        waiting = subprocess.Popen([DEPLOY / "backup", tmp_path / "second"], cwd=served.root)
        time.sleep(0.5)
        assert waiting.poll() is None
        assert not (tmp_path / "second").exists()
        refused = script("restore", served.root, folder)
        assert (refused.returncode, "let it end first" in refused.stderr) == (1, True)
    assert waiting.wait(timeout=60) == 0
    assert (tmp_path / "second" / "ledger.db").exists()


def test_a_deletion_waits_for_a_backup(served, tmp_path):
    """The script's lock is the flow's."""
    lock(served.root)
    with (served.root / ".servers" / "served-model.lock").open("a") as file:
        held = subprocess.Popen(["flock", str(file.fileno())], pass_fds=[file.fileno()])
        assert held.wait(timeout=60) == 0
        assert qunlearn(served, "purge").exit_code == 1


def test_a_restore_overwrites_nothing(served, tmp_path):
    folder = back_up_with_a_ledger(served, tmp_path)
    head = served.ledger.head()
    refused = script("restore", served.root, folder)
    assert (refused.returncode, "is there: run qunlearn down" in refused.stderr) == (1, True)
    assert served.ledger.head() == head


def test_a_damaged_backup_is_refused_before_anything_is_written(served, tmp_path):
    folder = back_up_with_a_ledger(served, tmp_path)
    with (folder / "files.tar").open("r+b") as file:
        file.seek(1000)
        file.write(b"x")
    lose(served.root)
    refused = script("restore", served.root, folder)
    assert (refused.returncode, "files.tar: FAILED" in refused.stdout + refused.stderr) == (1, True)
    assert not (served.root / ".qunlearn").exists()
    assert not (served.root / "data" / "prepared").exists()


def test_nobody_else_can_read_a_backup_and_no_model_in_quarantine_is_in_it(served, tmp_path):
    deleted(served, served.split.ids("test")[0])
    (served.root / ".qunlearn" / "quarantine").mkdir()
    (served.root / ".qunlearn" / "quarantine" / "weights").write_text("x")
    folder = back_up(served.root, tmp_path / "backup")
    assert [stat.S_IMODE(path.stat().st_mode) & 0o077 for path in (folder, *folder.iterdir())] == [0] * 5
    with tarfile.open(folder / "files.tar") as files:
        names = files.getnames()
    assert not [name for name in names if "quarantine" in name or "ledger" in name]
    assert {".qunlearn/identity.key", ".qunlearn/signing.key", ".qunlearn/signing.pub"} <= set(names)


def test_what_cannot_be_backed_up_is_an_error(served, tmp_path):
    assert script("backup", tmp_path, tmp_path / "backup").returncode == 2
    assert script("backup", served.root, tmp_path / "backup").returncode != 0  # no ledger yet
    back_up_with_a_ledger(served, tmp_path / "again")
    assert "exists" in script("backup", served.root, tmp_path / "again" / "backup").stderr


@pytest.mark.servers
def test_a_ledger_in_postgresql_comes_back(postgres, served, tmp_path, monkeypatch):
    monkeypatch.setenv("QUNLEARN_LEDGER_URL", postgres.new_database())
    request = deleted(served, served.training_ids[0])
    folder, head = back_up(served.root, tmp_path / "backup"), served.ledger.head()
    lose(served.root)
    monkeypatch.setenv("QUNLEARN_LEDGER_URL", postgres.new_database())
    restore(served.root, folder)
    assert served.ledger.head() == head
    assert qunlearn(served, "evidence", "verify", request.id).exit_code == 0
    lose(served.root)
    assert script("restore", served.root, folder).returncode == 1  # into a database that has a ledger
    assert served.ledger.head() == head


def test_a_restore_overwrites_no_ledger_elsewhere(served, tmp_path, monkeypatch):
    folder = back_up_with_a_ledger(served, tmp_path)
    elsewhere = tmp_path / "elsewhere.db"
    monkeypatch.setenv("QUNLEARN_LEDGER_URL", f"sqlite:///{elsewhere}")
    ledger = Ledger.open(root=served.root)
    ledger.requests()
    kept = elsewhere.read_bytes()
    lose(served.root)
    refused = script("restore", served.root, folder)
    assert (refused.returncode, f"{elsewhere} is there" in refused.stderr) == (1, True)
    assert elsewhere.read_bytes() == kept
    elsewhere.unlink()
    log = elsewhere.with_name("elsewhere.db-wal")
    log.touch()
    refused = script("restore", served.root, folder)
    assert (refused.returncode, f"{log} is there" in refused.stderr) == (1, True)
    for left in tmp_path.glob("elsewhere.db-*"):
        left.unlink()
    restore(served.root, folder)
    assert len(Ledger.open(root=served.root, must_exist=True).requests()) == 1
