"""From what a person calls a sample to its opaque id."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from qunlearn.config import ImageFolderSource, Params
from qunlearn.data.erased import read_erased
from qunlearn.data.idlist import read_ids
from tasks.tracking.membership import with_prefix


def resolve_sample(name: str, *, root: Path, params: Params, trained: Iterable[str]) -> str:
    """The id that `name` means.

    Args:
        name: an id; the beginning of one, at least 8 characters; for a folder of images also the path of the file
            below `data.root`, or its `sample_id` in the table.
        root: the project's folder, with `data/prepared` and `data/erased.txt` as far as they exist.
        trained: ids that models were trained on; they outlive the prepared images.

    Raises:
        ValueError: nothing has this name, or several ids begin with it.
    """
    known = frozenset(trained) | _prepared(root)
    if name in known:
        return name
    source = _anchored(params, root)
    in_folder = _id_of_file(source, name) if isinstance(source, ImageFolderSource) else None
    if in_folder in known:
        return in_folder
    if in_folder is not None:
        raise ValueError(
            f"sample {name!r}: its file has the id {in_folder} now, which neither data/prepared nor any readable "
            "list of training images holds; the file, its folder or its sample_id were changed since, or it was never "
            "ingested"
        )
    found = with_prefix(name, known)
    if found is None:
        raise ValueError(f"sample {name!r}: {_not_known(source)}")
    return found


def _anchored(params: Params, root: Path) -> object:
    """The data block, its relative paths taken from the project's folder."""
    if not isinstance(params.data, ImageFolderSource):
        return params.data
    table = params.data.metadata
    changes = {"root": root / params.data.root, "metadata": table if table is None else root / table}
    return params.data.model_copy(update=changes)


def _prepared(root: Path) -> frozenset[str]:
    """Ids of the prepared images and of the erased ones."""
    prepared, erased = root / "data" / "prepared" / "ids.txt", root / "data" / "erased.txt"
    ids = frozenset(read_ids(prepared)) if prepared.is_file() else frozenset()
    return ids | (read_erased(erased) if erased.is_file() else frozenset())


def _not_known(source: object) -> str:
    text = "not in data/prepared/ids.txt, nor in data/erased.txt, nor in any readable list of training images"
    if not isinstance(source, ImageFolderSource):
        return f"{text}; give an id as in data/prepared/ids.txt, or its first 8 characters or more"
    if not source.root.is_dir():
        return f"{text}; files cannot be looked up by name, since {source.root} is gone: give the id"
    return f"{text}, and {source.root} has no such file or sample_id; give an id, or a path below that folder"


def _id_of_file(source: ImageFolderSource, name: str) -> str | None:
    """The id that ingesting the file again would give it; None where there is no such file or sample_id."""
    if not source.root.is_dir():
        return None
    from qunlearn.data.sources import image_folder  # noqa: PLC0415 - only where there are such files

    _, files = image_folder.find_images(source.root)
    rows = image_folder.read_metadata(source.metadata, files) if source.metadata is not None else {}
    named = {row.sample_id: file for file, row in rows.items() if row.sample_id}
    file = named.get(name) or PurePosixPath(name)
    if file not in set(files):
        return None
    content = hashlib.sha256((source.root / file).read_bytes()).digest()
    sample = rows[file].sample_id if file in rows else ""
    return image_folder.opaque_id(sample or str(file), file.parts[0], content)
