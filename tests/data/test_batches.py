from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from torch import nn

from qunlearn.data.batches import (
    ImagePool,
    Transform,
    infer,
    ordered_batches,
    random_crop,
    random_flip,
    shuffled_batches,
)

DEVICES = [
    "cpu",
    pytest.param(
        "cuda",
        marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")],
    ),
]


def _images(count: int, channels: int = 3, height: int = 5, width: int = 7, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    shape = (count, channels, height, width)
    return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)


def _pool(count: int, **options) -> ImagePool:
    transform = Transform((0.1, 0.5, 0.4), (0.2, 0.3, 0.5), crop_padding=2, flip=True)
    return ImagePool(_images(count), torch.arange(count) % 4, options.pop("transform", transform), classes=4, **options)


def _crop_slowly(image: np.ndarray, top: int, left: int, padding: int) -> np.ndarray:
    """PIL: paste [C, H, W] on a black canvas and cut the window at (top, left)."""
    _, height, width = image.shape
    cut = []
    for plane in image:
        padded = ImageOps.expand(Image.fromarray(plane), border=padding, fill=0)
        cut.append(np.asarray(padded.crop((left, top, left + width, top + height))))
    return np.stack(cut)


@settings(max_examples=30, deadline=None)
@given(
    count=st.integers(0, 4),
    channels=st.integers(1, 3),
    height=st.integers(1, 6),
    width=st.integers(1, 6),
    padding=st.integers(1, 4),
    seed=st.integers(0, 2**32),
)
def test_random_crop_equals_padding_and_cutting_each_image(count, channels, height, width, padding, seed):
    images = _images(count, channels, height, width)
    offsets = torch.randint(0, 2 * padding + 1, (2, count), generator=torch.Generator().manual_seed(seed))
    cropped = random_crop(images, padding, generator=torch.Generator().manual_seed(seed))
    assert cropped.dtype == torch.uint8
    assert cropped.shape == images.shape
    for place in range(count):
        expected = _crop_slowly(images[place].numpy(), int(offsets[0, place]), int(offsets[1, place]), padding)
        np.testing.assert_array_equal(cropped[place].numpy(), expected)


def test_every_shift_of_a_crop_occurs_about_equally_often():
    images = torch.zeros(1800, 1, 5, 5, dtype=torch.uint8)
    images[:, 0, 2, 2] = 1
    places = random_crop(images, 1, generator=torch.Generator().manual_seed(0)).reshape(1800, 25).argmax(1)
    counts = torch.bincount(places, minlength=25).reshape(5, 5)
    assert counts.sum() == counts[1:4, 1:4].sum()
    assert (counts[1:4, 1:4] - 200).abs().max() < 60


def test_random_flip_mirrors_about_half_of_the_images_and_leaves_the_others():
    images = _images(1000)
    flipped = random_flip(images, generator=torch.Generator().manual_seed(0))
    mirrored = 0
    for before, after in zip(images, flipped, strict=True):
        slow = torch.from_numpy(np.stack([np.asarray(ImageOps.mirror(Image.fromarray(p))) for p in before.numpy()]))
        mirrored += torch.equal(after, slow)
        assert torch.equal(after, slow) or torch.equal(after, before)
    assert 440 < mirrored < 560


@pytest.mark.parametrize("device", DEVICES)
def test_normalisation_equals_the_textbook_formula(device):
    images = _images(6)
    transform = Transform((0.1, 0.5, 0.4), (0.2, 0.3, 0.5))
    mean, std = np.array(transform.mean)[:, None, None], np.array(transform.std)[:, None, None]
    result = transform.test(images.to(device))
    assert result.dtype == torch.float32
    np.testing.assert_allclose(result.cpu().numpy(), (images.numpy() / 255.0 - mean) / std, atol=2e-6)


def test_normalisation_of_known_pixels():
    images = torch.tensor([0, 51, 255], dtype=torch.uint8).reshape(1, 1, 1, 3)
    assert Transform((0.2,), (0.4,)).test(images).flatten().tolist() == pytest.approx([-0.5, 0.0, 2.0], abs=1e-6)


def test_training_without_crop_and_flip_is_the_test_transform():
    images = _images(5)
    transform = Transform((0.1, 0.5, 0.4), (0.2, 0.3, 0.5))
    assert torch.equal(transform.train(images, torch.Generator()), transform.test(images))


def test_padding_is_black_before_normalisation():
    images = torch.full((50, 1, 3, 3), 255, dtype=torch.uint8)
    inputs = Transform((0.2,), (0.4,), crop_padding=3).train(images, torch.Generator().manual_seed(0))
    assert inputs.min().item() == pytest.approx(-0.5)
    assert inputs.max().item() == pytest.approx(2.0)


