"""What is to be unlearned, and the guarded view of it that a method works with."""

from __future__ import annotations

import copy
from collections.abc import Callable, Set
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from qunlearn.config import TrainingConfig
from qunlearn.data.batches import ImagePool

Need = Literal["original", "fresh", "forget", "retain", "validation"]


class DataAccessError(RuntimeError):
    """A method reached for something that it did not declare in its `needs`."""


@dataclass(frozen=True, eq=False)
class Problem:
    """One unlearning task.

    Args:
        pool: all images, on the device where the work happens.
        forget: positions in the pool to be forgotten, int64 [n].
        retain: positions of the rest of the original's training images, int64 [m].
        validation: positions of images that no model was trained on, for statistics and for choosing.
        fresh: builds a new, untrained quantized network.
        recipe: how the original was trained.

    Raises:
        ValueError: nothing to forget, nothing retained, or an image in both.
    """

    pool: ImagePool
    forget: Tensor
    retain: Tensor
    validation: Tensor
    fresh: Callable[[], nn.Module]
    recipe: TrainingConfig

    def __post_init__(self) -> None:
        for name in ("forget", "retain"):
            if len(getattr(self, name)) == 0:
                raise ValueError(f"the {name} set is empty; unlearning needs images to forget and images to retain")
        both = torch.isin(self.forget, self.retain)
        if both.any():
            raise ValueError(
                f"{int(both.sum())} images are in the forget and the retain set, first {int(self.forget[both][0])}"
            )


@dataclass(frozen=True, eq=False)
class GuardedPool(ImagePool):
    """A pool that hands out declared images only; the label of any other image reads -1.

    Args:
        allowed: bool [N] on the CPU, so that the check never waits for the device.
        owner: name of the method, for the message.
    """

    allowed: Tensor = field(kw_only=True)
    owner: str = field(kw_only=True)

    def batch(self, indices: Tensor, *, augment: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """As `ImagePool.batch`.

        Raises:
            DataAccessError: an image that the method did not declare.
        """
        refused = indices.cpu()[~self.allowed[indices.cpu()]]
        if len(refused):
            raise DataAccessError(
                f"{self.owner} reached for {len(refused)} images it did not declare, first position {int(refused[0])}; "
                "add the set they belong to to the needs in its @register"
            )
        return super().batch(indices, augment=augment)


class Data:
    """A method's whole access to the problem: what it did not declare raises `DataAccessError`.

    Index tensors live on the CPU, where orders are drawn.
    """

    def __init__(self, problem: Problem, original: nn.Module, *, needs: Set[Need], owner: str) -> None:
        self._problem = problem
        self._original = original
        self._needs = needs
        self._owner = owner
        allowed = torch.zeros(len(problem.pool), dtype=torch.bool)
        for name in ("forget", "retain", "validation"):
            if name in needs:
                allowed[getattr(problem, name).cpu()] = True
        pool = problem.pool
        labels = torch.where(allowed.to(pool.device), pool.labels, -1)
        self.pool = GuardedPool(
            pool.images, labels, pool.transform, pool.classes, pool.channels_last, allowed=allowed, owner=owner
        )
        """The declared images."""

    @property
    def forget(self) -> Tensor:
        """Positions of the images to forget, int64 [n]."""
        self._require("forget")
        return self._problem.forget.cpu()

    @property
    def retain(self) -> Tensor:
        """Positions of the retained training images, int64 [m]."""
        self._require("retain")
        return self._problem.retain.cpu()

    @property
    def validation(self) -> Tensor:
        """Positions of the validation images, int64 [v]."""
        self._require("validation")
        return self._problem.validation.cpu()

    @property
    def example(self) -> Tensor:
        """Position of one declared training image, int64 [1]."""
        return (self.retain if "retain" in self._needs else self.forget)[:1]

    @property
    def recipe(self) -> TrainingConfig:
        """How the original was trained; declared with `fresh`."""
        self._require("fresh")
        return self._problem.recipe

    def original(self) -> nn.Module:
        """A new copy of the original model on the pool's device; it shares no storage with the original."""
        self._require("original")
        return copy.deepcopy(self._original).to(self.pool.device)

    def fresh(self) -> nn.Module:
        """A new untrained network on the pool's device."""
        self._require("fresh")
        return self._problem.fresh().to(self.pool.device)

    def _require(self, need: Need) -> None:
        if need not in self._needs:
            declared = ", ".join(sorted(self._needs))
            raise DataAccessError(
                f"{self._owner} reached for {need!r} but declares only {declared}; add it to the needs in its @register"
            )
