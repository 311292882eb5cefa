from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from qunlearn.config import ImageFolderSource
from qunlearn.data.imageset import load, save
from qunlearn.data.sources import read


def _image(path: Path, *, seed: int = 0, size: tuple[int, int] = (6, 5), mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    width, height = size
    channels = {"L": (), "RGB": (3,), "RGBA": (4,)}[mode]
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, *channels), dtype=np.uint8)
    Image.fromarray(pixels, mode=None).save(path)


@pytest.fixture
def root(tmp_path) -> Path:
    """Three classes with four colour images of 6 x 5 pixels each; one lies deeper."""
    folder = tmp_path / "images"
    for label, name in enumerate(("bird", "cat", "dog")):
        for place in range(4):
            deeper = "more/" if place == 3 else ""
            _image(folder / name / f"{deeper}{place}.png", seed=10 * label + place)
    return folder


def _files(root: Path) -> list[str]:
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*.png"))


def _table(root: Path, rows: str) -> Path:
    path = root.parent / "metadata.csv"
    path.write_text(rows, encoding="utf-8")
    return path


def _full_table(root: Path) -> Path:
    """A row for each image, with its own sample id, one of five subjects and a superclass of its class."""
    superclass = {"bird": "wild", "cat": "pet", "dog": "pet"}
    lines = ["file,sample_id,subject,coarse"]
    for place, file in enumerate(_files(root)):
        lines.append(f"{file},s{place},{place % 5},{superclass[file.split('/')[0]]}")
    return _table(root, "\n".join(lines))


def _read(root: Path, metadata: Path | None = None, **options):
    return read(ImageFolderSource(source="image_folder", root=root, metadata=metadata, **options))


def test_images_are_read_in_the_order_of_their_paths(root):
    image_set = _read(root)
    assert image_set.images.shape == (12, 3, 5, 6)
    assert image_set.meta.classes == ("bird", "cat", "dog")
    assert image_set.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    for place, file in enumerate(_files(root)):
        np.testing.assert_array_equal(image_set.images[place], np.asarray(Image.open(root / file)).transpose(2, 0, 1))


def test_greyscale_images_have_one_channel(tmp_path):
    for name in ("a", "b"):
        _image(tmp_path / "set" / name / "x.png", mode="L", seed=ord(name))
    assert _read(tmp_path / "set").images.shape == (2, 1, 5, 6)


def test_ids_are_opaque(root):
    assert all(re.fullmatch(r"img-[0-9a-f]{20}", one) for one in _read(root).ids)


def test_removing_an_image_changes_no_other_id(root):
    before = _read(root).ids
    (root / _files(root)[5]).unlink()
    assert _read(root).ids == before[:5] + before[6:]


def test_an_id_depends_on_path_and_content_but_not_on_where_the_root_is(root):
    before = _read(root).ids
    moved = root.rename(root.with_name("elsewhere"))
    assert _read(moved).ids == before
    _image(moved / _files(moved)[2], seed=99)
    after = _read(moved).ids
    assert [place for place in range(12) if after[place] != before[place]] == [2]


def test_equal_images_have_different_ids(root):
    (root / "cat" / "copy.png").write_bytes((root / "cat" / "0.png").read_bytes())
    assert len(set(_read(root).ids)) == 13


def test_a_sample_id_survives_renaming_the_file(root):
    before = _read(root, _full_table(root)).ids
    (root / "cat" / "0.png").rename(root / "cat" / "00.png")
    table = root.parent / "metadata.csv"
    table.write_text(table.read_text().replace("cat/0.png", "cat/00.png"))
    assert sorted(_read(root, table).ids) == sorted(before)


def test_the_table_gives_subjects_and_superclasses(root):
    image_set = _read(root, _full_table(root), target="coarse")
    assert image_set.subjects.tolist() == [place % 5 for place in range(12)]
    assert image_set.meta.coarse_classes == ("pet", "wild")
    assert image_set.coarse.tolist() == [1] * 4 + [0] * 8


def test_no_sample_id_reaches_the_saved_set(root, tmp_path):
    save(_read(root, _full_table(root)), tmp_path / "set")
    assert load(tmp_path / "set").subjects is not None
    for path in (tmp_path / "set").iterdir():
        assert not re.search(rb"\bs\d+\b", path.read_bytes()) or path.suffix == ".npy"


def test_a_table_without_optional_columns_changes_nothing(root):
    table = _table(root, "file\n" + "\n".join(_files(root)))
    assert _read(root, table).digest() == _read(root).digest()


def test_hidden_files_are_not_looked_at(root):
    before = _read(root).digest()
    (root / ".DS_Store").write_bytes(b"x")
    (root / "cat" / ".DS_Store").write_bytes(b"x")
    (root / ".cache").mkdir()
    (root / "README.txt").write_text("about these images")
    assert _read(root).digest() == before


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-30])


