"""Orthogonal projection of the forget gradient: OEU's direction, of the whole vector or of each layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from qunlearn.unlearning.directions.base import Direction, Precondition, Update, both, gradient_statistics
from qunlearn.unlearning.projection import Projection, Scope, When, cosine, project


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
    _left: Tensor | None = field(default=None, init=False, repr=False)

    def __call__(
        self,
        forget: Tensor | None,
        retain: Tensor | None,
        blocks: Sequence[slice],
        *,
        precondition: Precondition | None = None,
    ) -> Update:
        forget, retain = both(forget, retain, name="orthogonal")
        self._remember(retain)
        weighted = forget if self.strength == 1.0 else self.strength * forget
        metric = None if precondition is None else precondition(weighted, retain)
        if self._left is None:
            self._left = torch.empty_like(forget)
        projection = self.project(forget, blocks, metric=metric, out=self._left)
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
        left = projection.vector if self.strength == 1.0 else projection.vector.mul_(self.strength)
        return Update(left, retain, statistics, layers, metric)

    def project(
        self, vector: Tensor, blocks: Sequence[slice], *, metric: Tensor | None = None, out: Tensor | None = None
    ) -> Projection:
        """Project any vector [n] against the references of the latest step.

        Raises:
            RuntimeError: before the first step.
        """
        if self.references is None:
            raise RuntimeError("there is no retain gradient yet; take a step first")
        return project(vector, self.references, blocks, scope=self.scope, when=self.when, metric=metric, out=out)

    def _remember(self, retain: Tensor) -> None:
        if self.memory == 1 and self.ema is None:
            self.references = retain[None]
        elif self.references is None:
            # A copy: the engine writes the next gradient over this one.
            self.references = retain[None].clone()
        elif self.ema is not None:
            self.references = self.ema * self.references + (1.0 - self.ema) * retain[None]
        else:
            self.references = torch.cat([retain[None], self.references[: self.memory - 1]])
