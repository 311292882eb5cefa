"""From the arrays of a source to an image set: ids and digest."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from qunlearn.data.imageset import ImageSet, Integers, Meta


def content_ids(part: str, images: NDArray[np.uint8], labels: Integers) -> tuple[str, ...]:
    """`<part>-<index>-<content>` for each image of one part of a source, in the source's own order.

    The content is 12 hexadecimal digits of sha256 over the image's bytes (C x H x W) and the label's eight
    (little-endian).
    """
    return tuple(
        f"{part}-{index:06d}-{_content(image.tobytes(), int(label))}"
        for index, (image, label) in enumerate(zip(images, labels, strict=True))
    )


def assemble(
    name: str,
    images: NDArray[np.uint8],
    *,
    labels: Integers,
    ids: tuple[str, ...],
    classes: tuple[str, ...],
    source: str,
    licence: str,
    official_test: bool = False,
    coarse: Integers | None = None,
    coarse_classes: tuple[str, ...] | None = None,
    subjects: Integers | None = None,
) -> ImageSet:
    """The whole image set of a source, its mean and standard deviation still 0 and 1."""
    images = np.ascontiguousarray(images)
    digest = hashlib.sha256(str(images.shape).encode())
    digest.update(images.data)
    digest.update(labels.astype("<i8").tobytes())
    channels = images.shape[1]
    meta = Meta(
        name=name,
        classes=classes,
        coarse_classes=coarse_classes,
        mean=(0.0,) * channels,
        std=(1.0,) * channels,
        source=source,
        licence=licence,
        official_test=official_test,
        raw_digest=digest.hexdigest(),
    )
    return ImageSet(images=images, labels=labels, ids=ids, coarse=coarse, subjects=subjects, meta=meta)


def _content(image: bytes, label: int) -> str:
    return hashlib.sha256(image + label.to_bytes(8, "little")).hexdigest()[:12]
