from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from qunlearn.data.imageset import ImageSetError, load, save
from qunlearn.data.statistics import channel_statistics, with_statistics


@pytest.mark.parametrize("optional", ["both", "coarse", "subjects", "neither"])
def test_a_saved_set_is_read_back_exactly(tmp_path, make_image_set, optional):
    image_set = make_image_set(30, channels=3)
    if optional in ("subjects", "neither"):
        image_set = replace(image_set, coarse=None, meta=replace(image_set.meta, coarse_classes=None))
    if optional in ("coarse", "neither"):
        image_set = replace(image_set, subjects=None)
    save(image_set, tmp_path / "set")
    loaded = load(tmp_path / "set")
    assert isinstance(loaded.images, np.memmap)
    for field in ("images", "labels", "coarse", "subjects"):
        np.testing.assert_array_equal(getattr(loaded, field), getattr(image_set, field))
    assert loaded.ids == image_set.ids
    assert loaded.meta == image_set.meta
    assert loaded.digest() == image_set.digest()


def test_saving_again_drops_files_that_the_new_set_does_not_have(tmp_path, make_image_set):
    image_set = make_image_set(12)
    save(image_set, tmp_path / "set")
    save(replace(image_set, subjects=None), tmp_path / "set")
    assert load(tmp_path / "set").subjects is None


def test_saving_over_the_set_one_reads_from_works(tmp_path, make_image_set):
    save(make_image_set(12), tmp_path / "set")
    loaded = load(tmp_path / "set")
    keep = np.arange(12) != 3
    save(loaded.select(keep), tmp_path / "set")
    assert len(load(tmp_path / "set")) == 11
    assert len(np.asarray(loaded.images)) == 12


def test_the_folder_holds_what_the_format_names(tmp_path, make_image_set):
    save(make_image_set(12), tmp_path / "set")
    names = {"images.npy", "labels.npy", "coarse.npy", "subjects.npy", "ids.txt", "meta.json"}
    assert {path.name for path in (tmp_path / "set").iterdir()} == names


@pytest.mark.parametrize("field", ["images", "labels", "coarse", "subjects", "ids", "meta"])
def test_the_digest_notices_a_change_of_any_part(make_image_set, field):
    image_set = make_image_set(12)
    if field == "ids":
        changed = replace(image_set, ids=("other", *image_set.ids[1:]))
    elif field == "meta":
        changed = replace(image_set, meta=replace(image_set.meta, mean=(0.25,)))
    else:
        array = getattr(image_set, field).copy()
        array[3] = array[3] ^ 1
        changed = replace(image_set, **{field: array})
    assert changed.digest() != image_set.digest()


def test_select_keeps_order_ids_and_meta(make_image_set):
    image_set = make_image_set(12)
    part = image_set.select(np.arange(12) % 5 == 1)
    assert part.ids == (image_set.ids[1], image_set.ids[6], image_set.ids[11])
    np.testing.assert_array_equal(part.images, image_set.images[[1, 6, 11]])
    np.testing.assert_array_equal(part.coarse, image_set.coarse[[1, 6, 11]])
    np.testing.assert_array_equal(part.subjects, image_set.subjects[[1, 6, 11]])
    assert part.meta == image_set.meta


def test_select_wants_one_bool_a_sample(make_image_set):
    with pytest.raises(ValueError, match=r"bool \[12\], not int64 \[3\]"):
        make_image_set(12).select(np.array([1, 2, 3]))


def test_index_of_gives_positions_in_the_order_asked(make_image_set):
    image_set = make_image_set(12)
    assert image_set.index_of([image_set.ids[7], image_set.ids[2]]).tolist() == [7, 2]
    assert image_set.index_of([]).tolist() == []


def test_index_of_names_unknown_ids(make_image_set):
    image_set = make_image_set(12)
    with pytest.raises(ValueError, match=r"2 of 3 ids are not in the image set toy, the first: nobody, none"):
        image_set.index_of(["nobody", image_set.ids[0], "none"])


def test_targets_are_fine_or_coarse(make_image_set):
    image_set = make_image_set(12)
    assert image_set.targets("fine").tolist() == [0, 1, 2, 3, 4, 5] * 2
    assert image_set.targets("coarse").tolist() == [0, 0, 1, 1, 2, 2] * 2
    assert image_set.class_names("coarse") == ("left", "middle", "right")


def test_coarse_targets_of_a_set_without_superclasses_are_refused(make_image_set):
    image_set = make_image_set(12)
    plain = replace(image_set, coarse=None, meta=replace(image_set.meta, coarse_classes=None))
    with pytest.raises(ValueError, match=r"toy has no superclasses; set data\.target: fine"):
        plain.class_names("coarse")


def test_the_official_test_part_is_known_from_the_ids(make_image_set):
    assert make_image_set(12, official_test=4).official_test_mask().tolist() == [False] * 8 + [True] * 4
    assert not make_image_set(12).official_test_mask().any()


def _shorten(name, by=40):
    def damage(folder):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[:-by])

    return damage


def _array(name, change):
    return lambda folder: np.save(folder / name, change(np.load(folder / name)))


def _meta(**changes):
    def damage(folder):
        content = json.loads((folder / "meta.json").read_text())
        content["meta"].update(changes)
        (folder / "meta.json").write_text(json.dumps(content))

    return damage


