"""Git runs in the folder that is named, for a limited time, and leaves nothing behind."""

from __future__ import annotations

import os
import subprocess
import time

import pytest

from tasks.git import GitError, git, own_environment, repository_of


@pytest.fixture
def repository(tmp_path):
    subprocess.run(["git", "init", "--quiet", "mine"], cwd=tmp_path, check=True)
    return tmp_path / "mine"


def slow(repository, script):
    """Make `git waits` run a shell script."""
    command = ["git", "config", "alias.waits", f"!{script}"]
    subprocess.run(command, cwd=repository, check=True)


def test_what_git_prints(repository, tmp_path):
    assert git(repository, "rev-parse", "--show-toplevel", timeout=30) == str(repository.resolve())
    assert git(repository, "rev-parse", "--verify", "HEAD", timeout=30) is None


def test_without_git_there_is_nothing(repository, monkeypatch):
    monkeypatch.setenv("PATH", str(repository))
    assert git(repository, "status", timeout=30) is None


def test_a_repository_is_known_where_git_looks_for_it(repository, tmp_path, monkeypatch):
    below = repository / "a" / "b"
    below.mkdir(parents=True)
    assert repository_of(repository) == repository_of(below) == repository.resolve()
    (repository / ".git" / "config").write_text("[core")
    assert git(below, "rev-parse", "--show-toplevel", timeout=30) is None
    assert repository_of(below) == repository.resolve()
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", f"/somewhere{os.pathsep}{repository.resolve()}")
    assert repository_of(below) is None
    assert repository_of(repository) == repository.resolve()
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.resolve().parent))
    assert repository_of(tmp_path) is None


@pytest.mark.parametrize("name", ["GIT_DIR", "GIT_WORK_TREE", "GIT_COMMON_DIR"])
def test_another_repository_in_the_environment_is_not_used(repository, tmp_path, monkeypatch, name):
    subprocess.run(["git", "init", "--quiet", "other"], cwd=tmp_path, check=True)
    other = tmp_path / "other"
    monkeypatch.setenv(name, str(other if name == "GIT_WORK_TREE" else other / ".git"))
    assert git(repository, "rev-parse", "--show-toplevel", timeout=30) == str(repository.resolve())
    assert git(repository, "rev-parse", "--git-common-dir", timeout=30) == ".git"


def test_of_gits_variables_only_those_stay_that_name_no_repository():
    settings = {"GIT_CONFIG_GLOBAL": "g", "GIT_AUTHOR_NAME": "a", "GIT_CEILING_DIRECTORIES": "/x", "HOME": "/h"}
    others = ("GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_CONFIG_PARAMETERS", "GIT_PREFIX", "GIT_AUTHOR_DATE")
    assert own_environment(settings | dict.fromkeys(others, "x")) == settings


@pytest.mark.parametrize("script", ["sleep 60", "sleep 60 & wait", "trap '' TERM; sleep 60 & wait; sleep 60"])
def test_after_its_time_git_is_ended_with_what_it_started(repository, monkeypatch, script):
    monkeypatch.setattr("tasks.git.GRACE", 0.5)
    slow(repository, f"echo $$ > {repository}/pid; {script}")
    begun = time.monotonic()
    with pytest.raises(GitError, match=r"^git did not end within 1 s; [^\n]*$"):
        git(repository, "waits", timeout=1)
    assert time.monotonic() - begun < 20
    left = subprocess.run(
        ["ps", "-o", "stat=", "-p", (repository / "pid").read_text().strip()],
        capture_output=True,
        text=True,
        check=False,
    )
    # Who ended, and was not yet waited for by init, is a zombie.
    assert left.stdout.strip() in ("", "Z", "Zs")


def test_git_asks_nobody(repository):
    slow(repository, "cat")
    assert git(repository, "waits", timeout=30) == ""
