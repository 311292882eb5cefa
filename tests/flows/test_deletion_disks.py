"""Full disks and closed folders: each stops the deletion in one line at some state, and the next run goes on there."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import permission_bits
import pytest
from deletion_project import Served, git, run, told_by

from flows.errors import is_ours
from qunlearn.deletion.ledger import Outcome, State

MOUNT = (
    "unshare",
    "--mount",
    "--propagation",
    "private",
    "sh",
    "-c",
    'mount -t tmpfs -o size=48m none "$0" && exec "$@"',
)
"""Runs a program in a view of the file systems of its own, where the first argument is a small disk."""


@contextmanager
def closed(path: Path) -> Iterator[None]:
    """What is there can be read, but not written."""
    paths = [path, *(below for below in path.rglob("*") if below.is_dir())] if path.is_dir() else [path]
    modes = {one: one.stat().st_mode for one in paths}
    for one in paths:
        one.chmod(0o500 if one.is_dir() else 0o400)
    try:
        with permission_bits.binding():
            yield
    finally:
        for one, mode in modes.items():
            one.chmod(mode)


def refused(served: Served) -> str:
    with pytest.raises(ValueError, match=r"\w") as failed:
        run(served)
    assert is_ours(failed.value), repr(failed.value)
    assert len(str(failed.value).splitlines()) == 1
    assert not [one for one in served.training_ids if one in str(failed.value)]
    return str(failed.value)


@pytest.mark.usefixtures("plainly")
def test_one_closed_folder_after_the_other_only_delays_a_deletion(served):
    root, request = served.root, served.ask(*served.training_ids[:2])
    (root / ".qunlearn" / "evidence").mkdir()
    before = served.champion
    story = (
        (".qunlearn", r"the ledger .* readonly database", State.RECEIVED),
        ("mlartifacts", r"mlartifacts/.*: Permission denied; .*it goes on", State.CLAIMED),
        ("data/erased.txt", r"data/erased\.txt: Permission denied; .*it goes on", State.PROMOTED),
        (".git", r"erased\.txt: git cannot add it", State.PROMOTED),
        ("data", r"prepared.*: Permission denied; .*it goes on", State.PROMOTED),
        ("mlartifacts", r"Permission denied; .*it goes on", State.PROMOTED),
        (".qunlearn/evidence", r"evidence.*Permission denied; .*it goes on", State.PURGED),
    )
    for place, told, state in story:
        with closed(root / place):
            said = [refused(served) for _ in range(2)]
        assert all(re.search(told, one) for one in said), (place, said)
        assert served.now(request).state is state, place
        assert (served.champion == before) is (state in (State.RECEIVED, State.CLAIMED))
        assert served.now(request).outcome is None
        assert served.ledger.verify() is None
    assert run(served) == "1 request done, 0 rejected; 2 samples unlearned"
    assert served.now(request).outcome is Outcome.UNLEARNED
    assert served.evidence(request).purge.scan.found == 0
    assert served.erased == set(request.asked.samples)
    assert not served.data_ids() & served.erased
    assert (served.champion.version, served.versions()) == (2, 2)
    assert len(git(root, "log", "--format=%s").splitlines()) == 2


def may_mount(folder: Path) -> bool:
    return (
        shutil.which("unshare") is not None
        and not subprocess.run([*MOUNT, str(folder), "true"], capture_output=True, check=False).returncode
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["disk", "limit"])
def test_on_a_full_disk_a_deletion_waits_and_goes_on(trained, tmp_path, kind):
    folder = tmp_path / "small"
    folder.mkdir()
    if kind == "disk" and not may_mount(folder):
        pytest.skip("no small disk: this user may not mount one")
    mounted = (*MOUNT, str(folder)) if kind == "disk" else ()
    found = told_by("deletion_full_disk", str(trained), str(folder), kind, folder=tmp_path, before=mounted)
    for one in found["told"]:
        assert len(one["error"].splitlines()) == 1
        assert not [name for name in found["ids"] if name in one["error"]]
        released = one["state"] in ("promoted", "purged")
        assert (one["fault"], one["outcome"], one["champion"]) == ("", None, 2 if released else 1)
        # Nobody is called erased who is still in the data after the purge, and nobody is erased before the release.
        assert one["erased"] in ((0, 2) if released else (0,))
        assert one["listed"] == 0 or one["state"] != "purged"
    assert [one["state"] for one in found["told"]] == [
        "received",
        "claimed",
        "unlearned",
        "verified",
        "promoted",
        "purged",
    ]
    last = found["last"]
    assert last["message"] == "1 request done, 0 rejected; 2 samples unlearned"
    assert (last["state"], last["outcome"], last["champion"], last["whole"]) == ("completed", "unlearned", 2, True)
    assert (last["erased"], last["listed"], last["fault"], last["git"]) == (2, 0, "", "")
    assert len(last["evidence"]) == 2
