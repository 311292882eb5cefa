"""Named random streams: what one part of a method draws never shifts what another part draws."""

from __future__ import annotations

import hashlib

import torch


def stream(seed: int, name: str) -> torch.Generator:
    """A CPU generator that depends on `seed` and `name` alone.

    Two methods that share a stream, such as the order of the retained images, see the same draws from it whatever else
    they do.
    """
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
