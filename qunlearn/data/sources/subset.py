"""A seeded, class-balanced part of an image set."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qunlearn.data.draw import hash_order
from qunlearn.data.imageset import ImageSet, Integers


def subset_mask(image_set: ImageSet, size: int | None, *, seed: int) -> NDArray[np.bool_]:
    """bool [N]: which `size` images to keep; all for None.

    Where there is an official test part, it and the training part shrink in the same proportion. Within a part each
    class gives the same number (one more or less where that does not come out even; what a small class lacks, the
    others give): the first ones in an order that hashes `seed` and id.

    Raises:
        ValueError: fewer images than `size`, or `size` too small for one image of each class in each part.
    """
    if size is None:
        return np.ones(len(image_set), dtype=bool)
    if size > len(image_set):
        raise ValueError(f"data.subset: {size} of {len(image_set)} images; give at most that many, or null")
    keep = np.zeros(len(image_set), dtype=bool)
    test = image_set.official_test_mask()
    test_size = round(size * int(test.sum()) / len(image_set))
    for part, share in ((~test, size - test_size), (test, test_size)):
        positions = np.flatnonzero(part)
        if not len(positions):
            continue
        classes, available = np.unique(image_set.labels[positions], return_counts=True)
        if share < len(classes):
            smallest = -(-len(classes) * len(image_set) // len(positions))
            raise ValueError(
                f"data.subset: {size} leaves {share} images for {len(classes)} classes in one part of "
                f"{image_set.meta.name}; give at least about {smallest}"
            )
        ranked = positions[hash_order([image_set.ids[place] for place in positions], seed=seed, purpose="subset")]
        for label, quota in zip(classes, even_quotas(available.astype(np.int64), share), strict=True):
            keep[ranked[image_set.labels[ranked] == label][:quota]] = True
    return keep


def even_quotas(available: Integers, total: int) -> list[int]:
    """Numbers as equal as possible, none above `available` (int64 [K]), with sum `total` (at most available.sum()).

    >>> even_quotas(np.array([5, 1, 5]), 8)
    [4, 1, 3]
    """
    quotas = [0] * len(available)
    left = total
    # Smallest class first: what it cannot give is shared among those that follow.
    for done, place in enumerate(sorted(range(len(available)), key=lambda k: (available[k], -k))):
        quotas[place] = min(int(available[place]), left // (len(available) - done))
        left -= quotas[place]
    return quotas
