"""Mean and standard deviation of the pixels, for normalisation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from qunlearn.data.imageset import ImageSet


def channel_statistics(images: NDArray[np.uint8]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel of uint8 [N, C, H, W], as fractions of 255.

    Computed from exact integer histograms, so the order of the images does not matter.

    Raises:
        ValueError: a channel where all pixels are equal.
    """
    channels = images.shape[1]
    counts = np.zeros((channels, 256), dtype=np.int64)
    for start in range(0, len(images), 2048):
        part = images[start : start + 2048]
        for channel in range(channels):
            counts[channel] += np.bincount(part[:, channel].ravel(), minlength=256)
    levels = np.arange(256) / 255.0
    share = counts / counts.sum(axis=1, keepdims=True)
    mean = share @ levels
    std = np.sqrt((share * (levels - mean[:, None]) ** 2).sum(axis=1))
    if (std == 0).any():
        raise ValueError(f"channel {int(np.argmin(std))}: all pixels of all images are equal, nothing can be learnt")
    return tuple(mean.tolist()), tuple(std.tolist())


def with_statistics(image_set: ImageSet) -> ImageSet:
    """The same set with `meta.mean` and `meta.std` computed from its training part."""
    training = ~image_set.official_test_mask()
    mean, std = channel_statistics(image_set.images if training.all() else image_set.images[training])
    return replace(image_set, meta=replace(image_set.meta, mean=mean, std=std))
