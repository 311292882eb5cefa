"""Write `data/prepared` and `data/splits` again without the erased samples.

Prepared data come out as `ingest` would write them now: nothing takes the place of an erased image, and mean and
standard deviation are those of what remains. A split loses rows and nothing else: no sample moves, also not where
making it anew would draw other samples to forget. DVC's cache, into which the old files may link, is not written to,
and neither is `dvc.lock`: `dvc status` then says, truthfully, that the data have changed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from qunlearn.data import erased as erased_list
from qunlearn.data import imageset, splits
from qunlearn.data.imageset import ImageSet
from qunlearn.data.removal import remove_folder
from qunlearn.data.scenarios import Subset
from qunlearn.data.splits import PARTITIONS, SUBSETS, Split
from qunlearn.data.statistics import with_statistics
from tasks.workspace import Workspace


class RewriteError(ValueError):
    """Data that cannot be written without the erased samples; nothing was changed."""


@dataclass(frozen=True)
class Rewritten:
    """What came of it.

    Args:
        prepared: how many images `data/prepared` lost; 0 where it held no erased one, or is not there.
        splits: likewise, rows of `data/splits`.
        written: the folders that were written again.
        told: consequences that a person should know.
    """

    prepared: int
    splits: int
    written: tuple[str, ...]
    told: tuple[str, ...]


@dataclass(frozen=True)
class _New:
    """What is to be written; None where a folder is not there or may stay as it is."""

    images: ImageSet | None
    split: Split | None
    lost: tuple[int, int]
    told: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The folders that must be written."""
        folders = (("data/prepared", self.images), ("data/splits", self.split))
        return tuple(name for name, content in folders if content is not None)


def rewrite(workspace: Workspace) -> Rewritten:
    """Write both folders again as far as `data/erased.txt` asks for it; doing it twice changes nothing more.

    A process that was killed in between leaves each folder whole, old or new; this function completes its work. Nobody
    else may write the folders at the same time, see `tasks.dvc_objects.exclusive`.

    Raises:
        RewriteError: a class would keep images but none to train on, a partition none at all, or a folder is a link.
        ValueError: a folder is damaged, or the split is not one of these images.
    """
    for folder in (workspace.prepared, workspace.splits):
        settle(folder)
    new = _plan(workspace)
    if new.images is not None:
        imageset.save(new.images, workspace.prepared)
    if new.split is not None:
        splits.save_split(new.split, workspace.splits)
    return Rewritten(*new.lost, new.names, new.told)


def preview(workspace: Workspace) -> Rewritten:
    """What `rewrite` would do; nothing is changed. Raises what it raises."""
    new = _plan(workspace)
    return Rewritten(*new.lost, new.names, new.told)


def check_rewrite(workspace: Workspace, ids: frozenset[str] = frozenset()) -> None:
    """Raise what `rewrite` would raise if `ids` were erased, too; nothing is changed.

    To be asked before a request is accepted: afterwards it is too late to refuse.
    """
    _plan(workspace, also=ids)


def settle(folder: Path) -> None:
    """Undo or complete a replacement of `folder` that was interrupted, see `qunlearn.data.atomic`.

    The images that were to be replaced would otherwise lie beside it until it is replaced the next time.
    """
    fresh, retired = pieces(folder)
    if retired.exists() and not folder.exists():
        retired.rename(folder)
    for leftover in (fresh, retired):
        if leftover.exists():
            remove_folder(leftover)


def is_settled(folder: Path) -> bool:
    """Whether no replacement of `folder` was interrupted."""
    return not any(piece.exists() for piece in pieces(folder))


def pieces(folder: Path) -> tuple[Path, Path]:
    """Where `qunlearn.data.atomic` writes the new folder, and where it moves the old one."""
    return folder.with_name(f".{folder.name}.writing"), folder.with_name(f".{folder.name}.retired")


