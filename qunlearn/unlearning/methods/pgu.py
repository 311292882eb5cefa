"""PGU: projected-gradient unlearning (Hoang et al., arXiv 2312.04095, WACV 2024), the closest precedent of OEU.

    L = -log(1 - (p_y - 0.05)) - 0.2 H(p)                           on forget images only
    grad W <- grad W - grad W U_k U_k^T    U_k: leading directions of the layer's inputs on retained images

The subspaces are found once, with the original in evaluation mode (`input_subspaces`); k is the least number of
directions with a share `energy` of the summed singular values, one share for all layers. Only weights of convolutions
and linear layers move. Biases, BatchNorm and quantizer scales have no input subspace and stay bit-identical, as do, in
the authors' code, all parameters without a projection. Cost: a forward pass over `images` retained images, an
eigendecomposition of size fan-in a layer (4608 in the last stage of a ResNet-18: a minute on two cores), and one pass
over the forget images per epoch.

The inputs are those after the input quantizer, which multiply the weight. What is promised holds for the latent
weights: at `energy: 1` their change times a retained input is zero, to rounding. The weights that the network uses are
rounded to codes, which leaves the complement again (DoReFa's tanh too): on digits (4-bit resnet8, energy 0.95) 1e-5 of
the length of the latent change lies inside the subspaces, but 64 to 82 % of the quantized weights' change in the 4-bit
layers. In batches of 64, it forgets 10 % random images there only at the retained images' expense (forget, retained and
test accuracy 98.5, 98.9, 95.0 % at learning rate 0.1, after 100, 99.9, 96.9 %), and a class at higher rates (0, 97.0,
95.1 % at 1.0). Momentum stays in the complement, since the subspaces are constant; weight decay, Adam and a mask on
single weights would not, so they are refused.

Departures from the authors' code: it takes R^T R of all images less that of the forget images, so that retained images
need not be at hand; here it comes from the retained ones, drawn at random. Strided convolutions see their own patches,
not all. The learning rate falls at every step, not every epoch. The authors stop when the forget accuracy falls below
that of validation images; here the number of epochs is a setting, which a grid chooses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Literal

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from qunlearn.data.batches import ordered_batches
from qunlearn.unlearning.directions import Direction, Precondition, Update, interaction
from qunlearn.unlearning.engine import Engine
from qunlearn.unlearning.input_subspaces import Subspace, input_subspaces
from qunlearn.unlearning.layout import Layout
from qunlearn.unlearning.objectives import Batch, Objective
from qunlearn.unlearning.plans import single
from qunlearn.unlearning.problem import Data
from qunlearn.unlearning.recorder import Recorder
from qunlearn.unlearning.registry import register
from qunlearn.unlearning.settings import OneSided
from qunlearn.unlearning.streams import stream

MEASURED_AT_ONCE = 32
"""Images in a forward pass that collects layer inputs: their patches are in memory together."""


class PguConfig(OneSided):
    """Settings of PGU; loss, energy and learning rates are the published ones."""

    epochs: PositiveInt = 10
    """Passes over the forget set; the authors allow 99 and stop by validation accuracy."""
    batch_size: PositiveInt = 128
    """Images in a batch."""
    learning_rate: NonNegativeFloat = 0.05
    """Of the first step; 0 leaves the weights as they are."""
    final_share: float = Field(default=0.2, gt=0.0, le=1.0)
    """The learning rate falls geometrically to this share of what `schedule` gives; 1 for `schedule` alone."""
    schedule: Literal["cosine", "constant"] = "constant"
    """Learning rate over all steps, before `final_share`: half a cosine to 0, or constant."""
    momentum: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Momentum of SGD, in [0, 1)."""
    weight_decay: NonNegativeFloat = 0.0
    """None: it would move weights inside the subspaces."""
    optimizer: Literal["sgd"] = "sgd"
    """SGD, the only one that stays in the complement."""
    batch_norm: Literal["freeze"] = "freeze"
    """Running statistics: `freeze`, since the subspaces are those of a fixed network."""
    augment: bool = False
    """Random crops and flips as in training."""
    energy: float = Field(default=0.95, ge=0.0, le=1.0)
    """Share of the summed singular values of a layer's retained inputs that is protected; 0 for no projection."""
    margin: PositiveFloat = 0.05
    """What p_y is lowered by in the loss, so that it is finite at p_y = 1."""
    entropy_weight: NonNegativeFloat = 0.2
    """Weight of the entropy H(p), which is raised."""
    images: PositiveInt | None = 1000
    """Retained images whose inputs span the subspaces, drawn at random; null for all."""
    patches: PositiveInt | None = 64
    """Positions in a feature map that are looked at, drawn anew for every 32 images; null for all."""

    @model_validator(mode="after")
    def _possible(self) -> PguConfig:
        if self.weight_decay > 0:
            raise ValueError(
                f"weight_decay: {self.weight_decay} moves weights inside the retained subspaces; set weight_decay: 0"
            )
        if self.mask is not None:
            raise ValueError(
                f"mask: {self.mask.kind} takes single weights out of the projected gradient, which is then no longer "
                "orthogonal to retained inputs; take it out"
            )
        return self

    def rate(self, step: int, steps: int) -> float:
        rate: float = super().rate(step, steps) * self.final_share ** (step / steps)
        return rate


