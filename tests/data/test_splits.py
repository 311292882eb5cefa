from __future__ import annotations

import csv
import hashlib
import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from splitting import partition_of, split_of

from qunlearn.config import (
    ClassScenario,
    SubclassScenario,
)
from qunlearn.data.splits import load_split, save_split

# --- partitions ------------------------------------------------------------------------------------------------------


def test_every_sample_is_in_exactly_one_partition(make_image_set):
    image_set = make_image_set()
    split = split_of(image_set)
    parts = [split.ids(partition) for partition in ("train", "validation", "test")]
    assert sorted(one for part in parts for one in part) == sorted(image_set.ids)


def test_shares_are_met_within_each_class_up_to_chance(make_image_set):
    image_set = make_image_set(3000)
    split = split_of(image_set, validation=0.1, test=0.2)
    for label in range(6):
        members = set(np.array(image_set.ids, dtype=object)[image_set.labels == label])
        shares = {name: len(members & set(split.ids(name))) / 500 for name in ("test", "validation")}
        # Four standard deviations of a binomial share.
        assert abs(shares["test"] - 0.2) < 4 * math.sqrt(0.2 * 0.8 / 500)
        assert abs(shares["validation"] - 0.8 * 0.1) < 4 * math.sqrt(0.08 * 0.92 / 500)


def test_an_official_test_part_stays_the_test_part(make_image_set):
    image_set = make_image_set(240, official_test=60)
    split = split_of(image_set)
    assert split.ids("test") == image_set.ids[180:]
    assert split.manifest["test"] is None


def test_the_same_seed_gives_the_same_split_and_another_seed_another(make_image_set):
    image_set = make_image_set()
    torch.manual_seed(1)
    first = split_of(image_set, seed=3)
    torch.manual_seed(2)
    np.random.seed(2)
    again, other = split_of(image_set, seed=3), split_of(image_set, seed=4)
    assert first.manifest == again.manifest
    assert first.manifest["digests"] != other.manifest["digests"]


@settings(max_examples=15, deadline=None)
@given(removed=st.sets(st.integers(0, 239), max_size=60), seed=st.integers(0, 100), official=st.sampled_from([0, 60]))
def test_removing_or_erasing_samples_moves_no_other_sample(make_image_set, removed, seed, official):
    image_set = make_image_set(240, official_test=official)
    everyone = partition_of(split_of(image_set, seed=seed))
    gone = {image_set.ids[place] for place in removed}
    expected = {one: partition for one, partition in everyone.items() if one not in gone}
    keep = np.array([one not in gone for one in image_set.ids])
    assert partition_of(split_of(image_set, seed=seed, erased=gone)) == expected
    assert partition_of(split_of(image_set.select(keep), seed=seed)) == expected


def test_the_order_of_the_image_set_does_not_matter(make_image_set):
    image_set = make_image_set(120)
    turned = replace(
        image_set,
        images=image_set.images[::-1],
        labels=image_set.labels[::-1],
        ids=image_set.ids[::-1],
        coarse=image_set.coarse[::-1],
        subjects=image_set.subjects[::-1],
    )
    assert split_of(image_set).manifest["digests"] == split_of(turned).manifest["digests"]


def test_the_scenario_does_not_change_the_partitions(make_image_set):
    image_set = make_image_set()
    by_class = split_of(image_set, ClassScenario(kind="class", classes=[0]))
    assert partition_of(split_of(image_set)) == partition_of(by_class)


def test_the_test_part_does_not_depend_on_the_validation_share(make_image_set):
    image_set = make_image_set()
    assert split_of(image_set, validation=0.1).ids("test") == split_of(image_set, validation=0.5).ids("test")


def test_erased_samples_are_left_out_and_unknown_erased_ids_do_not_matter(make_image_set):
    image_set = make_image_set()
    split = split_of(image_set, erased=[*image_set.ids[:9], "erased-long-ago"])
    assert tuple(split.id_column) == image_set.ids[9:]
    assert split.manifest["erased_sha256"] == "e" * 64


# --- table and folder ------------------------------------------------------------------------------------------------


def test_indices_are_ascending_positions_of_the_ids(make_image_set):
    image_set = make_image_set()
    split = split_of(image_set)
    indices = split.indices(image_set, partition="train", subset="retain")
    assert indices.dtype == torch.int64
    assert indices.tolist() == sorted(indices.tolist())
    assert tuple(image_set.ids[place] for place in indices) == split.ids("train", "retain")


def test_indices_follow_the_samples_into_a_smaller_image_set(make_image_set):
    image_set = make_image_set()
    split = split_of(image_set)
    gone = split.ids("validation")[0]
    rest = image_set.select(np.array([one != gone for one in image_set.ids]))
    indices = split.indices(rest, partition="train")
    assert tuple(rest.ids[place] for place in indices) == split.ids("train")
    with pytest.raises(ValueError, match=gone):
        split.indices(rest, partition="validation")


