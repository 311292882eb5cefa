"""The user's own images: one folder a class, all images of one size, with an optional table about them."""

from __future__ import annotations

import csv
import hashlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from qunlearn.config import ImageFolderSource
from qunlearn.data.imageset import ImageSet, Integers
from qunlearn.data.sources.assembly import assemble

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
COLUMNS = ("file", "sample_id", "subject", "coarse")
MODES = {"1": "L", "L": "L", "P": "RGB", "RGB": "RGB"}
"""PIL modes that are read, and what they become: greyscale or colour."""


@dataclass(frozen=True)
class Row:
    """What the table says about one image; empty where it has no such column."""

    sample_id: str = ""
    subject: str = ""
    coarse: str = ""


def read(config: ImageFolderSource) -> ImageSet:
    """All images below `config.root`, in the order of their paths. There is no official test part.

    An image's id hashes its `sample_id` (or its path below root), its class and the bytes of its file. Identities stay
    in the table: the set holds subjects as the integers given there.

    Raises:
        ValueError: a file that is no image, is corrupt or of another size or colour than the first; an empty folder; a
            table that does not fit the images. The message names the file.
    """
    root = Path(config.root)
    classes, files = find_images(root)
    rows = read_metadata(Path(config.metadata), files) if config.metadata is not None else {}
    labels = np.array([classes.index(file.parts[0]) for file in files], dtype=np.int64)
    images, contents = _read_images(root, files)
    ids = tuple(
        opaque_id(rows.get(file, Row()).sample_id or str(file), file.parts[0], content)
        for file, content in zip(files, contents, strict=True)
    )
    coarse, coarse_classes = _coarse(files, rows)
    return assemble(
        "image_folder",
        images,
        labels=labels,
        ids=ids,
        classes=classes,
        coarse=coarse,
        coarse_classes=coarse_classes,
        subjects=_subjects(files, rows),
        source="the user's own images",
        licence="the user's own",
    )


def find_images(root: Path) -> tuple[tuple[str, ...], list[PurePosixPath]]:
    """Class names and paths below root; hidden files and folders are not looked at."""
    if not root.is_dir():
        raise ValueError(f"{root}: no such folder; data.root must hold one folder of images for each class")
    stray = [path for path in sorted(root.iterdir()) if path.is_file() and path.suffix.lower() in SUFFIXES]
    if stray:
        raise ValueError(f"{stray[0]}: lies beside the class folders; move it into the folder of its class")
    folders = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    if len(folders) < 2:
        raise ValueError(f"{root}: {len(folders)} class folders; there must be at least 2, one for each class")
    files = []
    for folder in folders:
        found = [
            path
            for path in sorted(folder.rglob("*"))
            if path.is_file() and not any(part.startswith(".") for part in path.relative_to(root).parts)
        ]
        if not found:
            raise ValueError(f"{folder}: no image; add images of this class, or remove the folder")
        for path in found:
            if path.suffix.lower() not in SUFFIXES:
                raise ValueError(f"{path}: not an image; a class folder may hold {', '.join(SUFFIXES)} only")
        files += [PurePosixPath(path.relative_to(root).as_posix()) for path in found]
    return tuple(folder.name for folder in folders), files


# --- pixels ----------------------------------------------------------------------------------------------------------


def _read_images(root: Path, files: list[PurePosixPath]) -> tuple[NDArray[np.uint8], list[bytes]]:
    """Images uint8 [N, C, H, W] and sha256 of each file."""
    images: NDArray[np.uint8] | None = None
    contents = []
    for place, file in enumerate(files):
        image = _read_image(root / file)
        if images is None:
            images = np.empty((len(files), *image.shape), dtype=np.uint8)
        if image.shape != images.shape[1:]:
            raise ValueError(
                f"{root / file}: {_shape(image)}, while {root / files[0]} is {_shape(images[0])}; "
                "all images must have one size and be all greyscale or all colour: convert them first"
            )
        images[place] = image
        # The bytes of the file, since decoded pixels can differ between versions of a decoder.
        contents.append(hashlib.sha256((root / file).read_bytes()).digest())
    assert images is not None  # `find_images` returns at least two files
    return images, contents


