"""Directions: from the forget gradient and the retain gradient to one update.

Each direction returns the two contributions separately, so that an optimizer may treat them differently, and what it
measured, as device tensors that nobody reads during the epoch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from qunlearn.unlearning.projection import Projection, Scope, When, block_grams, cosine, project

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


class Direction:
    """Base of all directions.

    `needs_both` says that every step must have a forget and a retain gradient.
    """

    needs_both = False

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


@dataclass
class Sum(Direction):
    """forget_weight g_f + retain_weight g_r."""

    forget_weight: float | Tensor = 1.0
    retain_weight: float | Tensor = 1.0

    def __call__(
        self,
        forget: Tensor | None,
        retain: Tensor | None,
        blocks: Sequence[slice],
        *,
        precondition: Precondition | None = None,
    ) -> Update:
        del precondition
        statistics, layers = interaction(forget, retain, blocks)
        return Update(
            None if forget is None else self.forget_weight * forget,
            None if retain is None else self.retain_weight * retain,
            statistics,
            layers,
        )


@dataclass
class Reweight(Sum):
    """Q-MUL's adaptive gradient reweighting (arXiv 2503.13917): a sum whose weights are balanced before each epoch.

    w_f = G_r / (G_f + G_r), w_r = G_f / (G_f + G_r), with G the mean over batches of the sum over tensors of
    the tensor's gradient norm: the set with the smaller gradients gets the larger weight.
    """

    def begin_epoch(self, measure: Callable[[], tuple[Tensor, Tensor]]) -> None:
        self.forget_weight, self.retain_weight = balance(*measure())

    def __call__(
        self,
        forget: Tensor | None,
        retain: Tensor | None,
        blocks: Sequence[slice],
        *,
        precondition: Precondition | None = None,
    ) -> Update:
        update = super().__call__(forget, retain, blocks, precondition=precondition)
        weights = {
            "forget_weight": torch.as_tensor(self.forget_weight),
            "retain_weight": torch.as_tensor(self.retain_weight),
        }
        return replace(update, statistics={**update.statistics, **weights})


def balance(forget_norm: Tensor, retain_norm: Tensor) -> tuple[Tensor, Tensor]:
    """Weights of the forget and the retain part from their gradient norms (scalars); both 1/2 where the sum is 0."""
    total = forget_norm + retain_norm
    half = torch.full_like(total, 0.5)
    weight = torch.where(total > 0, retain_norm / total, half)
    return weight, torch.where(total > 0, forget_norm / total, half)


@dataclass
class Clipped(Direction):
    """Another direction's update, scaled down to a norm of at most `max_norm`."""

    inner: Direction
    max_norm: float

    def __call__(
        self,
        forget: Tensor | None,
        retain: Tensor | None,
        blocks: Sequence[slice],
        *,
        precondition: Precondition | None = None,
    ) -> Update:
        update = self.inner(forget, retain, blocks, precondition=precondition)
        parts = [part for part in (update.forget, update.retain) if part is not None]
        norm = torch.linalg.vector_norm(torch.stack(parts).sum(0), dtype=torch.float64)
        factor = (self.max_norm / norm).clamp_max(1.0).to(parts[0].dtype)
        return replace(
            update,
            forget=None if update.forget is None else factor * update.forget,
            retain=None if update.retain is None else factor * update.retain,
            statistics={**update.statistics, "clip_factor": factor},
        )


@dataclass
class Orthogonal(Direction):
    """g_r + strength (g_f projected onto the complement of retain gradients): OEU (arXiv 2602.00567).

    Under a preconditioner D the projection is oblique, <D g_f_perp, g_r> = 0, so that what the optimizer makes of the
    forget part is orthogonal. D is settled before the projection, from the raw gradients, and the update carries it.

    Args:
        strength: lambda, the weight of the projected forget gradient.
        scope: project the whole vector, or each layer's block by itself.
        when: at every step, or only where the two gradients are in conflict.
        memory: project out the span of so many latest retain gradients.
        ema: project out a moving average r <- ema r + (1 - ema) g_r instead of the latest gradient.
    """

    needs_both = True

    strength: float = 1.0
    scope: Scope = "global"
    when: When = "always"
    memory: int = 1
    ema: float | None = None
    references: Tensor | None = field(default=None, init=False)
    """The retain gradients [k, n] that the latest step projected out, newest first."""

    def __call__(
        self,
        forget: Tensor | None,
        retain: Tensor | None,
        blocks: Sequence[slice],
        *,
        precondition: Precondition | None = None,
    ) -> Update:
        if forget is None or retain is None:
            raise ValueError("an orthogonal step needs a forget and a retain gradient; pair the batches")
        self._remember(retain)
        metric = None if precondition is None else precondition(self.strength * forget, retain)
        projection = self.project(forget, blocks, metric=metric)
        statistics, layers = gradient_statistics(projection.grams)
        global_gram, after = projection.grams.sum(0), projection.grams_after.sum(0)
        removed = (projection.removed.sum() / global_gram[0, 0].clamp_min(torch.finfo(torch.float64).tiny)).sqrt()
        statistics |= {
            "cosine_after": cosine(after),
            "residual": projection.largest_residual(),
            "projected": projection.applied.any().double(),
            "removed_fraction": removed,
            "projected_norm": after[0, 0].sqrt(),
        }
        layers |= {"cosine_after": cosine(projection.grams_after)}
        if self.scope == "layer":
            length = projection.grams[:, 0, 0].clamp_min(torch.finfo(torch.float64).tiny)
            layers |= {
                "residual": projection.residual,
                "projected": projection.applied.double(),
                "removed_fraction": (projection.removed / length).sqrt(),
            }
        return Update(self.strength * projection.vector, retain, statistics, layers, metric)

    def project(self, vector: Tensor, blocks: Sequence[slice], *, metric: Tensor | None = None) -> Projection:
        """Project any vector [n] against the references of the latest step.

        Raises:
            RuntimeError: before the first step.
        """
        if self.references is None:
            raise RuntimeError("there is no retain gradient yet; take a step first")
        return project(vector, self.references, blocks, scope=self.scope, when=self.when, metric=metric)

    def _remember(self, retain: Tensor) -> None:
        if self.references is None or (self.memory == 1 and self.ema is None):
            self.references = retain[None]
        elif self.ema is not None:
            self.references = self.ema * self.references + (1.0 - self.ema) * retain[None]
        else:
            self.references = torch.cat([retain[None], self.references[: self.memory - 1]])


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
