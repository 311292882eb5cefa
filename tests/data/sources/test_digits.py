from __future__ import annotations

import hashlib

import numpy as np
import pytest
from sklearn.datasets import load_digits

from qunlearn.config import DigitsSource
from qunlearn.data.imageset import load, save
from qunlearn.data.sources import read


@pytest.fixture(scope="module")
def digits():
    return read(DigitsSource())


def test_all_digits_are_there_scaled_to_bytes(digits):
    content = load_digits()
    assert digits.images.shape == (1797, 1, 8, 8)
    np.testing.assert_allclose(digits.images[:, 0] / 255.0, content.images / 16.0, atol=0.5 / 255)
    assert digits.images.max() == 255
    np.testing.assert_array_equal(digits.labels, content.target)
    assert digits.meta.classes == tuple("0123456789")
    assert not digits.meta.official_test


def test_coarse_labels_tell_shapes_apart(digits):
    names = digits.meta.coarse_classes
    of_shape = {name: set(digits.labels[digits.coarse == place].tolist()) for place, name in enumerate(names)}
    assert of_shape == {"closed": {0, 6, 8, 9}, "straight": {1, 4, 7}, "open": {2, 3, 5}}


def test_an_id_holds_the_index_and_a_digest_of_pixels_and_label(digits):
    content = digits.images[42].tobytes() + int(digits.labels[42]).to_bytes(8, "little")
    assert digits.ids[42] == f"all-000042-{hashlib.sha256(content).hexdigest()[:12]}"


def test_mean_and_std_are_those_of_the_pixels(digits):
    assert digits.meta.mean == pytest.approx(((digits.images / 255.0).mean(),))
    assert digits.meta.std == pytest.approx(((digits.images / 255.0).std(),))


def test_reading_twice_gives_the_same_set(digits, tmp_path):
    assert read(DigitsSource()).digest() == digits.digest()
    save(digits, tmp_path / "digits")
    assert load(tmp_path / "digits").digest() == digits.digest()


def test_erased_samples_are_left_out_and_no_other_id_changes(digits):
    erased = frozenset(digits.ids[100:110])
    rest = read(DigitsSource(), erased=erased | {"unknown"})
    assert rest.ids == digits.ids[:100] + digits.ids[110:]
    assert rest.meta.raw_digest == digits.meta.raw_digest
    kept = np.delete(digits.images, range(100, 110), axis=0) / 255.0
    assert rest.meta.mean == pytest.approx((kept.mean(),))


def test_erasing_everything_is_refused(digits):
    with pytest.raises(ValueError, match="all training images are erased"):
        read(DigitsSource(), erased=frozenset(digits.ids))
