"""Batches without a loader: all images live on one device as uint8, a batch is an index into them.

Augmentation and normalisation are tensor operations on whole batches. There is one transform object per image set,
used by training, unlearning and every evaluation alike.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Transform:
    """From uint8 images to network input.

    Args:
        mean: per channel, in [0, 1].
        std: per channel, positive, of images in [0, 1].
        crop_padding: pixels of zero padding before a random crop in `train`; 0 means no crop.
        flip: flip horizontally with probability 1/2 in `train`.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop_padding: int = 0
    flip: bool = False

    def test(self, images: Tensor) -> Tensor:
        """Normalise uint8 [B, C, H, W] to float32 [B, C, H, W]; nothing is random."""
        scale = torch.tensor([1.0 / (255.0 * s) for s in self.std], device=images.device)[:, None, None]
        shift = torch.tensor([-m / s for m, s in zip(self.mean, self.std, strict=True)], device=images.device)
        return images * scale + shift[:, None, None]

    def train(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Random crop and flip of each image of uint8 [B, C, H, W], then `test`. `generator` lives on the CPU."""
        if self.crop_padding:
            images = random_crop(images, self.crop_padding, generator=generator)
        if self.flip:
            images = random_flip(images, generator=generator)
        return self.test(images)


def random_crop(images: Tensor, padding: int, *, generator: torch.Generator) -> Tensor:
    """Shift each image of [B, C, H, W] by up to `padding` pixels in both directions, filling with zeros."""
    count, channels, height, width = images.shape
    offsets = torch.randint(0, 2 * padding + 1, (2, count), generator=generator).to(images.device)
    rows = offsets[0][:, None] + torch.arange(height, device=images.device)
    columns = offsets[1][:, None] + torch.arange(width, device=images.device)
    padded = F.pad(images, (padding, padding, padding, padding))
    flat = padded.flatten(2)
    places = (rows[:, :, None] * (width + 2 * padding) + columns[:, None, :]).flatten(1)[:, None]
    return flat.gather(2, places.expand(-1, channels, -1)).reshape(count, channels, height, width)


def random_flip(images: Tensor, *, generator: torch.Generator) -> Tensor:
    """Mirror each image of [B, C, H, W] left to right with probability 1/2."""
    chosen = (torch.rand(len(images), generator=generator) < 0.5).to(images.device)
    return torch.where(chosen[:, None, None, None], images.flip(-1), images)


@dataclass(frozen=True, eq=False)
class ImagePool:
    """All images of a set on one device.

    Args:
        images: uint8 [N, C, H, W].
        labels: int64 [N], each in [0, classes), on the same device.
        transform: the only way from these images to network input.
        classes: number of classes of the task.
        channels_last: memory format of the batches.
    """

    images: Tensor
    labels: Tensor
    transform: Transform
    classes: int
    channels_last: bool = False

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def device(self) -> torch.device:
        return self.images.device

    def batch(self, indices: Tensor, *, augment: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Network input float32 [B, C, H, W] and labels int64 [B] of the images at `indices` (int64 [B]).

        Args:
            augment: a CPU generator applies the random training transform; None the test transform.
        """
        indices = indices.to(self.device)
        images = self.images[indices]
        inputs = self.transform.test(images) if augment is None else self.transform.train(images, augment)
        if self.channels_last:
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        return inputs, self.labels[indices]


def ordered_batches(indices: Tensor, batch_size: int) -> Iterator[Tensor]:
    """`indices` (int64 [n]) in their order, in parts of at most `batch_size`."""
    yield from torch.split(indices, batch_size) if len(indices) else ()


def shuffled_batches(indices: Tensor, batch_size: int, *, generator: torch.Generator) -> Iterator[Tensor]:
    """One epoch: `indices` (int64 [n]) in a fresh random order, in parts of at most `batch_size`.

    A last part of a single index joins the one before it, since batch statistics of one image do not exist.
    """
    order = indices[torch.randperm(len(indices), generator=generator).to(indices.device)]
    parts = list(ordered_batches(order, batch_size))
    if len(parts) > 1 and len(parts[-1]) == 1:
        parts[-2:] = [torch.cat(parts[-2:])]
    yield from parts


@torch.no_grad()
def infer(model: nn.Module, pool: ImagePool, indices: Tensor, *, batch_size: int = 1000) -> Tensor:
    """All logits, float32 [n, K], of the images at `indices` in their order: eval mode, test transform.

    Afterwards each module is in the mode it was in, so a BatchNorm layer frozen by the caller stays frozen.
    """
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        logits = [model(pool.batch(part)[0]).float() for part in ordered_batches(indices, batch_size)]
    finally:
        for module in training:
            module.training = True
    return torch.cat(logits) if logits else torch.empty(0, pool.classes, device=pool.device)
