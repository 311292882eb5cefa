"""Retraining: a fresh network trained on the retained images alone, with the original's recipe.

The reference of every comparison: exact by construction, and as expensive as training. It never sees the original's
weights, so it cannot keep any.
"""

from __future__ import annotations

from torch import nn

from qunlearn.config import Strict
from qunlearn.training import train
from qunlearn.unlearning.problem import Data
from qunlearn.unlearning.recorder import Recorder
from qunlearn.unlearning.registry import register


class RetrainConfig(Strict):
    """No settings of its own: the recipe is the block `training`."""


@register(
    "retrain",
    title="Retraining from scratch on the retained images",
    paper="-",
    status="exact",
    config=RetrainConfig,
    needs={"fresh", "retain"},
    first_order=False,
    cost="one pass over the retained images per epoch of training",
)
def unlearn(data: Data, config: RetrainConfig, *, seed: int, recorder: Recorder) -> nn.Module:
    """A network that never met the forget set."""
    del config
    model = data.fresh()
    result = train(model, data.pool, data.retain, data.recipe, seed=seed, progress=recorder.on_epoch)
    recorder.epochs += result.epochs
    recorder.count("retain", result.samples)
    return model
