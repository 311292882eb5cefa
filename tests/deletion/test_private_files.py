"""Small files that matter: written whole or not at all, never through a link."""

from __future__ import annotations

import os
import stat

import pytest

from qunlearn.deletion.private_files import PrivateFileError, create, read_key_file, replace


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("write", [create, replace])
@pytest.mark.parametrize("umask", [0, 0o022, 0o077])
def test_a_file_has_the_mode_that_was_asked_for(tmp_path, write, umask):
    old = os.umask(umask)
    try:
        write(tmp_path / "new" / "file", b"content", mode=0o640)
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "new" / "file").stat().st_mode) == 0o640
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700
    assert names(tmp_path / "new") == ["file"]


def test_create_leaves_what_is_there_and_replace_does_not(tmp_path):
    file = tmp_path / "file"
    create(file, b"first", mode=0o600)
    create(file, b"second", mode=0o600)
    assert file.read_bytes() == b"first"
    replace(file, b"third", mode=0o600)
    assert file.read_bytes() == b"third"
    assert names(tmp_path) == ["file"]


def test_a_link_is_replaced_and_what_it_leads_to_stays(tmp_path):
    (tmp_path / "victim").write_bytes(b"precious")
    (tmp_path / "file").symlink_to("victim")
    create(tmp_path / "file", b"new", mode=0o600)
    assert (tmp_path / "file").is_symlink()
    replace(tmp_path / "file", b"new", mode=0o600)
    assert not (tmp_path / "file").is_symlink()
    assert (tmp_path / "victim").read_bytes() == b"precious"


@pytest.mark.parametrize("fails", ["os.fsync", "os.link", "pathlib.Path.replace"])
def test_a_write_that_fails_leaves_the_old_content_and_nothing_else(tmp_path, monkeypatch, fails):
    def refuse(*_):
        raise OSError(28, "No space left on device")

    file = tmp_path / "file"
    if fails != "os.link":
        file.write_bytes(b"old")
    with monkeypatch.context() as patch:
        patch.setattr(fails, refuse)
        with pytest.raises(OSError, match="No space"):
            (create if fails == "os.link" else replace)(file, b"new", mode=0o600)
    assert names(tmp_path) == ([] if fails == "os.link" else ["file"])
    assert fails == "os.link" or file.read_bytes() == b"old"


def test_a_file_is_judged_by_how_much_it_matters(tmp_path):
    file = tmp_path / "file"
    create(file, b"content", mode=0o644)
    assert read_key_file(file, secret=False) == b"content"
    with pytest.raises(PrivateFileError, match="mode 0644 is open to others; run chmod 0600 on it"):
        read_key_file(file, secret=True)
    with pytest.raises(PrivateFileError, match="cannot be read: No such file"):
        read_key_file(tmp_path / "none", secret=False)
