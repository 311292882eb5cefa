"""Where the files between stages lie, and the small JSON manifests among them."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qunlearn.config import ConfigError, Params, load
from qunlearn.unlearning import resolve

MODEL_STAGES = ("pretrain", "retrain", "unlearn")


@dataclass(frozen=True)
class Workspace:
    """A checkout of the pipeline: its parameters and the paths of its files."""

    root: Path
    params: Params

    @classmethod
    def open(cls, params_file: Path | str = "params.yaml") -> Workspace:
        """Read and check the parameters; the folder of the file is the root of all other paths.

        Raises:
            ConfigError: with one line per problem, those of the methods' own settings included.
        """
        path = Path(params_file).resolve()
        params = load(path)
        resolve(params.unlearn)
        return cls(root=path.parent, params=params)

    @property
    def prepared(self) -> Path:
        return self.root / "data" / "prepared"

    @property
    def splits(self) -> Path:
        return self.root / "data" / "splits"

    @property
    def erased(self) -> Path:
        return self.root / "data" / "erased.txt"

    @property
    def evaluation(self) -> Path:
        return self.root / "metrics" / "evaluation.json"

    @property
    def report(self) -> Path:
        return self.root / "report"

    def models(self, stage: str) -> Path:
        return self.root / "models" / f"{stage}.json"


@dataclass(frozen=True, order=True)
class Cell:
    """One trained or unlearned model of a stage's manifest."""

    method: str
    seed: int
    sha256: str

    @property
    def name(self) -> str:
        return f"{self.method}/{self.seed}"

    @property
    def run_name(self) -> str:
        """Name of the run in MLflow that made it."""
        return f"{self.method} seed {self.seed}"


def write_manifest(path: Path, cells: list[Cell]) -> None:
    """Write the digests of a stage's models. No run ids: an identical rebuild gives an identical file."""
    content = {c.name: {"method": c.method, "seed": c.seed, "sha256": c.sha256} for c in cells}
    write_json(path, {"format": 1, "cells": content})


def read_manifest(path: Path) -> list[Cell]:
    """Raises ConfigError when the stage that writes the file has not run, or the file is not a manifest."""
    content = read_json(path, made_by=path.stem)
    try:
        return [Cell(c["method"], c["seed"], c["sha256"]) for c in content["cells"].values()]
    except (KeyError, TypeError, AttributeError):
        raise ConfigError(f"{path}: not a manifest of models; run `dvc repro {path.stem}` to write it again") from None


def read_json(path: Path, *, made_by: str) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; run `dvc repro {made_by}` first") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid JSON ({error}); run `dvc repro --force {made_by}`") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: must hold an object; run `dvc repro --force {made_by}`")
    return content


def write_json(path: Path, content: dict[str, Any]) -> None:
    write_text(path, json.dumps(content, indent=2, sort_keys=False, allow_nan=False) + "\n")


def write_text(path: Path, content: str) -> None:
    """Replace the file in one step: a reader sees the old content or the new, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def derived_seed(seed: int, purpose: str) -> int:
    """An independent seed in [0, 2^63) for each (seed, purpose); stable across versions of Python and PyTorch."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{purpose}".encode()).digest()[:8], "big") >> 1
