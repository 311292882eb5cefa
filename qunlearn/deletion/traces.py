"""Traces of erased samples: their ids, their images and the weights that were trained on them, searched by content.

What is searched:

- ids as bytes anywhere in a file, whatever stands around them, also in UTF-16 and UTF-32; in the text columns of
  Parquet files; in members of zip archives (NumPy's `.npz` is one) and in gzip streams;
- images in NumPy arrays of single bytes whose entries along the first dimension have the size of an image, by sha256;
- weights by the sha256 of whole files.

What is not: an image in another encoding (a PNG, scaled, as floats), and anything encrypted.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import lzma
import re
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]
from numpy.typing import NDArray

CHUNK = 1 << 22
"""Bytes that are read at a time."""
OVERLAP = 1024
"""Bytes that two chunks share, more than four for each character of the longest id."""
ROWS = 1024
ZIP, GZIP, PARQUET, NUMPY = b"PK\x03\x04", b"\x1f\x8b", b"PAR1", b"\x93NUMPY"
NESTED = 3
"""Archives within archives that are opened."""
DAMAGED = (
    zipfile.BadZipFile,
    gzip.BadGzipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,
    RuntimeError,
)
"""What reading a damaged or encrypted archive raises."""


@dataclass(frozen=True)
class Found:
    """What a file holds: how many different erased ids, how many erased images, and whether it is erased weights.

    `sha256` is that of the file.
    """

    sha256: str
    ids: int = 0
    images: int = 0
    weights: bool = False

    def __bool__(self) -> bool:
        return bool(self.ids or self.images or self.weights)

    @property
    def text(self) -> str:
        """In words, such as ``2 erased ids, 1 erased image``; empty where there is nothing."""
        counted = ((self.ids, "erased id"), (self.images, "erased image"))
        parts = [f"{count} {name}{'s' if count > 1 else ''}" for count, name in counted if count]
        return ", ".join(parts + ["weights of an erased model"] * self.weights)


@dataclass
class _Hits:
    """What has been found so far."""

    ids: set[str] = field(default_factory=set)
    images: int = 0


@dataclass(frozen=True)
class Traces:
    """What to search for.

    Args:
        ids: of erased samples.
        images: sha256 of the pixels (C x H x W bytes) of erased images.
        pixels: bytes of one image; 0 where no image is searched.
        weights: sha256 of weights files.
    """

    ids: frozenset[str]
    images: frozenset[str] = field(default_factory=frozenset)
    pixels: int = 0
    weights: frozenset[str] = field(default_factory=frozenset)

    def in_file(self, path: Path) -> Found:
        """Search one file, whatever its name.

        Raises:
            OSError: it cannot be read.
        """
        hits = _Hits()
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            self._search(file, hits, depth=0)
        return Found(sha256, len(hits.ids), hits.images, sha256 in self.weights)

    def parent(self, path: Path) -> str:
        """Whether a file is the ``config.json`` of a checkpoint that was made from erased weights: in words, or empty.

        To be asked about what nobody needs any more. The served model was made from such weights, too.
        """
        if path.name != "config.json":
            return ""
        try:
            parent = json.loads(path.read_bytes())["extra"]["parent"]
        except (ValueError, KeyError, TypeError):
            return ""
        return "a model that was made from an erased one" if parent in self.weights else ""

    def in_folder(self, folder: Path) -> Iterator[tuple[Path, Found]]:
        """Search all files below a folder, links to files included; only those that hold something."""
        for path in sorted(folder.rglob("*")):
            if path.is_file() and (found := self.in_file(path)):
                yield path, found

    def _search(self, file: BinaryIO, hits: _Hits, *, depth: int) -> None:
        """Add what is in a stream that can seek; what was found before it turns out to be damaged counts."""
        file.seek(0)
        head = file.read(8)
        file.seek(0)
        tail = b""
        while chunk := file.read(CHUNK):
            content = tail + chunk
            # Without its zeros a text in UTF-16 or UTF-32 is one in ASCII.
            hits.ids |= self._ids_in(content.replace(b"\0", b""))
            tail = content[-OVERLAP:]
        file.seek(0)
        if head.startswith(NUMPY):
            hits.images += self._images(file)
        elif head.startswith(PARQUET):
            hits.ids |= self._column_ids(file)
        elif depth < NESTED and head.startswith((ZIP, GZIP)):
            try:
                for member in _members(file, zipped=head.startswith(ZIP)):
                    self._search(member, hits, depth=depth + 1)
            except DAMAGED:
                return  # or encrypted; its own bytes have been searched

    def _ids_in(self, content: bytes) -> set[str]:
        """Ids anywhere in the text, also as part of a longer name."""
        found: set[str] = set()
        if not self.ids:
            return found
        for match in self._candidate.finditer(content):
            text = match.group().decode("ascii")
            for length in self._lengths:
                found |= self.ids.intersection(text[at : at + length] for at in range(len(text) - length + 1))
        return found

    @cached_property
    def _lengths(self) -> tuple[int, ...]:
        return tuple(sorted({len(one) for one in self.ids}))

    @cached_property
    def _candidate(self) -> re.Pattern[bytes]:
        """Characters of ids, as many as the shortest has."""
        return re.compile(rb"[A-Za-z0-9._-]{%d,}" % self._lengths[0])

    def _column_ids(self, file: BinaryIO) -> set[str]:
        found: set[str] = set()
        try:
            table = pq.ParquetFile(file)
            names = [column.name for column in table.schema_arrow if not _is_number(column.type)]
            for batch in table.iter_batches(columns=names) if names else ():
                found |= self._ids_in(repr(batch.to_pylist()).encode())
        except (pa.ArrowException, OSError):
            # Not a Parquet file after all: its bytes have been searched.
            return found
        return found

    def _images(self, file: BinaryIO) -> int:
        array = _array(file) if self.images else None
        if array is None or array.dtype.itemsize != 1 or array.ndim < 2 or array[:1].size != self.pixels:
            return 0
        return sum(digest in self.images for digest in image_digests(array))


def image_digests(images: NDArray[np.uint8]) -> Iterator[str]:
    """sha256 of the pixels of each image of uint8 [N, C, H, W]."""
    for start in range(0, len(images), ROWS):
        for image in np.ascontiguousarray(images[start : start + ROWS]):
            yield hashlib.sha256(image.tobytes()).hexdigest()


def _is_number(kind: Any) -> bool:
    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind))


def _array(file: BinaryIO) -> NDArray[Any] | None:
    try:
        if isinstance(file, BufferedReader):  # a file of its own, no member of an archive
            mapped: NDArray[Any] = np.load(file.name, mmap_mode="r", allow_pickle=False)
            return mapped
        loaded: NDArray[Any] = np.load(file, allow_pickle=False)
    except (ValueError, EOFError, OSError):
        return None  # truncated, or of Python objects: no image that we wrote
    return loaded


def _members(file: BinaryIO, *, zipped: bool) -> Iterator[BinaryIO]:
    """The members of an archive, unpacked as they are read, so that none has to fit into memory."""
    if not zipped:
        yield cast(BinaryIO, gzip.GzipFile(fileobj=file))
        return
    with zipfile.ZipFile(file) as archive:
        for member in archive.infolist():
            with archive.open(member) as stream:
                yield cast(BinaryIO, stream)
