"""Settings that every first-order method has; a method overrides the defaults with the published ones."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field, NonNegativeFloat, PositiveInt

from qunlearn.config import Strict
from qunlearn.unlearning.batch_norm import Policy


class FirstOrder(Strict):
    """Settings of the engine."""

    epochs: PositiveInt = 10
    """Passes over the leading set."""
    batch_size: PositiveInt = 256
    """Images in a batch."""
    learning_rate: NonNegativeFloat = 0.01
    """Of the first step; 0 leaves the weights as they are."""
    momentum: float = Field(default=0.9, ge=0.0, lt=1.0)
    """Momentum of SGD, or the decay of Adam's first moment; in [0, 1)."""
    weight_decay: NonNegativeFloat = 5e-4
    """L2 on weights and biases, as in training; quantizer scales have none."""
    optimizer: Literal["sgd", "adam"] = "sgd"
    """SGD with momentum, or Adam."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """Learning rate over all steps: half a cosine to 0, or constant."""
    batch_norm: Policy = "freeze"
    """Running statistics: `freeze`, updated by retained batches (`retain_only`), or `freeze` and then `recalibrate`."""
    augment: bool = True
    """Random crops and flips as in training."""

    def rate(self, step: int, steps: int) -> float:
        """Learning rate of step number `step` of `steps`, counted from 0."""
        if self.schedule == "constant":
            return self.learning_rate
        return self.learning_rate * 0.5 * (1.0 + math.cos(math.pi * step / steps))
