"""What killed processes left goes with a purge, what others may use stays."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from filelock import FileLock

from qunlearn.data.erased import append_erased
from qunlearn.deletion.purge import Action
from qunlearn.deletion.purge_errors import PurgeError
from qunlearn.deletion.purge_inventory import SCRATCH, TEMPORARY
from qunlearn.deletion.traces import Traces
from tasks.leftovers import find_leftovers, remove_leftover
from tasks.purging import close, plan_purge, purge
from tasks.temporary import temporary_folder
from tasks.tracking import processes

DIES = """
import os, sys, signal, shutil
from pathlib import Path
from tasks.temporary import temporary_folder
with temporary_folder(Path(sys.argv[1])) as folder:
    for source in sys.argv[2:]:
        shutil.copy(source, folder)
    print(folder.parent, flush=True)
    input()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def killed(root: Path, temporary: Path, *sources: Path, waits: bool = False) -> tuple[Path, subprocess.Popen[bytes]]:
    """The temporary folder of another process of a project, with copies in it; the process is dead unless it waits."""
    command = [sys.executable, "-c", DIES, str(root), *map(str, sources)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    process = subprocess.Popen(command, env=os.environ | {"TMPDIR": str(temporary)}, **pipes)
    folder = Path(process.stdout.readline().decode().strip())
    assert folder.parent == temporary
    if not waits:
        process.communicate(b"\n")
        assert process.returncode == -9
    return folder, process


@pytest.fixture
def foreign(temporary, erased):
    """Makes a folder that has our name for such folders and holds an erased id, but is not ours."""

    def make(name: str, *further: str) -> Path:
        folder = temporary / f"qunlearn-{name}"
        for path in ("thesis/chapter1.tex", *further):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text("three years of work\n")
        (folder / "ids.txt").write_text(f"{erased.gone[0]}\n")
        for path in folder.rglob("*"):
            os.utime(path, (time.time() - 86_400,) * 2)
        return folder

    return make


def test_temporary_folders_of_killed_processes_go(erased, temporary):
    lists = erased.workspace.prepared / "ids.txt"
    dead, _ = killed(erased.root, temporary, lists)
    # Half of a download shows no trace.
    half = temporary / "half"
    half.write_bytes(b"half of the weights")
    traceless, _ = killed(erased.root, temporary, half)
    alive, process = killed(erased.root, temporary, lists, waits=True)
    report = purge(erased.workspace, models="purge")
    assert report.is_complete
    assert {entry.name for entry in report.plan.of(Action.REMOVE, kind=TEMPORARY)} == {dead.name, traceless.name}
    (young,) = report.plan.of(Action.OUTSIDE, kind=TEMPORARY)
    assert (young.name, "in use by a process of this project" in young.why) == (alive.name, True)
    assert (dead.exists(), traceless.exists(), alive.exists()) == (False, False, True)
    process.communicate(b"\n")
    close(erased.workspace)
    assert [entry.name for entry in purge(erased.workspace, models="purge").plan.to_do] == [alive.name]


def test_folders_of_others_stay_and_are_told_however_old_they_are(erased, foreign, temporary):
    folder = foreign("experiments")
    other, _ = killed(erased.root.parent, temporary, erased.workspace.prepared / "ids.txt")
    shutil.copytree(erased.workspace.prepared, temporary / "another")
    (temporary / "qunlearn-link").symlink_to(temporary / "another")
    report = purge(erased.workspace, models="purge")
    assert report.is_complete
    assert report.plan.of(Action.REMOVE, kind=TEMPORARY) == ()
    told = {entry.name: entry.why for entry in report.plan.of(Action.OUTSIDE, kind=TEMPORARY)}
    assert told.keys() == {folder.name, other.name}
    assert told[folder.name].startswith("holds 1 erased id; not a temporary folder of this project")
    assert (folder / "thesis" / "chapter1.tex").exists()
    assert (temporary / "another" / "images.npy").exists()


@pytest.mark.parametrize("inner", ["work/.git/HEAD", "params.yaml"])
def test_a_folder_that_holds_a_project_stays_even_with_our_mark(erased, foreign, temporary, inner):
    dead, _ = killed(erased.root, temporary)
    folder = foreign("project", inner)
    shutil.copy(dead / "owner.json", folder)
    report = purge(erased.workspace, models="purge")
    assert [entry.name for entry in report.plan.of(Action.OUTSIDE, kind=TEMPORARY)] == [folder.name]
    assert (folder / inner).exists()
    with pytest.raises(PurgeError, match="no folder that a purge of this project may remove"):
        remove_leftover(erased.workspace, TEMPORARY, str(folder))
    assert (folder / inner).exists()


def test_a_project_in_such_a_folder_never_removes_itself(erased, temporary):
    home = temporary / "qunlearn-demo"
    shutil.copytree(erased.root, home / "deep")
    (home / "ids.txt").write_text(erased.gone[0])
    (home / "deep" / "params.yaml").unlink()
    moved = replace(erased.workspace, root=home / "deep")
    with temporary_folder(moved.root) as made:
        shutil.copy(made.parent / "owner.json", home)
    found = find_leftovers(moved, Traces(frozenset(erased.gone)), recorded=frozenset())
    assert [item.name for item in found.items if item.kind == TEMPORARY] == []
    assert home.name in {one.name for one in found.outside}
    for target in (home, home / "deep" / "data"):
        with pytest.raises(PurgeError, match="no folder that a purge"):
            remove_leftover(moved, TEMPORARY, str(target))
    assert (home / "deep" / "data").exists()


def test_a_removal_that_was_killed_goes_on(erased, temporary, monkeypatch):
    dead, _ = killed(erased.root, temporary, erased.workspace.prepared / "ids.txt")
    real = Path.unlink

    def dies(path: Path, **options: bool) -> None:
        real(path, **options)
        if path.name == "owner.json":
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", dies)
        with pytest.raises(KeyboardInterrupt):
            purge(erased.workspace, models="purge")
    assert list(dead.iterdir()) == []
    assert purge(erased.workspace, models="purge").is_complete
    assert not dead.exists()


def test_logits_and_downloads_of_killed_processes_go(erased):
    home = erased.root / ".qunlearn"
    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    running = f"purge-{other.pid}-{processes._digest(processes._start(other.pid))}-ghi"
    for name in ("stage-abc", "purge-def", running):
        (home / name).mkdir(parents=True)
        (home / name / "original-0.npz").write_bytes(b"logits")
    shutil.copytree(erased.workspace.prepared, erased.root / "data" / ".prepared.retired")
    report = purge(erased.workspace, models="purge")
    assert report.is_complete
    names = {entry.name for entry in report.plan.of(Action.REMOVE) if entry.kind in (TEMPORARY, SCRATCH)}
    assert names == {"stage-abc", "purge-def"}
    assert not (erased.root / "data" / ".prepared.retired").exists()
    # Somebody else looks at what a purge would do.
    assert [path.name for path in home.iterdir() if path.is_dir()] == [running]
    other.communicate(b"\n")


def test_data_that_a_killed_writer_left_half_replaced_are_named_and_settled(project):
    append_erased(project.workspace.erased, ["all-999999-0123456789ab"])
    purge(project.workspace, models="purge", because="before")
    shutil.copytree(project.workspace.prepared, project.root / "data" / ".prepared.retired")
    (entry,) = plan_purge(project.workspace, models="purge").to_do
    assert (entry.name, entry.why) == ("data/prepared", "is half replaced")
    assert purge(project.workspace, models="purge", because="after").is_complete
    assert not (project.root / "data" / ".prepared.retired").exists()


def test_logits_that_a_running_stage_uses_stop_the_purge(erased):
    folder = erased.root / ".qunlearn" / "stage-abc"
    folder.mkdir(parents=True)
    with FileLock(folder / "owned.lock"), pytest.raises(PurgeError, match="a stage is at work in it"):
        purge(erased.workspace, models="purge")
    assert purge(erased.workspace, models="purge").is_complete
