"""A folder goes as a whole; what cannot be removed is named with its folders."""

import os

import permission_bits
import pytest

from qunlearn.data.removal import remove_folder


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "set" / "inner").mkdir(parents=True)
    (tmp_path / "set" / "inner" / "labels.npy").write_bytes(b"1")
    return tmp_path / "set"


def test_a_folder_goes_with_all_that_is_in_it_but_not_what_a_link_leads_to(folder, tmp_path):
    (tmp_path / "kept").mkdir()
    (folder / "link").symlink_to(tmp_path / "kept")
    remove_folder(folder)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_what_stays_is_named_with_its_folders(folder):
    (folder / "inner").chmod(0o500)
    with permission_bits.binding(), pytest.raises(PermissionError) as refused:
        remove_folder(folder)
    (folder / "inner").chmod(0o700)
    assert refused.value.filename == os.fspath(folder / "inner" / "labels.npy")


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError) as missing:
        remove_folder(tmp_path / "set")
    assert missing.value.filename == os.fspath(tmp_path / "set")
