"""An image set: arrays with one stable id a sample, and the folder that holds them.

The folder has `images.npy` (uint8, N x C x H x W), `labels.npy` (int64), `coarse.npy` where there are superclasses,
`subjects.npy` where subjects are known (integers only), `ids.txt` and `meta.json`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from qunlearn.data.atomic import replaced_folder
from qunlearn.data.idlist import checked, read_ids

Target = Literal["fine", "coarse"]
Integers = NDArray[np.int64]
FILES = {
    "images": "images.npy",
    "labels": "labels.npy",
    "coarse": "coarse.npy",
    "subjects": "subjects.npy",
    "ids": "ids.txt",
    "meta": "meta.json",
}


class ImageSetError(ValueError):
    """Content that is no image set; `field` is the field of `ImageSet` at fault."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"image set, {FILES[field]}: {problem}")
        self.field = field
        self.problem = problem


@dataclass(frozen=True)
class Meta:
    """What is known about a whole image set.

    Args:
        name: of the source.
        classes: names, in the order of the labels.
        coarse_classes: names of the superclasses, in the order of the coarse labels; None where there are none.
        mean: of each channel over the training part, in [0, 1]; over all images where the source has no test part.
        std: likewise, positive.
        source: where the images come from, for people.
        licence: of the images, for people.
        official_test: the source says which images are for testing.
        raw_digest: sha256 of all images and labels of the source, before any were left out.
    """

    name: str
    classes: tuple[str, ...]
    coarse_classes: tuple[str, ...] | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    source: str
    licence: str
    official_test: bool
    raw_digest: str


@dataclass(frozen=True)
class _SavedMeta:
    """Content of `meta.json`."""

    format: Literal[1]
    meta: Meta


@dataclass(frozen=True, eq=False)
class ImageSet:
    """N samples in a fixed order.

    Args:
        images: uint8 [N, C, H, W]; memory-mapped and read-only when loaded.
        labels: int64 [N], index into `meta.classes`.
        ids: N distinct ids. Removing a sample changes no other's.
        coarse: int64 [N], index into `meta.coarse_classes`, or None.
        subjects: int64 [N], the subject that each image shows, or None.
        meta: about the whole set.

    Raises:
        ImageSetError: the parts do not fit together.
    """

    images: NDArray[np.uint8]
    labels: Integers
    ids: tuple[str, ...]
    coarse: Integers | None
    subjects: Integers | None
    meta: Meta

    def __post_init__(self) -> None:
        _check_images(self.images, self.meta)
        count = len(self.images)
        if len(self.ids) != count:
            raise ImageSetError("ids", f"{len(self.ids)} ids for {count} images")
        if len(set(self.ids)) != count:
            raise ImageSetError("ids", f"the id {_first_duplicate(self.ids)!r} occurs more than once")
        try:
            checked(self.ids)
        except ValueError as error:
            raise ImageSetError("ids", str(error)) from None
        _check_names(self.meta, has_coarse=self.coarse is not None)
        _check_integers("labels", self.labels, count=count, below=len(self.meta.classes))
        if self.coarse is not None:
            _check_integers("coarse", self.coarse, count=count, below=len(self.meta.coarse_classes or ()))
        if self.subjects is not None:
            _check_integers("subjects", self.subjects, count=count, below=None)

    def __len__(self) -> int:
        return len(self.ids)

    def targets(self, target: Target) -> Integers:
        """The labels of the task, int64 [N].

        Raises:
            ValueError: coarse labels of a set without superclasses.
        """
        if target == "fine":
            return self.labels
        if self.coarse is None:
            raise ValueError(f"{self.meta.name} has no superclasses; set data.target: fine, or give coarse labels")
        return self.coarse

    def class_names(self, target: Target) -> tuple[str, ...]:
        """Names of the classes of the task; ValueError as for `targets`."""
        self.targets(target)
        return self.meta.classes if target == "fine" else self.meta.coarse_classes or ()

    def official_test_mask(self) -> NDArray[np.bool_]:
        """bool [N]: the source says that the image is for testing. All False where it does not say."""
        if not self.meta.official_test:
            return np.zeros(len(self), dtype=bool)
        return np.array([one.startswith("test-") for one in self.ids], dtype=bool)

    def select(self, keep: NDArray[np.bool_] | Sequence[bool]) -> ImageSet:
        """The samples where `keep` (bool [N]) holds, in their order; `meta` stays, and with it a model's input."""
        keep = np.asarray(keep)
        if keep.dtype != np.bool_ or keep.shape != (len(self),):
            raise ValueError(f"keep must be bool [{len(self)}], not {keep.dtype} {list(keep.shape)}")
        return ImageSet(
            images=self.images[keep],
            labels=self.labels[keep],
            ids=tuple(one for one, kept in zip(self.ids, keep, strict=True) if kept),
            coarse=None if self.coarse is None else self.coarse[keep],
            subjects=None if self.subjects is None else self.subjects[keep],
            meta=self.meta,
        )

    def index_of(self, ids: Iterable[str]) -> Integers:
        """Positions int64 of `ids`, in their order.

        Raises:
            ValueError: ids that are not in the set.
        """
        ids = tuple(ids)
        unknown = [one for one in ids if one not in self._positions]
        if unknown:
            raise ValueError(
                f"{len(unknown)} of {len(ids)} ids are not in the image set {self.meta.name}, the first: "
                f"{', '.join(unknown[:3])}; the ids there are in its ids.txt, such as {self.ids[0]}"
            )
        return np.array([self._positions[one] for one in ids], dtype=np.int64)

    def digest(self) -> str:
        """sha256 of everything in the set, in hexadecimal. Reads all images."""
        content = hashlib.sha256(json.dumps(asdict(self.meta), sort_keys=True).encode())
        content.update("\n".join(self.ids).encode())
        for array in (self.images, self.labels, self.coarse, self.subjects):
            content.update(b"none" if array is None else str(array.shape).encode())
            if array is not None:
                content.update(np.ascontiguousarray(array).data)
        return content.hexdigest()

    @cached_property
    def _positions(self) -> dict[str, int]:
        return {one: position for position, one in enumerate(self.ids)}


