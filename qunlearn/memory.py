"""Freed memory stays with the process while it computes.

glibc hands large blocks that are freed back to the system, and the next batch gets the same memory again page by page,
each page filled with zeros first. A training loop frees and takes the same blocks in every step, so it pays for that in
every step: `python -m benchmarks.kept_memory` measures how much.
"""

from __future__ import annotations

import ctypes
import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager

MEGABYTE = 2**20
# Parameters of mallopt(3), from glibc's malloc.h.
TRIM_THRESHOLD, TOP_PAD, MMAP_MAX = -1, -2, -4
KEEP = ((TRIM_THRESHOLD, -1), (TOP_PAD, 64 * MEGABYTE), (MMAP_MAX, 0))
"""Never trim; take 64 MiB at a time; no block gets a mapping of its own, which would end when it is freed."""


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Within the block the process keeps what it frees; after it, what is free goes back to the system.

    glibc can neither tell nor undo these settings: from the first block on, memory goes back only at the end of a block
    and through `give_back_freed_memory`. Where a variable of the environment sets up glibc's allocator
    (`MALLOC_TRIM_THRESHOLD_` and the like, `GLIBC_TUNABLES`) that holds, and other C libraries have no such settings:
    there only memory is given back, or nothing is done.
    """
    if not _is_set_up():
        _keep()
    try:
        yield
    finally:
        give_back_freed_memory()


def give_back_freed_memory() -> None:
    """Return to the system what the process has freed."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc alone has it
    if trim is not None:
        trim(0)


def _is_set_up() -> bool:
    return any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ)


def _keep() -> None:
    option = getattr(ctypes.CDLL(None), "mallopt", None)
    if option is not None:
        for parameter, value in KEEP:
            option(parameter, value)