def test_the_digest_of_a_subset_is_that_of_its_sorted_ids(make_image_set):
    split = split_of(make_image_set())
    text = "".join(f"{one}\n" for one in sorted(split.ids("train", "forget")))
    assert split.digest("train", "forget") == hashlib.sha256(text.encode()).hexdigest()
    assert split.manifest["digests"]["train/forget"] == split.digest("train", "forget")


@pytest.mark.parametrize(("partition", "subset"), [("training", None), ("train", "forgotten")])
def test_an_unknown_partition_or_subset_is_an_error(make_image_set, partition, subset):
    with pytest.raises(ValueError, match="partitions are"):
        split_of(make_image_set()).ids(partition, subset)


def test_a_saved_split_is_read_back_exactly(make_image_set, tmp_path):
    image_set = make_image_set()
    split = split_of(image_set, SubclassScenario(kind="subclass", classes=["c"]), target="coarse")
    save_split(split, tmp_path / "split")
    loaded = load_split(tmp_path / "split")
    assert loaded.manifest == split.manifest
    for column in ("id_column", "partition_column", "subset_column"):
        assert getattr(loaded, column).tolist() == getattr(split, column).tolist()
    with (tmp_path / "split" / "split.csv").open() as stream:
        assert next(csv.reader(stream)) == ["id", "partition", "subset"]


def test_saving_the_same_split_twice_gives_the_same_bytes(make_image_set, tmp_path):
    for name in ("one", "two"):
        save_split(split_of(make_image_set()), tmp_path / name)
    for file in ("split.csv", "manifest.json"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_a_failing_save_leaves_the_earlier_split(make_image_set, tmp_path, monkeypatch):
    image_set = make_image_set()
    save_split(split_of(image_set), tmp_path / "split")
    before = load_split(tmp_path / "split").manifest
    monkeypatch.setattr(json, "dumps", lambda *_, **__: (_ for _ in ()).throw(OSError("no space left")))
    with pytest.raises(OSError, match="no space"):
        save_split(split_of(image_set, seed=1), tmp_path / "split")
    monkeypatch.undo()
    assert load_split(tmp_path / "split").manifest == before


def _rewrite(name, change):
    return lambda folder: (folder / name).write_text(change((folder / name).read_text()))


DAMAGES = {
    "table truncated": (_rewrite("split.csv", lambda text: text[:-9]), r"split\.csv"),
    "last row missing": (
        _rewrite("split.csv", lambda text: text[: text.rstrip().rfind("\n") + 1]),
        r"split\.csv: does not have the counts",
    ),
    "row moved to training": (
        _rewrite("split.csv", lambda text: text.replace(",test,", ",train,", 1)),
        r"split\.csv: does not have the counts",
    ),
    "row repeated": (
        _rewrite("split.csv", lambda text: text + text.splitlines()[-1] + "\n"),
        r"split\.csv: does not have the counts",
    ),
    "another id": (
        _rewrite("split.csv", lambda text: text.replace("all-000001", "all-999999")),
        r"split\.csv: does not have the counts",
    ),
    "unknown partition": (
        _rewrite("split.csv", lambda text: text.replace(",test,", ",exam,", 1)),
        r"split\.csv, line \d+: .*exam",
    ),
    "other header": (_rewrite("split.csv", lambda text: "a,b\n" + text), r"split\.csv: must begin with id,partition"),
    "table empty": (_rewrite("split.csv", lambda _: ""), r"split\.csv: must begin with id,partition"),
    "table header only": (_rewrite("split.csv", lambda _: "id,partition,subset\n"), r"split\.csv: does not have"),
    "table binary": (lambda f: (f / "split.csv").write_bytes(b"\xff\x00\xfe"), r"split\.csv: not a text"),
    "table missing": (lambda f: (f / "split.csv").unlink(), r"split\.csv: No such file"),
    "manifest truncated": (_rewrite("manifest.json", lambda text: text[:-20]), r"manifest\.json: not valid JSON"),
    "manifest binary": (lambda f: (f / "manifest.json").write_bytes(b"\xff\x00"), r"manifest\.json: not a text"),
    "manifest a list": (_rewrite("manifest.json", lambda _: "[]"), r"manifest\.json: not a manifest of format 1"),
    "manifest of another format": (
        _rewrite("manifest.json", lambda text: text.replace('"format": 1', '"format": 2')),
        r"manifest\.json: not a manifest of format 1",
    ),
    "manifest missing": (lambda f: (f / "manifest.json").unlink(), r"manifest\.json: No such file"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_split_is_refused_with_the_name_of_the_file(make_image_set, tmp_path, damage):
    save_split(split_of(make_image_set()), tmp_path / "split")
    action, message = DAMAGES[damage]
    action(tmp_path / "split")
    with pytest.raises(ValueError, match=message) as caught:
        load_split(tmp_path / "split")
    assert str(tmp_path) in str(caught.value)
