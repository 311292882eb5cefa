from __future__ import annotations

import csv
import hashlib
import json
import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qunlearn.config import (
    ClassScenario,
    GroupScenario,
    IdsScenario,
    RandomScenario,
    SplitConfig,
    SubclassScenario,
)
from qunlearn.data.splits import load_split, make_split, save_split

TENTH = RandomScenario(fraction=0.1)


def _split(image_set, scenario=TENTH, *, target="fine", erased=(), **settings):
    config = SplitConfig(scenario=scenario, **settings)
    return make_split(image_set, config, target=target, erased=frozenset(erased), erased_digest="e" * 64)


def _partition_of(split):
    return dict(zip(split.id_column, split.partition_column, strict=True))


# --- partitions ------------------------------------------------------------------------------------------------------


def test_every_sample_is_in_exactly_one_partition(make_image_set):
    image_set = make_image_set()
    split = _split(image_set)
    parts = [split.ids(partition) for partition in ("train", "validation", "test")]
    assert sorted(one for part in parts for one in part) == sorted(image_set.ids)


def test_shares_are_met_within_each_class_up_to_chance(make_image_set):
    image_set = make_image_set(3000)
    split = _split(image_set, validation=0.1, test=0.2)
    for label in range(6):
        members = set(np.array(image_set.ids, dtype=object)[image_set.labels == label])
        shares = {name: len(members & set(split.ids(name))) / 500 for name in ("test", "validation")}
        # Four standard deviations of a binomial share.
        assert abs(shares["test"] - 0.2) < 4 * math.sqrt(0.2 * 0.8 / 500)
        assert abs(shares["validation"] - 0.8 * 0.1) < 4 * math.sqrt(0.08 * 0.92 / 500)


def test_an_official_test_part_stays_the_test_part(make_image_set):
    image_set = make_image_set(240, official_test=60)
    split = _split(image_set)
    assert split.ids("test") == image_set.ids[180:]
    assert split.manifest["test"] is None


def test_the_same_seed_gives_the_same_split_and_another_seed_another(make_image_set):
    image_set = make_image_set()
    torch.manual_seed(1)
    first = _split(image_set, seed=3)
    torch.manual_seed(2)
    np.random.seed(2)
    again, other = _split(image_set, seed=3), _split(image_set, seed=4)
    assert first.manifest == again.manifest
    assert first.manifest["digests"] != other.manifest["digests"]


@settings(max_examples=15, deadline=None)
@given(removed=st.sets(st.integers(0, 239), max_size=60), seed=st.integers(0, 100), official=st.sampled_from([0, 60]))
def test_removing_or_erasing_samples_moves_no_other_sample(make_image_set, removed, seed, official):
    image_set = make_image_set(240, official_test=official)
    everyone = _partition_of(_split(image_set, seed=seed))
    gone = {image_set.ids[place] for place in removed}
    expected = {one: partition for one, partition in everyone.items() if one not in gone}
    keep = np.array([one not in gone for one in image_set.ids])
    assert _partition_of(_split(image_set, seed=seed, erased=gone)) == expected
    assert _partition_of(_split(image_set.select(keep), seed=seed)) == expected


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
    assert _split(image_set).manifest["digests"] == _split(turned).manifest["digests"]


def test_the_scenario_does_not_change_the_partitions(make_image_set):
    image_set = make_image_set()
    by_class = _split(image_set, ClassScenario(kind="class", classes=[0]))
    assert _partition_of(_split(image_set)) == _partition_of(by_class)


def test_the_test_part_does_not_depend_on_the_validation_share(make_image_set):
    image_set = make_image_set()
    assert _split(image_set, validation=0.1).ids("test") == _split(image_set, validation=0.5).ids("test")


def test_erased_samples_are_left_out_and_unknown_erased_ids_do_not_matter(make_image_set):
    image_set = make_image_set()
    split = _split(image_set, erased=[*image_set.ids[:9], "erased-long-ago"])
    assert tuple(split.id_column) == image_set.ids[9:]
    assert split.manifest["erased_sha256"] == "e" * 64


