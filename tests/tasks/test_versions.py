"""Data versions are DVC's digests under DVC, the manifest's own digest elsewhere."""

import hashlib

import pytest

from tasks.versions import out_digest, stage_hashes

LOCK = """
schema: '2.0'
stages:
  ingest:
    cmd: python -m flows.ingest
    deps:
    - {path: data/erased.txt, hash: md5, md5: d41d8cd98f00b204e9800998ecf8427e, size: 0}
    outs:
    - {path: data/prepared, hash: md5, md5: 0cc175b9c0f1b6a831c399e269772661.dir, size: 9, nfiles: 5}
  split:
    cmd: python -m flows.split
    outs:
    - {path: data/splits, hash: md5, md5: 92eb5ffee6ae2fec3ad71c777531578f.dir, size: 9, nfiles: 2}
"""
STAGES = """
stages:
  split:
    cmd: python -m flows.split
    deps: [qunlearn/data, data/prepared]
    outs: [data/splits]
  unlearn:
    cmd: python -m flows.unlearn
    deps:
    - data/prepared:
        persist: true
    - data/splits
"""


def digest_of(*files):
    """sha256 over the digests of files, 32 digits."""
    return hashlib.sha256(b"".join(hashlib.sha256(file).digest() for file in files)).hexdigest()[:32]


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.delenv("DVC_STAGE", raising=False)
    (tmp_path / "dvc.lock").write_text(LOCK)
    (tmp_path / "dvc.yaml").write_text(STAGES)
    (tmp_path / "data" / "splits").mkdir(parents=True)
    (tmp_path / "data" / "splits" / "manifest.json").write_text('{"format": 1}')
    (tmp_path / "data" / "splits" / "split.csv").write_text("id\n")
    return tmp_path


@pytest.mark.parametrize("absolute", [False, True])
def test_under_dvc_it_is_the_digest_of_the_lock(root, monkeypatch, absolute):
    monkeypatch.setenv("DVC_STAGE", "unlearn")
    path = root / "data/splits" if absolute else "data/splits"
    digest = out_digest(path, root=root)
    assert digest == "92eb5ffee6ae2fec3ad71c777531578f.dir"
    assert len(digest) == 36


def test_under_dvc_an_out_that_the_lock_lacks_is_refused(root, monkeypatch):
    monkeypatch.setenv("DVC_STAGE", "unlearn")
    with pytest.raises(ValueError, match=r"data/other: not an out .* it has data/prepared, data/splits"):
        out_digest("data/other", root=root)


def test_alone_it_is_the_digest_of_the_manifest(root):
    expected = digest_of(b'{"format": 1}')
    assert out_digest("data/splits", root=root) == expected
    (root / "data/splits/manifest.json").write_text('{"format": 2}')
    assert out_digest("data/splits", root=root) != expected


def test_alone_an_image_set_has_another_digest_once_an_image_is_gone(root):
    (root / "data/prepared").mkdir()
    (root / "data/prepared/meta.json").write_text("{}")
    (root / "data/prepared/ids.txt").write_text("a\nb\n")
    assert out_digest("data/prepared", root=root) == digest_of(b"{}", b"a\nb\n")
    (root / "data/prepared/ids.txt").write_text("a\n")
    assert out_digest("data/prepared", root=root) == digest_of(b"{}", b"a\n")


def test_alone_a_single_file_has_its_own_digest(root):
    assert out_digest("data/splits/split.csv", root=root) == digest_of(b"id\n")


def test_alone_a_folder_without_manifest_is_refused(root):
    (root / "data/prepared").mkdir()
    with pytest.raises(ValueError, match=r"data/prepared: has neither manifest.json nor meta.json with ids.txt"):
        out_digest("data/prepared", root=root)


def test_alone_a_missing_out_is_refused(root):
    with pytest.raises(ValueError, match="no such file or folder; run the stage"):
        out_digest("data/nothing", root=root)


def test_a_path_outside_is_refused(root):
    with pytest.raises(ValueError, match="outside of"):
        out_digest("/somewhere/else", root=root)


def test_stage_hashes_are_those_of_the_outs_it_depends_on(root):
    assert stage_hashes(root=root, stage="unlearn") == {
        "data/prepared": "0cc175b9c0f1b6a831c399e269772661.dir",
        "data/splits": "92eb5ffee6ae2fec3ad71c777531578f.dir",
    }
    assert stage_hashes(root=root, stage="split") == {"data/prepared": "0cc175b9c0f1b6a831c399e269772661.dir"}


def test_a_stage_that_dvc_does_not_know_has_no_hashes(root, tmp_path_factory):
    assert stage_hashes(root=root, stage="deletion") == {}
    assert stage_hashes(root=tmp_path_factory.mktemp("empty"), stage="split") == {}


def test_a_damaged_lock_is_refused(root, monkeypatch):
    monkeypatch.setenv("DVC_STAGE", "unlearn")
    (root / "dvc.lock").write_text("- a list\n")
    with pytest.raises(ValueError, match=r"dvc.lock: must be a mapping"):
        out_digest("data/splits", root=root)
