"""The tags of a run tell where it comes from, and leave out what does not apply."""

import platform
import subprocess
import sys

import pytest

from tasks.context import run_context


def git(folder, *arguments):
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path, monkeypatch):
    monkeypatch.delenv("DVC_STAGE", raising=False)
    git(tmp_path, "init", "--quiet")
    (tmp_path / "file").write_text("1")
    git(tmp_path, "add", "file")
    return tmp_path


def test_a_clean_commit_is_named(repository):
    git(repository, "commit", "--quiet", "--no-verify", "-m", "first")
    tags = run_context(repository)
    assert tags["git_commit"] == git(repository, "rev-parse", "HEAD")
    assert tags["mlflow.source.git.commit"] == tags["git_commit"]
    assert tags["git_dirty"] == "false"


def test_uncommitted_changes_are_marked_and_untracked_files_are_not(repository):
    git(repository, "commit", "--quiet", "--no-verify", "-m", "first")
    (repository / "new").write_text("")
    assert run_context(repository)["git_dirty"] == "false"
    (repository / "file").write_text("2")
    assert run_context(repository)["git_dirty"] == "true"


def test_without_a_commit_there_is_no_commit_tag(repository):
    assert "git_commit" not in run_context(repository)


def test_outside_of_git_there_are_no_git_tags(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert not [tag for tag in run_context(tmp_path) if "git" in tag]


def test_without_git_installed_there_are_no_git_tags(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not [tag for tag in run_context(tmp_path) if "git" in tag]


def test_the_dvc_stage_and_the_digests_it_depends_on_are_named(repository, monkeypatch):
    (repository / "dvc.yaml").write_text("stages: {unlearn: {cmd: x, deps: [data/splits]}}")
    (repository / "dvc.lock").write_text("stages: {split: {outs: [{path: data/splits, md5: abc.dir}]}}")
    assert "dvc_stage" not in run_context(repository)
    monkeypatch.setenv("DVC_STAGE", "unlearn")
    tags = run_context(repository)
    assert tags["dvc_stage"] == "unlearn"
    assert tags["dvc_dep.data/splits"] == "abc.dir"


def test_a_flow_run_is_named_where_there_is_one(tmp_path, monkeypatch):
    monkeypatch.setenv("PREFECT__FLOW_RUN_ID", "11111111-2222-3333-4444-555555555555")
    import prefect.runtime  # noqa: F401 - a flow has imported it
    from prefect.settings import PREFECT_UI_URL, temporary_settings

    with temporary_settings({PREFECT_UI_URL: "http://127.0.0.1:4200"}):
        tags = run_context(tmp_path)
    assert tags["prefect_flow_run_id"] == "11111111-2222-3333-4444-555555555555"
    assert tags["prefect_flow_run_url"].endswith("11111111-2222-3333-4444-555555555555")


def test_outside_of_a_flow_there_are_no_flow_tags(tmp_path, monkeypatch):
    monkeypatch.delenv("PREFECT__FLOW_RUN_ID", raising=False)
    assert not [tag for tag in run_context(tmp_path) if tag.startswith("prefect")]


def test_versions_and_processor_are_named_and_all_values_are_text(tmp_path):
    tags = run_context(tmp_path)
    assert tags["version_python"] == platform.python_version()
    assert {"version_torch", "version_brevitas", "version_mlflow", "version_prefect", "version_dvc"} <= tags.keys()
    assert tags["hardware_cpu"]
    assert int(tags["hardware_cores"]) >= 1
    assert all(isinstance(value, str) for value in tags.values())


def test_asking_for_the_context_imports_neither_mlflow_nor_prefect(tmp_path):
    code = (
        "import sys; from pathlib import Path; from tasks.context import run_context; import tasks.fingerprint;"
        f"run_context(Path({str(tmp_path)!r}));"
        "print([m for m in ('mlflow', 'prefect', 'torch', 'dvc') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
