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
    """One trained or unlearned model of a stage's manifest.

    Args:
        method: name of the row: what a model of another stage is, or a block of `unlearn`.
        registered: the method's name in the library; left out, it is the row's.
    """

    method: str
    seed: int
    sha256: str
    registered: str = ""

    def __post_init__(self) -> None:
        if not self.registered:
            object.__setattr__(self, "registered", self.method)

    @property
    def name(self) -> str:
        return f"{self.method}/{self.seed}"

    @property
    def run_name(self) -> str:
        """Name of the cell for people."""
        return f"{self.method} seed {self.seed}"

    @property
    def stored_name(self) -> str:
        """Name of the cell that made the model in the store, the same for all rows of a method."""
        return stored_name(self.registered, self.seed)


def stored_name(registered: str, seed: int) -> str:
    """Name of a cell in the store. Rows with equal settings share a cell, so no row's name is part of it."""
    return f"{registered} seed {seed}"


def write_manifest(path: Path, cells: list[Cell], choices: Mapping[str, Mapping[str, Any]] | None = None) -> None:
    """Write the digests of a stage's models. No run ids: an identical rebuild gives an identical file.

    Args:
        choices: row -> its method and how its settings were chosen, see `tasks.selection.Selection.entry`; None for
            models that have no choice of settings.
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
    # Manifests of earlier versions do not tell the method: it had the row's name.
    registered = {row: choice.get("method", row) for row, choice in _choices(content, path).items()}
    try:
        cells = [
            Cell(c["method"], c["seed"], c["sha256"], registered.get(c["method"], ""))
            for c in content["cells"].values()
        ]
    except (KeyError, TypeError, AttributeError):
        raise _not_a_manifest(path) from None
    if content.get("format") != FORMAT or not cells or not all(map(_is_sound, cells)):
        raise _not_a_manifest(path)
    if len({cell.name for cell in cells}) < len(cells):
        raise _not_a_manifest(path)
    return cells


def read_choices(path: Path) -> dict[str, dict[str, Any]]:
    """Row -> its method and how its settings were chosen; empty for models that have no choice of settings.

    Raises:
        ConfigError: as from `read_manifest`.
    """
    return _choices(read_json(path, made_by=path.stem), path)


def _choices(content: Mapping[str, Any], path: Path) -> dict[str, dict[str, Any]]:
    choices = content.get("choices", {})
    if not isinstance(choices, dict) or not all(isinstance(choice, dict) for choice in choices.values()):
        raise _not_a_manifest(path)
    if not all(isinstance(choice.get("method", ""), str) for choice in choices.values()):
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
