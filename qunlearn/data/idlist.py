"""Text files with one sample id a line."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
"""A sample id: opaque, on one line, without separators or characters of a mail address."""


def checked(ids: Iterable[str]) -> tuple[str, ...]:
    """`ids` as they are.

    Raises:
        ValueError: one of them is not a sample id.
    """
    ids = tuple(ids)
    for one in ids:
        if not ID.fullmatch(one):
            raise ValueError(
                f"{one[:60]!r} is not a sample id: 1 to 128 letters, digits, '.', '_' or '-', beginning with a "
                "letter or a digit; use the ids in the image set's ids.txt"
            )
    return ids


def read_ids(path: Path) -> tuple[str, ...]:
    """Ids in the order of the file; empty lines and lines that begin with `#` are skipped.

    Raises:
        ValueError: the file is missing, is not text, or has a line that is no id; the message names file and line.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise ValueError(f"{path}: not a text file; it must hold one sample id a line") from None
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}; it must be a text file with one sample id a line") from None
    found = []
    for number, line in enumerate(lines, start=1):
        one = line.strip()
        if not one or one.startswith("#"):
            continue
        try:
            found.append(checked([one])[0])
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: {error}") from None
    return tuple(found)
