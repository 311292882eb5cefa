"""Gradient ascent on the forget set, with the norm of each step's gradient clipped.

    theta <- theta + eta clip(grad CE_f)

Only the forget set is used. Without the clip the loss, which has no upper bound, runs away. BatchNorm is frozen: there
are no retained images whose statistics could be taken. Quantizer scales are moved like any other parameter.
"""

from __future__ import annotations

from functools import partial
from typing import Literal

from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import nn

from qunlearn.unlearning.directions import Sum
from qunlearn.unlearning.engine import Engine
from qunlearn.unlearning.objectives import Objective, ascent_loss
from qunlearn.unlearning.plans import single
from qunlearn.unlearning.problem import Data
from qunlearn.unlearning.recorder import Recorder
from qunlearn.unlearning.registry import register
from qunlearn.unlearning.settings import OneSided


class GradientAscentConfig(OneSided):
    """Settings of gradient ascent."""

    epochs: PositiveInt = 5
    """Passes over the forget set."""
    learning_rate: NonNegativeFloat = 1e-4
    """Of the first step; published values lie between 1e-5 and 1e-3; 0 leaves the weights as they are."""
    max_norm: PositiveFloat | None = 1.0
    """Longest gradient of a step, over all parameters together; null for no limit."""
    ceiling: PositiveFloat | None = None
    """Loss above which an image is driven no further; null for no bound."""
    batch_norm: Literal["freeze"] = "freeze"
    """Running statistics: `freeze`, the only choice without retained images."""


@register(
    "gradient_ascent",
    title="Gradient ascent on the forget set",
    paper="-",
    status="baseline",
    config=GradientAscentConfig,
    needs={"original", "forget"},
    first_order=True,
    cost="one pass over the forget images per epoch",
)
def unlearn(data: Data, config: GradientAscentConfig, *, seed: int, recorder: Recorder) -> nn.Module:
    """The original, driven away from the forget set's labels."""
    return Engine(
        data,
        config,
        objective=Objective(forget=partial(ascent_loss, ceiling=config.ceiling)),
        direction=Sum(),
        plan=single("forget", data.forget, config.batch_size, seed=seed),
        seed=seed,
        recorder=recorder,
        method="gradient_ascent",
    ).run()
