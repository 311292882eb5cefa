"""What this project knows of samples: the prepared images and their classes, what was erased, what models have seen."""

from __future__ import annotations

import os
import time
from pathlib import Path

from qunlearn.config import Params
from qunlearn.data import imageset
from qunlearn.data.erased import read_erased
from qunlearn.data.imageset import ImageSet
from qunlearn.deletion.intake import KnownSamples
from qunlearn.deletion.names import IntakeError
from tasks.own_images import OwnImages
from tasks.tracking import Store
from tasks.tracking.membership import TrainingLists

CLASSES_TOLD = 20
LOOKS = 10
"""How often prepared data that are being replaced are looked at, a tenth of a second apart."""


def known_samples(root: Path, params: Params, *, image_set: ImageSet, own: OwnImages | None) -> KnownSamples:
    """All that a name can mean.

    Args:
        root: the project's folder.
        image_set: the prepared images, loaded before this is called: what a deletion erases meanwhile is in the list of
            erased ids when it is no longer among the images.
        own: the user's own images, where they are the source.
    """
    file = root / "data" / "erased.txt"
    erased = read_erased(file) if file.is_file() else frozenset()
    trained, served = _models(root, params)
    present = frozenset(image_set.ids)
    return KnownSamples(
        ids=present | trained,
        erased=erased,
        training=served or _next_training(root / "data" / "splits") or present,
        classes={name: ids - erased for name, ids in _classes(image_set, params.data.target).items()},
        named=own.id_of if own is not None else lambda _name: None,
    )


def prepared_images(folder: Path) -> ImageSet:
    """The prepared images, all files of one version: a deletion may replace the folder at any time.

    Raises:
        ValueError: they are missing or damaged; without them nobody can tell an unknown name from a known one.
    """
    for look in range(LOOKS):
        if look:
            time.sleep(0.1)
        before = _version(folder)
        try:
            image_set = imageset.load(folder)
        except ValueError:
            if before is not None and before == _version(folder):
                raise
        else:
            if before == _version(folder):
                return image_set
    raise IntakeError(f"{folder}: is not there, or is being replaced; run the ingest stage, or wait until it has ended")


def samples_of_class(name: str, image_set: ImageSet) -> tuple[str, ...]:
    """The ids of all prepared images of a class or superclass, in their order.

    Raises:
        IntakeError: there is no such class, or no image of it; a class and a superclass of this name differ.
    """
    fine = _classes(image_set, "fine")
    coarse = _classes(image_set, "coarse") if image_set.coarse is not None else {}
    found = {classes[name] for classes in (fine, coarse) if name in classes}
    if not found:
        names = [repr(one) for one in (*fine, *coarse)]
        more = f", and {len(names) - CLASSES_TOLD} more in meta.json" if len(names) > CLASSES_TOLD else ""
        raise IntakeError(f"there is no such class; the classes are {', '.join(names[:CLASSES_TOLD])}{more}")
    if len(found) > 1:
        raise IntakeError("a class and a superclass with other samples have this name; name the samples by a file")
    members = found.pop()
    if not members:
        raise IntakeError("no prepared image of this class is left; there is nothing to erase")
    return tuple(one for one in image_set.ids if one in members)


def _classes(image_set: ImageSet, target: imageset.Target) -> dict[str, frozenset[str]]:
    """Ids of the images of each class."""
    names = image_set.class_names(target)
    members: dict[str, set[str]] = {name: set() for name in names}
    for one, label in zip(image_set.ids, image_set.targets(target).tolist(), strict=True):
        members[names[label]].add(one)
    return {name: frozenset(ids) for name, ids in members.items()}


def _models(root: Path, params: Params) -> tuple[frozenset[str], frozenset[str]]:
    """What any model was trained on, and what the served one was; empty where there is none, or no list of it."""
    store = Store.open(params.tracking, root=root)
    lists, champion = TrainingLists.read(store.connection), store.champion()
    served = [
        ids
        for ids, models in lists.groups
        if ids is not None and champion is not None and any(one.model_id == champion.model_id for one in models)
    ]
    return lists.known(), frozenset().union(*served)


def _next_training(splits: Path) -> frozenset[str]:
    """What the next model would be trained on; empty before any split."""
    if not splits.is_dir():
        return frozenset()
    from qunlearn.data.splits import load_split  # noqa: PLC0415 - brings PyTorch

    return frozenset(load_split(splits).ids("train"))


def _version(folder: Path) -> tuple[int, int] | None:
    """What tells a folder from the one that was here before; None while there is none."""
    try:
        found = os.stat(folder)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise IntakeError(f"{folder}: {error.strerror}; make it readable, then ask again") from None
    return found.st_dev, found.st_ino
