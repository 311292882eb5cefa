"""Small files below ``.qunlearn`` that matter: read with suspicion, written whole or not at all."""

from __future__ import annotations

import glob
import os
import secrets
import stat
from pathlib import Path

LARGEST_KEY = 10_000
"""Bytes; no key is longer."""
UNFINISHED = ".writing"
"""How the name of a file ends that is not yet on the disk as a whole."""


class PrivateFileError(ValueError):
    """A key file that must not be used; the message says why and how to mend it, never what is in the file."""


def read_key_file(file: Path, *, secret: bool) -> bytes:
    """The content of a key file, judged by what was really opened.

    Args:
        secret: nobody but its owner may read it, and that must be us; otherwise it must not be writable by everybody.

    Raises:
        PrivateFileError: not there, a link, no ordinary file, another user's, open to others, or too long.
    """
    forbidden = 0o077 if secret else 0o002
    try:
        # Without O_NONBLOCK a named pipe would be waited for.
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        reason = "is a link; put the file itself there" if file.is_symlink() else f"cannot be read: {error.strerror}"
        raise PrivateFileError(reason) from None
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise PrivateFileError("is no ordinary file")
        if secret and found.st_uid != os.geteuid():
            raise PrivateFileError(f"belongs to user {found.st_uid}, but this is user {os.geteuid()}; change its owner")
        mode = stat.S_IMODE(found.st_mode)
        if mode & forbidden:
            raise PrivateFileError(f"mode {mode:04o} is open to others; run chmod {mode & ~forbidden:04o} on it")
        if found.st_size > LARGEST_KEY:
            raise PrivateFileError(f"has more than {LARGEST_KEY} bytes; that is no key")
        return os.read(descriptor, LARGEST_KEY)
    finally:
        os.close(descriptor)


def create(file: Path, content: bytes, *, mode: int) -> None:
    """Write a file that is not there yet; where another process was faster, its file stays."""
    written = _beside(file, content, mode)
    try:
        # A hard link, unlike a rename, never replaces what is there.
        os.link(written, file)
    except FileExistsError:
        return
    finally:
        written.unlink()
    _to_disk(file.parent)


def replace(file: Path, content: bytes, *, mode: int) -> None:
    """Write a file in one step: readers see the old content or the new one, and a link is replaced, not followed."""
    written = _beside(file, content, mode)
    try:
        written.replace(file)
    except BaseException:
        written.unlink()
        raise
    _to_disk(file.parent)


def remove_unfinished(file: Path) -> None:
    """Remove what killed writers of this file left beside it; the caller sees to it that nobody else writes it now."""
    for leftover in file.parent.glob(f".{glob.escape(file.name)}.*{UNFINISHED}"):
        leftover.unlink(missing_ok=True)


def _beside(file: Path, content: bytes, mode: int) -> Path:
    """`content` on the disk, in the same folder under a name that nobody has."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    written = file.with_name(f".{file.name}.{secrets.token_hex(8)}{UNFINISHED}")
    descriptor = os.open(written, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb") as opened:
            os.fchmod(descriptor, mode)
            opened.write(content)
            opened.flush()
            os.fsync(descriptor)
    except BaseException:
        written.unlink()
        raise
    return written


def _to_disk(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
