"""The manifests of the model stages, `models/<stage>.json`: which cells there are, and the digests of their weights."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qunlearn.config import ConfigError
from tasks.files import read_json, write_json

MODEL_STAGES = ("pretrain", "retrain", "unlearn")
FORMAT = 1


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
        """Name of the cell in MLflow that made it."""
        return f"{self.method} seed {self.seed}"


def write_manifest(path: Path, cells: list[Cell], choices: Mapping[str, Mapping[str, Any]] | None = None) -> None:
    """Write the digests of a stage's models. No run ids: an identical rebuild gives an identical file.

    Args:
        choices: method -> how its settings were chosen, see `tasks.search.Selection.entry`; None for models that have
            no choice of settings.
    """
    content: dict[str, Any] = {
        "format": FORMAT,
        "cells": {c.name: {"method": c.method, "seed": c.seed, "sha256": c.sha256} for c in cells},
    }
    if choices is not None:
        content["choices"] = choices
    write_json(path, content)


def read_manifest(path: Path) -> list[Cell]:
    """Raises ConfigError when the stage that writes the file has not run, or the file is not a manifest."""
    content = read_json(path, made_by=path.stem)
    try:
        cells = [Cell(c["method"], c["seed"], c["sha256"]) for c in content["cells"].values()]
    except (KeyError, TypeError, AttributeError):
        raise _not_a_manifest(path) from None
    if content.get("format") != FORMAT or not cells or not all(map(_is_sound, cells)):
        raise _not_a_manifest(path)
    if len({cell.name for cell in cells}) < len(cells):
        raise _not_a_manifest(path)
    return cells


def read_choices(path: Path) -> dict[str, dict[str, Any]]:
    """Method -> how its settings were chosen; empty for models that have no choice of settings.

    Raises:
        ConfigError: as from `read_manifest`.
    """
    choices = read_json(path, made_by=path.stem).get("choices", {})
    if not isinstance(choices, dict) or not all(isinstance(choice, dict) for choice in choices.values()):
        raise _not_a_manifest(path)
    return choices


def read_by_seed(path: Path, seeds: Sequence[int]) -> dict[int, Cell]:
    """The models of a stage that makes one for each seed.

    Raises:
        ConfigError: as from `read_manifest`, or when a seed has no model.
    """
    cells = {cell.seed: cell for cell in read_manifest(path)}
    if missing := [seed for seed in seeds if seed not in cells]:
        raise ConfigError(
            f"{path}: has models of the seeds {sorted(cells)}, none of {missing}; run `dvc repro {path.stem}`"
        )
    return cells


def _is_sound(cell: Cell) -> bool:
    """Whether the values, which come from a file, are of the types that the class says."""
    return (
        isinstance(cell.method, str)
        and type(cell.seed) is int
        and isinstance(cell.sha256, str)
        and re.fullmatch(r"[0-9a-f]{64}", cell.sha256) is not None
    )


def _not_a_manifest(path: Path) -> ConfigError:
    return ConfigError(f"{path}: not a manifest of models; run `dvc repro {path.stem}` to write it again")
