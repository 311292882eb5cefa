"""A study: what it asks, what it found, and the blocks of `params.yaml` that it replaces."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import Field

from qunlearn.config import ConfigError, Params, Strict, validate

FOLDER = Path(__file__).parent


class Study(Strict):
    """The content of ``studies/<name>.yaml``."""

    title: str = Field(min_length=1)
    question: str = Field(min_length=1)
    lesson: str = ""
    """What the result says, in two sentences; written by a person after the run."""
    params: dict[str, Any] = Field(min_length=1)
    """Blocks of `params.yaml`; each replaces the whole block of that name."""


def names(folder: Path = FOLDER) -> list[str]:
    return sorted(path.stem for path in folder.glob("*.yaml"))


def read(name: str, *, folder: Path = FOLDER) -> Study:
    """The study called `name`.

    Raises:
        ConfigError: there is none, or its file is not a study.
    """
    path = folder / f"{name}.yaml"
    if not path.is_file():
        raise ConfigError(f"study {name!r}: there is no {path.name}; there are {', '.join(names(folder))}")
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise ConfigError(f"{path.name}: must be a mapping of title, question, lesson and params")
    return validate(Study, content, where=path.name)


def merged(base: dict[str, Any], study: Study) -> dict[str, Any]:
    """The parameters of the study: `base` with the study's blocks in place of its own.

    Raises:
        ConfigError: the result is not a valid parameter file.
    """
    content = {**base, **study.params}
    validate(Params, content, where=f"study {study.title!r}")
    return content