def _read_image(path: Path) -> NDArray[np.uint8]:
    """One image, uint8 [C, H, W]."""
    if path.stat().st_size == 0:
        raise ValueError(f"{path}: the file is empty; replace or remove it")
    try:
        with Image.open(path) as image:
            mode = image.mode
            pixels = np.asarray(image.convert(MODES[mode])) if mode in MODES else None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path}: cannot be read as an image ({error}); replace or remove it") from None
    if pixels is None:
        raise ValueError(f"{path}: colour mode {mode}; convert it to 8-bit greyscale or RGB, without transparency")
    return pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _shape(image: NDArray[np.uint8]) -> str:
    channels, height, width = image.shape
    return f"{width} x {height} pixels {'greyscale' if channels == 1 else 'colour'}"


def opaque_id(sample: str, class_name: str, content: bytes) -> str:
    """The id of an image: a hash of its `sample_id` or path, its class and the bytes of its file."""
    text = "\0".join((sample, class_name)).encode("utf-8", "surrogateescape")
    return f"img-{hashlib.sha256(text + bytes(1) + content).hexdigest()[:20]}"


# --- table -----------------------------------------------------------------------------------------------------------


def read_metadata(path: Path, files: list[PurePosixPath]) -> dict[PurePosixPath, Row]:
    """One row for each of `files`, from a CSV file with a header."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            table = csv.DictReader(stream, strict=True)
            columns = list(table.fieldnames or ())
            lines = [(table.line_num, row) for row in table]
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}; data.metadata must name a CSV file, or be null") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: not a CSV file in UTF-8 ({error})") from None
    wrong = [column for column in columns if column not in COLUMNS]
    if wrong or "file" not in columns or len(set(columns)) != len(columns):
        allowed = f"`file` and any of {', '.join(COLUMNS[1:])}"
        raise ValueError(f"{path}: columns {columns}; there must be {allowed}, each once")
    known = set(files)
    rows: dict[PurePosixPath, Row] = {}
    for number, line in lines:
        values = {column: (line[column] or "").strip() for column in columns}
        empty = [column for column in columns if not values[column]]
        if empty or None in line:
            raise ValueError(f"{path}, line {number}: each of {', '.join(columns)} must have a value, and no more")
        file = PurePosixPath(values.pop("file"))
        if file not in known:
            raise ValueError(f"{path}, line {number}: {file} is not an image below data.root")
        if file in rows:
            raise ValueError(f"{path}, line {number}: a second row for {file}")
        rows[file] = Row(**values)
    missing = [file for file in files if file not in rows]
    if missing:
        raise ValueError(f"{path}: no row for {missing[0]} and {len(missing) - 1} others; every image needs one")
    repeated = [one for one, count in Counter(row.sample_id for row in rows.values()).items() if one and count > 1]
    if repeated:
        raise ValueError(f"{path}: the sample_id {repeated[0]!r} occurs more than once; each image needs its own")
    return rows


def _subjects(files: list[PurePosixPath], rows: dict[PurePosixPath, Row]) -> Integers | None:
    if not any(row.subject for row in rows.values()):
        return None
    for file, row in rows.items():
        if not (row.subject.isascii() and row.subject.isdigit() and int(row.subject) < 2**63):
            raise ValueError(
                f"data.metadata: subject {row.subject!r} of {file} must be an integer from 0; "
                "number the subjects, so that no identity leaves your table"
            )
    return np.array([int(rows[file].subject) for file in files], dtype=np.int64)


def _coarse(
    files: list[PurePosixPath], rows: dict[PurePosixPath, Row]
) -> tuple[Integers, tuple[str, ...]] | tuple[None, None]:
    if not any(row.coarse for row in rows.values()):
        return None, None
    of_class: dict[str, str] = {}
    for file in files:
        name = rows[file].coarse
        if of_class.setdefault(file.parts[0], name) != name:
            raise ValueError(
                f"data.metadata: coarse is {name!r} for {file} and {of_class[file.parts[0]]!r} for other images of "
                f"the class {file.parts[0]}; a class lies in one superclass"
            )
    names = tuple(sorted(set(of_class.values())))
    return np.array([names.index(of_class[file.parts[0]]) for file in files], dtype=np.int64), names
