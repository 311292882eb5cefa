"""Let permission bits bind this process although it may be root, for whom no folder is read-only."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

PAST_PERMISSIONS = 1 << 1 | 1 << 2 | 1 << 3
"""CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH and CAP_FOWNER as bits."""
VERSION = 0x20080522
SET_SECUREBITS, NO_ROOT = 28, 1
"""prctl's option, and the bit that keeps programs that are started from getting root's capabilities back."""


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


@contextmanager
def binding() -> Iterator[None]:
    """In this thread, in threads and in programs that it starts.

    Raises:
        PermissionError: the system does not let root give this up.
    """
    if os.geteuid() != 0:
        yield
        return
    library = ctypes.CDLL(None, use_errno=True)
    before, header = (_Sets * 2)(), _Header(VERSION, 0)
    _call(library.capget, ctypes.byref(header), before)
    lesser = (_Sets * 2)(*(_Sets(one.effective, one.permitted, one.inheritable) for one in before))
    lesser[0].effective &= ~PAST_PERMISSIONS
    _call(library.prctl, SET_SECUREBITS, NO_ROOT, 0, 0, 0)
    try:
        _call(library.capset, ctypes.byref(header), lesser)
        try:
            yield
        finally:
            _call(library.capset, ctypes.byref(header), before)
    finally:
        _call(library.prctl, SET_SECUREBITS, 0, 0, 0, 0)


def _call(function: ctypes._NamedFuncPointer, *arguments: object) -> None:
    if function(*arguments) != 0:
        number = ctypes.get_errno()
        raise PermissionError(number, os.strerror(number))
