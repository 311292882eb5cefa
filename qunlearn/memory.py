"""Freed memory stays with the process while it computes.

glibc hands large blocks that are freed back to the system, and the next batch gets the same memory again page by page,
each page filled with zeros first. A training loop frees and takes the same blocks in every step, so it pays for that in
every step: `python -m benchmarks.kept_memory` measures how much.
"""

from __future__ import annotations

import ctypes
import gc
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

MEGABYTE = 2**20
# Parameters of mallopt(3), from glibc's malloc.h.
TRIM_THRESHOLD, TOP_PAD, MMAP_MAX = -1, -2, -4
KEEP = ((TRIM_THRESHOLD, -1), (TOP_PAD, 64 * MEGABYTE), (MMAP_MAX, 0))
"""Never trim; take 64 MiB at a time; give no block a mapping of its own, which would end when it is freed. What a
thread other than the main one takes in blocks of about 64 MiB and more is handed back all the same."""
VARIABLES = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_", "MALLOC_MMAP_MAX_", "MALLOC_MMAP_THRESHOLD_")

_keeping = threading.Event()


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Within the block the process keeps what it frees; after it, what is free goes back to the system.

    glibc can neither tell nor restore these settings: from the first block on, memory goes back only at the end of a
    block and through `give_back_freed_memory`. Where the environment sets up glibc's allocator (one of `VARIABLES`, or
    `GLIBC_TUNABLES` with `glibc.malloc`) that holds, and other C libraries have no such settings: there memory is given
    back and nothing else is done.
    """
    if not _is_set_up():
        _keeping.set()
        _set(*KEEP)
    try:
        yield
    finally:
        give_back_freed_memory()


def give_back_freed_memory() -> None:
    """Return to the system what the process has freed."""
    gc.collect()
    library = ctypes.CDLL(None)
    trim = getattr(library, "malloc_trim", None)  # glibc alone has it
    if trim is None:
        return
    if _keeping.is_set():
        # malloc_trim leaves the end of a thread's arena alone; the thread's next free gives that back, if it may.
        library.malloc.argtypes, library.malloc.restype = [ctypes.c_size_t], ctypes.c_void_p
        library.free.argtypes, library.free.restype = [ctypes.c_void_p], None
        _set((TOP_PAD, 0), (TRIM_THRESHOLD, 0))
        library.free(library.malloc(MEGABYTE))
        _set(*KEEP)
    trim(0)


def _is_set_up() -> bool:
    return "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", "") or any(name in os.environ for name in VARIABLES)


def _set(*settings: tuple[int, int]) -> None:
    option = getattr(ctypes.CDLL(None), "mallopt", None)
    if option is not None:
        for parameter, value in settings:
            option(parameter, value)
