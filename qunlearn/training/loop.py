"""The one training loop, for original models and retrained references."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from qunlearn.config import ConfigError, TrainingConfig
from qunlearn.data.batches import ImagePool, shuffled_batches
from qunlearn.progress import EpochStats
from qunlearn.quantization import ScaleGuard, parameter_groups
from qunlearn.training.schedules import learning_rate


class DivergedError(RuntimeError):
    """The loss or a weight became NaN or infinite."""

    def __init__(self, *, epoch: int, epochs: int, loss: float, learning_rate: float) -> None:
        self.epoch = epoch
        self.learning_rate = learning_rate
        found = "a weight is not finite" if math.isfinite(loss) else f"the loss is {loss}"
        super().__init__(
            f"training diverged in epoch {epoch} of {epochs} at learning rate {learning_rate:.3g}: {found}; "
            "lower training.learning_rate or raise training.warmup_epochs"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        # It travels from worker processes; an exception is otherwise rebuilt from its message alone.
        return _rebuilt, (type(self), str(self), self.epoch, self.learning_rate)


def _rebuilt(kind: type[DivergedError], message: str, epoch: int, learning_rate: float) -> DivergedError:
    error = kind.__new__(kind, message)
    error.epoch, error.learning_rate = epoch, learning_rate
    return error


@dataclass(frozen=True)
class TrainingResult:
    """What a training run did.

    Args:
        epochs: one row per epoch: epoch, loss, accuracy (percent), learning_rate, seconds.
        seconds: wall time of the whole run.
        steps: optimizer steps.
        samples: images that went forward and backward, repeats counted.
    """

    epochs: list[dict[str, float]]
    seconds: float
    steps: int
    samples: int


def resolve_device(name: str) -> torch.device:
    """The device for ``training.device``: `auto` takes CUDA where there is one.

    Raises:
        ConfigError: `cuda` is asked for and not there.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("training.device = 'cuda': no CUDA device is available; use auto or cpu")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def train(
    model: nn.Module,
    pool: ImagePool,
    indices: Tensor,
    config: TrainingConfig,
    *,
    seed: int,
    progress: Callable[[EpochStats], None] | None = None,
) -> TrainingResult:
    """Train `model` in place on the images at `indices` (int64 [n]), on the device that holds the pool.

    One generator, seeded with `seed`, draws orders and augmentation: the same seed, model, images and number of threads
    give the same weights, bit for bit, on one machine.

    Raises:
        DivergedError: found at the end of the epoch in which it happened.
        ValueError: no images, or a pool that augments otherwise than `config` says.
    """
    _check(pool, indices, config)
    started = time.perf_counter()
    run = _Run(model, pool, indices.to(pool.device), config, seed=seed)
    rows: list[dict[str, float]] = []
    for epoch in range(1, config.epochs + 1):
        stats = run.epoch(epoch)
        rows.append({key: float(value) for key, value in vars(stats).items() if key != "epochs"})
        if progress is not None:
            progress(stats)
    return TrainingResult(rows, time.perf_counter() - started, run.steps, config.epochs * len(indices))


def steps_per_epoch(images: int, batch_size: int) -> int:
    """How many batches `shuffled_batches` makes of so many images."""
    parts = math.ceil(images / batch_size)
    last = images - (parts - 1) * batch_size
    return parts - 1 if last == 1 and parts > 1 else parts


def _check(pool: ImagePool, indices: Tensor, config: TrainingConfig) -> None:
    if len(indices) == 0:
        raise ValueError("there are no images to train on; the index tensor is empty")
    transform = pool.transform
    if (transform.crop_padding, transform.flip) != (config.crop_padding, config.flip):
        raise ValueError(
            f"the image pool augments with crop_padding={transform.crop_padding}, flip={transform.flip}, "
            f"the recipe says crop_padding={config.crop_padding}, flip={config.flip}; "
            "make the pool from the same training block"
        )


class _Run:
    """Model, optimizer and generator of one call of `train`."""

    def __init__(
        self, model: nn.Module, pool: ImagePool, indices: Tensor, config: TrainingConfig, *, seed: int
    ) -> None:
        self.model, self.pool, self.indices, self.config = model.to(pool.device), pool, indices, config
        if config.channels_last:
            self.model.to(memory_format=torch.channels_last)
        if pool.device.type == "cuda":
            # Process-wide on purpose: a scoped setting would be undone by a run that ends in another thread.
            torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
        self.generator = torch.Generator().manual_seed(seed)
        self.optimizer = torch.optim.SGD(
            parameter_groups(model, config.weight_decay),
            lr=config.learning_rate,
            momentum=config.momentum,
            nesterov=config.nesterov,
            fused=True,
        )
        self.guard = ScaleGuard(self.model)
        self.steps_per_epoch = steps_per_epoch(len(indices), config.batch_size)
        self.steps = 0

    def epoch(self, number: int) -> EpochStats:
        """One pass over the data. Sums stay on the device and are read once: every reading waits for the device."""
        started = time.perf_counter()
        self.model.train()
        totals = torch.zeros(2, dtype=torch.float64, device=self.pool.device)
        for batch in shuffled_batches(self.indices, self.config.batch_size, generator=self.generator):
            totals += self._step(batch)
        loss, accuracy = (totals / len(self.indices)).tolist()
        rate = self.optimizer.param_groups[0]["lr"]
        if not (math.isfinite(loss) and _all_finite(self.model)):
            raise DivergedError(epoch=number, epochs=self.config.epochs, loss=loss, learning_rate=rate)
        return EpochStats(number, self.config.epochs, loss, 100.0 * accuracy, rate, time.perf_counter() - started)

    def _step(self, batch: Tensor) -> Tensor:
        """One optimizer step; returns the sum of the losses and the number of correct predictions, float64 [2]."""
        rate = learning_rate(self.steps, self.config, steps_per_epoch=self.steps_per_epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        inputs, labels = self.pool.batch(batch, augment=self.generator)
        if self.config.channels_last:
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.pool.device.type, torch.bfloat16, enabled=self.config.precision == "bf16"):
            logits = self.model(inputs)
        logits = logits.float()
        loss = F.cross_entropy(logits, labels, label_smoothing=self.config.label_smoothing)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        with self.guard:
            self.optimizer.step()
        self.steps += 1
        return torch.stack([loss.detach() * len(labels), (logits.detach().argmax(1) == labels).sum()]).double()


def _all_finite(model: nn.Module) -> bool:
    norms = torch._foreach_norm([parameter.detach() for parameter in model.parameters()])
    return bool(torch.stack(norms).isfinite().all())
