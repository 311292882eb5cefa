"""The second phase: descent on adjacent images in the complement of what forget and remote images need."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt
from torch import Tensor

from qunlearn.config import Strict
from qunlearn.data.batches import shuffled_batches
from qunlearn.unlearning.streams import stream
from qunlearn.unlearning.two_phase.journal import Journal
from qunlearn.unlearning.two_phase.network import Network, Part, Rounds
from qunlearn.unlearning.two_phase.span import Removal, remove_span
from qunlearn.unlearning.two_phase.wasserstein_guard import ForgetSign, guarded_loss, squared_wasserstein


class SecondPhase(Strict):
    """Settings of the second phase; the defaults are those of the paper's CIFAR-100 experiment."""

    epochs: NonNegativeInt = 6
    """Passes over the adjacent images; 0 leaves the phase out."""
    learning_rate: NonNegativeFloat = 2e-5
    """Of every step; 0 leaves the weights as they are."""
    momentum: float = Field(default=0.9, ge=0.0, lt=1.0)
    """Share of the projected vector that the next step starts with; in [0, 1)."""
    adjacent_batch_size: PositiveInt = 128
    """Adjacent images in a step."""
    forget_batch_size: PositiveInt = 128
    """Forget images in a batch; the losses of a batch are sorted together."""
    remote_batch_size: PositiveInt = 512
    """Remote images in a batch."""
    batch_limit: PositiveInt = 10
    """Batches of forget and of remote images that a step's two gradients are taken over, or all that there are."""
    alpha: float = Field(default=0.5, ge=0.0, le=1.0)
    """Weight of the Wasserstein distance in the forget loss; 0 leaves the guard out."""
    forget_sign: ForgetSign = "code"
    """Sign of the cross entropy in the forget loss: minus as in the authors' code, or plus as in the paper."""


Figures = dict[str, Tensor]
"""Device scalars by name."""


def second_phase(
    network: Network,
    forget: Tensor,
    adjacent: Tensor,
    remote: Tensor,
    *,
    settings: SecondPhase,
    before: Tensor,
    seed: int,
    journal: Journal,
) -> None:
    """Move `network`, which is the model after the first phase, through all epochs of the phase.

    Args:
        forget, adjacent, remote: positions in the pool, int64.
        before: L0, mean cross entropy of all remote images before the first phase, a float64 scalar.

    Raises:
        PhaseDivergedError: found at the end of the epoch in which it happened.
    """
    reference = torch.zeros(len(network.pool), device=network.pool.device)
    reference[forget.to(network.pool.device)] = network.image_losses(forget, batch_size=settings.remote_batch_size)
    order = stream(seed, "two_phase/second/adjacent")
    forgotten = Rounds(forget, settings.forget_batch_size, generator=stream(seed, "two_phase/second/forget"))
    kept = Rounds(remote, settings.remote_batch_size, generator=stream(seed, "two_phase/second/remote"))
    velocity = torch.zeros_like(network.layout.values())

    def guarded(losses: Tensor, batch: Tensor) -> tuple[Tensor, Figures]:
        distance = squared_wasserstein(losses, reference[batch.to(reference.device)])
        held = guarded_loss(losses, distance, alpha=settings.alpha, sign=settings.forget_sign)
        return held, {"guarded_loss": held, "squared_w2": distance}

    def plain(losses: Tensor, batch: Tensor) -> tuple[Tensor, Figures]:
        del batch
        return losses.mean(), {}

    for _ in range(settings.epochs):
        for batch in shuffled_batches(adjacent, settings.adjacent_batch_size, generator=order):
            descent, near = _gradient(network, "adjacent", [batch], plain)
            forgetting, gone = _gradient(network, "forget", forgotten.take(settings.batch_limit), guarded)
            retaining, far = _gradient(network, "remote", kept.take(settings.batch_limit), plain)
            wanted = descent.add_(velocity, alpha=settings.momentum)
            removal = remove_span(wanted, (forgetting, retaining), network.layout.blocks, out=velocity)
            network.move(torch.mul(velocity, -settings.learning_rate, out=wanted))
            constraint = {"constraint": far["remote_loss"].double() - before}
            journal.step(2, settings.learning_rate, {**near, **gone, **far, **constraint, **_figures(removal)})
        journal.end_epoch(network)


def _gradient(
    network: Network, part: Part, batches: Sequence[Tensor], held: Callable[[Tensor, Tensor], tuple[Tensor, Figures]]
) -> tuple[Tensor, Figures]:
    """Gradient [n] of a loss over several batches, and mean figures: each batch counts as its share of the images.

    The gradient is in memory that the next one of the same part is written to.

    Args:
        held: from the losses of a batch [B] and its positions [B] to the scalar loss and figures of its own.
    """
    total = sum(len(batch) for batch in batches)
    vector = network.memory(part)
    means: Figures = {}
    for number, batch in enumerate(batches):
        share = len(batch) / total
        forward = network.forward(part, batch)
        loss, figures = held(forward.losses, batch)
        if number == 0:
            network.layout.gradient(loss, out=vector).mul_(share)
        else:
            vector.add_(network.layout.gradient(loss, out=network.memory("latest")), alpha=share)
        figures |= {f"{part}_loss": forward.losses.mean(), f"{part}_accuracy": 100.0 * forward.correct}
        for name, figure in figures.items():
            means[name] = means.get(name, torch.zeros_like(figure)) + share * figure.detach()
    return vector, means


def _figures(removal: Removal) -> Figures:
    return {
        "forget_coefficient": removal.coefficients[0],
        "remote_coefficient": removal.coefficients[1],
        "forget_cosine_before": removal.before[0],
        "remote_cosine_before": removal.before[1],
        "forget_cosine_after": removal.after[0],
        "remote_cosine_after": removal.after[1],
        "forget_remote_cosine": removal.between,
        "span_residual": removal.residual,
        "momentum_norm": removal.norms[0],
        "update_norm": removal.norms[1],
        "forget_norm": removal.norms[2],
        "remote_norm": removal.norms[3],
    }
