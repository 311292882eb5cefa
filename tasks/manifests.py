"""The manifests of the model stages, `models/<stage>.json`: which cells there are, and the digests of their weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from qunlearn.config import ConfigError
from tasks.files import read_json, write_json

MODEL_STAGES = ("pretrain", "retrain", "unlearn")


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
