"""What one study of successive requests does: blocks laid over `params.yaml`, and the number and size of requests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, PositiveInt

from qunlearn.config import ConfigError, Params, Strict, validate
from qunlearn.unlearning import Choice
from qunlearn.unlearning.grid import row_or_method

FOLDER = Path(__file__).parent
PARAMS = FOLDER.parents[1] / "params.yaml"

NEVER = "never"
LIMIT = "limit"
ARMS = (NEVER, LIMIT)
"""Unlearned however often; or trained anew after so many unlearnings in a row."""


class Setting(Strict):
    """The content of ``benchmarks/sequential/<name>.yaml``."""

    title: str = Field(min_length=1)
    lesson: str = ""
    """What the result says; written by a person after the run."""
    notes: str = ""
    """How far it reaches: a recipe cut short, what was left out."""
    requests: PositiveInt = 10
    share: float = Field(default=0.02, gt=0.0, lt=1.0)
    """Of the original's training images, in each request."""
    limit: PositiveInt = 4
    """`deletion.max_sequential` of the arm that has one."""
    references: PositiveInt = 1
    """Networks retrained for each seed and request. The first is what gaps are taken to; all give the noise floor."""
    methods: tuple[str, ...] = ("neg_grad_plus", "oeu")
    """Rows of `unlearn`, or methods with their defaults."""
    params: dict[str, Any] = Field(default_factory=dict)
    """Blocks of `params.yaml`; each replaces the whole block of that name."""

    def resolved(self, *, base: Path = PARAMS, root: Path | None = None) -> Params:
        """The parameters of the study.

        Args:
            root: torchvision's folder, where the images come from there.

        Raises:
            ConfigError: one line for each problem.
        """
        content = {**yaml.safe_load(base.read_text(encoding="utf-8")), **self.params}
        if root is not None and "root" in content["data"]:
            content["data"] = {**content["data"], "root": str(root)}
        return validate(Params, content, where=base.name)

    def choice(self, name: str, params: Params) -> Choice:
        """What the deletion flow would take the name for: it never searches, so a grid counts for nothing."""
        return row_or_method(name, params.unlearn, where=PARAMS.name, key="methods")

    def arm(self, name: str, method: str, params: Params) -> Params:
        """The parameters by which the deletion flow would choose the next method in an arm."""
        limit = {NEVER: None, LIMIT: self.limit}[name]
        deletion = params.deletion.model_copy(update={"method": method, "fallback": (), "max_sequential": limit})
        return params.model_copy(update={"deletion": deletion})


def names() -> list[str]:
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def read(name: str) -> Setting:
    """The study called `name`.

    Raises:
        ConfigError: there is none, or its file cannot be used.
    """
    path = FOLDER / f"{name}.yaml"
    if name not in names():
        raise ConfigError(f"{name!r}: no such study; there are {', '.join(names())}")
    return validate(Setting, yaml.safe_load(path.read_text(encoding="utf-8")), where=path.name)