# --- scenarios -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scenario", [TENTH, RandomScenario(count=17)])
def test_random_forgets_the_exact_number_of_training_images(make_image_set, scenario):
    split = _split(make_image_set(), scenario)
    trained = len(split.ids("train"))
    expected = scenario.count or round(0.1 * trained)
    assert len(split.ids("train", "forget")) == expected
    assert len(split.ids("train", "retain")) == trained - expected
    assert not split.ids("test", "forget")
    assert not split.ids("validation", "forget")


def test_random_forget_sets_of_growing_size_contain_each_other(make_image_set):
    image_set = make_image_set()
    small, large = (set(_split(image_set, RandomScenario(count=n)).ids("train", "forget")) for n in (10, 20))
    assert small < large


def test_random_forgetting_is_independent_of_the_partition_draw(make_image_set):
    image_set = make_image_set(3000)
    forget = set(_split(image_set, RandomScenario(fraction=0.5)).ids("train", "forget"))
    stricter = set(_split(image_set, RandomScenario(fraction=0.5), validation=0.5).ids("train"))
    assert 0.4 < len(forget & stricter) / len(stricter) < 0.6


@pytest.mark.parametrize("classes", [[1, 4], ["b", "e"], [1, "e", "b"]])
def test_class_forgets_whole_classes_in_every_partition(make_image_set, classes):
    image_set = make_image_set()
    split = _split(image_set, ClassScenario(kind="class", classes=classes))
    for partition in ("train", "validation", "test"):
        labels = image_set.labels[image_set.index_of(split.ids(partition, "forget"))]
        assert set(labels.tolist()) == {1, 4}
        kept = image_set.labels[image_set.index_of(split.ids(partition, "retain"))]
        assert set(kept.tolist()) == {0, 2, 3, 5}
    assert split.manifest["forgotten_classes"] == [1, 4]


def test_class_scenario_of_a_coarse_task_names_superclasses(make_image_set):
    image_set = make_image_set()
    split = _split(image_set, ClassScenario(kind="class", classes=["right"]), target="coarse")
    assert set(image_set.labels[image_set.index_of(split.ids("train", "forget"))].tolist()) == {4, 5}
    assert split.manifest["forgotten_classes"] == [2]
    assert split.manifest["classes"] == ["left", "middle", "right"]


def test_subclass_tells_adjacent_from_remote_data(make_image_set):
    image_set = make_image_set()
    split = _split(image_set, SubclassScenario(kind="subclass", classes=["c"]), target="coarse")
    classes = {"forget": {2}, "adjacent": {3}, "remote": {0, 1, 4, 5}, "retain": {0, 1, 3, 4, 5}}
    for partition in ("train", "validation", "test"):
        for subset, expected in classes.items():
            labels = image_set.labels[image_set.index_of(split.ids(partition, subset))]
            assert set(labels.tolist()) == expected
    assert split.manifest["forgotten_classes"] == []
    counts = split.manifest["counts"]
    assert counts["train/retain"] == counts["train/adjacent"] + counts["train/remote"]


def test_group_forgets_all_images_of_the_subjects(make_image_set):
    image_set = make_image_set()
    split = _split(image_set, GroupScenario(kind="group", subjects=[2, 7]))
    for partition in ("train", "validation", "test"):
        for subset, inside in {"forget": True, "retain": False}.items():
            subjects = image_set.subjects[image_set.index_of(split.ids(partition, subset))]
            assert len(subjects)
            assert set(np.isin(subjects, [2, 7]).tolist()) == {inside}


def test_ids_forgets_what_the_file_names(make_image_set, tmp_path):
    image_set = make_image_set()
    wanted = _split(image_set).ids("train")[:7]
    (tmp_path / "ids.txt").write_text("# asked for in May\n" + "\n".join(wanted))
    split = _split(image_set, IdsScenario(kind="ids", file=tmp_path / "ids.txt"))
    assert split.ids("train", "forget") == wanted
    assert split.manifest["scenario"] == "ids"
    assert str(tmp_path) not in json.dumps(split.manifest)


