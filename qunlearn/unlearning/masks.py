"""Masks: which coordinates an update may touch. The engine puts any mask on any first-order method."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class Mask(Protocol):
    """Keeps some coordinates of the update.

    A mask with `frozen` coordinates keeps them bit-identical: the engine takes them out of the displacement itself,
    since momentum and weight decay would move them although their gradient is masked.
    """

    frozen: Tensor | None
    """bool [n], coordinates that must not move at all; None where the mask changes from step to step."""

    def __call__(self, forget: Tensor | None, retain: Tensor | None) -> Tensor:
        """Factors [n] in [0, 1] for both contributions, from the step's gradients [n] (None where there is none)."""
        ...
