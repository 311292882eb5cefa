"""Each scenario forgets exactly what it names, and an impossible one is one clear error."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from splitting import TENTH, split_of

from qunlearn.config import (
    ClassScenario,
    GroupScenario,
    IdsScenario,
    RandomScenario,
    SubclassScenario,
)


@pytest.mark.parametrize("scenario", [TENTH, RandomScenario(count=17)])
def test_random_forgets_the_exact_number_of_training_images(make_image_set, scenario):
    split = split_of(make_image_set(), scenario)
    trained = len(split.ids("train"))
    expected = scenario.count or round(0.1 * trained)
    assert len(split.ids("train", "forget")) == expected
    assert len(split.ids("train", "retain")) == trained - expected
    assert not split.ids("test", "forget")
    assert not split.ids("validation", "forget")


def test_random_forget_sets_of_growing_size_contain_each_other(make_image_set):
    image_set = make_image_set()
    small, large = (set(split_of(image_set, RandomScenario(count=n)).ids("train", "forget")) for n in (10, 20))
    assert small < large


def test_random_forgetting_is_independent_of_the_partition_draw(make_image_set):
    image_set = make_image_set(3000)
    forget = set(split_of(image_set, RandomScenario(fraction=0.5)).ids("train", "forget"))
    stricter = set(split_of(image_set, RandomScenario(fraction=0.5), validation=0.5).ids("train"))
    assert 0.4 < len(forget & stricter) / len(stricter) < 0.6


@pytest.mark.parametrize("classes", [[1, 4], ["b", "e"], [1, "e", "b"]])
def test_class_forgets_whole_classes_in_every_partition(make_image_set, classes):
    image_set = make_image_set()
    split = split_of(image_set, ClassScenario(kind="class", classes=classes))
    for partition in ("train", "validation", "test"):
        labels = image_set.labels[image_set.index_of(split.ids(partition, "forget"))]
        assert set(labels.tolist()) == {1, 4}
        kept = image_set.labels[image_set.index_of(split.ids(partition, "retain"))]
        assert set(kept.tolist()) == {0, 2, 3, 5}
    assert split.manifest["forgotten_classes"] == [1, 4]


def test_class_scenario_of_a_coarse_task_names_superclasses(make_image_set):
    image_set = make_image_set()
    split = split_of(image_set, ClassScenario(kind="class", classes=["right"]), target="coarse")
    assert set(image_set.labels[image_set.index_of(split.ids("train", "forget"))].tolist()) == {4, 5}
    assert split.manifest["forgotten_classes"] == [2]
    assert split.manifest["classes"] == ["left", "middle", "right"]


def test_subclass_tells_adjacent_from_remote_data(make_image_set):
    image_set = make_image_set()
    split = split_of(image_set, SubclassScenario(kind="subclass", classes=["c"]), target="coarse")
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
    split = split_of(image_set, GroupScenario(kind="group", subjects=[2, 7]))
    for partition in ("train", "validation", "test"):
        for subset, inside in {"forget": True, "retain": False}.items():
            subjects = image_set.subjects[image_set.index_of(split.ids(partition, subset))]
            assert len(subjects)
            assert set(np.isin(subjects, [2, 7]).tolist()) == {inside}


def test_ids_forgets_what_the_file_names(make_image_set, tmp_path):
    image_set = make_image_set()
    wanted = split_of(image_set).ids("train")[:7]
    (tmp_path / "ids.txt").write_text("# asked for in May\n" + "\n".join(wanted))
    split = split_of(image_set, IdsScenario(kind="ids", file=tmp_path / "ids.txt"))
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
        split_of(make_image_set(), scenario)


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
        split_of(make_image_set(), SubclassScenario(kind="subclass", classes=classes), target="coarse")


def test_group_needs_subjects(make_image_set):
    with pytest.raises(ValueError, match="the image set has no subjects; use the source image_folder"):
        split_of(replace(make_image_set(), subjects=None), GroupScenario(kind="group", subjects=[1]))


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
    plain = split_of(image_set)
    erased = plain.ids("train")[5]
    file = tmp_path / "ids.txt"
    if content is not None:
        file.write_text(content.format(test=plain.ids("test")[0], train=plain.ids("train")[0], erased=erased))
    with pytest.raises(ValueError, match=message):
        split_of(image_set, IdsScenario(kind="ids", file=file), erased=[erased])


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
        split_of(make_image_set(), **settings)


def test_erasing_everything_is_refused(make_image_set):
    image_set = make_image_set()
    with pytest.raises(ValueError, match="no training image among 0"):
        split_of(image_set, erased=image_set.ids)


def test_a_class_that_is_erased_altogether_does_not_stop_the_others(make_image_set):
    image_set = make_image_set()
    gone = np.array(image_set.ids, dtype=object)[image_set.labels == 2]
    split = split_of(image_set, erased=gone)
    assert split.manifest["classes"] == ["a", "b", "c", "d", "e", "f"]
    assert Counter(image_set.labels[image_set.index_of(split.ids("train"))].tolist())[2] == 0
