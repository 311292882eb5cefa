"""Search everything below a folder for texts, in whatever form they were written: what names a person must be nowhere.

Looked through are names of files and folders, their bytes, and what is packed in them: SQLite databases (a long value
lies in pieces in the file), git objects, Parquet columns, zip and gzip. Texts are searched without regard to case, in
UTF-8, UTF-16 and Latin-1, in hexadecimal, base64 (also within a longer text), as JSON, Python and URLs escape them, and
as plain hashes: who can guess a name can recognise its hash, so a hash without a key counts as the name.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import sqlite3
import subprocess
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from urllib.parse import quote, quote_plus

import pyarrow as pa
import pyarrow.parquet as pq

NESTED = 4
HASHES = ("md5", "sha1", "sha256", "sha512")


def find(
    folders: Iterable[Path], texts: Iterable[str | bytes], *, others: Mapping[str, str] | None = None
) -> set[tuple[str, str | bytes]]:
    """(place, text) wherever a text is; a place is a file's path, or a key of `others`, which are texts themselves."""
    needles = {text: forms(text) for text in texts}
    places: dict[str, Iterable[bytes]] = {name: [content.encode()] for name, content in (others or {}).items()}
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            name = str(path.relative_to(folder)).encode()
            places[str(path)] = [name, *(contents(path) if path.is_file() and not path.is_symlink() else ())]
        if (folder / ".git").is_dir():
            places[f"{folder} (git)"] = [_git_objects(folder)]
    found: set[tuple[str, str | bytes]] = set()
    for place, parts in places.items():
        for part in parts:
            lowered = part.lower()
            found |= {(place, text) for text, written in needles.items() if any(form in lowered for form in written)}
    return found


def forms(text: str | bytes) -> frozenset[bytes]:
    """The ways to write a text, or secret bytes, in small letters."""
    if isinstance(text, bytes):
        return _lowered({text, text.hex().encode(), *_in_base64(text)})
    written: set[bytes] = set()
    for one in {text, text.lower(), text.upper()}:
        raw = {one.encode(), one.encode("utf-16-le"), one.encode("utf-16-be")}
        if all(ord(character) < 256 for character in one):
            raw.add(one.encode("latin-1"))
        written |= raw | {quote(one).encode(), quote_plus(one).encode()}
        written |= {json.dumps(one)[1:-1].encode(), one.encode("unicode-escape")}
        for content in raw:
            written |= {content.hex().encode(), *_in_base64(content)}
        for name in HASHES:
            digest = hashlib.new(name, one.encode(), usedforsecurity=False).digest()
            written |= {digest, digest.hex().encode(), base64.b64encode(digest)}
    return _lowered(written)


def _lowered(written: Iterable[bytes]) -> frozenset[bytes]:
    return frozenset(form.lower() for form in written)


def _in_base64(content: bytes) -> Iterator[bytes]:
    """The characters that belong to it alone, at each place that it can have among groups of three bytes."""
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + content)
        start = -(-before * 8 // 6)
        end = (before + len(content)) * 8 // 6
        for one in (encoded, encoded.replace(b"+", b"-").replace(b"/", b"_")):
            yield one[start:end]


def contents(path: Path) -> Iterator[bytes]:
    """A file's bytes, and those that are packed in it."""
    content = path.read_bytes()
    yield content
    if content.startswith(b"SQLite format 3\0"):
        yield _database(path)
    yield from _unpacked(content, depth=0)


def _unpacked(content: bytes, *, depth: int) -> Iterator[bytes]:
    if depth == NESTED:
        return
    inner: list[bytes] = []
    if content.startswith(b"PAR1"):
        yield repr(pq.read_table(pa.BufferReader(content)).to_pylist()).encode()
    elif content.startswith(b"\x1f\x8b"):
        inner = [gzip.decompress(content)]
    elif content.startswith(b"PK\x03\x04"):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            inner = [part for one in archive.infolist() for part in (one.filename.encode(), archive.read(one))]
    elif content[:1] == b"\x78" and (plain := _inflated(content)) is not None:
        inner = [plain]
    for one in inner:
        yield one
        yield from _unpacked(one, depth=depth + 1)


def _inflated(content: bytes) -> bytes | None:
    try:
        return zlib.decompress(content)
    except zlib.error:
        return None


def _database(path: Path) -> bytes:
    """All rows as text; bytes in them as hexadecimal digits."""
    with sqlite3.connect(path) as connection:
        connection.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
        dumped = "\n".join(connection.iterdump())
    return dumped.encode("utf-8", "surrogateescape")


def _git_objects(folder: Path) -> bytes:
    command = ["git", "cat-file", "--batch-all-objects", "--batch"]
    return subprocess.run(command, cwd=folder, capture_output=True, check=True).stdout
