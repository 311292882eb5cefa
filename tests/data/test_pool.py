from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

from qunlearn.data.imageset import load, save
from qunlearn.data.pool import make_pool


def test_the_pool_holds_images_labels_and_the_sets_own_normalisation(make_image_set):
    image_set = make_image_set(12, channels=3)
    pool = make_pool(image_set, target="fine", crop_padding=2, flip=True)
    assert torch.equal(pool.images, torch.from_numpy(image_set.images))
    assert pool.labels.tolist() == image_set.labels.tolist()
    assert (pool.classes, pool.transform.mean, pool.transform.std) == (6, (0.5,) * 3, (0.25,) * 3)
    assert (pool.transform.crop_padding, pool.transform.flip) == (2, True)


def test_the_coarse_target_has_the_superclasses_as_classes(make_image_set):
    pool = make_pool(make_image_set(12), target="coarse")
    assert pool.classes == 3
    assert pool.labels.tolist() == [0, 0, 1, 1, 2, 2] * 2


def test_the_pool_shares_no_memory_with_the_file(tmp_path, make_image_set):
    save(make_image_set(12), tmp_path / "set")
    loaded = load(tmp_path / "set")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pool = make_pool(loaded, target="fine")
    pool.images.zero_()
    assert np.asarray(loaded.images).any()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_pool_on_the_gpu_gives_batches_there(make_image_set):
    pool = make_pool(make_image_set(12), target="fine", device="cuda", channels_last=True)
    inputs, labels = pool.batch(torch.arange(4))
    assert inputs.device.type == labels.device.type == "cuda"