@pytest.mark.parametrize(
    ("scenario", "message"),
    [
        (RandomScenario(fraction=0.001), r"fraction = 0.001: forgets 0 of 1\d\d training images; .* from 1 to 1\d\d"),
        (RandomScenario(fraction=0.999), r"fraction = 0.999: forgets (1\d\d) of \1 training images"),
        (RandomScenario(count=500), r"count = 500: forgets 500 of 1\d\d training images"),
        (RandomScenario(fraction=0.98), r"no training image of class '\w' is retained; .* kind: class"),
        (ClassScenario(kind="class", classes=[12]), r"classes = 12: the classes are 0 to 5"),
        (ClassScenario(kind="class", classes=[-1]), r"classes = -1: the classes are 0 to 5"),
        (ClassScenario(kind="class", classes=["cat"]), r"classes = 'cat': no such class; there are a, b, c, d, e, f"),
        (ClassScenario(kind="class", classes=list("abcdef")), r"all 1\d\d training images are forgotten"),
        (GroupScenario(kind="group", subjects=[3, 99]), r"subjects = \[99\]: no image shows them; there are 10: 0, 1"),
        (GroupScenario(kind="group", subjects=list(range(10))), r"all 1\d\d training images are forgotten"),
    ],
)
def test_an_impossible_scenario_is_one_clear_error(make_image_set, scenario, message):
    with pytest.raises(ValueError, match=message):
        _split(make_image_set(), scenario)


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (["c", "d"], r"no training image of class 'middle' is retained"),
        (["a", "c", "e"], r"leaves no remote training image"),
        ([9], r"classes = 9: the classes are 0 to 5"),
    ],
)
def test_subclass_needs_adjacent_and_remote_data(make_image_set, classes, message):
    with pytest.raises(ValueError, match=message):
        _split(make_image_set(), SubclassScenario(kind="subclass", classes=classes), target="coarse")


def test_group_needs_subjects(make_image_set):
    with pytest.raises(ValueError, match="the image set has no subjects; use the source image_folder"):
        _split(replace(make_image_set(), subjects=None), GroupScenario(kind="group", subjects=[1]))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("nobody\n", r"ids\.txt: 1 of 1 ids name no training image \(0 of them are in validation or test.*: nobody"),
        ("{test}\n{train}\n", r"ids\.txt: 1 of 2 ids name no training image \(1 of them"),
        ("{erased}\n", r"ids\.txt: 1 of 1 ids name no training image \(0 of them"),
        ("", "no training image is forgotten"),
        ("two words\n", r"ids\.txt, line 1: 'two words' is not a sample id"),
        (None, r"ids\.txt: No such file"),
    ],
)
def test_a_list_that_names_other_than_training_images_is_refused(make_image_set, tmp_path, content, message):
    image_set = make_image_set()
    plain = _split(image_set)
    erased = plain.ids("train")[5]
    file = tmp_path / "ids.txt"
    if content is not None:
        file.write_text(content.format(test=plain.ids("test")[0], train=plain.ids("train")[0], erased=erased))
    with pytest.raises(ValueError, match=message):
        _split(image_set, IdsScenario(kind="ids", file=file), erased=[erased])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"validation": 0.0001}, r"split\.validation = 0\.0001: no validation image among 240; raise it"),
        ({"test": 0.0001}, r"split\.test = 0\.0001: no test image among 240; raise it"),
        ({"test": 0.9999}, r"split: no training image among 240"),
        ({"validation": 0.97}, r"split: none of the 40 images of class '\w' is for training; lower split\.validation"),
    ],
)
def test_a_split_that_leaves_a_part_empty_is_refused(make_image_set, settings, message):
    with pytest.raises(ValueError, match=message):
        _split(make_image_set(), **settings)


