"""A temporary folder says whose it is, and goes with its process or can be told from one that is in use."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile

import pytest

from tasks.temporary import is_in_use, is_ours, is_protected, remove_left, temporary_folder


@pytest.fixture(autouse=True)
def _temporary(tmp_path, monkeypatch):
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))


def test_it_is_ours_private_empty_and_in_use_and_then_gone(tmp_path):
    with temporary_folder(tmp_path) as content:
        folder = content.parent
        assert list(content.iterdir()) == []
        assert (folder.stat().st_mode & 0o777, content.stat().st_mode & 0o777) == (0o700, 0o700)
        assert folder.name.startswith("qunlearn-")
        assert is_ours(folder, tmp_path)
        assert is_in_use(folder)
        assert not is_ours(folder, tmp_path / "another project")
        assert json.loads((folder / "owner.json").read_text())["pid"] == os.getpid()
    assert not folder.exists()


def test_it_is_gone_after_an_error_and_no_error_if_somebody_was_faster(tmp_path):
    kept = contextlib.ExitStack()
    content = kept.enter_context(temporary_folder(tmp_path))
    (content / "deep").mkdir()
    assert not kept.__exit__(ValueError, ValueError(), None)
    assert not content.parent.exists()
    with temporary_folder(tmp_path) as content:
        remove_left(content.parent)


@pytest.mark.parametrize(
    "mark", ["", "{", "[]", '{"pid": 1}', '{"project": null}', "[" * 900, '{"project": "\xff"}', "\x00" * 2000]
)
def test_no_other_mark_makes_a_folder_ours(tmp_path, mark):
    folder = tmp_path / "temporary" / "qunlearn-x"
    folder.mkdir()
    assert not is_ours(folder, tmp_path)
    assert is_in_use(folder)
    (folder / "owner.json").write_text(mark, encoding="latin1")
    assert not is_ours(folder, tmp_path)


def test_a_mark_through_a_link_is_none(tmp_path):
    with temporary_folder(tmp_path) as content:
        other = tmp_path / "temporary" / "qunlearn-x"
        other.mkdir()
        (other / "owner.json").symlink_to(content.parent / "owner.json")
        (tmp_path / "temporary" / "qunlearn-y").symlink_to(content.parent)
        assert not is_ours(other, tmp_path)
        assert not is_ours(tmp_path / "temporary" / "qunlearn-y", tmp_path)
        assert is_protected(tmp_path / "temporary" / "qunlearn-y", tmp_path)
        assert not is_protected(other, tmp_path)


def test_a_folder_around_or_at_the_project_is_protected(tmp_path):
    folder = tmp_path / "temporary" / "qunlearn-x"
    (folder / "deep").mkdir(parents=True)
    assert is_protected(folder, folder)
    assert is_protected(folder, folder / "deep")
    assert not is_protected(folder / "deep", folder)