@pytest.mark.parametrize("device", DEVICES)
def test_the_same_seed_gives_the_same_batch_on_every_device(device):
    on_cpu = _pool(20)
    pool = ImagePool(on_cpu.images.to(device), on_cpu.labels.to(device), on_cpu.transform, classes=4)
    indices = torch.tensor([3, 3, 19, 0])
    inputs, labels = pool.batch(indices, augment=torch.Generator().manual_seed(5))
    again, _ = on_cpu.batch(indices, augment=torch.Generator().manual_seed(5))
    other, _ = on_cpu.batch(indices, augment=torch.Generator().manual_seed(6))
    torch.testing.assert_close(inputs.cpu(), again, atol=1e-6, rtol=0)
    assert labels.tolist() == [3, 3, 3, 0]
    assert not torch.equal(again, other)


def test_augmentation_leaves_the_pool_and_the_global_generator_alone():
    pool = _pool(10)
    before, state = pool.images.clone(), torch.random.get_rng_state()
    pool.batch(torch.arange(10), augment=torch.Generator().manual_seed(0))
    assert torch.equal(pool.images, before)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_channels_last_changes_the_memory_format_alone():
    plain, _ = _pool(6).batch(torch.arange(6))
    inputs, _ = _pool(6, channels_last=True).batch(torch.arange(6))
    assert inputs.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(inputs, plain)


@given(count=st.integers(0, 40), batch_size=st.integers(1, 12))
def test_ordered_batches_are_the_indices_in_their_order(count, batch_size):
    indices = torch.arange(count) * 3
    parts = list(ordered_batches(indices, batch_size))
    assert [index for part in parts for index in part.tolist()] == indices.tolist()
    assert all(1 <= len(part) <= batch_size for part in parts)


@given(count=st.integers(0, 40), batch_size=st.integers(1, 12), seed=st.integers(0, 1000))
def test_an_epoch_visits_each_index_once_and_has_no_batch_of_one(count, batch_size, seed):
    indices = torch.arange(count) * 3
    parts = list(shuffled_batches(indices, batch_size, generator=torch.Generator().manual_seed(seed)))
    assert sorted(index for part in parts for index in part.tolist()) == indices.tolist()
    assert all(len(part) <= batch_size + 1 for part in parts)
    if count > 1 and batch_size > 1:
        assert all(len(part) > 1 for part in parts)


def test_the_order_of_an_epoch_depends_on_the_generator_alone():
    def epoch(seed: int) -> list[int]:
        parts = shuffled_batches(torch.arange(50), 8, generator=torch.Generator().manual_seed(seed))
        return torch.cat(list(parts)).tolist()

    torch.manual_seed(0)
    first = epoch(1)
    torch.manual_seed(99)
    assert epoch(1) == first
    assert epoch(2) != first


def test_two_epochs_of_one_generator_differ():
    generator = torch.Generator().manual_seed(0)
    first, second = (torch.cat(list(shuffled_batches(torch.arange(50), 8, generator=generator))) for _ in range(2))
    assert not torch.equal(first, second)


class _Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.frozen = nn.BatchNorm2d(3)
        self.norm = nn.BatchNorm2d(3)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(3 * 5 * 7, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.drop(self.norm(self.frozen(x))).flatten(1))


@pytest.fixture
def net():
    torch.manual_seed(0)
    model = _Net()
    model.train()
    model.frozen.eval()
    return model


@pytest.mark.parametrize("device", DEVICES)
def test_infer_gives_all_logits_in_order_whatever_the_batch_size(net, device):
    on_cpu = _pool(23)
    pool = ImagePool(on_cpu.images.to(device), on_cpu.labels.to(device), on_cpu.transform, classes=4)
    net.to(device)
    indices = torch.randperm(23, generator=torch.Generator().manual_seed(1))[:17]
    logits = infer(net, pool, indices, batch_size=4)
    assert logits.shape == (17, 4)
    assert not logits.requires_grad
    net.eval()
    one_by_one = torch.cat([net(pool.batch(index[None])[0]) for index in indices])
    torch.testing.assert_close(logits, one_by_one, atol=1e-4, rtol=1e-4)


def test_infer_restores_the_mode_of_each_module_and_moves_no_running_statistics(net):
    before = {name: value.clone() for name, value in net.state_dict().items()}
    infer(net, _pool(8), torch.arange(8))
    assert net.training
    assert net.norm.training
    assert not net.frozen.training
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())


def test_infer_restores_the_mode_when_the_model_fails(net):
    broken = _pool(8, transform=Transform((0.0,), (1.0,)))
    net.head = nn.Linear(1, 4)
    with pytest.raises(RuntimeError):
        infer(net, broken, torch.arange(8))
    assert net.training
    assert not net.frozen.training


def test_infer_of_no_index_gives_no_logits_of_the_right_width(net):
    assert infer(net, _pool(8), torch.empty(0, dtype=torch.int64)).shape == (0, 4)


def test_logits_of_a_half_precision_model_are_float32(net):
    model = nn.Sequential(nn.Flatten(), nn.Linear(105, 4)).to(torch.bfloat16)
    wrapped = nn.Sequential(_Cast(), model)
    assert infer(wrapped, _pool(3), torch.arange(3)).dtype == torch.float32


class _Cast(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.to(torch.bfloat16)
