"""What BatchNorm does during unlearning: whose statistics normalise, and whose are written down.

Forget forwards always normalise with the running statistics and never update them. Otherwise batches of forget images
would rewrite the statistics, a way of changing the model that no gradient, projection or mask sees.

- `freeze`: running statistics everywhere, never updated. The default: both losses see the network that is released.
- `retain_only`: retained batches normalise with their own statistics and update the running ones, as in training. The
  two losses then see two different networks: forgetting can hide in the running statistics, and what retained images
  keep under their own batch's statistics is lost when the network is used (docs/results/batch-norm.md).
- `recalibrate`: `freeze` during the steps, then the statistics are estimated anew from the retained images.

The rest of the network is in evaluation mode throughout: dropout would draw from the global generator.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from qunlearn.data.batches import ImagePool, shuffled_batches

Policy = Literal["freeze", "retain_only", "recalibrate"]
Part = Literal["forget", "retain"]


class BatchNormGuard:
    """Puts the network into the mode that a forward pass needs under `policy`."""

    def __init__(self, model: nn.Module, policy: Policy) -> None:
        self._policy = policy
        self._norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
        model.eval()

    def prepare(self, part: Part, images: int) -> None:
        """Before a forward pass of so many images of `part`. A single image has no statistics of its own."""
        training = self._policy == "retain_only" and part == "retain" and images > 1
        for norm in self._norms:
            norm.training = training

    def freeze(self) -> None:
        """Before a forward pass that only measures."""
        for norm in self._norms:
            norm.training = False

    @contextmanager
    def untouched(self) -> Iterator[None]:
        """Whatever the forward passes inside do, the running statistics are bit-identical afterwards."""
        buffers = [buffer for norm in self._norms for buffer in norm.buffers()]
        copies = [buffer.clone() for buffer in buffers]
        try:
            yield
        finally:
            for buffer, copy in zip(buffers, copies, strict=True):
                buffer.copy_(copy)

    @torch.no_grad()
    def recalibrate(
        self, model: nn.Module, pool: ImagePool, indices: Tensor, *, batch_size: int, generator: torch.Generator
    ) -> None:
        """Estimate the running statistics anew as the mean over shuffled batches of the images at `indices`."""
        momenta = [norm.momentum for norm in self._norms]
        for norm in self._norms:
            norm.reset_running_stats()
            norm.momentum = None
            norm.training = True
        for part in shuffled_batches(indices, batch_size, generator=generator):
            model(pool.batch(part)[0])
        for norm, momentum in zip(self._norms, momenta, strict=True):
            norm.momentum = momentum
            norm.training = False
