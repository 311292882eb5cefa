"""Fine-tuning on the retained images and hoping that the rest fades (catastrophic forgetting as a baseline).

    theta <- theta - eta grad CE_r

The weakest baseline of the field; what a method does beyond it is what its forget part contributes. Quantizer scales
are trained like any other parameter; BatchNorm keeps its running statistics unless `batch_norm` says otherwise.
"""

from __future__ import annotations

from torch import nn

from qunlearn.unlearning.directions import Sum
from qunlearn.unlearning.engine import Engine
from qunlearn.unlearning.objectives import Objective, cross_entropy
from qunlearn.unlearning.plans import single
from qunlearn.unlearning.problem import Data
from qunlearn.unlearning.recorder import Recorder
from qunlearn.unlearning.registry import register
from qunlearn.unlearning.settings import OneSided


class FineTuneConfig(OneSided):
    """Settings of fine-tuning: those of the engine."""


@register(
    "fine_tune",
    title="Fine-tuning on the retained images",
    paper="-",
    status="baseline",
    config=FineTuneConfig,
    needs={"original", "retain"},
    first_order=True,
    cost="one pass over the retained images per epoch",
)
def unlearn(data: Data, config: FineTuneConfig, *, seed: int, recorder: Recorder) -> nn.Module:
    """The original, trained on."""
    return Engine(
        data,
        config,
        objective=Objective(forget=cross_entropy),
        direction=Sum(),
        plan=single("retain", data.retain, config.batch_size, seed=seed),
        seed=seed,
        recorder=recorder,
        method="fine_tune",
    ).run()
