"""scikit-learn's real handwritten digits: 1,797 greyscale images of 8 x 8, shipped with the package."""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_digits

from qunlearn.data.imageset import ImageSet
from qunlearn.data.sources.assembly import assemble, content_ids

SHAPES = {"closed": (0, 6, 8, 9), "straight": (1, 4, 7), "open": (2, 3, 5)}
"""Superclasses by shape: with a closed loop, of straight strokes, of open curves."""


def read() -> ImageSet:
    """All digits; pixel values 0 to 16 become 0 to 255. There is no official test part."""
    content = load_digits()
    images = np.rint(content.images * (255.0 / 16.0)).astype(np.uint8)[:, None]
    labels = content.target.astype(np.int64)
    shape_of = np.array([[digit in digits for digits in SHAPES.values()].index(True) for digit in range(10)])
    return assemble(
        "digits",
        images,
        labels=labels,
        ids=content_ids("all", images, labels),
        classes=tuple(str(digit) for digit in range(10)),
        coarse=shape_of[labels].astype(np.int64),
        coarse_classes=tuple(SHAPES),
        source="scikit-learn load_digits: test part of Optical Recognition of Handwritten Digits, UCI, 1998",
        licence="CC BY 4.0",
    )
