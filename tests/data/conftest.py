"""Small image sets with known content."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from qunlearn.data.imageset import ImageSet, Meta

FINE = ("a", "b", "c", "d", "e", "f")
COARSE = ("left", "middle", "right")


@pytest.fixture(scope="session")
def make_image_set() -> Callable[..., ImageSet]:
    """Builds N random images of six classes, two in each of three superclasses, showing ten subjects."""

    def make(count: int = 240, *, official_test: int = 0, channels: int = 1, size: int = 4) -> ImageSet:
        rng = np.random.default_rng(0)
        labels = np.arange(count, dtype=np.int64) % len(FINE)
        training = count - official_test
        parts = ["train" if official_test else "all"] * training + ["test"] * official_test
        return ImageSet(
            images=rng.integers(0, 256, (count, channels, size, size), dtype=np.uint8),
            labels=labels,
            ids=tuple(f"{part}-{place:06d}-{place:012x}" for place, part in enumerate(parts)),
            coarse=labels // 2,
            subjects=rng.integers(0, 10, count),
            meta=Meta(
                name="toy",
                classes=FINE,
                coarse_classes=COARSE,
                mean=(0.5,) * channels,
                std=(0.25,) * channels,
                source="drawn at random",
                licence="CC0-1.0",
                official_test=official_test > 0,
                raw_digest="0" * 64,
            ),
        )

    return make