def test_erasing_everything_is_refused(make_image_set):
    image_set = make_image_set()
    with pytest.raises(ValueError, match="no training image among 0"):
        _split(image_set, erased=image_set.ids)


def test_a_class_that_is_erased_altogether_does_not_stop_the_others(make_image_set):
    image_set = make_image_set()
    gone = np.array(image_set.ids, dtype=object)[image_set.labels == 2]
    split = _split(image_set, erased=gone)
    assert split.manifest["classes"] == ["a", "b", "c", "d", "e", "f"]
    assert Counter(image_set.labels[image_set.index_of(split.ids("train"))].tolist())[2] == 0


# --- table and folder ------------------------------------------------------------------------------------------------


def test_indices_are_ascending_positions_of_the_ids(make_image_set):
    image_set = make_image_set()
    split = _split(image_set)
    indices = split.indices(image_set, partition="train", subset="retain")
    assert indices.dtype == torch.int64
    assert indices.tolist() == sorted(indices.tolist())
    assert tuple(image_set.ids[place] for place in indices) == split.ids("train", "retain")


def test_indices_follow_the_samples_into_a_smaller_image_set(make_image_set):
    image_set = make_image_set()
    split = _split(image_set)
    gone = split.ids("validation")[0]
    rest = image_set.select(np.array([one != gone for one in image_set.ids]))
    indices = split.indices(rest, partition="train")
    assert tuple(rest.ids[place] for place in indices) == split.ids("train")
    with pytest.raises(ValueError, match=gone):
        split.indices(rest, partition="validation")


def test_the_digest_of_a_subset_is_that_of_its_sorted_ids(make_image_set):
    split = _split(make_image_set())
    text = "".join(f"{one}\n" for one in sorted(split.ids("train", "forget")))
    assert split.digest("train", "forget") == hashlib.sha256(text.encode()).hexdigest()
    assert split.manifest["digests"]["train/forget"] == split.digest("train", "forget")


@pytest.mark.parametrize(("partition", "subset"), [("training", None), ("train", "forgotten")])
def test_an_unknown_partition_or_subset_is_an_error(make_image_set, partition, subset):
    with pytest.raises(ValueError, match="partitions are"):
        _split(make_image_set()).ids(partition, subset)


def test_a_saved_split_is_read_back_exactly(make_image_set, tmp_path):
    image_set = make_image_set()
    split = _split(image_set, SubclassScenario(kind="subclass", classes=["c"]), target="coarse")
    save_split(split, tmp_path / "split")
    loaded = load_split(tmp_path / "split")
    assert loaded.manifest == split.manifest
    for column in ("id_column", "partition_column", "subset_column"):
        assert getattr(loaded, column).tolist() == getattr(split, column).tolist()
    with (tmp_path / "split" / "split.csv").open() as stream:
        assert next(csv.reader(stream)) == ["id", "partition", "subset"]


def test_saving_the_same_split_twice_gives_the_same_bytes(make_image_set, tmp_path):
    for name in ("one", "two"):
        save_split(_split(make_image_set()), tmp_path / name)
    for file in ("split.csv", "manifest.json"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_a_failing_save_leaves_the_earlier_split(make_image_set, tmp_path, monkeypatch):
    image_set = make_image_set()
    save_split(_split(image_set), tmp_path / "split")
    before = load_split(tmp_path / "split").manifest
    monkeypatch.setattr(json, "dumps", lambda *_, **__: (_ for _ in ()).throw(OSError("no space left")))
    with pytest.raises(OSError, match="no space"):
        save_split(_split(image_set, seed=1), tmp_path / "split")
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
    save_split(_split(make_image_set()), tmp_path / "split")
    action, message = DAMAGES[damage]
    action(tmp_path / "split")
    with pytest.raises(ValueError, match=message) as caught:
        load_split(tmp_path / "split")
    assert str(tmp_path) in str(caught.value)
