"""Optimizers on flat vectors: from an update to the displacement of all parameters.

They are written on one vector, not on a list of parameters, because the displacement itself is needed: its cosine
to the retain gradient is logged, masks take coordinates out of it, and `strict` keeps two momenta.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from qunlearn.quantization import parameter_groups
from qunlearn.unlearning.directions import Update
from qunlearn.unlearning.layout import Layout
from qunlearn.unlearning.projection import Projection

SECOND_MOMENT_DECAY = 0.999
EPSILON = 1e-8


def decay_of(model: nn.Module, layout: Layout, weight_decay: float) -> Tensor:
    """Weight decay of each coordinate [n], as `qunlearn.quantization.parameter_groups` sets it."""
    groups = parameter_groups(model, weight_decay)
    rates = {id(parameter): float(group["weight_decay"]) for group in groups for parameter in group["params"]}
    return layout.flatten([torch.full_like(parameter, rates[id(parameter)]) for parameter in layout.parameters])


class Optimizer(Protocol):
    """Turns an update into a displacement."""

    @property
    def metric(self) -> Tensor | None:
        """Diagonal of the preconditioner [n] of the coming step; None for the identity."""
        ...

    def displacement(self, update: Update, learning_rate: float) -> tuple[Tensor, dict[str, Tensor]]:
        """What to add to the parameters [n], and statistics of it."""
        ...


class SGD:
    """v <- momentum v + d + decay theta; theta <- theta - rate v (PyTorch's form, no dampening)."""

    metric = None

    def __init__(self, layout: Layout, *, decay: Tensor, momentum: float) -> None:
        self._layout = layout
        self._decay = decay
        self._momentum = momentum
        self._velocity: Tensor | None = None

    def displacement(self, update: Update, learning_rate: float) -> tuple[Tensor, dict[str, Tensor]]:
        step = torch.addcmul(_total(update), self._decay, self._layout.values())
        self._velocity = step if self._velocity is None else step.add_(self._velocity, alpha=self._momentum)
        return -learning_rate * self._velocity, {}


class StrictSGD:
    """SGD with a momentum for each part: the forget part's is projected again at every step.

    Momentum would otherwise carry old forget gradients, orthogonal to old retain gradients only, into this step. Weight
    decay goes to the retain part, so that the forget displacement stays in the complement.
    """

    metric = None

    def __init__(
        self,
        layout: Layout,
        *,
        decay: Tensor,
        momentum: float,
        project: Callable[[Tensor, Sequence[slice]], Projection],
    ) -> None:
        self._layout = layout
        self._momentum = momentum
        self._project = project
        self._retain = SGD(layout, decay=decay, momentum=momentum)
        self._velocity: Tensor | None = None

    def displacement(self, update: Update, learning_rate: float) -> tuple[Tensor, dict[str, Tensor]]:
        if update.forget is None:
            raise ValueError("a strict step needs a forget and a retain gradient; pair the batches")
        raw = update.forget if self._velocity is None else self._momentum * self._velocity + update.forget
        projection = self._project(raw, self._layout.blocks)
        self._velocity = projection.vector
        displacement, _ = self._retain.displacement(Update(None, update.retain), learning_rate)
        return displacement.add_(self._velocity, alpha=-learning_rate), {
            "momentum_residual": projection.largest_residual()
        }


class Adam:
    """Adam (arXiv 1412.6980) with L2 weight decay in the gradient, as PyTorch's `torch.optim.Adam`.

    The second moment is that of the gradients as they arrive, so that the path does not depend on the layout's units.
    """

    def __init__(self, layout: Layout, *, decay: Tensor, momentum: float) -> None:
        self._layout = layout
        self._unit = 1.0 if layout.unit is None else layout.unit
        self._decay = decay
        self._momentum = momentum
        self._first = torch.zeros_like(decay)
        self._second = torch.zeros_like(decay)
        self._steps = 0

    @property
    def metric(self) -> Tensor | None:
        """1 / (sqrt(v) + epsilon) of the last step; None before the first."""
        return self._preconditioner() if self._steps else None

    def displacement(self, update: Update, learning_rate: float) -> tuple[Tensor, dict[str, Tensor]]:
        step = torch.addcmul(_total(update), self._decay, self._layout.values())
        self._steps += 1
        self._first.lerp_(step, 1.0 - self._momentum)
        arriving = step * self._unit
        self._second.mul_(SECOND_MOMENT_DECAY).addcmul_(arriving, arriving, value=1.0 - SECOND_MOMENT_DECAY)
        rate = learning_rate / (1.0 - self._momentum**self._steps)
        return -rate * self._first * self._preconditioner(), {}

    def _preconditioner(self) -> Tensor:
        correction = 1.0 - SECOND_MOMENT_DECAY**self._steps
        return 1.0 / ((self._second / correction).sqrt() + EPSILON)


def _total(update: Update) -> Tensor:
    parts = [part for part in (update.retain, update.forget) if part is not None]
    if not parts:
        raise ValueError("the update is empty: a step needs a forget or a retain gradient")
    return parts[0] if len(parts) == 1 else parts[0] + parts[1]
