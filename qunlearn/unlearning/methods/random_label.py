"""Random labels: the forget images get labels drawn anew before each epoch, the retained ones keep theirs.

    mean CE over both sets, with y ~ Uniform{0..K-1} on the forget set

As published, the random label may be the true one (with probability 1/K); `exclude_true` draws among the wrong ones.
In a joint batch the forget part is forwarded with running BatchNorm statistics, unlike in published code. Quantizer
scales are trained like any other parameter.
"""

from __future__ import annotations

from pydantic import ConfigDict, Field, model_validator
from torch import Tensor, nn

from qunlearn.unlearning.directions import Sum
from qunlearn.unlearning.engine import Engine
from qunlearn.unlearning.labels import Relabelled, random_labels
from qunlearn.unlearning.objectives import Objective
from qunlearn.unlearning.plans import Pass, mixed
from qunlearn.unlearning.problem import Data
from qunlearn.unlearning.recorder import Recorder
from qunlearn.unlearning.registry import register
from qunlearn.unlearning.settings import TwoSided, check_pass
from qunlearn.unlearning.streams import stream


class RandomLabelConfig(TwoSided):
    """Settings of random labels."""

    model_config = ConfigDict(serialize_by_alias=True)

    exclude_true: bool = False
    """Draw wrong labels only."""
    pass_: Pass = Field(default="joint", alias="pass")
    """`joint`: both sets shuffled together; `sequential`: all forget, then all retained batches; `paired`: each step a
    batch of both."""

    @model_validator(mode="after")
    def _possible(self) -> RandomLabelConfig:
        check_pass(self, self.pass_)
        return self


@register(
    "random_label",
    title="Random labels on the forget set",
    paper="arXiv 1911.04933",
    status="baseline",
    config=RandomLabelConfig,
    needs={"original", "forget", "retain"},
    first_order=True,
    cost="one pass over both sets per epoch",
)
def unlearn(data: Data, config: RandomLabelConfig, *, seed: int, recorder: Recorder) -> nn.Module:
    """The original, trained on with random labels on the forget set."""
    labels = data.pool.labels[data.forget.to(data.pool.device)]
    draws = stream(seed, "random labels")

    def choose(model: nn.Module) -> Tensor:
        del model
        return random_labels(labels, data.pool.classes, exclude_true=config.exclude_true, generator=draws)

    relabelled = Relabelled(len(data.pool), data.forget, choose, device=data.pool.device)
    return Engine(
        data,
        config,
        objective=Objective(forget=relabelled.loss, begin_epoch=relabelled.begin_epoch),
        direction=config.combined(Sum()),
        plan=mixed(data.forget, data.retain, config.batch_size, how=config.pass_, seed=seed),
        seed=seed,
        recorder=recorder,
        method="random_label",
    ).run()
