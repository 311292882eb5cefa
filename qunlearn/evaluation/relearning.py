"""How fast the forgotten images come back when the model is trained on them again.

A model that only hides what it knew needs fewer steps than the retrained model, which learns the images for the first
time. The attempt is plain SGD on the forget images, without augmentation, in evaluation mode: BatchNorm normalises with
its running statistics and keeps them, so each step changes trainable parameters only.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from qunlearn.config import RelearnConfig
from qunlearn.data.batches import ImagePool, infer, shuffled_batches
from qunlearn.quantization import ScaleGuard
from qunlearn.unlearning.streams import stream


@dataclass(frozen=True)
class Relearned:
    """`steps` taken when the target was reached, 0 if the model was there before; the limit where it was not."""

    steps: int
    reached: bool


def relearn(
    model: nn.Module, pool: ImagePool, forget: Tensor, *, target: float, config: RelearnConfig, seed: int
) -> Relearned:
    """Train a copy of `model` on the forget images until their accuracy is back; the model itself stays as it is.

    Args:
        model: on the pool's device.
        forget: positions in the pool, int64 [n].
        target: forget accuracy in percent that counts as back: the original model's, less one point.
        config: learning rate, batch size, and the limit of steps.
        seed: of the order of the images; the same seed gives the same result.

    Raises:
        ValueError: no images, a target above 100, or training that diverged.
    """
    if len(forget) == 0:
        raise ValueError("there are no forget images to learn again; check the split's counts")
    if not target <= 100.0:
        raise ValueError(f"target = {target}: no accuracy is above 100 percent")
    if pool.device.type == "cuda":
        # Process-wide on purpose, as in training: a scoped setting would be undone by another thread.
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    attempt = copy.deepcopy(model).eval()
    optimizer = torch.optim.SGD(attempt.parameters(), lr=config.learning_rate)
    guard = ScaleGuard(attempt)
    batches = _endless(forget, config.batch_size, stream(seed, "relearn"))
    for step in range(config.limit + 1):
        accuracy = _forget_accuracy(attempt, pool, forget)
        if math.isnan(accuracy):
            raise ValueError(
                f"relearning diverged in step {step} at learning rate {config.learning_rate:.3g}; "
                "lower evaluate.relearn.learning_rate"
            )
        if accuracy >= target:
            return Relearned(step, reached=True)
        if step < config.limit:
            _step(attempt, pool, next(batches), optimizer, guard)
    return Relearned(config.limit, reached=False)


def _step(
    model: nn.Module, pool: ImagePool, indices: Tensor, optimizer: torch.optim.Optimizer, guard: ScaleGuard
) -> None:
    inputs, labels = pool.batch(indices)
    optimizer.zero_grad()
    with torch.enable_grad():
        loss = F.cross_entropy(model(inputs), labels)
        loss.backward()  # type: ignore[no-untyped-call]
    with guard:
        optimizer.step()


def _forget_accuracy(model: nn.Module, pool: ImagePool, forget: Tensor) -> float:
    """Percent correct, NaN where a logit is not finite; waits for the device once."""
    logits = infer(model, pool, forget)
    correct = (logits.argmax(1) == pool.labels[forget.to(pool.device)]).double().mean()
    return 100.0 * float(torch.where(logits.isfinite().all(), correct, torch.nan))


def _endless(indices: Tensor, batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
    while True:
        yield from shuffled_batches(indices, batch_size, generator=generator)
