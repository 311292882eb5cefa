"""From an image set on the disk to batches on a device."""

from __future__ import annotations

import numpy as np
import torch

from qunlearn.data.batches import ImagePool, Transform
from qunlearn.data.imageset import ImageSet, Target


def make_pool(
    image_set: ImageSet,
    *,
    target: Target,
    crop_padding: int = 0,
    flip: bool = False,
    device: torch.device | str = "cpu",
    channels_last: bool = False,
) -> ImagePool:
    """All images of `image_set` on `device`, with the one transform that belongs to it.

    Args:
        target: which labels are the task.
        crop_padding: pixels of padding of random crops in training; 0 means no crop.
        flip: random horizontal flips in training.
        device: where images, labels and batches live.
        channels_last: memory format of the batches.

    Raises:
        ValueError: coarse labels of a set without superclasses.
    """
    # A copy: the arrays may be mapped read-only from a file that is replaced later.
    return ImagePool(
        images=torch.from_numpy(np.array(image_set.images)).to(device),
        labels=torch.from_numpy(np.array(image_set.targets(target))).to(device),
        transform=Transform(mean=image_set.meta.mean, std=image_set.meta.std, crop_padding=crop_padding, flip=flip),
        classes=len(image_set.class_names(target)),
        channels_last=channels_last,
    )