DAMAGES = {
    "images truncated": (_shorten("images.npy"), r"images\.npy: truncated"),
    "images zero bytes": (lambda f: (f / "images.npy").write_bytes(b""), r"images\.npy: truncated"),
    "images missing": (lambda f: (f / "images.npy").unlink(), r"images\.npy: missing"),
    "images float": (_array("images.npy", lambda a: a.astype(np.float32)), r"images\.npy: must be uint8"),
    "images flat": (_array("images.npy", lambda a: a.reshape(len(a), -1)), r"images\.npy: must be uint8 \[N"),
    "no image": (_array("images.npy", lambda a: a[:0]), r"images\.npy: holds no image"),
    "labels truncated": (_shorten("labels.npy"), r"labels\.npy: truncated"),
    "labels zero bytes": (lambda f: (f / "labels.npy").write_bytes(b""), r"labels\.npy: truncated"),
    "labels missing": (lambda f: (f / "labels.npy").unlink(), r"labels\.npy: missing"),
    "labels pickled": (_array("labels.npy", lambda a: a.astype(object)), r"labels\.npy: truncated or not a NumPy"),
    "labels int32": (_array("labels.npy", lambda a: a.astype(np.int32)), r"labels\.npy: must be int64"),
    "label 6 of 6": (_array("labels.npy", lambda a: a + 1), r"labels\.npy: value 6 at position 5 .* from 0 to 5"),
    "label below 0": (_array("labels.npy", lambda a: a - 1), r"labels\.npy: value -1"),
    "coarse missing": (lambda f: (f / "coarse.npy").unlink(), r"coarse\.npy: missing"),
    "coarse short": (_array("coarse.npy", lambda a: a[:-1]), r"coarse\.npy: must be int64 \[12\]"),
    "subject below 0": (_array("subjects.npy", lambda a: a - 20), r"subjects\.npy: value .* at least 0"),
    "ids short": (_shorten("ids.txt"), r"ids\.txt: 1\d ids for 12 images"),
    "ids missing": (lambda f: (f / "ids.txt").unlink(), r"ids\.txt: No such file"),
    "ids doubled": (
        lambda f: (f / "ids.txt").write_text("x\n" * 12),
        r"ids\.txt: the id 'x' occurs more than once",
    ),
    "ids binary": (lambda f: (f / "ids.txt").write_bytes(b"\xff\x00"), r"ids\.txt: not a text file"),
    "meta truncated": (_shorten("meta.json"), r"meta\.json: .*JSON"),
    "meta missing": (lambda f: (f / "meta.json").unlink(), r"meta\.json: No such file"),
    "meta wrong type": (_meta(mean="high"), r"meta\.json: meta\.mean: .*array"),
    "std zero": (_meta(std=[0.0]), r"meta\.json: mean .* std .* positive"),
    "mean of 3 channels": (_meta(mean=[0, 0, 0], std=[1, 1, 1]), r"meta\.json: .* each of the 1 channels"),
    "class named twice": (_meta(classes=["a"] * 6), r"meta\.json: the class name 'a' occurs more than once"),
    "folder missing": (lambda f: f.rename(f.with_name("gone")), r"set: no such folder"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_folder_is_refused_with_the_name_of_the_file(tmp_path, make_image_set, damage):
    save(make_image_set(12), tmp_path / "set")
    action, message = DAMAGES[damage]
    action(tmp_path / "set")
    with pytest.raises(ValueError, match=message) as caught:
        load(tmp_path / "set")
    assert str(caught.value).startswith(str(tmp_path))


def test_coarse_labels_and_their_names_belong_together(make_image_set):
    with pytest.raises(ImageSetError, match="belong together"):
        replace(make_image_set(12), coarse=None)


def test_an_id_must_fit_on_a_line(make_image_set):
    image_set = make_image_set(12)
    with pytest.raises(ImageSetError, match=r"ids\.txt: .* is not a sample id"):
        replace(image_set, ids=("two\nlines", *image_set.ids[1:]))


def test_a_failing_save_leaves_the_earlier_set(tmp_path, make_image_set, monkeypatch):
    save(make_image_set(12), tmp_path / "set")
    monkeypatch.setattr(np, "save", lambda *_, **__: (_ for _ in ()).throw(OSError("no space left")))
    with pytest.raises(OSError, match="no space"):
        save(make_image_set(24), tmp_path / "set")
    assert len(load(tmp_path / "set")) == 12
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_statistics_of_two_known_pixels():
    images = np.array([0, 255], dtype=np.uint8).reshape(2, 1, 1, 1)
    assert channel_statistics(images) == ((0.5,), (0.5,))


@given(arrays(np.uint8, st.tuples(st.integers(1, 5), st.integers(1, 3), st.integers(1, 4), st.integers(1, 4))))
def test_statistics_equal_numpys(images):
    images[0, :, 0, 0] = np.where((images == images[:1, :, :1, :1]).all(axis=(0, 2, 3)), 7, images[0, :, 0, 0])
    flat = (images / 255.0).transpose(1, 0, 2, 3).reshape(images.shape[1], -1)
    if (flat.std(axis=1) < 1e-12).any():
        with pytest.raises(ValueError, match="all pixels of all images are equal"):
            channel_statistics(images)
    else:
        mean, std = channel_statistics(images)
        np.testing.assert_allclose(mean, flat.mean(axis=1), atol=1e-12)
        np.testing.assert_allclose(std, flat.std(axis=1), atol=1e-12)


def test_statistics_do_not_look_at_the_official_test_part(make_image_set):
    image_set = make_image_set(12, official_test=4)
    changed = image_set.images.copy()
    changed[8:] = 255
    assert with_statistics(replace(image_set, images=changed)).meta == with_statistics(image_set).meta
