from __future__ import annotations

from pathlib import Path

import pytest

from qunlearn.data.atomic import replaced_folder


def _write(folder: Path, text: str) -> None:
    with replaced_folder(folder) as fresh:
        (fresh / "file").write_text(text)


def _write_and_fail(folder: Path) -> None:
    with replaced_folder(folder) as fresh:
        (fresh / "file").write_text("half")
        raise RuntimeError("disk full")


def test_a_new_folder_replaces_the_old_one_whole(tmp_path):
    _write(tmp_path / "deep" / "set", "old")
    (tmp_path / "deep" / "set" / "extra").write_text("extra")
    _write(tmp_path / "deep" / "set", "new")
    assert [(p.name, p.read_text()) for p in (tmp_path / "deep" / "set").iterdir()] == [("file", "new")]
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["set"]


def test_an_error_while_writing_leaves_the_old_folder_and_nothing_else(tmp_path):
    _write(tmp_path / "set", "old")
    with pytest.raises(RuntimeError, match="disk full"):
        _write_and_fail(tmp_path / "set")
    assert (tmp_path / "set" / "file").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["set"]


def test_an_error_in_the_second_rename_puts_the_old_folder_back(tmp_path, monkeypatch):
    _write(tmp_path / "set", "old")
    rename = Path.rename

    def failing(self: Path, target: Path) -> Path:
        if self.name == ".set.writing":
            raise OSError("no rename")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(OSError, match="no rename"):
        _write(tmp_path / "set", "new")
    assert (tmp_path / "set" / "file").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["set"]


@pytest.mark.parametrize("killed", ["while writing", "between the renames"])
def test_what_a_killed_writer_left_is_removed_by_the_next(tmp_path, killed):
    _write(tmp_path / "set", "old")
    (tmp_path / ".set.writing").mkdir()
    (tmp_path / ".set.writing" / "file").write_text("half")
    if killed == "between the renames":
        (tmp_path / "set").rename(tmp_path / ".set.retired")
    with pytest.raises(RuntimeError, match="disk full"):
        _write_and_fail(tmp_path / "set")
    assert (tmp_path / "set" / "file").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["set"]


def test_files_that_link_into_a_cache_are_not_written_through(tmp_path):
    cached = tmp_path / "cache"
    cached.write_text("cached")
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "file").symlink_to(cached)
    _write(tmp_path / "set", "new")
    assert cached.read_text() == "cached"
    assert (tmp_path / "set" / "file").read_text() == "new"
