"""The user's own folder of images as a request names them: by path, by `sample_id`, by subject.

What is wrong with the folder or its table is not repeated here, since both may name people; ingesting tells it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from qunlearn.config import DataConfig, ImageFolderSource
from qunlearn.data.imageset import ImageSet
from qunlearn.deletion.identity import Key
from qunlearn.deletion.names import IntakeError

if TYPE_CHECKING:
    from qunlearn.data.sources.image_folder import Row

WHERE_SUBJECTS_ARE = "subjects are the column `subject` of the table data.metadata of data.source: image_folder"


@dataclass(frozen=True)
class OwnImages:
    """The files below `root` as they are now, and the table about them."""

    root: Path
    metadata: Path | None

    @classmethod
    def of(cls, config: DataConfig, *, project: Path) -> OwnImages | None:
        """Those of the project; None where the source is another, or the folder is no longer there."""
        if not isinstance(config, ImageFolderSource) or not (project / config.root).is_dir():
            return None
        return cls(project / config.root, config.metadata and project / config.metadata)

    def id_of(self, name: str) -> str | None:
        """The id of the image with this path below root, or with this `sample_id`; None where there is none."""
        file = self._by_sample_id.get(name) or PurePosixPath(name)
        return self._id_at(file) if file in self._table else None

    def subjects(self) -> frozenset[str]:
        """All subjects, as the table has them."""
        return frozenset(row.subject for row in self._table.values() if row.subject)

    def ids(self, subjects: frozenset[str] | None = None) -> frozenset[str]:
        """The ids that the files have now, those of `subjects` or all."""
        rows = self._table.items()
        return frozenset(self._id_at(file) for file, row in rows if subjects is None or row.subject in subjects)

    @cached_property
    def _table(self) -> dict[PurePosixPath, Row]:
        from qunlearn.data.sources import image_folder  # noqa: PLC0415 - brings PyTorch

        try:
            _, files = image_folder.find_images(self.root)
            rows = image_folder.read_metadata(self.metadata, files) if self.metadata is not None else {}
        except (OSError, ValueError):
            raise IntakeError(
                "data.root and data.metadata cannot be read, so that names and subjects are not known; "
                "`python -m flows.ingest` says what is wrong"
            ) from None
        return {file: rows.get(file, image_folder.Row()) for file in files}

    @cached_property
    def _by_sample_id(self) -> dict[str, PurePosixPath]:
        return {row.sample_id: file for file, row in self._table.items() if row.sample_id}

    def _id_at(self, file: PurePosixPath) -> str:
        from qunlearn.data.sources import image_folder  # noqa: PLC0415 - brings PyTorch

        try:
            content = hashlib.sha256((self.root / file).read_bytes()).digest()
        except OSError as error:
            raise IntakeError(f"an image that the request names cannot be read: {error.strerror}") from None
        return image_folder.opaque_id(self._table[file].sample_id or str(file), file.parts[0], content)


def samples_of_subject(hashed: str, *, own: OwnImages | None, image_set: ImageSet, key: Key) -> tuple[str, ...]:
    """The ids of all images of a subject: of the prepared ones, and of the files as they are now.

    Both are asked, since files may have been changed or removed after they were prepared.

    Args:
        hashed: keyed hash of the subject.

    Raises:
        IntakeError: there are no subjects, or not this one; the table says something else than when it was ingested.
    """
    numbers = np.array([], dtype=np.int64) if image_set.subjects is None else image_set.subjects
    in_table = own.subjects() if own else frozenset()
    everybody = in_table | {str(number) for number in np.unique(numbers)}
    if not everybody:
        raise IntakeError(f"this project knows no subjects; {WHERE_SUBJECTS_ARE}")
    # `007` in the table and 7 among the prepared images are the same subject.
    subjects = frozenset(one for one in everybody if key.hashed("subject", one) == hashed)
    if not subjects:
        raise IntakeError(f"there is no such subject; {WHERE_SUBJECTS_ARE}")
    prepared = frozenset(
        one for one, number in zip(image_set.ids, numbers.tolist(), strict=False) if str(number) in subjects
    )
    now = own.ids(subjects) if own else frozenset()
    if own is not None and image_set.subjects is not None:
        _check_same_table(prepared, now, own, image_set)
    return tuple(sorted(prepared | now))


def _check_same_table(prepared: frozenset[str], now: frozenset[str], own: OwnImages, image_set: ImageSet) -> None:
    moved_here = (now - prepared) & frozenset(image_set.ids)
    gone = prepared - now
    moved_away = gone & own.ids() if gone else gone
    if moved_here or moved_away:
        raise IntakeError(
            f"the table data.metadata gives {len(moved_here | moved_away)} of these images to another subject than it "
            "did when they were ingested; run `dvc repro ingest`, and request again"
        )