def forget_loss(logits: Tensor, batch: Batch, *, margin: float, entropy_weight: float) -> Tensor:
    """-log(1 - (p_y - margin)) - entropy_weight H(p) of each image, [B], H in nats.

    At most -log(margin), at p_y = 1. On a confident image the gradient vanishes as (1 - p_y) / margin.
    """
    log_p = F.log_softmax(logits, dim=1)
    p = log_p.exp()
    true = p.gather(1, batch.labels[:, None]).squeeze(1)
    return entropy_weight * (p * log_p).sum(1) - torch.log1p(margin - true)


class InputComplement(Direction):
    """The forget gradient of each weight in the complement of its layer's subspace, and zero for all other parameters.

    Args:
        subspaces: by parameter name.
    """

    def __init__(self, subspaces: Mapping[str, Subspace]) -> None:
        self._subspaces = subspaces
        self._weights: list[tuple[slice, torch.Size, Subspace]] = []

    def begin(self, layout: Layout) -> None:
        self._weights = [
            (where, parameter.shape, self._subspaces[name])
            for name, where, parameter in zip(layout.names, layout.tensors, layout.parameters, strict=True)
            if name in self._subspaces
        ]

    def __call__(
        self,
        forget: Tensor | None,
        retain: Tensor | None,
        blocks: Sequence[slice],
        *,
        precondition: Precondition | None = None,
    ) -> Update:
        """`forget` [n] projected; the step has no other gradient.

        Raises:
            ValueError: no forget gradient, or a retain gradient, which this direction would not use.
        """
        del precondition
        if forget is None or retain is not None:
            raise ValueError("the direction of PGU takes the forget gradient alone; plan steps of forget images only")
        projected = torch.zeros_like(forget)
        for where, shape, subspace in self._weights:
            projected[where] = subspace.remove(forget[where].view(shape)).reshape(-1)
        statistics, _ = interaction(forget, None, blocks)
        statistics["projected_norm"] = torch.linalg.vector_norm(projected, dtype=torch.float64)
        return Update(projected, None, statistics)


@register(
    "pgu",
    title="PGU: gradients in the complement of retained inputs",
    paper="arXiv 2312.04095",
    status="reconstruction",
    config=PguConfig,
    needs={"original", "forget", "retain"},
    first_order=True,
    cost="one pass over the forget images per epoch, and once a forward pass over some retained images",
)
def unlearn(data: Data, config: PguConfig, *, seed: int, recorder: Recorder) -> nn.Module:
    """The original, driven away from the forget labels in directions that retained images do not use."""
    order = torch.randperm(len(data.retain), generator=stream(seed, "input subspaces/images"))
    chosen = data.retain[order[: config.images]]
    recorder.count("retain", len(chosen))
    subspaces = input_subspaces(
        data.original().eval(),
        (data.pool.batch(part)[0] for part in ordered_batches(chosen, MEASURED_AT_ONCE)),
        energy=config.energy,
        limit=config.patches,
        generator=stream(seed, "input subspaces/positions"),
    )
    loss = partial(forget_loss, margin=config.margin, entropy_weight=config.entropy_weight)
    return Engine(
        data,
        config,
        objective=Objective(forget=loss),
        direction=InputComplement(subspaces),
        plan=single("forget", data.forget, config.batch_size, seed=seed),
        seed=seed,
        recorder=recorder,
        method="pgu",
    ).run()
