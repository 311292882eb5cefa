from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qunlearn.config import DigitsSource
from qunlearn.data.sources import read
from qunlearn.data.sources.subset import even_quotas, subset_mask


def test_the_classes_of_a_subset_are_balanced():
    image_set = read(DigitsSource(subset=305))
    assert len(image_set) == 305
    assert set(np.bincount(image_set.labels).tolist()) == {30, 31}


def test_a_subset_depends_on_its_seed_alone():
    first, again, other = (read(DigitsSource(subset=100, seed=seed)) for seed in (0, 0, 1))
    assert first.ids == again.ids
    assert first.ids != other.ids
    assert list(first.ids) == sorted(first.ids)


def test_training_and_test_part_shrink_in_proportion(make_image_set):
    image_set = make_image_set(240, official_test=60)
    part = image_set.select(subset_mask(image_set, 80, seed=0))
    assert len(part) == 80
    assert part.official_test_mask().sum() == 20
    training = part.labels[~part.official_test_mask()]
    assert np.bincount(training).tolist() == [10] * 6


def test_what_is_erased_from_a_subset_is_not_replaced():
    full = read(DigitsSource(subset=100))
    rest = read(DigitsSource(subset=100), erased=frozenset(full.ids[:3]))
    assert rest.ids == full.ids[3:]


def test_removing_a_sample_that_was_not_drawn_changes_nothing(make_image_set):
    image_set = make_image_set(240)
    drawn = subset_mask(image_set, 60, seed=0)
    keep = drawn | (np.arange(240) % 3 > 0)
    smaller = image_set.select(keep)
    assert smaller.select(subset_mask(smaller, 60, seed=0)).ids == image_set.select(drawn).ids


def test_null_and_the_full_size_keep_everything(make_image_set):
    image_set = make_image_set(24)
    assert subset_mask(image_set, None, seed=0).all()
    assert subset_mask(image_set, 24, seed=0).all()


def test_a_small_class_gives_all_it_has(make_image_set):
    image_set = make_image_set(60)
    labels = np.array([0] * 2 + [1] * 58, dtype=np.int64)
    uneven = replace(image_set, labels=labels)
    assert np.bincount(labels[subset_mask(uneven, 20, seed=0)]).tolist() == [2, 18]


@pytest.mark.parametrize(
    ("size", "message"),
    [(241, "data.subset: 241 of 240 images"), (5, "data.subset: 5 leaves 4 images for 6 classes in one part")],
)
def test_an_impossible_subset_is_refused(make_image_set, size, message):
    with pytest.raises(ValueError, match=message):
        subset_mask(make_image_set(240, official_test=60), size, seed=0)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=6), st.data())
def test_quotas_add_up_and_differ_by_one_unless_a_class_is_exhausted(available, data):
    total = data.draw(st.integers(0, sum(available)))
    quotas = even_quotas(np.array(available), total)
    assert sum(quotas) == total
    assert all(quota <= have for quota, have in zip(quotas, available, strict=True))
    able = [quota for quota, have in zip(quotas, available, strict=True) if quota < have]
    assert all(quota >= max(quotas) - 1 for quota in able)
