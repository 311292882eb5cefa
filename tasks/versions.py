"""Which version of the data a run reads, as DVC names it: the digests of ``dvc.lock``.

DVC is not imported: its lock is plain YAML. While a stage runs, the lock holds the outs of the stages before it.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import yaml

DIGEST_LENGTH = 32
"""Hexadecimal digits of a digest of our own; MLflow keeps at most 36 characters, an md5 with ``.dir`` fills them."""

MANIFESTS = (("manifest.json",), ("meta.json", "ids.txt"))
"""The files of a folder that name all its content: a split has digests, an image set ids made from each image."""


def out_digest(path: Path | str, *, root: Path) -> str:
    """The version of a DVC out, at most 36 characters.

    Under DVC (it sets ``DVC_STAGE``) the md5 of ``dvc.lock``, which ends in ``.dir`` for a folder. In a stage that runs
    alone, 32 digits of a sha256 over the out's own manifest, or over the file itself where the out is one file.

    Args:
        path: the out, absolute or relative to `root`.
        root: the folder of ``dvc.lock``.

    Raises:
        ValueError: under DVC, no stage before this one has that out; otherwise, there is no file to take a digest of.
    """
    relative = _relative(path, root)
    if os.environ.get("DVC_STAGE"):
        digests = _outs(root)
        if relative not in digests:
            raise ValueError(
                f"{relative}: not an out that dvc.lock knows; it has {', '.join(sorted(digests)) or 'none'}. "
                "List it under outs of the stage that writes it"
            )
        return digests[relative]
    return manifest_digest(root / relative)


def stage_hashes(*, root: Path, stage: str) -> dict[str, str]:
    """The md5 of each dependency of a DVC stage that is an out of another stage: path -> md5.

    Empty when there is no ``dvc.yaml`` or the stage is not in it.
    """
    stages = _read(root / "dvc.yaml").get("stages") or {}
    dependencies = (stages.get(stage) or {}).get("deps") or []
    outs = _outs(root)
    # An entry with options is a mapping of one key, its path.
    paths = [next(iter(entry)) if isinstance(entry, dict) else str(entry) for entry in dependencies]
    return {path: outs[path] for path in paths if path in outs}


def _outs(root: Path) -> dict[str, str]:
    stages = _read(root / "dvc.lock").get("stages") or {}
    entries = [out for stage in stages.values() for out in stage.get("outs") or []]
    return {out["path"]: out["md5"] for out in entries if "md5" in out}


def _read(file: Path) -> dict[str, Any]:
    if not file.is_file():
        return {}
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise ValueError(f"{file}: must be a mapping, found {type(content).__name__}; restore it with git checkout")
    return content


def _relative(path: Path | str, root: Path) -> str:
    given = Path(path)
    if not given.is_absolute():
        return given.as_posix()
    try:
        return given.resolve().relative_to(root.resolve()).as_posix()
    except ValueError:
        raise ValueError(f"{given}: outside of {root}; an out lies below the folder of dvc.lock") from None


def manifest_digest(path: Path) -> str:
    """The start of the sha256 of a folder's manifest, or of a file: its version where DVC names none.

    Raises:
        ValueError: there is no such file or folder, or the folder has no manifest.
    """
    candidates = [[path / file for file in files] for files in MANIFESTS] if path.is_dir() else [[path]]
    for files in candidates:
        if all(file.is_file() for file in files):
            content = [hashlib.sha256(file.read_bytes()).digest() for file in files]
            return hashlib.sha256(b"".join(content)).hexdigest()[:DIGEST_LENGTH]
    either = " nor ".join(" with ".join(files) for files in MANIFESTS)
    problem = f"has neither {either}" if path.is_dir() else "no such file or folder"
    raise ValueError(f"{path}: {problem}; run the stage that writes it first")
