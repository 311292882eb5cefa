"""The commit of the list of erased ids: in this project's repository, in time, and of the list itself."""

from __future__ import annotations

import time

import pytest
from deletion_project import Served, copied, git, run

from flows import processes
from flows.errors import is_ours
from qunlearn.deletion.ledger import State
from tasks.deletion import course, erasing
from tasks.deletion.erasing import CommitError
from tasks.deletion.purge import PurgeIncompleteError

pytestmark = pytest.mark.usefixtures("plainly")


def log(root):
    return git(root, "log", "--format=%s").splitlines()


def test_variables_of_another_git_command_lead_nowhere_else(served, trained, tmp_path, monkeypatch):
    other = copied(trained, tmp_path / "other")
    with monkeypatch.context() as patch:
        # As git sets them for a hook, or for what `git rebase --exec` runs.
        patch.setenv("GIT_DIR", str(other / ".git"))
        patch.setenv("GIT_INDEX_FILE", str(other / ".git" / "index"))
        patch.setenv("GIT_WORK_TREE", str(other))
        request = served.ask(*served.training_ids[:2])
        assert run(served) == "1 request done, 0 rejected; 2 samples unlearned"
    assert (len(log(served.root)), len(log(other))) == (2, 1)
    assert git(served.root, "status", "--porcelain") == git(other, "status", "--porcelain") == ""
    assert served.evidence(request).digests.erased_commit == git(served.root, "rev-parse", "HEAD")


def test_a_hook_that_hangs_is_told_and_the_next_run_commits(served, monkeypatch):
    hook = served.root / ".git" / "hooks" / "pre-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho $$ > hook.pid\nexec sleep 300\n")
    hook.chmod(0o700)
    request = served.ask(*served.training_ids[:2])
    with monkeypatch.context() as patch:
        patch.setattr(erasing, "GIT_SECONDS", 2.0)
        with pytest.raises(CommitError) as told:
            run(served)
    assert is_ours(told.value)
    assert str(told.value) == (
        "data/erased.txt: git did not end within 2 s; a hook, a signing program or a lock may hold it; end or mend "
        "it, then let the deletion run again"
    )
    assert (served.now(request).state, log(served.root)) == (State.PROMOTED, ["The project"])
    hook_process, patience = int((served.root / "hook.pid").read_text()), time.monotonic() + 30.0
    while processes.start_time(hook_process) is not None:
        assert time.monotonic() < patience
        time.sleep(0.05)
    hook.unlink()
    assert run(served) == "1 request done, 0 rejected; 2 samples unlearned"
    assert served.evidence(request).digests.erased_commit == git(served.root, "rev-parse", "HEAD")


def test_a_link_that_came_after_the_plan_is_refused_before_anything_is_written(served, monkeypatch):
    request, erase = served.ask(*served.training_ids[:2]), erasing.append_erased
    served.workspace.erased.rename(served.root / "kept.txt")
    served.workspace.erased.symlink_to("../kept.txt")
    with monkeypatch.context() as patch:
        patch.setattr(erasing, "append_erased", None)
        patch.setattr("tasks.deletion.planning.check_is_file", lambda _: None)
        with pytest.raises(CommitError, match=r"erased\.txt: is a link"):
            run(served)
    assert (served.now(request).state, log(served.root)) == (State.PROMOTED, ["The project"])
    assert (served.root / "kept.txt").read_bytes() == b""
    served.workspace.erased.unlink()
    (served.root / "kept.txt").rename(served.workspace.erased)
    assert run(served) == "1 request done, 0 rejected; 2 samples unlearned"
    assert git(served.root, "show", "HEAD:data/erased.txt").splitlines() == sorted(request.asked.samples)
    assert erase is erasing.append_erased


def test_without_a_repository_there_is_no_commit(trained, tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    served = Served(copied(trained, tmp_path / "plain"))
    (served.root / ".git").rename(tmp_path / "away.git")
    request = served.ask(served.training_ids[0])
    assert run(served) == "1 request done, 0 rejected; 1 sample unlearned"
    assert served.evidence(request).digests.erased_commit is None


UNUSABLE = {
    "damaged": ("[core\n", "git cannot use the repository of "),
    "status fails": ("[status]\n\tshowUntrackedFiles = bogus\n", "git cannot tell whether it was changed"),
    "log fails": ("[log]\n\tdate = bogus\n", "git does not tell in which commit it is"),
}


@pytest.mark.parametrize("what", UNUSABLE)
def test_a_repository_that_git_cannot_use_is_told_and_no_other_commit_is_named(served, what):
    added, told = UNUSABLE[what]
    config = served.root / ".git" / "config"
    sound = config.read_text()
    request = served.ask(*served.training_ids[:2])
    config.write_text(sound + added)
    with pytest.raises(CommitError, match=told):
        run(served)
    config.write_text(sound)
    assert served.now(request).state is State.PROMOTED
    assert run(served) == "1 request done, 0 rejected; 2 samples unlearned"
    head = git(served.root, "rev-parse", "HEAD")
    assert served.evidence(request).digests.erased_commit == head
    assert git(served.root, "show", f"{head}:data/erased.txt").splitlines() == sorted(request.asked.samples)


@pytest.mark.parametrize("earlier", [0, 1])
def test_a_list_that_lacks_the_batchs_samples_again_stops_the_purge(served, monkeypatch, earlier):
    """Somebody checks out another branch while the purge waits for a store."""
    for sample in served.training_ids[:earlier]:
        served.ask(sample)
        run(served)
    request = served.ask(*served.training_ids[earlier : earlier + 2])
    with monkeypatch.context() as patch:
        patch.setattr(course, "purge_batch", down)
        with pytest.raises(ConnectionError):
            run(served)
    branch = git(served.root, "branch", "--show-current")
    git(served.root, "checkout", "--quiet", "HEAD~1")
    with pytest.raises(PurgeIncompleteError, match=r"data/erased\.txt lacks 2 samples of b-"):
        run(served)
    assert served.now(request).state is State.PROMOTED
    git(served.root, "checkout", "--quiet", branch)
    assert run(served) == "1 request done, 0 rejected; 2 samples unlearned"
    assert not served.data_ids() & set(request.asked.samples)


def down(*_):
    raise ConnectionError("the remote does not answer")