DAMAGES = {
    "truncated": ("cat/1.png", _truncate, "cannot be read as an image"),
    "zero bytes": ("cat/1.png", lambda path: path.write_bytes(b""), "the file is empty"),
    "not an image": ("cat/1.png", lambda path: path.write_bytes(b"<html>" * 20), "cannot be read as an image"),
    "other size": ("dog/2.png", lambda path: _image(path, size=(5, 6)), r"5 x 6 pixels .*0\.png is 6 x 5"),
    "other colour": ("dog/2.png", lambda path: _image(path, mode="L"), "6 x 5 pixels greyscale, while"),
    "transparent": ("dog/2.png", lambda path: _image(path, mode="RGBA"), "colour mode RGBA; convert it"),
    "other type": ("bird/notes.txt", lambda path: path.write_text("x"), r"not an image; a class folder may hold \.bmp"),
    "outside a class": ("stray.png", _image, "lies beside the class folders"),
    "empty class": ("eel", Path.mkdir, "no image; add images of this class"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_bad_images_are_refused_with_the_name_of_the_file(root, damage):
    file, action, message = DAMAGES[damage]
    action(root / file)
    with pytest.raises(ValueError, match=message) as caught:
        _read(root)
    assert str(caught.value).startswith(str(root / file))


def test_a_16_bit_image_is_refused_rather_than_cut(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.fromarray(np.full((4, 4), 3000, dtype=np.uint16)).save(tmp_path / name / "x.png")
    with pytest.raises(ValueError, match="colour mode I;16; convert it to 8-bit"):
        _read(tmp_path)


@pytest.mark.parametrize("made", [False, True])
def test_a_root_without_classes_is_refused(tmp_path, made):
    root = tmp_path / "none"
    if made:
        (root / "only").mkdir(parents=True)
    with pytest.raises(ValueError, match="at least 2" if made else "no such folder"):
        _read(root)


def test_images_that_are_all_one_colour_are_refused(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.fromarray(np.zeros((4, 4), dtype=np.uint8)).save(tmp_path / name / "x.png")
    with pytest.raises(ValueError, match="all pixels of all images are equal"):
        _read(tmp_path)


BAD_TABLES = {
    "unknown column": (lambda rows: rows.replace("subject", "patient", 1), "there must be `file` and any of"),
    "no file column": (lambda rows: rows.replace("file", "path", 1), "there must be `file`"),
    "column twice": (lambda rows: rows.replace("coarse", "subject", 1), "each once"),
    "empty": (lambda _: "", r"columns \[\]; there must be `file`"),
    "unknown file": (lambda rows: rows + "\ncat/99.png,x,1,pet", r"line 14: cat/99\.png is not an image"),
    "file twice": (lambda rows: rows + "\n" + rows.splitlines()[1], "line 14: a second row for bird/0.png"),
    "file without row": (lambda rows: "\n".join(rows.splitlines()[:-2]), r"no row for dog/2\.png and 1 others"),
    "value missing": (lambda rows: rows.replace("s3,", ",", 1), "line 5: each of file, sample_id, subject, coarse"),
    "value too much": (lambda rows: rows.replace("s3,", "s3,s3,", 1), "line 5: each of"),
    "sample_id twice": (lambda rows: rows.replace("s3,", "s4,", 1), "the sample_id 's4' occurs more than once"),
    "name as subject": (lambda rows: rows.replace("s3,3", "s3,Ann", 1), "subject 'Ann' .* must be an integer from 0"),
    "negative subject": (lambda rows: rows.replace("s3,3", "s3,-3", 1), "subject '-3' .* must be an integer"),
    "class in two superclasses": (lambda rows: rows.removesuffix("pet") + "wild", "a class lies in one superclass"),
    "quote left open": (lambda rows: rows + '\n"cat', "not a CSV file"),
}


@pytest.mark.parametrize("damage", BAD_TABLES)
def test_a_bad_table_is_refused_with_its_name(root, damage):
    change, message = BAD_TABLES[damage]
    table = _full_table(root)
    table.write_text(change(table.read_text()))
    with pytest.raises(ValueError, match=message) as caught:
        _read(root, table)
    assert "metadata" in str(caught.value)


@pytest.mark.parametrize(("content", "message"), [(b"\xff\xfe\x00", "not a CSV file in UTF-8"), (None, "No such file")])
def test_a_table_that_cannot_be_read_is_named(root, content, message):
    path = root.parent / "metadata.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        _read(root, path)


def test_a_coarse_task_needs_superclasses_in_the_table(root):
    with pytest.raises(ValueError, match="image_folder has no superclasses"):
        _read(root, target="coarse")
