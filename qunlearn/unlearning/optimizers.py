"""Optimizers on flat vectors: from an update to the displacement of all parameters.

They are written on one vector, not on a list of parameters, because the displacement itself is needed: its cosine
to the retain gradient is logged, masks take coordinates out of it, and `strict` keeps two momenta.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

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


class Decay:
    """Weight decay without a vector of decays or of parameters: adds decay theta to a vector in place.

    Args:
        decay: rate of each coordinate [n], the same within a parameter.
    """

    def __init__(self, layout: Layout, decay: Tensor) -> None:
        self._layout = layout
        rates = torch.stack([view.reshape(-1)[0] for view in layout.views(decay)])
        if layout.unit is not None:
            # theta is measured in its unit.
            rates = rates / torch.stack([view.reshape(-1)[0] for view in layout.views(layout.unit)])
        self._members: dict[float, list[int]] = {}
        for place, rate in enumerate(rates.tolist()):
            if rate > 0.0:
                self._members.setdefault(rate, []).append(place)

    @torch.no_grad()
    def add_to(self, vector: Tensor) -> None:
        """`vector` [n] + decay theta, in place."""
        views = self._layout.views(vector)
        for rate, places in self._members.items():
            torch._foreach_add_([views[i] for i in places], [self._layout.parameters[i] for i in places], alpha=rate)


class Optimizer:
    """Turns an update into a displacement."""

    def precondition(self, forget: Tensor, retain: Tensor) -> Tensor | None:
        """Settle the diagonal D [n] of this step's preconditioner before the update is known; None for the identity.

        The update must then carry D as its `metric`, and is multiplied by that very D.

        Args:
            forget: weighted forget gradient [n], not projected.
            retain: retain gradient [n].
        """
        del forget, retain
        return None

    def displacement(self, update: Update, learning_rate: float) -> tuple[Tensor, dict[str, Tensor]]:
        """What to add to the parameters [n], which is good until the next call, and statistics of it."""
        raise NotImplementedError


class SGD(Optimizer):
    """v <- momentum v + d + decay theta; theta <- theta - rate v (PyTorch's form, no dampening).

    Three vectors are kept and written anew at each step: for millions of parameters, new memory costs more than the
    arithmetic.
    """

    def __init__(self, layout: Layout, *, decay: Tensor, momentum: float) -> None:
        self._decay = Decay(layout, decay)
        self._momentum = momentum
        self._velocity, self._step, self._displacement = (torch.zeros_like(decay) for _ in range(3))

    def displacement(self, update: Update, learning_rate: float) -> tuple[Tensor, dict[str, Tensor]]:
        step = update.write_total(self._step)
        self._decay.add_to(step)
        step.add_(self._velocity, alpha=self._momentum)
        self._velocity, self._step = step, self._velocity
        return torch.mul(step, -learning_rate, out=self._displacement), {}


class StrictSGD(Optimizer):
    """SGD with a momentum for each part: the forget part's is projected again at every step.

    Momentum would otherwise carry old forget gradients, orthogonal to old retain gradients only, into this step. Weight
    decay goes to the retain part, so that the forget displacement stays in the complement.
    """

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


class Adam(Optimizer):
    """Adam (arXiv 1412.6980) with L2 weight decay in the gradient, as PyTorch's `torch.optim.Adam`.

    `decoupled` takes the decay out of the gradient and shrinks the weights by rate x decay instead, as
    `torch.optim.AdamW` (arXiv 1711.05101); the decay below is then 0.

    The second moment is that of the gradients as they arrive, so that the path does not depend on the layout's units.

    Under an orthogonal direction Adam's own rule is circular: the projection needs D, and D the projected gradient. Our
    choice, since the paper names no optimizer: `precondition` updates the second moment with the raw gradients,

        v <- 0.999 v + 0.001 ((g_r + decay theta)^2 + (lambda g_f)^2),   D = 1 / (sqrt(v / (1 - 0.999^t)) + epsilon),

    and this one D serves the projection, its residual and the displacement of the same step. The two squares are added,
    and not the gradients: where opposed gradients cancel, D would be huge while the projected update is not, and the
    first step would move single weights by a thousand learning rates and more. At lambda = 0 both are plain Adam.
    The forget displacement of one step is orthogonal to its retain gradient at momentum 0; a first moment carries old
    forget gradients along, as SGD's momentum does.
    """

    def __init__(self, layout: Layout, *, decay: Tensor, momentum: float, decoupled: bool = False) -> None:
        self._layout = layout
        self._decoupled = decoupled
        self._unit = 1.0 if layout.unit is None else layout.unit
        self._decay = decay
        self._momentum = momentum
        self._first = torch.zeros_like(decay)
        self._second = torch.zeros_like(decay)
        self._steps = 0

    def precondition(self, forget: Tensor, retain: Tensor) -> Tensor:
        return self._learn(self._decayed(retain), forget)

    def displacement(self, update: Update, learning_rate: float) -> tuple[Tensor, dict[str, Tensor]]:
        step = self._decayed(update.total)
        preconditioner = self._learn(step) if update.metric is None else update.metric
        self._first.lerp_(step, 1.0 - self._momentum)
        rate = learning_rate / (1.0 - self._momentum**self._steps)
        displacement = -rate * self._first * preconditioner
        if self._decoupled:
            displacement.addcmul_(self._decay, self._layout.values(), value=-learning_rate)
        return displacement, {}

    def _decayed(self, gradient: Tensor) -> Tensor:
        if self._decoupled:
            return gradient
        return torch.addcmul(gradient, self._decay, self._layout.values())

    def _learn(self, *gradients: Tensor) -> Tensor:
        """One step of the second moment with the sum of the squares of `gradients`; returns D [n]."""
        self._steps += 1
        self._second.mul_(SECOND_MOMENT_DECAY)
        for gradient in gradients:
            arriving = gradient * self._unit
            self._second.addcmul_(arriving, arriving, value=1.0 - SECOND_MOMENT_DECAY)
        correction = 1.0 - SECOND_MOMENT_DECAY**self._steps
        return 1.0 / ((self._second / correction).sqrt() + EPSILON)
