"""What a direction is: from the forget gradient and the retain gradient to one update.

Each direction returns the two contributions separately, so that an optimizer may treat them differently, and what it
measured, as device tensors that nobody reads during the epoch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from qunlearn.unlearning.layout import Layout
from qunlearn.unlearning.projection import block_grams, cosine

Precondition = Callable[[Tensor, Tensor], Tensor | None]
"""`Optimizer.precondition`: from the raw forget and retain part [n] to this step's D [n], None for the identity."""


@dataclass(frozen=True)
class Update:
    """What a direction makes of the gradients.

    Args:
        forget: contribution of the forget gradient [n], or None.
        retain: contribution of the retain gradient [n], or None.
        statistics: device scalars of this step.
        layers: device tensors [blocks] of this step.
        metric: the preconditioner D [n] that the parts were made for, which the optimizer must apply; None where it is
            free to choose.
    """

    forget: Tensor | None
    retain: Tensor | None
    statistics: dict[str, Tensor] = field(default_factory=dict)
    layers: dict[str, Tensor] = field(default_factory=dict)
    metric: Tensor | None = None

    @property
    def total(self) -> Tensor:
        """Sum of the contributions [n].

        Raises:
            ValueError: there is none.
        """
        parts = [part for part in (self.retain, self.forget) if part is not None]
        if not parts:
            raise ValueError("the update is empty: a step needs a forget or a retain gradient")
        return parts[0] if len(parts) == 1 else parts[0] + parts[1]

    def write_total(self, out: Tensor) -> Tensor:
        """`total`, written to `out` [n]."""
        if self.forget is None or self.retain is None:
            return out.copy_(self.total)
        return torch.add(self.retain, self.forget, out=out)


class Direction:
    """Base of all directions.

    `needs_both` says that every step must have a forget and a retain gradient.
    """

    needs_both = False

    def begin(self, layout: Layout) -> None:
        """Once, before the first step."""

    def begin_epoch(self, measure: Callable[[], tuple[Tensor, Tensor]]) -> None:
        """Before an epoch. `measure()` passes over both sets and returns their mean gradient norms, see `Reweight`."""

    def __call__(
        self,
        forget: Tensor | None,
        retain: Tensor | None,
        blocks: Sequence[slice],
        *,
        precondition: Precondition | None = None,
    ) -> Update:
        """Combine gradients [n]; one that the step does not have is None.

        Args:
            blocks: the layers' slices of the flat vector.
            precondition: settles the optimizer's preconditioner for this step; called at most once, and only where the
                direction depends on it.
        """
        raise NotImplementedError


def both(forget: Tensor | None, retain: Tensor | None, *, name: str) -> tuple[Tensor, Tensor]:
    """The two gradients of a step that needs both.

    Raises:
        ValueError: one is missing.
    """
    if forget is None or retain is None:
        raise ValueError(f"the direction {name} needs a forget and a retain gradient at every step; pair the batches")
    return forget, retain


def interaction(
    forget: Tensor | None, retain: Tensor | None, blocks: Sequence[slice]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Norms, cosine and conflict of two gradients: of the step, and per layer where both are there."""
    if forget is None or retain is None:
        present = {"forget_norm": forget, "retain_norm": retain}
        return {k: torch.linalg.vector_norm(v, dtype=torch.float64) for k, v in present.items() if v is not None}, {}
    return gradient_statistics(block_grams([forget, retain], blocks))


def gradient_statistics(grams: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The same from Gram matrices [blocks, m, m] of (g_f, g_r, ...)."""

    def of(gram: Tensor) -> dict[str, Tensor]:
        return {
            "forget_norm": gram[..., 0, 0].sqrt(),
            "retain_norm": gram[..., 1, 1].sqrt(),
            "cosine_before": cosine(gram),
            "conflict": (gram[..., 0, 1] < 0).double(),
        }

    return of(grams.sum(0)), of(grams)
