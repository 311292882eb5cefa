"""Random choices that depend on a seed and a sample's own id, and on nothing else.

A choice about one sample is the same whichever other samples exist.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def hash_uniform(ids: Sequence[str], *, seed: int, purpose: str) -> NDArray[np.float64]:
    """One number for each id, as if uniform in [0, 1): sha256 of seed, purpose and id. float64 [len(ids)].

    Draws for different purposes are independent.
    """
    start = hashlib.sha256(f"{seed}/{purpose}/".encode())
    numbers = np.empty(len(ids), dtype=np.float64)
    for place, one in enumerate(ids):
        content = start.copy()
        content.update(one.encode())
        # 53 bits: all that a float64 below 1 holds.
        numbers[place] = (int.from_bytes(content.digest()[:8], "big") >> 11) / 2.0**53
    return numbers


def hash_order(ids: Sequence[str], *, seed: int, purpose: str) -> NDArray[np.int64]:
    """Positions int64 [len(ids)] in a random order that leaving out other ids does not change."""
    numbers = hash_uniform(ids, seed=seed, purpose=purpose)
    return np.argsort(numbers, kind="stable").astype(np.int64)