def save(image_set: ImageSet, folder: Path) -> None:
    """Write `image_set` as `folder`, in one step: when this raises, an earlier folder is as it was."""
    with replaced_folder(folder) as fresh:
        for field in ("images", "labels", "coarse", "subjects"):
            array = getattr(image_set, field)
            if array is not None:
                np.save(fresh / FILES[field], np.ascontiguousarray(array), allow_pickle=False)
        (fresh / FILES["ids"]).write_text("".join(f"{one}\n" for one in image_set.ids), encoding="utf-8")
        content = asdict(_SavedMeta(format=1, meta=image_set.meta))
        (fresh / FILES["meta"]).write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def load(folder: Path) -> ImageSet:
    """Open an image set that `save` wrote. Images stay on the disk until they are used.

    Raises:
        ValueError: a file is missing, truncated, or does not fit the others; the message names it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder of an image set; run the ingest stage")
    meta = _read_meta(folder / FILES["meta"])
    try:
        return ImageSet(
            images=_read_array(folder / FILES["images"], mapped=True),
            labels=_read_array(folder / FILES["labels"]),
            ids=read_ids(folder / FILES["ids"]),
            coarse=_read_array(folder / FILES["coarse"]) if meta.coarse_classes is not None else None,
            subjects=_read_array(folder / FILES["subjects"]) if (folder / FILES["subjects"]).exists() else None,
            meta=meta,
        )
    except ImageSetError as error:
        raise ValueError(f"{folder / FILES[error.field]}: {error.problem}; run the ingest stage again") from None


def _check_images(images: NDArray[Any], meta: Meta) -> None:
    if images.dtype != np.uint8 or images.ndim != 4:
        raise ImageSetError("images", f"must be uint8 [N, C, H, W], found {images.dtype} {list(images.shape)}")
    if 0 in images.shape:
        raise ImageSetError("images", f"holds no image; its shape is {list(images.shape)}")
    if not len(meta.mean) == len(meta.std) == images.shape[1]:
        raise ImageSetError(
            "meta",
            f"mean {meta.mean} and std {meta.std} must have one value for each of the {images.shape[1]} channels",
        )
    if not all(np.isfinite(meta.mean)) or not all(np.isfinite(meta.std)) or min(meta.std) <= 0:
        raise ImageSetError("meta", f"mean {meta.mean} must be finite and std {meta.std} positive")


def _check_names(meta: Meta, *, has_coarse: bool) -> None:
    for names in (meta.classes, meta.coarse_classes or ()):
        if len(set(names)) != len(names):
            raise ImageSetError("meta", f"the class name {_first_duplicate(names)!r} occurs more than once")
    if has_coarse != (meta.coarse_classes is not None):
        raise ImageSetError("meta", "coarse labels and coarse_classes belong together; one is missing")


def _check_integers(field: str, values: NDArray[Any], *, count: int, below: int | None) -> None:
    if values.dtype != np.int64 or values.shape != (count,):
        raise ImageSetError(field, f"must be int64 [{count}], found {values.dtype} {list(values.shape)}")
    wrong = (values < 0) if below is None else (values < 0) | (values >= below)
    if wrong.any():
        place = int(np.argmax(wrong))
        allowed = "at least 0" if below is None else f"from 0 to {below - 1}"
        raise ImageSetError(field, f"value {values[place]} at position {place} must be {allowed}")


def _first_duplicate(values: Iterable[str]) -> str:
    seen: set[str] = set()
    return next(one for one in values if one in seen or seen.add(one))  # type: ignore[func-returns-value]


def _read_array(path: Path, *, mapped: bool = False) -> NDArray[Any]:
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
    except FileNotFoundError:
        raise ValueError(f"{path}: missing from the image set; run the ingest stage again") from None
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"{path}: truncated or not a NumPy array ({error}); run the ingest stage again") from None
    return array


def _read_meta(path: Path) -> Meta:
    try:
        return TypeAdapter(_SavedMeta).validate_json(path.read_bytes()).meta
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}; run the ingest stage again") from None
    except ValidationError as error:
        detail = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in detail["loc"])
        raise ValueError(f"{path}: {key}: {detail['msg']}; run the ingest stage again") from None
