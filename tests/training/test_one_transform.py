"""Training-time and reported evaluation use one transform (not 32 pixels here and 224 there)."""

import dataclasses

import pytest
import torch
from torch.nn import functional as F

from qunlearn.config import ModelConfig
from qunlearn.data.batches import ImagePool, Transform, infer
from qunlearn.models import build

TRANSFORM = Transform((0.3, 0.4, 0.5), (0.2, 0.25, 0.3), crop_padding=2, flip=True)


@pytest.fixture
def pool():
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (6, 3, 12, 12), generator=generator, dtype=torch.uint8)
    return ImagePool(images, torch.arange(6) % 2, TRANSFORM, 2)


@pytest.fixture
def model():
    return build(ModelConfig(width=4), classes=2, channels=3, image_size=12, seed=0)


def by_hand(model, images):
    inputs = (images.double() / 255.0 - torch.tensor(TRANSFORM.mean).double()[:, None, None]) / torch.tensor(
        TRANSFORM.std
    ).double()[:, None, None]
    model.eval()
    with torch.no_grad():
        return model(inputs.float())


def resized(model, pool):
    inputs = F.interpolate(TRANSFORM.test(pool.images), size=(24, 24), mode="bilinear")
    return model.eval()(inputs).detach()


def normalised_otherwise(model, pool):
    other = dataclasses.replace(pool, transform=dataclasses.replace(TRANSFORM, mean=(0.5, 0.5, 0.5)))
    return infer(model, other, torch.arange(6))


def augmented(model, pool):
    inputs, _ = pool.batch(torch.arange(6), augment=torch.Generator().manual_seed(0))
    return model.eval()(inputs).detach()


def test_a_pool_has_exactly_one_transform():
    kinds = [field.name for field in dataclasses.fields(ImagePool) if "transform" in field.name]
    assert kinds == ["transform"]


def test_evaluation_is_the_models_answer_to_normalised_images_of_their_own_size(model, pool):
    torch.testing.assert_close(infer(model, pool, torch.arange(6)), by_hand(model, pool.images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("wrong", [resized, normalised_otherwise, augmented])
def test_another_transform_would_be_noticed(model, pool, wrong):
    with pytest.raises(AssertionError):
        torch.testing.assert_close(wrong(model, pool), by_hand(model, pool.images), rtol=1e-4, atol=1e-5)


def test_training_input_without_augmentation_is_the_evaluation_input(pool):
    still = dataclasses.replace(TRANSFORM, crop_padding=0, flip=False)
    plain = dataclasses.replace(pool, transform=still)
    training, _ = plain.batch(torch.arange(6), augment=torch.Generator())
    assert torch.equal(training, pool.batch(torch.arange(6))[0])
