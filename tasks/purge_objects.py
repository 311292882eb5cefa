"""DVC's objects by what they hold, for the decision which of them must go."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from tokenize import TokenError

import numpy as np

from qunlearn.data.idlist import read_ids
from qunlearn.deletion.purge_objects import Depot, Version
from qunlearn.deletion.traces import Traces, image_digests
from tasks.dvc_objects import ObjectStore, Stores
from tasks.workspace import Workspace


def find_objects(stores: Stores, traces: Traces, *, work: Path, needed: frozenset[str]) -> list[Depot]:
    """Every store with what a search of all its objects found; each object is searched once, wherever it lies.

    Args:
        work: an empty folder for downloads.
        needed: objects that the present data need.

    Raises:
        DvcError: a store cannot be read.
    """
    found: dict[str, str] = {}
    searched: set[str] = set()
    versions: dict[str, Version] = {}
    listed = []
    for store in stores.stores:
        oids, entries = store.oids(), {}
        for oid in sorted(oids - searched):
            if (text := _search(store, oid, traces, work)) is None:
                continue
            searched.add(oid)
            if text:
                found[oid] = text
        for name, file, outs in store.run_cache(work):
            entries[name] = outs
            if trace := traces.in_file(file):
                found[name] = trace.text
        versions |= {
            oid: one for oid in sorted(oids - versions.keys()) if (one := store.version(oid, work)) is not None
        }
        listed.append((store, oids, entries))
    return [
        Depot(
            name=store.name,
            oids=oids,
            # Those of all stores: an interrupted push leaves a version's files in a remote, and not the list of them.
            versions=tuple(versions.values()),
            found=found,
            searched=frozenset(searched),
            needed=needed | stores.tracked,
            run_cache=entries,
        )
        for store, oids, entries in listed
    ]


def _search(store: ObjectStore, oid: str, traces: Traces, work: Path) -> str | None:
    """What an object holds, in words; None if it has gone meanwhile."""
    file = store.file(oid, work)
    try:
        return traces.in_file(file).text
    except FileNotFoundError:
        return None
    finally:
        # Only copies lie there; those of listings are read again.
        if file.parent == work and not oid.endswith(".dir"):
            file.unlink(missing_ok=True)


def present_objects(workspace: Workspace, erased: frozenset[str]) -> frozenset[str]:
    """Names of objects with the content of the present data, which may be links to them.

    None of data that hold erased samples: these are written again.
    """
    found: set[str] = set()
    for folder, listing in ((workspace.prepared, "ids.txt"), (workspace.splits, "split.csv")):
        if (folder / listing).exists() and not _names(folder / listing) & erased:
            # An editor or a notebook may have left a folder there.
            found |= {_md5(path) for path in folder.iterdir() if path.is_file()}
    return frozenset(found)


def known_images(workspace: Workspace, stores: Stores, erased: frozenset[str]) -> tuple[set[str], set[str], int]:
    """sha256 of the pixels of all erased images that are still there, and of all others; and the bytes of one image.

    An erased image can have an exact copy among the others, which stays, and rightly so.
    """
    gone: set[str] = set()
    kept: set[str] = set()
    pixels = 0
    for listing, array in _image_files(workspace, stores):
        try:
            ids, images = read_ids(listing), np.load(array, mmap_mode="r", allow_pickle=False)
        except (ValueError, EOFError, FileNotFoundError, MemoryError, RecursionError, TokenError):
            continue  # damaged, or somebody else's: its ids are found nevertheless
        if images.ndim < 2 or len(ids) != len(images):
            continue
        if not erased.isdisjoint(ids):
            # Other data in the stores can have images of another size.
            pixels = int(images[:1].size)
        for one, digest in zip(ids, image_digests(images), strict=True):
            (gone if one in erased else kept).add(digest)
    return gone, kept, pixels


def _image_files(workspace: Workspace, stores: Stores) -> Iterator[tuple[Path, Path]]:
    """Lists of ids and arrays of images: of the prepared data, and of the versions in the caches of this computer."""
    names = ("ids.txt", "images.npy")
    if all((workspace.prepared / name).exists() for name in names):
        yield workspace.prepared / names[0], workspace.prepared / names[1]
    for store in stores.stores:
        if not store.is_local:
            continue
        oids = store.oids()
        versions = (store.version(oid, Path()) for oid in sorted(oids))
        for version in versions:
            if version is not None and all(version.members.get(name) in oids for name in names):
                listing, array = (store.file(version.members[name], Path()) for name in names)
                yield listing, array


def _names(listing: Path) -> set[str]:
    return {line.partition(",")[0] for line in listing.read_text(encoding="utf-8").splitlines()}


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
