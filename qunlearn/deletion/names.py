"""Files that name samples, read line by line: a file of any size needs the memory of its longest line.

No message repeats what a file holds or how it is called: either may name a person.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

from qunlearn.deletion.regular_file import NotRegularError, opened

MOST_LINES = 10_000_000
LONGEST_LINE = 65_536
"""Bytes."""
SPACE = " \t\r\n"
COLUMNS = ("sample_id", "id", "file")
"""Headers of the column that names samples, the first that is there; without any of them it is the first column."""


class IntakeError(ValueError):
    """A request that is refused as a whole. The message says where and why, never what was written there."""


def read_names(path: Path) -> Iterator[tuple[int, str]]:
    """Number of the line, and the name on it, for each name in `path`.

    A ``.txt`` file has one name a line; a ``.csv`` file, with commas, has them in the column `sample_id` (or `id`, or
    `file`), or without such a header in its first column. Both are UTF-8. Blank lines and lines that begin with ``#``
    are skipped; space around a name is not part of it. A name may be empty where a row has other columns only.

    Raises:
        IntakeError: while it is read: no regular file, no permission, another kind of file, not text, no name at all, a
            line or the file too long.
    """
    kinds = {".txt": _plain_names, ".csv": _table_names}
    if path.suffix.lower() not in kinds:
        raise IntakeError("the request file must be a .txt file with one name a line, or a .csv file")
    found = False
    for numbered in kinds[path.suffix.lower()](_lines(path)):
        found = True
        yield numbered
    if not found:
        raise IntakeError("the request file names no sample; write one name a line")


def _plain_names(lines: Iterator[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    for number, line in lines:
        name = line.strip(SPACE)
        if name and not name.startswith("#"):
            yield number, name


def _table_names(lines: Iterator[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    reader = csv.reader((line for _, line in lines), strict=True)
    place: int | None = None
    try:
        for row in reader:
            cells = [cell.strip(SPACE) for cell in row]
            if not any(cells) or cells[0].startswith("#"):
                continue
            if place is None:
                header = [cell.lower() for cell in cells]
                named = [header.index(column) for column in COLUMNS if column in header]
                place = named[0] if named else 0
                if named:
                    continue
            yield reader.line_num, cells[place] if place < len(cells) else ""
    except csv.Error:
        raise IntakeError(f"the request file is no table with commas: line {reader.line_num} cannot be read") from None


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Each line with its number, from 1."""
    with _opened(path) as stream:
        number = 0
        while line := _next_line(stream):
            number += 1
            if number > MOST_LINES:
                raise IntakeError(f"the request file has more than {MOST_LINES:,} lines; divide it into several")
            yield number, _text(line, number)


def _next_line(stream: BinaryIO) -> bytes:
    """One line with its end, or its first LONGEST_LINE + 1 bytes; nothing at the end of the file."""
    try:
        return stream.readline(LONGEST_LINE + 1)
    except OSError as error:
        raise IntakeError(f"the request file cannot be read: {error.strerror}") from None


def _text(line: bytes, number: int) -> str:
    if b"\0" in line:
        raise IntakeError(f"the request file is not text: line {number} holds a zero byte; write one name a line")
    if len(line) > LONGEST_LINE:
        raise IntakeError(f"the request file, line {number}: longer than {LONGEST_LINE:,} bytes; write one name a line")
    try:
        return line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError:
        raise IntakeError(f"the request file is not text: line {number} is not UTF-8; write one name a line") from None


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """The file; its errors never name it. A read that fails is told by `_next_line`."""
    with ExitStack() as held:
        try:
            stream = held.enter_context(opened(path))
        except OSError as error:
            raise IntakeError(f"the request file cannot be opened: {error.strerror}") from None
        except NotRegularError as error:
            raise IntakeError(f"the request file {error}; write the names into a .txt or .csv file") from None
        yield stream
