"""Traces of erased samples: their ids, their images and the weights that were trained on them, searched by content.

What is searched:

- ids as bytes anywhere in a file, whatever stands around them, also in UTF-16 and UTF-32; in the text columns of
  Parquet files; in members of zip archives (NumPy's `.npz` is one) and in gzip streams;
- images in NumPy arrays of single bytes whose entries along the first dimension have the size of an image, by sha256;
- weights by the sha256 of whole files.

What is not: an image in another encoding (a PNG, scaled, as floats), and anything encrypted.

Anybody can put a file into a store. What claims to be an array, a table or an archive and is not, or unpacks to far
more than it is, never ends a search: its bytes are searched as they are, and it is kept in mind as not searchable.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from qunlearn.deletion.formats import NotSearchableError, column_texts, image_rows

CHUNK = 1 << 22
"""Bytes that are read at a time."""
OVERLAP = 1024
"""Bytes that two chunks share, more than four for each character of the longest id."""
ZIP, GZIP, PARQUET, NUMPY = b"PK\x03\x04", b"\x1f\x8b\x08", b"PAR1", b"\x93NUMPY"
NESTED = 3
"""Archives within archives that are opened."""
RATIO, LEAST = 1100, 1 << 30
"""A file may unpack to so many times its size, which is more than deflate reaches (1032), or to so many bytes."""
CONFIG = 1 << 24
"""Bytes of the longest ``config.json`` that is read."""


@dataclass(frozen=True)
class Found:
    """What a file holds: how many different erased ids, how many erased images, and whether it is erased weights.

    `sha256` is that of the file. `unsearchable` says why a part of it could not be searched, empty if all was.
    """

    sha256: str
    ids: int = 0
    images: int = 0
    weights: bool = False
    unsearchable: str = ""

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
    """What has been found so far, how many more bytes may be unpacked, and why a part could not be searched."""

    left: int
    ids: set[str] = field(default_factory=set)
    images: int = 0
    unsearchable: str = ""

    def note(self, error: Exception) -> None:
        """Keep in mind that a part could not be searched."""
        told = str(error) if isinstance(error, NotSearchableError) else f"damaged or encrypted ({type(error).__name__})"
        self.unsearchable = self.unsearchable or told

    def take(self, count: int) -> None:
        """Count unpacked bytes; NotSearchableError when they are too many."""
        self.left -= count
        if self.left < 0:
            raise NotSearchableError("unpacks to far more than its size")


@dataclass(frozen=True)
class Traces:
    """What to search for.

    Args:
        ids: of erased samples.
        images: sha256 of the pixels (C x H x W bytes) of erased images.
        pixels: bytes of one image; 0 where no image is searched.
        weights: sha256 of weights files.
        unsearchable: filled by each search: sha256 of a file that could not be searched wholly -> its path, and why.
    """

    ids: frozenset[str]
    images: frozenset[str] = field(default_factory=frozenset)
    pixels: int = 0
    weights: frozenset[str] = field(default_factory=frozenset)
    unsearchable: dict[str, tuple[str, str]] = field(default_factory=dict, compare=False, repr=False)

    def in_file(self, path: Path) -> Found:
        """Search one file, whatever its name.

        Raises:
            OSError: it cannot be read.
        """
        hits = _Hits(max(RATIO * path.stat().st_size, LEAST))
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            self._search(file, hits, depth=0)
        if hits.unsearchable:
            self.unsearchable[sha256] = (str(path), hits.unsearchable)
        return Found(sha256, len(hits.ids), hits.images, sha256 in self.weights, hits.unsearchable)

    def parent(self, path: Path) -> str:
        """Whether a file is the ``config.json`` of a checkpoint that was made from erased weights: in words, or empty.

        To be asked about what nobody needs any more. The served model was made from such weights, too.

        Raises:
            OSError: it cannot be read.
        """
        if path.name != "config.json":
            return ""
        with path.open("rb") as file:
            content = file.read(CONFIG + 1)
        try:
            parent = json.loads(content)["extra"]["parent"] if len(content) <= CONFIG else ""
        except (KeyError, TypeError):
            return ""  # another program's
        except (ValueError, RecursionError):
            self.unsearchable[hashlib.sha256(content).hexdigest()] = (str(path), "not the JSON that its name promises")
            return ""
        return "a model that was made from an erased one" if isinstance(parent, str) and parent in self.weights else ""

    def in_folder(self, folder: Path) -> Iterator[tuple[Path, Found]]:
        """Search all files below a folder, links to files included; only those that hold something."""
        for path in sorted(folder.rglob("*")):
            if path.is_file() and (found := self.in_file(path)):
                yield path, found

    def _search(self, file: BinaryIO, hits: _Hits, *, depth: int) -> None:
        """Add what is in a stream that can seek; what was found before it turns out to be damaged counts.

        Raises:
            OSError: the file itself cannot be read.
        """
        try:
            head, size = self._search_bytes(file, hits, depth)
        except Exception as error:
            if not depth:
                raise
            hits.note(error)
            return
        try:
            file.seek(0)
            if head.startswith(NUMPY):
                self._search_images(file, size, hits)
            elif head.startswith(PARQUET):
                for text in column_texts(file, hits.take):
                    hits.ids |= self._ids_in(text)
            elif head.startswith((ZIP, GZIP)):
                if depth == NESTED:
                    raise NotSearchableError(f"an archive within {NESTED} others")
                for member in _members(file, hits, zipped=head.startswith(ZIP)):
                    self._search(member, hits, depth=depth + 1)
        except Exception as error:  # noqa: BLE001 - what the readers of these formats raise is nowhere listed
            hits.note(error)

    def _search_bytes(self, file: BinaryIO, hits: _Hits, depth: int) -> tuple[bytes, int]:
        """Search for ids as they are written; the first bytes, and how many there are."""
        file.seek(0)
        head, tail, size = b"", b"", 0
        while chunk := file.read(CHUNK):
            head = head or chunk[:8]
            size += len(chunk)
            content = tail + chunk
            # Without its zeros a text in UTF-16 or UTF-32 is one in ASCII.
            hits.ids |= self._ids_in(content.replace(b"\0", b""))
            tail = content[-OVERLAP:]
            if depth:
                hits.take(len(chunk))
        return head, size

    def _search_images(self, file: BinaryIO, size: int, hits: _Hits) -> None:
        if self.images:
            for rows in image_rows(file, size, pixels=self.pixels):
                hits.images += sum(digest in self.images for digest in image_digests(rows))

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


def image_digests(images: NDArray[np.uint8]) -> Iterator[str]:
    """sha256 of the pixels of each image of uint8 [N, C, H, W]."""
    for image in images:
        yield hashlib.sha256(np.ascontiguousarray(image).tobytes()).hexdigest()


def _members(file: BinaryIO, hits: _Hits, *, zipped: bool) -> Iterator[BinaryIO]:
    """The members of an archive, unpacked as they are read, so that none has to fit into memory.

    One that is damaged does not keep the others from being searched.
    """
    if not zipped:
        yield cast(BinaryIO, gzip.GzipFile(fileobj=file))
        return
    with zipfile.ZipFile(file) as archive:
        for member in archive.infolist():
            try:
                stream = archive.open(member)
            # What zipfile raises for a damaged member, a compression that it does not know, and an encrypted one.
            except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
                hits.note(error)
                continue
            with stream:
                yield cast(BinaryIO, stream)