def _plan(workspace: Workspace, *, also: frozenset[str] = frozenset()) -> _New:
    with erased_list.lock(workspace.erased):
        gone = erased_list.read_erased(workspace.erased) | also
        digest = erased_list.digest(workspace.erased)
    for folder in (workspace.prepared, workspace.splits):
        if folder.is_symlink():
            raise RewriteError(f"{folder}: is a link, and what it leads to would stay; put the folder itself there")
    if not workspace.prepared.exists():
        return _New(None, None, (0, 0), ())
    old = imageset.load(workspace.prepared)
    keep = np.array([one not in gone for one in old.ids], dtype=bool)
    if not keep[~old.official_test_mask()].any():
        raise RewriteError(f"{workspace.prepared}: all training images would be erased; nothing would be left to train")
    images = old if keep.all() else with_statistics(old.select(keep))
    lost = len(old) - len(images)
    if not workspace.splits.exists():
        return _New(images if lost else None, None, (lost, 0), ())
    present = splits.load_split(workspace.splits)
    if tuple(present.id_column) == old.ids and present.manifest["image_set_digest"] != old.digest():
        # The digest is about to be made anew; afterwards nobody could tell that an image is another one.
        raise ValueError(
            "data/splits was made from other images than data/prepared holds; bring these back with `dvc checkout "
            "data/prepared`, or run `dvc repro split`"
        )
    split = _without(present, gone, images, digest)
    _check(split, images, where=workspace.splits)
    unchanged = len(split.id_column) == len(present.id_column) and split.manifest == present.manifest
    rows = len(present.id_column) - len(split.id_column)
    told = _consequences(present, split)
    return _New(images if lost else None, None if unchanged else split, (lost, rows), told)


def _without(split: Split, gone: frozenset[str], images: ImageSet, digest: str) -> Split:
    """The rows of the samples that stay, in their order, and a manifest that fits them."""
    keep = np.array([one not in gone for one in split.id_column], dtype=bool)
    columns = [column[keep] for column in (split.id_column, split.partition_column, split.subset_column)]
    if tuple(columns[0]) != images.ids:
        raise ValueError(
            "data/splits was made from other images than data/prepared holds; run `dvc repro split`, which leaves the "
            "erased samples out, then go on"
        )
    new = Split(columns[0], columns[1], columns[2], dict(split.manifest))
    new.manifest.update(
        image_set_digest=images.digest(),
        erased_sha256=digest,
        **_contents(new),
    )
    return new


def _contents(split: Split) -> dict[str, Any]:
    """Counts and digests under the keys that `load_split` expects."""
    names = SUBSETS if {"adjacent", "remote"} & set(split.subset_column) else SUBSETS[:2]
    parts = {
        f"{partition}/{name}" if name else partition: (partition, name)
        for partition in PARTITIONS
        for name in (None, *names)
    }
    return {
        "counts": {key: len(split.ids(*part)) for key, part in parts.items()},
        "digests": {key: split.digest(*part) for key, part in parts.items()},
    }


def _check(split: Split, images: ImageSet, *, where: Path) -> None:
    """What `make_split` asks of a split, and what evaluating a model needs."""
    target = split.manifest["target"]
    labels, training = images.targets(target), split.partition_column == "train"
    for partition in PARTITIONS:
        if not (split.partition_column == partition).any():
            raise RewriteError(f"{where}: all {partition} images would be erased; ingest more images first")
    for label in np.unique(labels):
        if not training[labels == label].any():
            raise RewriteError(
                f"{where}: class number {label} would keep {(labels == label).sum()} images for validation and test, "
                "and none to train on; ingest more images of it first, or erase those, too"
            )


def _consequences(before: Split, after: Split) -> tuple[str, ...]:
    subsets: tuple[Subset, ...] = ("forget", "retain")
    return tuple(
        f"data/splits has no training image left to {subset}; `dvc repro` makes another split"
        for subset in subsets
        if before.ids("train", subset) and not after.ids("train", subset)
    )
